/* A searcher behind HTTP: a page for people, JSON for programs, figures for Prometheus. docs/serve.md describes what
 * travels; src/serve/route_table.h lists the routes. */
#ifndef TANDEM_SERVE_H
#define TANDEM_SERVE_H

#include "tandem/searcher.h"

typedef struct tdm_serve_options { /* strings borrowed */
    const char *address;           /* to listen at, numeric: "127.0.0.1", "::1", "0.0.0.0" */
    int64_t port;                  /* 0: one that is free, which the log names */
    const char *title;             /* of the page; "": the gallery's path */
    const char *gallery;           /* as it was named by the user */
    const char *token_file;        /* its first line is the token; made when it is not there; "": none */
    bool no_token;                 /* listen elsewhere than on loopback without one */
    const char *allowed_hosts;     /* further names in the Host header, separated by commas */
    const char *access_log;        /* a line for each request; "": none */
    int64_t connections;           /* at the same time */
    int64_t body_bytes;            /* of a request */
    int64_t pixels;                /* of an uploaded picture, before it is decoded */
    int64_t queue;                 /* searches that wait */
    int64_t batch;                 /* searches that are answered together */
    double rate, burst;            /* requests a second of one client; 0: no limit */
    double request_s;              /* to receive a request, and to answer it */
    double duplicates;             /* cosine of near-duplicates, see tdm_find */
    double stall_s;                /* under mpirun: ranks that do not answer for so long end the job */
} tdm_serve_options;

/* Serves until SIGTERM or SIGINT, then answers what waits and returns TDM_OK. Rank 0 listens; the others help it to
 * search. Collective. */
TDM_CHECKED tdm_status tdm_serve(tdm_searcher *searcher, const tdm_serve_options *options);

#endif
