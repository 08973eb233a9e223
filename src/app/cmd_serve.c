/* tandem serve: the search page and its API over HTTP. */
#include "gallery_flags.h"
#include "inference_flags.h"

#include <math.h>

typedef struct serve_options {
    tdm_inference_options inference;
    gallery_options gallery;
    tdm_serve_options serve;
    int64_t body_mb, megapixels;
} serve_options;

static tdm_status serve(tdm_comm *comm, const serve_options *o, tdm_inference *inference,
                        tdm_searcher *searcher)
{
    TDM_TRY(tdm_inference_open(comm, &o->inference, inference));
    const tdm_searcher_options gallery = gallery_searched(&o->gallery);
    TDM_TRY(tdm_searcher_open(comm, inference, &gallery, searcher));
    if (!tdm_searcher_has_source(searcher))
        tdm_log(TDM_LOG_WARN, "%s: the gallery's source is not there: no captions, names and pictures",
                searcher->source);
    for (int m = 0; m < TDM_MODALITIES; m++) /* no visitor waits for it */
        TDM_AGREE(comm, tdm_inference_need(inference, (tdm_modality)m));
    TDM_TRY(inference_show(comm, inference));
    return tdm_serve(searcher, &o->serve);
}

static tdm_status serve_run(tdm_comm *comm, int argc, char **argv)
{
    serve_options o = {.inference = INFERENCE_DEFAULTS,
                       .gallery = GALLERY_DEFAULTS,
                       .serve = {.address = "127.0.0.1",
                                 .port = 8080,
                                 .title = "",
                                 .token_file = "",
                                 .allowed_hosts = "",
                                 .access_log = "",
                                 .connections = 128,
                                 .queue = 256,
                                 .rate = 100,
                                 .request_s = 30,
                                 .stall_s = 120},
                       .body_mb = 16,
                       .megapixels = 64};
    const tdm_flag flags[] = {
        GALLERY_FLAGS(o.gallery),
        FLAG_INT("--port", &o.serve.port, "N", "8080", "", 0, 65535,
                 "to listen at; 0: a free one, which the log names"),
        FLAG_STRING("--address", &o.serve.address, "IP", "127.0.0.1",
                    "to listen at; 0.0.0.0: everywhere. Elsewhere than on loopback a token is needed"),
        FLAG_STRING(
            "--token-file", &o.serve.token_file, "FILE", "",
            "its first line is the token; made when it is not there. Without it one is made for this run "
            "where one is needed, and the log shows it"),
        FLAG_SWITCH("--no-token", &o.serve.no_token, "let everybody in who can reach the address"),
        FLAG_STRING(
            "--allow-host", &o.serve.allowed_hosts, "NAME,…", "",
            "names by which browsers may call a server without a token, besides localhost and addresses"),
        FLAG_STRING("--title", &o.serve.title, "TEXT", "", "of the page; unset: the gallery's directory"),
        FLAG_STRING("--access-log", &o.serve.access_log, "FILE", "",
                    "a line for each request is added to it"),
        FLAG_INT("--max-connections", &o.serve.connections, "N", "128", "", 8, 4096, "at the same time"),
        FLAG_INT("--max-body", &o.body_mb, "N", "16", "MiB", 1, 1024, "of a request"),
        FLAG_INT("--max-pixels", &o.megapixels, "N", "64", "millions", 1, 1024,
                 "of an uploaded picture; its size is looked at before it is decoded"),
        FLAG_INT("--max-queue", &o.serve.queue, "N", "256", "searches", 1, 1 << 20,
                 "that wait; further ones are answered with 503"),
        FLAG_FLOAT("--rate", &o.serve.rate, "N", "100", "requests/s", 0, 1e6,
                   "of one client, and five times as many at once; 0: no limit"),
        FLAG_FLOAT("--timeout", &o.serve.request_s, "S", "30", "s", 0.1, 3600,
                   "for a request to arrive, and for its answer"),
        FLAG_FLOAT("--stall", &o.serve.stall_s, "S", "120", "s", 1, 86400,
                   "under mpirun: the job ends when a rank does not answer for so long"),
        INFERENCE_FLAGS(o.inference),
    };
    bool help = false;
    TDM_TRY(tdm_parse_options("serve", "--model CKPT --gallery DIR [--port N] [--address IP]", flags,
                              sizeof flags / sizeof flags[0], argc, argv, &help));
    if (help) return TDM_OK;
    TDM_TRY(gallery_check("tandem serve", &o.gallery));
    o.serve.gallery = o.gallery.dir;
    o.serve.duplicates = o.gallery.duplicate_cosine;
    o.serve.burst = fmax(1, 5 * o.serve.rate);
    o.serve.body_bytes = o.body_mb << 20;
    o.serve.pixels = o.megapixels * 1000000;
    o.serve.batch = tdm_min_i64(o.inference.batch, 1024);
    tdm_inference inference = {0};
    tdm_searcher searcher = {0};
    const tdm_status status = serve(comm, &o, &inference, &searcher);
    tdm_searcher_close(&searcher);
    tdm_inference_close(&inference);
    return status;
}

const tdm_command tdm_command_serve = {.name = "serve",
                                       .summary = "a page to search a gallery with, and its JSON API",
                                       .mpi = true,
                                       .stops = true,
                                       .run = serve_run};
