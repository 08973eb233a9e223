/* Private to src/model: one modality's tower and the head behind it, as one. */
#ifndef TANDEM_MODEL_MODULE_H
#define TANDEM_MODEL_MODULE_H

#include "head.h"

typedef struct head_record head_record;

typedef struct module {
    tdm_nn nn;
    tower *tower;
    head *head;                /* NULL: the tower's pooled features leave the model */
    int64_t feature_dim;       /* width of the tower's pooled features */
    int64_t head_row, end_row; /* rows of the head */
    bool head_trains;          /* as of the last load */
    head_record *waiting;      /* of the last forward that waits for its backward */
} module;

/* Declares the tower's rows, then the head's. */
tdm_status module_create(const tower_setup *setup, tdm_modality modality, module *m);
void module_destroy(module *m);
tdm_status module_load(module *m, bool only_trained);
bool module_tower_trains(const module *m);
bool module_trains(const module *m);
tdm_status module_forward(module *m, const tdm_tower_input *input, const tdm_pass *pass, bool keep,
                          const tdm_tower_output *output);
/* Of a module that trains. */
tdm_status module_backward(module *m, const tdm_tower_output *gradient, tdm_final_from *final_from,
                           void *context);
/* Of one call of n samples; kept and work are zero where nothing of it waits. */
tdm_status module_bytes(const module *m, int64_t n, int64_t tokens_per_caption, bool dense, bool train,
                        tower_bytes *bytes);

#endif
