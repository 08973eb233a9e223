/* The tokenizer files that Transformers' CLIPTokenizer reads. */
#include "naming.h"

#include <string.h>

#define START "<|startoftext|>"
#define END   "<|endoftext|>"
#define MASK  "<|mask|>"

/* A special token as Transformers writes it. */
static json_t *special(const char *token, bool normalized)
{
    return json_pack("{s:s,s:b,s:b,s:b,s:b}", "content", token, "lstrip", 0, "normalized", normalized,
                     "rstrip", 0, "single_word", 0);
}

static json_t *special_tokens(const tdm_tokenizer *tokenizer)
{
    json_t *map = json_pack("{s:o,s:o,s:s,s:s}", "bos_token", special(START, true), "eos_token",
                            special(END, true), "unk_token", END, "pad_token", END);
    if (map != NULL && tdm_tokenizer_mask(tokenizer) >= 0)
        (void)json_object_set_new(map, "mask_token", json_string(MASK));
    return map;
}

static json_t *tokenizer_config(const export_job *job)
{
    json_t *config =
        json_pack("{s:s,s:s,s:I,s:b,s:s,s:b}", "tokenizer_class", "CLIPTokenizer", "processor_class",
                  "CLIPProcessor", "model_max_length", (json_int_t)job->config.model.text.context_length,
                  "do_lower_case", 1, "errors", "replace", "add_prefix_space", 0);
    json_t *tokens = special_tokens(job->tokenizer);
    if (config != NULL && tokens != NULL) (void)json_object_update(config, tokens);
    json_decref(tokens);
    return config;
}

tdm_status huggingface_tokenizer_file(const export_job *job, const char *name, tdm_text *text)
{
    if (strcmp(name, "vocab.json") == 0) return tdm_tokenizer_vocab_json(job->tokenizer, text);
    if (strcmp(name, "merges.txt") == 0) return tdm_tokenizer_merges_txt(job->tokenizer, text);
    if (strcmp(name, "special_tokens_map.json") == 0)
        return json_append(special_tokens(job->tokenizer), text);
    return json_append(tokenizer_config(job), text);
}
