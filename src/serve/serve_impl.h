/* Private to src/serve. A request passes these files in this order:
 *
 *     front.c    libmicrohttpd's calls: collects the request, sends the answer. A thread for each connection
 *     gate.c     who may ask: Host, token, rate
 *     request.c  path, query string and body become a serve_request; pure, no network
 *     route_*.c  one route each, a row of route_table.h
 *     queue.c    a search waits here until the compute thread takes all that wait
 *     batch.c    the compute thread (the one that called tdm_serve): embeds, searches on all ranks, reads captions
 *     json.c, page.c   what was found becomes JSON or HTML
 */
#ifndef TANDEM_SERVE_IMPL_H
#define TANDEM_SERVE_IMPL_H

#include "tandem/serve.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    SERVE_TEXT_BYTES = 2000, /* of a query; longer than any model reads */
    SERVE_CLASSES = 32,      /* of a filter */
    SERVE_MOST_K = 200,      /* results in one answer */
    SERVE_DEFAULT_K = 24,
    SERVE_MOST_DEPTH = 10000, /* offset + k */
    SERVE_ID_BYTES = 33       /* 32 hexadecimal digits and a NUL */
};

#define SERVE_DEFAULT_WEIGHT 0.5 /* of a picture beside a text */

/* ---- Refusals ---- */
typedef struct serve_fault {
    int status;       /* HTTP; 0: none */
    const char *code; /* for programs: "bad_parameter"; static */
    char message[512];
} serve_fault;
/* Fills *fault and returns false. */
TDM_PRINTF(4, 5)
bool serve_refuse(serve_fault *fault, int status, const char *code, const char *fmt, ...);

/* ---- What is looked for ---- */
typedef struct serve_query { /* owned; serve_query_free */
    tdm_text text;           /* UTF-8, empty: none */
    tdm_text image;          /* an encoded picture, empty: none */
    char upload
        [SERVE_ID_BYTES]; /* id of a picture that was uploaded before; "": none. Of `image` once it is known */
    int64_t row;          /* a picture of the gallery, by its row in the data; -1: none */
    double weight;        /* of the picture beside the text, 0 … 1 */
    tdm_modality find;    /* images or captions */
    int64_t k, offset;
    bool unique;                /* near-duplicates are left out */
    char *label[SERVE_CLASSES]; /* classes, one of which a result must have */
    int64_t labels;             /* 0: no filter */
} serve_query;
void serve_query_free(serve_query *query);
bool serve_query_is_empty(const serve_query *query); /* nothing is asked for */
/* The query string that asks for the same, at another offset, appended without '?': "q=a+dog&k=24&offset=48". A
 * picture is named by its upload. */
TDM_CHECKED tdm_status serve_query_print(const serve_query *query, int64_t offset, tdm_text *out);

/* ---- What was found: input of the page and of the JSON ---- */
typedef struct serve_item {
    int64_t rank;       /* 1, 2 … */
    int64_t row;        /* of the picture: /image/ROW, /thumbnail/ROW, row=ROW */
    int64_t caption;    /* row of the caption; -1 when pictures were searched */
    double score;       /* cosine */
    const char *text;   /* the caption, or the picture's captions; UTF-8, "" for none */
    const char *name;   /* of the picture's file; "" for none */
    const char **label; /* [labels] names of its classes */
    int64_t labels;
    bool has_picture; /* the gallery has its pixels */
} serve_item;

typedef struct serve_results {
    /* the gallery */
    const char *title, *gallery, *split, *model;
    int64_t step, images, captions;
    const char *const *label; /* [labels] names of all classes */
    int64_t labels;
    bool can_unique;    /* near-duplicates can be left out */
    int64_t body_bytes; /* that a request may have */
    /* the question */
    const serve_query *query; /* never NULL; empty on the front page */
    const serve_item *asked;  /* the gallery's picture query->row; NULL: none, or nothing is known of it */
    const serve_fault *fault; /* NULL: none */
    bool cut;                 /* the text was longer than the model reads */
    /* the answer */
    int64_t total;       /* that can be reached with growing offsets */
    int64_t next_offset; /* -1: there are no more */
    int64_t items;
    serve_item *item;
    double took_s; /* with waiting */
} serve_results;

/* page.c: the whole page. Links are relative to the site's root. No script and no style within it (CSP): those are
 * /page.js and /style.css. */
TDM_CHECKED tdm_status serve_page_render(const serve_results *results, tdm_text *out);

#endif
