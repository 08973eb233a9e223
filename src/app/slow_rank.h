/* Which rank the others waited for. */
#ifndef TANDEM_APP_SLOW_RANK_H
#define TANDEM_APP_SLOW_RANK_H

/* How long a rank waited in an interval. */
typedef struct rank_wait {
    double loader_s; /* for its own loader */
    double data_s;   /* for the loaders of other ranks */
    double step_s;   /* in steps, for ranks that compute longer */
} rank_wait;

typedef struct slow_rank {
    int rank;
    double wait_s;      /* the mean of the others waited so much longer than this one */
    double wait_data_s; /* of it, for its loader */
} slow_rank;

/* The rank that waited least. wait [ranks], ranks > 1. */
slow_rank slow_rank_of(const rank_wait *wait, int ranks);

#endif
