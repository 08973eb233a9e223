/* Small models with random weights as checkpoints, and files of tensors made from other files. */
#ifndef TANDEM_TEST_CONVERT_CASE_H
#define TANDEM_TEST_CONVERT_CASE_H

#include "check.h"
#include "scratch.h"
#include "tandem/convert.h"
#include "tandem/model.h"
#include "tandem/rng.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A merges file of four merges: a vocabulary of 518 tokens. */
static const char convert_merges[] = "#version: 0.2\na b\nb c</w>\nab c\nab bc</w>\n";
enum { CONVERT_VOCAB = 512 + 4 + 2, CONVERT_PATH = 1024 };

static char convert_dir[256]; /* a scratch directory of this process */

static inline int convert_setup(void **state)
{
    (void)state;
    tdm_log_set_quiet(true);
    return scratch_dir(convert_dir, sizeof convert_dir);
}

static inline int convert_teardown(void **state)
{
    (void)state;
    return tdm_remove_tree(convert_dir) != TDM_OK;
}

/* "SCRATCH/name"; eight results are valid at a time. */
static inline const char *at(const char *name)
{
    static char path[8][CONVERT_PATH];
    static int next = 0;
    char *one = path[next++ % 8];
    snprintf(one, CONVERT_PATH, "%s/%s", convert_dir, name);
    return one;
}

typedef struct weights {
    tdm_config config;
    tdm_params params;
} weights;

static inline void weights_free(weights *w)
{
    tdm_params_destroy(&w->params);
    tdm_config_destroy(&w->config);
}

/* `settings`: "key=value" with blanks between, over a model of 64 columns. */
static inline void weights_create(const char *settings, weights *w)
{
    static const char *const tiny[] = {
        "model.embed_dim=24",     "model.image.height_px=32",     "model.image.width_px=32",
        "model.image.patch_px=8", "model.image.width=64",         "model.image.layers=2",
        "model.image.heads=1",    "model.text.width=64",          "model.text.layers=3",
        "model.text.heads=1",     "model.text.context_length=16", "model.text.vocab_size=518",
    };
    memset(w, 0, sizeof *w);
    CHECK_OK(tdm_config_init(&w->config));
    for (size_t i = 0; i < sizeof tiny / sizeof tiny[0]; i++) CHECK_OK(tdm_config_set(&w->config, tiny[i]));
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", settings);
    for (char *rest = copy, *one; (one = strsep(&rest, " ")) != NULL;) {
        if (one[0] != '\0') CHECK_OK(tdm_config_set(&w->config, one));
    }
    CHECK_OK(tdm_config_check(&w->config));
    tdm_ops *ops = NULL;
    tdm_model *model = NULL;
    CHECK_OK(tdm_ops_create(TDM_F32, 1, &ops));
    CHECK_OK(tdm_model_create(&w->config, ops, false, 1, &w->params, &model));
    CHECK_OK(tdm_params_allocate(&w->params, false));
    tdm_model_destroy(&model);
    tdm_ops_destroy(&ops);
    for (int64_t i = 0; i < w->params.count; i++) {
        tdm_rng rng = tdm_rng_at(7, 0, (uint64_t)i, TDM_RNG_INIT);
        float *value = w->params.weight + w->params.row[i].offset;
        for (int64_t k = 0; k < w->params.row[i].size; k++) value[k] = (float)tdm_rng_normal(&rng);
    }
}

static inline void checkpoint_write(const weights *w, const char *name)
{
    tdm_tokenizer *tokenizer = NULL;
    CHECK_OK(tdm_tokenizer_open_memory("merges", convert_merges, sizeof convert_merges - 1, &tokenizer));
    CHECK_OK(tdm_checkpoint_write_model(at(name), &w->config, &w->params, tokenizer, 0));
    tdm_tokenizer_destroy(&tokenizer);
}

/* Makes the checkpoint `name`. */
static inline void checkpoint_make(const char *settings, const char *name)
{
    weights w;
    weights_create(settings, &w);
    checkpoint_write(&w, name);
    weights_free(&w);
}

/* Configuration and weights of the checkpoint `name`. */
static inline void checkpoint_load(const char *name, weights *w)
{
    tdm_ops *ops = NULL;
    tdm_model *model = NULL;
    memset(w, 0, sizeof *w);
    CHECK_OK(tdm_config_init(&w->config));
    CHECK_OK(tdm_checkpoint_read_config(at(name), &w->config, NULL, NULL));
    CHECK_OK(tdm_ops_create(TDM_F32, 1, &ops));
    CHECK_OK(tdm_model_create(&w->config, ops, false, 1, &w->params, &model));
    CHECK_OK(tdm_params_allocate(&w->params, false));
    CHECK_OK(tdm_checkpoint_read_model(at(name), &w->params));
    tdm_model_destroy(&model);
    tdm_ops_destroy(&ops);
}

/* ---- Files of tensors ---- */

/* The tensors of a file, to be changed and written again. */
typedef struct tensor_box {
    tdm_tensor_out tensor[512];
    char name[512][256];
    float *data[512];
    int64_t count;
} tensor_box;

static inline void box_free(tensor_box *box)
{
    for (int64_t i = 0; i < box->count; i++) tdm_free(box->data[i]);
    tdm_free(box);
}

static inline void box_add(tensor_box *box, const char *name, tdm_tensor_type type, int ndim,
                           const int64_t *shape)
{
    int64_t elements = 1;
    tdm_tensor_out *out = &box->tensor[box->count];
    snprintf(box->name[box->count], sizeof box->name[0], "%s", name);
    *out = (tdm_tensor_out){.name = box->name[box->count], .type = type, .ndim = ndim};
    for (int i = 0; i < ndim; i++) elements *= out->shape[i] = shape[i];
    CHECK_OK(TDM_ALLOC(elements, &box->data[box->count]));
    out->data = box->data[box->count++];
}

static inline tensor_box *box_read(const char *path)
{
    tensor_box *box = NULL;
    tdm_tensor_file *file = NULL;
    CHECK_OK(TDM_ALLOC(1, &box));
    CHECK_OK(tdm_tensor_file_open(path, &file));
    for (int64_t i = 0; i < tdm_tensor_file_count(file); i++) {
        const tdm_tensor *t = tdm_tensor_file_at(file, i);
        box_add(box, t->name, t->type, t->ndim, t->shape);
        CHECK_OK(tdm_tensor_file_read_f32(file, t, box->data[i]));
    }
    tdm_tensor_file_close(&file);
    return box;
}

static inline int64_t box_find(const tensor_box *box, const char *name)
{
    for (int64_t i = 0; i < box->count; i++) {
        if (strcmp(box->name[i], name) == 0) return i;
    }
    fail_msg("no tensor %s", name);
    return -1;
}

static inline void box_remove(tensor_box *box, const char *name)
{
    const int64_t i = box_find(box, name);
    tdm_free(box->data[i]);
    for (int64_t k = i; k + 1 < box->count; k++) {
        box->tensor[k] = box->tensor[k + 1];
        box->data[k] = box->data[k + 1];
        memcpy(box->name[k], box->name[k + 1], sizeof box->name[k]);
        box->tensor[k].name = box->name[k];
    }
    box->count--;
}

static inline void box_rename(tensor_box *box, const char *name, const char *to)
{
    snprintf(box->name[box_find(box, name)], sizeof box->name[0], "%s", to);
}

static inline void box_write(const tensor_box *box, const char *path)
{
    CHECK_OK(tdm_safetensors_write(path, box->tensor, box->count));
}

#endif
