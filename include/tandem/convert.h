/* Weights of other programs in and out: `tandem import`, `tandem export`, and training from pretrained
 * weights. Not collective.
 *
 * A naming is how a program spells the tensors of a CLIP model (src/checkpoint/naming_table.h):
 *   open_clip       open_clip's and OpenAI's names, which are Tandem's own
 *   open_clip_text  open_clip's CustomTextCLIP: the text tower under "text."
 *   tbps_clip       TBPS-CLIP's checkpoints: the text tower under "encode_text."; its heads are left out
 *   huggingface     Transformers' CLIPModel
 * Whatever stands before all names of a model, as "module." or "state_dict.", is its prefix. */
#ifndef TANDEM_CONVERT_H
#define TANDEM_CONVERT_H

#include "tandem/checkpoint.h"
#include "tandem/tensors.h"

typedef struct tdm_import_options { /* strings are never NULL; "" = not given */
    const char *from;               /* a file, or a directory: see tdm_tensor_file_open */
    const char *tokenizer;          /* "": what stands beside `from`, if anything */
    const char
        *prefix;       /* of the model's tensors, or its beginning, where the file holds several; ".": none */
    const char *model; /* model definition; "": from the shapes and a configuration beside `from` */
    const char *out;   /* checkpoint directory */
    const char *activation;      /* "quickgelu" or "gelu"; "": from a configuration, else quickgelu */
    const char *resize;          /* method of tdm_resize_image_positions; "": open_clip */
    int64_t height_px, width_px; /* of the imported model; 0: as in the file or the model definition */
    int64_t context_length;      /* 0: the same */
    tdm_strings ignore;          /* tensors whose names begin with one of these are left out */
    bool mask_token;             /* the tokenizer's variant with <|mask|>; TBPS-CLIP's files have it anyway */
    bool force;                  /* replace out/model.h5 */
    bool steal_lock;             /* as tdm_dir_lock_options.steal */
} tdm_import_options;
/* Reads weights, writes out/model.h5. The tensors must be exactly the model's parameters but for position
 * embeddings, which are resized when the image size or the context length differs. Errors: one message names
 * all missing, extra and mis-shaped tensors (TDM_E_SHAPE); when they are too many for it, the log has them.
 */
TDM_CHECKED tdm_status tdm_import(const tdm_import_options *options);

typedef struct tdm_export_options { /* strings are never NULL */
    const char *model;              /* as tdm_checkpoint_find, the best checkpoint first */
    const char *to;                 /* FILE.safetensors, or a directory: model.safetensors in it */
    const char *naming;             /* "open_clip" or "huggingface" */
    const char *dtype;              /* "f32", "bf16" or "f16" */
    bool force;                     /* replace existing files */
    bool steal_lock;                /* as tdm_dir_lock_options.steal */
} tdm_export_options;
/* Writes the weights and, beside them, the configuration and tokenizer files that the other program loads:
 * open_clip_config.json; or config.json, preprocessor_config.json, vocab.json, merges.txt,
 * tokenizer_config.json and special_tokens_map.json. Errors: TDM_E_CONFIG when the naming has no name for
 * the model (a ResNet, or images that are not square, under Hugging Face). */
TDM_CHECKED tdm_status tdm_export(const tdm_export_options *options);

/* The model group of a checkpoint's configuration over the present values of `config`, but for
 * model.pretrained and model.tokenizer. dir: a checkpoint directory. */
TDM_CHECKED tdm_status tdm_pretrained_config(const char *dir, tdm_config *config);
/* Fills params->weight from a checkpoint, for a model that may differ in its image size and context length
 * (positions are resized by config->model.position_resize) and in parameters outside the two towers: those
 * the checkpoint lacks keep their initial values, those it has beyond are left out; the log names both. */
TDM_CHECKED tdm_status tdm_pretrained_read(const char *dir, const tdm_config *config, tdm_params *params);
/* Is there a parameter of this name? */
TDM_CHECKED tdm_status tdm_pretrained_holds(const char *dir, const char *row, bool *holds);

/* Methods, "a|b|c" as in an option's choices. */
#define TDM_POSITION_METHODS "open_clip|huggingface|tbps_clip"
/* Position embeddings of another grid: to[1 + to_h·to_w][width] from from[1 + from_h·from_w][width]; the
 * class token's row, the first, is copied. Methods, all with align_corners = false: open_clip    bicubic with
 * antialiasing (open_clip/model.py, resize_pos_embed) huggingface  bicubic without (modeling_clip.py,
 * interpolate_pos_encoding) tbps_clip    bilinear (TBPS-CLIP, misc/build.py, resize_pos_embed) The results
 * are torch.nn.functional.interpolate's up to rounding. */
TDM_CHECKED tdm_status tdm_resize_image_positions(const char *method, int64_t from_h, int64_t from_w,
                                                  int64_t to_h, int64_t to_w, int64_t width,
                                                  const float *from, float *to);
/* The same for a sequence: linear; tbps_clip keeps the first and the last row and resizes those between
 * (misc/build.py, interpolate_text), which needs 3 rows or more on both sides. */
TDM_CHECKED tdm_status tdm_resize_text_positions(const char *method, int64_t from_rows, int64_t to_rows,
                                                 int64_t width, const float *from, float *to);

#endif
