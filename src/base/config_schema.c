/* The configuration's rows: key, what a change of it means for a resumed run, default, range, unit, help. A key is the
 * field's path in tdm_config. */
#include "tandem/config.h"

#include <limits.h>

#define AT(field) offsetof(tdm_config, field)
#define BOOL(key, change, def, help)                                                                         \
    {                                                                                                        \
#key, TDM_OPTION_BOOL, AT(key), def, 0, 0, NULL, "", help, NULL, TDM_CHANGE_##change                 \
    }
#define INT(key, change, def, low, high, unit, help)                                                         \
    {                                                                                                        \
#key, TDM_OPTION_INT, AT(key), def, low, high, NULL, unit, help, NULL, TDM_CHANGE_##change           \
    }
#define FLOAT(key, change, def, low, high, unit, help)                                                       \
    {                                                                                                        \
#key, TDM_OPTION_FLOAT, AT(key), def, low, high, NULL, unit, help, NULL, TDM_CHANGE_##change         \
    }
#define FLOAT3(key, change, def, low, high, unit, help)                                                      \
    {                                                                                                        \
#key, TDM_OPTION_FLOAT3, AT(key), def, low, high, NULL, unit, help, NULL, TDM_CHANGE_##change        \
    }
#define INT4(key, change, def, low, high, unit, help)                                                        \
    {                                                                                                        \
#key, TDM_OPTION_INT4, AT(key), def, low, high, NULL, unit, help, NULL, TDM_CHANGE_##change          \
    }
#define STRING(key, change, def, choices, help)                                                              \
    {                                                                                                        \
#key, TDM_OPTION_STRING, AT(key), def, 0, 0, choices, "", help, NULL, TDM_CHANGE_##change            \
    }
#define CHOICE(key, change, def, choices, help)                                                              \
    {                                                                                                        \
#key, TDM_OPTION_CHOICE, AT(key), def, 0, 0, choices, "", help, NULL, TDM_CHANGE_##change            \
    }
#define STRINGS(key, change, def, help)                                                                      \
    {                                                                                                        \
#key, TDM_OPTION_STRINGS, AT(key), def, 0, 0, NULL, "", help, NULL, TDM_CHANGE_##change              \
    }

/* Generous upper ends: they catch slips (a batch of 10^12), not ambition. */
#define MANY 1e9

#define VIEW_HELP                                                                                                       \
    "NAME, or NAME(key=value, …) where its options differ from the group augment.NAME. Of an image's view those for " \
    "images count, of a text's those for texts."

#define DROP_HELP                                                                                                   \
    "\"7\" for a layer (an identity then), \"7.attention\" or \"7.mlp\" for one branch with its LayerNorm; layers " \
    "count from 1, so that 7 is resblocks.6. Its weights stay in the checkpoint as they are."

#define VIEW_ROW(NAME, name, list)                                                                           \
    {"views." #name ".augment",                                                                              \
     TDM_OPTION_STRINGS,                                                                                     \
     AT(views[TDM_VIEW_NAME_##NAME].augment),                                                                \
     list,                                                                                                   \
     0,                                                                                                      \
     0,                                                                                                      \
     NULL,                                                                                                   \
     "",                                                                                                     \
     "What is done to the view, in this order: " VIEW_HELP,                                                  \
     NULL,                                                                                                   \
     TDM_CHANGE_RUN},

/* Keys of FREE whose content decides are compared by that: data.dir and data.split by the shards' digests,
 * model.tokenizer by the tokenizer's, train.precision by what it came to (include/tandem/resume.h). */
static const tdm_option rows[] = {
    INT(seed, RUN, "1", 0, 9007199254740992.0, "", "Seed of every random number of the run."),

    STRING(data.dir, FREE, "", NULL, "Packed data set: a directory that `tandem pack` wrote."),
    STRING(data.split, FREE, "train", NULL, "Split to train on."),
    CHOICE(
        data.sample, RUN, "caption", "caption|image|all",
        "What an epoch is made of: every caption once; every image once with one of its captions; or all, every caption once and every image without a caption once."),
    INT(data.workers, FREE, "2", 1, 1024, "threads", "Threads per rank that decode and augment images."),
    INT(data.prefetch, FREE, "2", 1, 64, "batches", "Batches decoded ahead of the step."),

    STRING(model.name, FREE, "vit_b_32", NULL, "Name of the model, for reports."),
    INT(model.embed_dim, MEANING, "512", 1, 65536, "features", "Width of the common embedding space."),
    CHOICE(model.activation, MEANING, "quickgelu", TDM_ACTIVATION_CHOICES, "Activation of every block."),
    STRING(model.tokenizer, FREE, "", NULL,
           "Tokenizer: a merges file in CLIP's format; or Hugging Face's vocab.json (with merges.txt beside "
           "it), tokenizer.json, or the folder of either."),
    BOOL(model.tokenizer_mask, FREE, "false",
         "The tokenizer gives its last merge's id to <|mask|>, as in TBPS-CLIP (49405 with CLIP's file)."),
    FLOAT(model.logit_scale_init, START, "2.6592600", 0, 20, "log",
          "Initial log of the inverse temperature."),
    FLOAT(model.logit_scale_max, RUN, "4.6051702", 0, 20, "log",
          "Upper bound of the log inverse temperature."),
    FLOAT(model.dropout, RUN, "0.0", 0, 0.95, "", "Dropout on both branch outputs of every block."),
    STRING(
        model.pretrained, START, "", NULL,
        "Checkpoint whose weights training starts from, such as `tandem import` writes, or a run directory. "
        "Keys of the model that the configuration leaves out, the tokenizer too, are the checkpoint's."),
    STRING(model.position_resize, START, "open_clip", "open_clip|huggingface|tbps_clip",
           "How position embeddings of model.pretrained are resized to another image size or context length: "
           "open_clip bicubic with antialiasing, huggingface bicubic without, tbps_clip bilinear; the text's "
           "linear, tbps_clip keeps the first and the last."),

    STRING(model.image.tower, MEANING, "vit", NULL,
           "Kind of image tower, such as vit, or resnet (CLIP's ModifiedResNet)."),
    STRING(
        model.image.head, MEANING, "none", NULL,
        "What stands behind the tower's pooled features: none, or a head with a group of keys of its own."),
    INT(model.image.feature_dim, MEANING, "0", 0, 65536, "features",
        "Width of the tower's own output, in front of the head; 0 = model.embed_dim."),
    INT(model.image.height_px, MEANING, "224", 1, 32768, "px", "Height of the image tower's input."),
    INT(model.image.width_px, MEANING, "224", 1, 32768, "px", "Width of the image tower's input."),
    INT(model.image.patch_px, MEANING, "32", 1, 32768, "px", "Side of a square patch of a vit."),
    STRING(
        model.image.resize, MEANING, "crop", "crop|squash|longest",
        "How an image gets the input's shape: shorter side, then the centre; both sides; or longer side, with black around."),
    STRING(model.image.alpha, MEANING, "drop", "drop|white",
           "Transparent pixels: drop = the colour below, as in CLIP's preprocessing; white = over white."),
    FLOAT3(model.image.mean, MEANING, "[0.48145466, 0.4578275, 0.40821073]", -10, 10, "",
           "Mean of red, green and blue (in 0 to 1) that is subtracted."),
    FLOAT3(model.image.std, MEANING, "[0.26862954, 0.26130258, 0.27577711]", 1e-6, 10, "",
           "Standard deviation of red, green and blue that is divided by."),
    INT(model.image.width, MEANING, "768", 1, 65536, "features",
        "Width of a vit's tokens; of the first stage of a resnet."),
    INT(model.image.layers, MEANING, "12", 1, 1000, "blocks", "Depth of a vit."),
    INT(model.image.heads, MEANING, "12", 1, 1024, "heads",
        "Attention heads per block of a vit; of the attention pooling of a resnet (width x 32 / 64 in CLIP)."),
    FLOAT(model.image.mlp_ratio, MEANING, "4.0", 0.01, 64, "", "Width of a vit's MLPs over its width."),
    STRINGS(model.image.drop, MEANING, "[]", "What a vit leaves out: " DROP_HELP),
    FLOAT(
        model.image.patch_dropout, RUN, "0.0", 0, 0.99, "",
        "Share of an image's patches that a vit drops while it trains (FLIP), other ones in every step; they are not computed at all."),
    INT4(model.image.stage_layers, MEANING, "[3, 4, 6, 3]", 1, 1000, "blocks",
         "Blocks of the four stages of a resnet."),

    STRING(model.text.tower, MEANING, "text", NULL, "Kind of text tower."),
    STRING(
        model.text.head, MEANING, "none", NULL,
        "What stands behind the tower's pooled features: none, or a head with a group of keys of its own."),
    INT(model.text.feature_dim, MEANING, "0", 0, 65536, "features",
        "Width of the tower's own output, in front of the head; 0 = model.embed_dim."),
    INT(model.text.context_length, MEANING, "77", 2, 65536, "tokens",
        "Longest caption, with its start and end tokens; longer ones are cut."),
    INT(model.text.vocab_size, MEANING, "49408", 4, 10000000, "tokens",
        "Size of the tokenizer's vocabulary."),
    INT(model.text.context_tokens, BREAKS, "0", 0, 65534, "tokens",
        "Learned vectors between the start token and every caption (CoOp), a parameter text.context; 0 = none, or as many "
        "as model.text.context_words has tokens."),
    STRING(
        model.text.context_words, START, "", NULL,
        "Words, such as \"a photo of\", with whose token embeddings the learned context starts; unset = at random."),
    INT(model.text.width, MEANING, "512", 1, 65536, "features", "Width of the text tower's tokens."),
    INT(model.text.layers, MEANING, "12", 1, 1000, "blocks", "Depth of the text tower."),
    INT(model.text.heads, MEANING, "8", 1, 1024, "heads", "Attention heads per block of the text tower."),
    FLOAT(model.text.mlp_ratio, MEANING, "4.0", 0.01, 64, "",
          "Width of the text tower's MLPs over its width."),
    STRINGS(model.text.drop, MEANING, "[]", "What the text tower leaves out: " DROP_HELP),
    FLOAT(model.text.attention_dropout, RUN, "0.0", 0, 0.95, "",
          "Dropout on the attention probabilities of the text tower; TBPS-CLIP has 0.05."),

    INT(train.batch, RUN, "256", 1, MANY, "pairs", "Pairs of one optimiser step, over all ranks."),
    INT(train.chunk, FREE, "0", 0, MANY, "pairs",
        "Pairs per rank that are embedded at once, which bounds the memory; 0 = the whole local batch."),
    CHOICE(train.recompute, FREE, "chunk", TDM_RECOMPUTE_CHOICES,
           "What backward computes again because forward does not keep it (activation checkpointing). "
           "none; mlp: the MLPs' inside; block: all but the inputs of a transformer's blocks; chunk: all but "
           "the last chunk (GradCache), so nothing where a rank's pairs are one chunk. Less memory and more "
           "time from left to right, the same bits."),
    INT(train.epochs, RUN, "32", 0, MANY, "epochs", "Passes over the data."),
    INT(train.steps, RUN, "0", 0, 1e15, "steps",
        "Optimiser steps of the run; 0 = as many as the epochs hold."),
    INT(train.patience, RUN, "0", 0, MANY, "evaluations",
        "Early stopping: the run ends after so many evaluations in a row none of which is better than the best "
        "by checkpoint.best_metric; 0 = off."),
    FLOAT(
        train.unmasked_share, RUN, "0.0", 0, 1, "",
        "Share of the run, at its end, that trains without model.image.patch_dropout, on whole images as in evaluation."),
    STRING(
        train.precision, FREE, "auto", "auto|f32|bf16",
        "Activations and matmuls; auto = bf16 where the CPUs of all ranks multiply faster in it, else f32."),
    INT(train.threads, FREE, "0", 0, 4096, "threads",
        "Compute threads per rank; 0 = OMP_NUM_THREADS, or the cores that the rank may use."),
    INT(train.log_every, FREE, "10", 1, MANY, "steps", "Steps between two lines of the log."),
    INT(train.bucket_mib, FREE, "25", 1, 4096, "MiB",
        "Size of one gradient sum that overlaps with backward."),
    CHOICE(train.wire, RUN, "f32", "f32|bf16",
           "Gradients between nodes; bf16 halves the bytes, each node's addend and the sum are rounded."),
    CHOICE(train.reduce, FREE, "exchange", "exchange|mpi|auto",
           "How gradients are summed between nodes: by direct messages, the same bits in every run; by MPI's "
           "collectives, the same up to rounding; auto = the faster one, timed in the first steps."),
    FLOAT(train.time_limit_minutes, FREE, "0.0", 0, 1e7, "minutes",
          "After this time a checkpoint is written and the run ends with exit code 3; 0 = no limit."),
    FLOAT(train.stall_minutes, FREE, "10.0", 0, 1e7, "minutes",
          "When there is no progress for so long, the log says for which rank all others wait; 0 = never."),
    BOOL(train.stall_end, FREE, "false",
         "Then the job ends with exit code 4, where a rank does not answer or all wait in MPI."),

    FLOAT(optim.lr, RUN, "5e-4", 0, 1000, "", "Learning rate after warm-up."),
    FLOAT(optim.weight_decay, RUN, "0.2", 0, 100, "", "Decoupled weight decay of matrices."),
    INT(optim.warmup_steps, RUN, "2000", 0, MANY, "steps", "Steps of linear warm-up."),
    FLOAT(optim.warmup_epochs, RUN, "0.0", 0, MANY, "epochs",
          "Warm-up as a part of train.epochs, in place of optim.warmup_steps; 0 = warmup_steps count."),
    FLOAT(
        optim.warmup_start_ratio, RUN, "-1.0", -1, 1, "",
        "First learning rate over optim.lr, and the last step of the warm-up has optim.lr (TBPS-CLIP: 0.01); -1 = begins with one step's share of the rise."),
    FLOAT(optim.min_lr_ratio, RUN, "0.0", 0, 1, "",
          "Learning rate at the end, over optim.lr (TBPS-CLIP: 0.05)."),
    FLOAT(optim.clip_norm, RUN, "0.0", 0, 1e6, "", "Largest global norm of the gradient; 0 = no clipping."),
    STRINGS(
        optim.freeze, RUN, "[]",
        "Parameters that are not trained: names or globs (\"visual.*.ln_*\"), \"image\" or \"text\" for a "
        "tower, \"image:6\" for its input and lowest 6 blocks; \"!\" before an entry trains them after all."),
    STRINGS(
        optim.lr_scale, RUN, "[]",
        "Factors of the learning rate, \"text_projection=10\", named in the same ways; the last entry that names a parameter counts."),
    FLOAT(
        optim.layer_decay, RUN, "1.0", 1e-4, 1, "",
        "Learning rates fall by this factor from layer to layer of a tower, from its output end downwards."),
    BOOL(
        optim.shard, FREE, "false",
        "Each rank keeps the moments of its share of the parameters, updates these and sends them to the others (ZeRO, stage 1)."),

    INT(checkpoint.every_steps, FREE, "0", 0, MANY, "steps", "Steps between checkpoints; 0 = none by steps."),
    FLOAT(checkpoint.every_minutes, FREE, "15.0", 0, 1e7, "minutes",
          "Minutes between checkpoints; 0 = none by time. The end of a run always writes one."),
    INT(checkpoint.keep, FREE, "3", 1, 1000000, "checkpoints",
        "Newest checkpoints kept beside the best one."),
    STRING(
        checkpoint.best_metric, FREE, "text_to_image.recall_at_1", NULL,
        "Key of the evaluation's JSON that decides which checkpoint is the best, such as average.map; empty = none."),

    STRING(eval.dir, FREE, "", NULL, "Data set to evaluate on while training; empty = none."),
    STRING(eval.split, FREE, "val", NULL, "Its split."),
    INT(eval.every_epochs, FREE, "1", 0, MANY, "epochs", "Epochs between evaluations; 0 = only at the end."),
    STRING(
        eval.positives, FREE, "pair", NULL,
        "What counts as an answer: the pair's own partner, everything of the same identity, or of a common class; `tandem eval --help` lists the choices."),
    STRING(
        eval.metrics, FREE, "", NULL,
        "Figures beside those that are always there, with any cutoff (\"recall_at_20,ndcg_at_100,r_sum\"); `tandem eval --help` lists them."),
    TDM_VIEW_NAME_TABLE(VIEW_ROW)};

const tdm_option *tdm_config_options(size_t *count)
{
    *count = sizeof rows / sizeof rows[0];
    return rows;
}
