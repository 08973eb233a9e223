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
#include <semaphore.h>
#include <stdatomic.h>

enum {
    SERVE_TEXT_BYTES = 2000, /* of a query; longer than any model reads */
    SERVE_CLASSES = 32,      /* of a filter */
    SERVE_MOST_K = 200,      /* results in one answer */
    SERVE_DEFAULT_K = 24,
    SERVE_MOST_DEPTH = 10000, /* offset + k */
    SERVE_MOST_BATCH = 1024,  /* searches that are answered together */
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
bool serve_refuse_memory(serve_fault *fault); /* there is none for this request */

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
bool serve_query_is_empty(const serve_query *query);    /* nothing is asked for */
bool serve_query_has_picture(const serve_query *query); /* one that has a name: an upload, or a row */
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
    bool can_text, can_picture; /* the model reads texts, and pictures, that are sent to it */
    bool can_unique;            /* near-duplicates can be left out */
    int64_t body_bytes;         /* that a request may have */
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
/* json.c: docs/serve.md and /api/schema say what is in it. */
TDM_CHECKED tdm_status serve_json_render(const serve_results *results, tdm_text *out);
TDM_CHECKED tdm_status serve_json_gallery(const serve_results *results, tdm_text *out);
TDM_CHECKED tdm_status serve_json_fault(const serve_fault *fault, tdm_text *out);

/* ---- A request ---- */
typedef enum serve_method {
    SERVE_GET = 1,
    SERVE_HEAD = 2,
    SERVE_POST = 4,
    SERVE_OPTIONS = 8
} serve_method; /* bits */

typedef struct serve_server serve_server;
typedef struct serve_route serve_route;

typedef struct serve_request { /* owned; serve_request_free */
    serve_method method;
    const serve_route *route; /* NULL: there is none */
    int64_t row;              /* of a path that ends with one */
    char id[SERVE_ID_BYTES];  /* of a path that ends with one */
    serve_query query;
    tdm_text token;    /* ?token=, empty: none */
    uint64_t seen;     /* fields that were given, a bit each */
    const char *known; /* If-None-Match: what the browser has; borrowed, NULL: nothing */
} serve_request;
void serve_request_free(serve_request *request);
/* Of the first line: method "GET", target "/api/search?q=a+dog". Into a zeroed request; free it after a refusal, too. */
bool serve_request_begin(const char *method, const char *target, serve_request *request, serve_fault *fault);
/* Of the body (multipart/form-data, application/x-www-form-urlencoded, application/json, or a picture), and what the
 * fields mean together. content_type: NULL for none. */
bool serve_request_finish(serve_request *request, const char *content_type, const void *body, size_t bytes,
                          serve_fault *fault);

/* form.c: fields of queries and bodies, one at a time. value: decoded, NUL-terminated, and may hold any bytes. */
typedef bool (*serve_field)(void *to, const char *name, const char *value, size_t bytes, bool is_file,
                            serve_fault *fault);
bool serve_form_read(const char *text, size_t bytes, serve_field field, void *to, serve_fault *fault);
bool serve_multipart_read(const char *content_type, const char *body, size_t bytes, serve_field field,
                          void *to, serve_fault *fault);
/* TDM_E_FORMAT: it is no base64. */
TDM_CHECKED tdm_status serve_base64_decode(const char *text, size_t bytes, tdm_text *out);

/* ---- An answer ---- */
typedef struct serve_answer { /* owned; serve_answer_free */
    int status;
    const char *type; /* static */
    tdm_text body;
    bool may_keep; /* in the browser's cache, under an ETag, "": that of its bytes */
    char etag[24];
    bool not_shown;    /* a file to be saved, not a picture to be shown */
    double retry_s;    /* > 0: Retry-After */
    tdm_text location; /* of a redirection */
} serve_answer;
void serve_answer_free(serve_answer *answer);
#define SERVE_HTML "text/html; charset=utf-8"
#define SERVE_JSON "application/json"
/* Whole: 200 with what lies in the body, unless making it failed (status). */
bool serve_answer_with(serve_answer *answer, const char *type, tdm_status status, serve_fault *fault);
/* Names what is made of these bytes; true: the browser has it already, and the answer is 304. */
bool serve_answer_is_known(serve_answer *answer, const serve_request *request, const void *data,
                           size_t bytes);

/* ---- Routes: one file and one row of route_table.h each ---- */
typedef enum serve_tail { SERVE_TAIL_NONE, SERVE_TAIL_ROW, SERVE_TAIL_ID } serve_tail;
struct serve_route {
    const char *path; /* "/image/", with what stands behind it: */
    serve_tail tail;
    unsigned methods; /* GET, POST; HEAD goes with GET, OPTIONS with all */
    bool takes_query; /* else it has no fields */
    bool is_page;     /* people see it: errors are pages, ?token= becomes a cookie */
    bool is_open;     /* needs no token */
    /* Fills *answer, or *fault and returns false. */
    bool (*answer)(serve_server *server, serve_request *request, serve_answer *answer, serve_fault *fault);
};
const serve_route *const *serve_routes(size_t *count);

/* ---- Searches that wait (queue.c) ---- */
typedef struct serve_job { /* owned; serve_job_free */
    struct serve_job *next;
    serve_query query;
    uint8_t *pixel; /* of query.image, as the model reads it; NULL: none */
    double since_s; /* when it was asked */
    /* filled by the compute thread */
    serve_fault fault;
    float *feature; /* [d] of the query */
    bool cut;
    int64_t total, items;
    tdm_found_item *found;       /* [items] what item points into */
    serve_item *item;            /* [items] */
    const char **label;          /* what item's labels point into */
    tdm_found_item *asked_found; /* the gallery's picture query.row; NULL: none */
    serve_item asked;
    /* the queue's */
    bool done, abandoned;
    pthread_cond_t answered;
} serve_job;
TDM_CHECKED tdm_status serve_job_create(serve_job **job);
void serve_job_free(serve_job **job);

typedef struct serve_queue {
    pthread_mutex_t lock;
    pthread_cond_t waiting;
    serve_job *first, *last;
    int64_t length, most;
    bool closed;
} serve_queue;
void serve_queue_init(serve_queue *queue, int64_t most);
void serve_queue_destroy(serve_queue *queue); /* nobody asks any more */
/* Puts the job into the queue and waits for its answer, at most limit_s. When that is over, or the queue is full or
 * closed: false, a fault, and *job is the queue's and NULL. */
bool serve_queue_ask(serve_queue *queue, serve_job **job, double limit_s, serve_fault *fault);
/* All that wait, at most `most`; when none does, waits for the first for wait_s. Returns how many. */
int64_t serve_queue_take(serve_queue *queue, serve_job **job, int64_t most, double wait_s);
/* Of a job that was taken. */
void serve_queue_answer(serve_queue *queue, serve_job *job);
/* What waits and what comes is refused. */
void serve_queue_close(serve_queue *queue);
int64_t serve_queue_length(serve_queue *queue);

/* ---- Features that were asked for already (store.c): of texts and of uploaded pictures, the oldest make room. The
 * next page of results is made of the same features, to the bit, and a picture need not be sent again. ---- */
typedef struct serve_store serve_store;
TDM_CHECKED tdm_status serve_store_create(int64_t d, int64_t most, serve_store **store);
void serve_store_destroy(serve_store **store);
/* First 32 digits of the SHA-256. */
TDM_CHECKED tdm_status serve_store_id(char kind, const void *data, size_t bytes, char id[SERVE_ID_BYTES]);
bool serve_store_find(serve_store *store, const char *id, float *feature, bool *cut);
/* picture: a small JPEG, NULL: none. */
TDM_CHECKED tdm_status serve_store_keep(serve_store *store, const char *id, const float *feature, bool cut,
                                        const tdm_text *picture);
/* Appends the picture that was kept; false: there is none. */
bool serve_store_picture(serve_store *store, const char *id, tdm_text *out);

/* ---- Requests a second of one client (rate.c): a bucket of `burst` that fills at `rate` ---- */
enum { SERVE_CLIENTS = 4096 };
typedef struct serve_bucket {
    uint64_t client; /* 0: free */
    double level, since_s;
} serve_bucket;
typedef struct serve_rate {
    double rate, burst; /* rate 0: no limit */
    serve_bucket bucket[SERVE_CLIENTS];
} serve_rate;
/* client: not 0. Returns for how many seconds it must wait, 0: it may go on. */
double serve_rate_take(serve_rate *rate, uint64_t client, double now_s);

/* ---- Who may ask (gate.c) ---- */
typedef struct serve_gate {
    char token[128];   /* "": none is needed */
    char cookie[32];   /* its name */
    const char *hosts; /* allowed names, borrowed */
    pthread_mutex_t lock;
    serve_rate rate;
} serve_gate;
/* What a request says of its sender; NULL: the header is missing. */
typedef struct serve_sender {
    const char *host, *origin, *authorization, *cookie;
    const char *site, *mode; /* Sec-Fetch-…: what browsers say of the page that asks */
    const struct sockaddr *address;
} serve_sender;
/* Reads or makes the token, as the options and the address say. */
TDM_CHECKED tdm_status serve_gate_open(serve_gate *gate, const tdm_serve_options *options);
void serve_gate_close(serve_gate *gate); /* a zeroed one, too */
/* *retry_s: of a fault 429. */
bool serve_gate_pass(serve_gate *gate, const serve_sender *sender, const serve_request *request,
                     double *retry_s, serve_fault *fault);
/* Equal, in a time that does not tell where they differ. */
bool serve_same_secret(const char *a, const char *b);
bool serve_address_is_loopback(const struct sockaddr *address);

/* ---- Figures (metrics.c) ---- */
enum { SERVE_BUCKETS = 14, SERVE_STATUSES = 24, SERVE_ROUTES = 32 };
typedef struct serve_histogram {
    int64_t count[SERVE_BUCKETS]; /* not cumulative; the last one is above all bounds */
    double sum;
} serve_histogram;
typedef struct serve_metrics {
    pthread_mutex_t lock;
    int64_t requests[SERVE_ROUTES][SERVE_STATUSES]; /* the last route is "none" */
    serve_histogram latency[SERVE_ROUTES];          /* seconds */
    serve_histogram batch;                          /* searches */
    int64_t sent_bytes, connections, refused_slow;
    double since_s;
} serve_metrics;
void serve_metrics_init(serve_metrics *metrics);
void serve_metrics_destroy(serve_metrics *metrics);
void serve_metrics_request(serve_metrics *metrics, const serve_route *route, int status, double took_s,
                           size_t bytes);
void serve_metrics_batch(serve_metrics *metrics, int64_t searches);
TDM_CHECKED tdm_status serve_metrics_print(serve_server *server, tdm_text *out);

/* ---- Silent ranks (guard.c) ---- */
typedef struct serve_guard { /* zeroed */
    tdm_comm *comm;
    double stall_s;
    atomic_llong beats;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool runs, stop;
} serve_guard;
/* Nothing on one rank. Stop it after an error, too. */
TDM_CHECKED tdm_status serve_guard_start(serve_guard *guard, tdm_comm *comm, double stall_s);
void serve_guard_beat(serve_guard *guard);
void serve_guard_stop(serve_guard *guard);

/* ---- The server ---- */
struct serve_server {
    tdm_searcher *searcher;
    const tdm_serve_options *options;
    serve_gate gate;
    serve_queue queue;
    serve_store *store;
    serve_metrics metrics;
    serve_guard guard;
    sem_t decoders;         /* how many more pictures may be decoded now */
    pthread_mutex_t source; /* of the data set: HDF5 takes one thread at a time */
    atomic_bool stopping;
    atomic_llong held_bytes; /* of bodies that are on the way */
    /* facts of the gallery */
    char title[256];
    bool can_text, can_picture; /* the model reads such queries */
    int64_t images, captions, labels;
    const char **label; /* [labels] */
};

/* ask.c: the search that a request asks for, answered, into results that point into *job (serve_job_free), NULL where
 * nothing is asked. */
bool serve_ask(serve_server *server, serve_request *request, serve_job **job, serve_results *results,
               serve_fault *fault);
/* What every page shows, without a question. */
serve_results serve_results_of(const serve_server *server, const serve_request *request);
/* What a job has found, and what comes behind it. */
void serve_results_take(const serve_job *job, serve_results *results);

/* items.c: what is known of rows of the gallery. Of those that were found (part: one query; first: how many were before
 * them), and of job->query.row, into the job; the lock `source` is held. */
TDM_CHECKED tdm_status serve_items_read(serve_server *server, const tdm_found *part, int64_t first,
                                        serve_job *job);
/* bits [embeddings.label_words] of a query's classes, which are all known. */
void serve_class_bits(const serve_server *server, const serve_query *query, uint64_t *bits);
/* Place in the gallery of a picture's row; -1: it is not there. */
int64_t serve_place_of_row(const serve_server *server, int64_t row);
/* The gallery in its order, as far as the query's classes, offset and k say, as what a job has found. */
bool serve_browse(serve_server *server, const serve_query *query, serve_job **job, serve_fault *fault);

/* picture.c: the encoded bytes of a picture of the gallery. */
bool serve_picture_read(serve_server *server, int64_t row, tdm_text *out, serve_fault *fault);
/* Around the decoding of a picture: only a few at a time, whose pixels fit into memory. False, a fault: the time was over. */
bool serve_decode_begin(serve_server *server, serve_fault *fault);
void serve_decode_end(serve_server *server);
/* MIME type by content; NULL: no browser shows it. */
const char *serve_picture_type(const tdm_text *picture);

/* batch.c: rank 0 answers jobs[n]; the other ranks help until rank 0 ends it. Collective. */
TDM_CHECKED tdm_status serve_batch_answer(serve_server *server, serve_job **job, int64_t n);
TDM_CHECKED tdm_status serve_batch_help(serve_server *server);
/* On rank 0, now and then while there is nothing to do: the others know that it lives. *stop: one was asked to stop. */
TDM_CHECKED tdm_status serve_batch_beat(const tdm_searcher *searcher, bool *stop);
TDM_CHECKED tdm_status serve_batch_end(const tdm_searcher *searcher);

/* front.c */
typedef struct serve_front serve_front;
TDM_CHECKED tdm_status serve_front_open(serve_server *server,
                                        serve_front **front); /* clients may come, and wait */
TDM_CHECKED tdm_status serve_front_start(serve_front *front); /* they are answered */
int serve_front_port(const serve_front *front);
/* No new connections; requests that have begun are answered, as long as the compute thread works. */
void serve_front_quiesce(serve_front *front);
bool serve_front_is_idle(serve_front *front);
void serve_front_close(serve_front **front); /* NULL is fine */

/* access_log.c */
TDM_CHECKED tdm_status serve_access_open(const char *path);
void serve_access_note(const char *client, serve_method method, const char *target, int status, size_t bytes,
                       double took_s);
void serve_access_close(void);

#endif
