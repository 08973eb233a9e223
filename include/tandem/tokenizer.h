/* CLIP's byte-level BPE (github openai/CLIP, clip/simple_tokenizer.py): encoder and trainer. Not collective.
 */
#ifndef TANDEM_TOKENIZER_H
#define TANDEM_TOKENIZER_H

#include "tandem/base.h"

typedef struct tdm_tokenizer tdm_tokenizer;

/* `path` is one of:
 *
 * - A merges file as CLIP's bpe_simple_vocab_16e6.txt: a header line, then one merge a line. Vocabulary: 256
 *   byte symbols, the same with </w>, the merges, <|startoftext|>, <|endoftext|>. CLIP's own file holds more
 *   lines than CLIP uses: with the header line `"bpe_simple_vocab_16e6.txt#version: 0.2` only the first
 * 48,894 merges count, as in the original. Text is cleaned as in the original, but for ftfy's guesses at
 * wrongly decoded text ("Ã©" stays).
 * - Hugging Face's vocab.json or merges.txt with the other beside it: ids are those of vocab.json. Text is
 *   treated as by Transformers' CLIPTokenizerFast: NFC, runs of white space as one blank, lower case letter
 * by letter; no HTML references, no quotes or widths made plain.
 * - Hugging Face's tokenizer.json: model BPE with end_of_word_suffix "</w>", CLIP's normalizer and
 *   pre_tokenizer; anything else is refused with the name of the field. Added tokens are found in the text.
 * - A directory that holds tokenizer.json, or else vocab.json and merges.txt.
 *
 * Each may be compressed with gzip. Errors: TDM_E_FORMAT names file and line or field. */
TDM_CHECKED tdm_status tdm_tokenizer_open(const char *path, tdm_tokenizer **tokenizer);
/* mask: the variant with <|mask|> of TBPS-CLIP (github Flame-Chasers/TBPS-CLIP,
 * text_utils/simple_tokenizer.py): the last merge's token makes room for it before the start, so that the
 * vocabulary keeps its size: 49405 with CLIP's file. A word that needs that merge ("jekyll") stays in its
 * pieces, where the original fails. Of Hugging Face's files it asks for a vocabulary that holds <|mask|>. */
TDM_CHECKED tdm_status tdm_tokenizer_open_variant(const char *path, bool mask, tdm_tokenizer **tokenizer);
/* From the bytes of tdm_tokenizer_file, of a merges file or of a tokenizer.json. `name` stands in messages.
 */
TDM_CHECKED tdm_status tdm_tokenizer_open_memory(const char *name, const void *data, size_t bytes,
                                                 tdm_tokenizer **tokenizer);
void tdm_tokenizer_destroy(tdm_tokenizer **tokenizer);
/* Highest id + 1. */
int64_t tdm_tokenizer_vocab_size(const tdm_tokenizer *tokenizer);
int32_t tdm_tokenizer_start(const tdm_tokenizer *tokenizer);
int32_t tdm_tokenizer_end(const tdm_tokenizer *tokenizer);
int32_t tdm_tokenizer_mask(const tdm_tokenizer *tokenizer); /* id of <|mask|>, -1: none */
/* SHA-256 of tdm_tokenizer_file: the tokenizer's identity. */
const char *tdm_tokenizer_digest(const tdm_tokenizer *tokenizer);
/* What a checkpoint stores, borrowed; tdm_tokenizer_open_memory makes the same tokenizer of it. The
 * uncompressed merges file or tokenizer.json; of the others a line `#tandem tokenizer 1: …` that says which
 * parts follow ("vocab" and "merges" with their bytes, "mask"), and the parts. */
const void *tdm_tokenizer_file(const tdm_tokenizer *tokenizer, size_t *bytes);

/* A token as Hugging Face's vocab.json spells it: one printable character per byte, </w> after a word's last;
 * UTF-8, borrowed. NULL: no token has this id. */
const char *tdm_tokenizer_token(const tdm_tokenizer *tokenizer, int32_t id);
/* Contents of Hugging Face's vocab.json and merges.txt, from which any tokenizer of this header can be opened
 * again with the same ids; appended to `text`. */
TDM_CHECKED tdm_status tdm_tokenizer_vocab_json(const tdm_tokenizer *tokenizer, tdm_text *text);
TDM_CHECKED tdm_status tdm_tokenizer_merges_txt(const tdm_tokenizer *tokenizer, tdm_text *text);

/* start, tokens, end: at most `context` ids; a longer text is cut and keeps its end token. token[context] is
 * caller's; *count is filled (>= 2), *truncated unless NULL. Thread-safe: the tokenizer is only read. Bytes
 * that are not UTF-8 become U+FFFD. Errors: TDM_E_SHAPE for a context below 2, TDM_E_DATA beyond 16 MiB of
 * text. */
TDM_CHECKED tdm_status tdm_tokenizer_encode(const tdm_tokenizer *tokenizer, const char *text, int64_t context,
                                            int32_t *token, int64_t *count, bool *truncated);
/* UTF-8 of ids, start and end left out; appended to `text`. */
TDM_CHECKED tdm_status tdm_tokenizer_decode(const tdm_tokenizer *tokenizer, const int32_t *token,
                                            int64_t count, tdm_text *text);

/* Trainer: feed lines, then write a merges file of a vocabulary of vocab_size (>= 514). Ties between pair
 * counts go to the pair that is smaller byte-wise, so the file depends only on the text. Pairs that occur
 * once and words beyond 1,024 bytes are not learnt; a text that yields fewer merges is warned about. */
typedef struct tdm_bpe_trainer tdm_bpe_trainer;
TDM_CHECKED tdm_status tdm_bpe_trainer_create(tdm_bpe_trainer **trainer);
void tdm_bpe_trainer_destroy(tdm_bpe_trainer **trainer);
TDM_CHECKED tdm_status tdm_bpe_trainer_add(tdm_bpe_trainer *trainer, const char *line);
TDM_CHECKED tdm_status tdm_bpe_trainer_write(tdm_bpe_trainer *trainer, int64_t vocab_size, const char *path);

/* ---- Text as Python sees it ---- */
/* str.lower(), into `out` (cleared first); bytes that are not UTF-8 become U+FFFD. Errors: TDM_E_DATA beyond 16 MiB. */
TDM_CHECKED tdm_status tdm_text_lower(const char *text, size_t bytes, tdm_text *out);
/* Bytes of the white-space character (\s of `re`) that begins at `at`; 0: another one, or at == end. */
size_t tdm_text_space(const char *at, const char *end);

#endif
