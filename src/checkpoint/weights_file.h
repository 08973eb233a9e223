/* Private to src/checkpoint: a file of another program's tensors, seen through its naming. */
#ifndef TANDEM_CHECKPOINT_WEIGHTS_FILE_H
#define TANDEM_CHECKPOINT_WEIGHTS_FILE_H

#include "naming.h"

enum { WEIGHTS_PREFIX_BYTES = 256 };

typedef struct weights_file {
    const char *path;          /* as the user named it */
    const char *wish;          /* prefix that the user chose, or "" */
    const tdm_strings *ignore; /* beginnings of tensors that are left out */
    char dir[TDM_PATH_BYTES];  /* where configuration and tokenizer files may stand */
    tdm_tensor_file *file;
    const naming *naming;
    char prefix[WEIGHTS_PREFIX_BYTES]; /* of all the model's names, "" or "module." … */
} weights_file;

/* The tensors of one parameter. count 0: not in the file. */
typedef struct weights_parts {
    naming_how how;
    int count;
    const tdm_tensor *tensor[NAMING_PARTS];
} weights_parts;

/* Opens the file and recognises its naming. src is zeroed before; weights_close tolerates that. */
TDM_CHECKED tdm_status weights_open(const tdm_import_options *options, weights_file *src);
void weights_close(weights_file *src);
/* False when one or all are missing; `missing`, unless NULL, is then the first one's full name. */
bool weights_find(const weights_file *src, const char *row, weights_parts *parts,
                  char missing[NAMING_NAME_BYTES]);
/* The parameter's shape in the arena; false when it is not in the file or its parts do not fit together. */
bool weights_shape(const weights_file *src, const char *row, int *ndim, int64_t shape[TDM_TENSOR_MAX_DIMS]);
/* The parameter as it stands in the arena; weight[elements]. Not finite: TDM_E_NUMERIC. */
TDM_CHECKED tdm_status weights_read(const weights_file *src, const weights_parts *parts, float *weight);

/* ---- recognise.c ---- */
/* Fills naming and prefix. Errors: TDM_E_FORMAT says what the file holds in place of a model; TDM_E_USAGE lists the
 * models when there are several. */
TDM_CHECKED tdm_status weights_recognise(weights_file *src);

/* ---- other_models.c ---- */
/* TDM_E_FORMAT when the tensors under the prefix are those of a model that Tandem does not build; whole: all parts of
 * a CLIP are there, too. */
TDM_CHECKED tdm_status refuse_other_model(const weights_file *src, bool whole);

/* ---- architecture.c ---- */
/* What the shapes say. TDM_E_SHAPE when the towers cannot be recognised. */
TDM_CHECKED tdm_status facts_from_shapes(const weights_file *src, model_facts *facts);
/* What a configuration file beside the weights says; source[0] = 0 without any. */
TDM_CHECKED tdm_status facts_from_folder(const weights_file *src, model_facts *facts);
/* The model group of `config`, which holds the defaults, from both; the image's height and width are 0 when
 * neither says them. TDM_E_CONFIG when they contradict each other, or when neither says the heads. */
TDM_CHECKED tdm_status facts_to_config(const weights_file *src, const model_facts *shapes,
                                       const model_facts *folder, tdm_config *config);
/* Warns of what a model definition says otherwise, but for image size and context length. */
void facts_compare(const weights_file *src, const model_facts *shapes, const model_facts *folder,
                   const tdm_config *config);
/* Rows and columns of the patches that a file's position embeddings stand for; false when they cannot be
 * told. */
bool facts_grid(const weights_file *src, const model_facts *shapes, const model_facts *folder, int64_t *rows,
                int64_t *columns);

#endif
