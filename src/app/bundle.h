/* A checkpoint opened for inference: configuration, tokenizer, weights, model. */
#ifndef TANDEM_APP_BUNDLE_H
#define TANDEM_APP_BUNDLE_H

#include "command.h"

typedef struct bundle {
    char dir[TDM_PATH_BYTES]; /* of the checkpoint */
    char digest[65];          /* SHA-256 of its model.h5; "" unless asked for */
    int64_t step;
    tdm_config config;
    tdm_tokenizer *tokenizer;
    tdm_ops *ops;
    tdm_params params;
    tdm_model *model;
} bundle;

typedef struct bundle_options { /* of the command line, see BUNDLE_FLAGS */
    const char *model;          /* checkpoint, run directory (best, else latest) or model.h5 */
    const char *precision;      /* "" = as in the checkpoint's configuration */
    int64_t threads, batch, workers;
} bundle_options;
#define BUNDLE_DEFAULTS                                                                                      \
    {                                                                                                        \
        .model = "", .precision = "", .threads = 0, .batch = 128, .workers = 2                               \
    }
#define BUNDLE_FLAGS(options)                                                                                \
    FLAG_STRING("--model", &(options).model, "CKPT", NULL,                                                   \
                "checkpoint, model.h5, or a run directory (its best checkpoint, else its latest)"),          \
        FLAG_STRING("--precision", &(options).precision, "auto|f32|bf16", "",                                \
                    "of the model; unset: as it was trained"),                                               \
        FLAG_INT("--threads", &(options).threads, "N", "0", "", 0, 4096,                                     \
                 "compute threads per rank; 0: OMP_NUM_THREADS, else this rank's cores"),                    \
        FLAG_INT("--batch", &(options).batch, "N", "128", "rows", 1, 1 << 20, "embedded at once per rank"),  \
        FLAG_INT("--workers", &(options).workers, "N", "2", "threads", 1, 1024,                              \
                 "that decode images, per rank")

/* Collective: every rank opens the checkpoint, all return the same status. */
TDM_CHECKED tdm_status bundle_open(tdm_comm *comm, const bundle_options *options, bool with_digest,
                                   bundle *b);
/* One log line on what was opened, once nothing can be refused any more. */
void bundle_show(const tdm_comm *comm, const bundle *b);
void bundle_close(bundle *b);
/* Opens a split and checks that it was not packed with another tokenizer. Not collective. */
TDM_CHECKED tdm_status bundle_open_data(const bundle *b, const char *dir, const char *split,
                                        tdm_dataset **dataset);

#endif
