/* The options of the commands that open a checkpoint to embed with. */
#ifndef TANDEM_APP_INFERENCE_FLAGS_H
#define TANDEM_APP_INFERENCE_FLAGS_H

#include "command.h"

#define INFERENCE_DEFAULTS                                                                                   \
    {                                                                                                        \
        .model = "", .precision = "", .threads = 0, .batch = 128, .workers = 2                               \
    }
#define INFERENCE_FLAGS(options)                                                                             \
    FLAG_STRING("--model", &(options).model, "CKPT", NULL,                                                   \
                "checkpoint, model.h5, or a run directory (its best checkpoint, else its latest)"),          \
        FLAG_STRING(                                                                                         \
            "--precision", &(options).precision, "auto|f32|bf16|int8", "",                                   \
            "of the model; unset: as it was trained; int8: the linear layers of its blocks and patches by "  \
            "products in int8, whose error is shown"),                                                       \
        FLAG_INT("--threads", &(options).threads, "N", "0", "", 0, 4096,                                     \
                 "compute threads per rank; 0: OMP_NUM_THREADS, else this rank's cores"),                    \
        FLAG_INT("--batch", &(options).batch, "N", "128", "rows", 1, 1 << 20, "embedded at once per rank"),  \
        FLAG_INT("--workers", &(options).workers, "N", "2", "threads", 1, 1024,                              \
                 "that decode images, per rank")

/* What was opened and what runs it, in the log, once nothing can be refused any more. Collective. */
TDM_CHECKED tdm_status inference_show(tdm_comm *comm, const tdm_inference *inference);

#endif
