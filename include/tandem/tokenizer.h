/* CLIP's byte-level BPE (github openai/CLIP, clip/simple_tokenizer.py): encoder and trainer. Not collective.
 */
#ifndef TANDEM_TOKENIZER_H
#define TANDEM_TOKENIZER_H

#include "tandem/base.h"

typedef struct tdm_tokenizer tdm_tokenizer;

/* A merges file as CLIP's bpe_simple_vocab_16e6.txt, plain or gzip: a header line, then one merge a line.
 * Vocabulary: 256 byte symbols, the same with </w>, the merges, <|startoftext|>, <|endoftext|>. CLIP's own
 * file holds more lines than CLIP uses: with the header line `"bpe_simple_vocab_16e6.txt#version: 0.2` only
 * the first 48,894 merges count, as in the original. */
TDM_CHECKED tdm_status tdm_tokenizer_open(const char *path, tdm_tokenizer **tokenizer);
/* The same from memory (a checkpoint carries the file's bytes). `name` stands in messages. */
TDM_CHECKED tdm_status tdm_tokenizer_open_memory(const char *name, const void *data, size_t bytes,
                                                 tdm_tokenizer **tokenizer);
void tdm_tokenizer_destroy(tdm_tokenizer **tokenizer);
int64_t tdm_tokenizer_vocab_size(const tdm_tokenizer *tokenizer);
int32_t tdm_tokenizer_start(const tdm_tokenizer *tokenizer);
int32_t tdm_tokenizer_end(const tdm_tokenizer *tokenizer);
/* SHA-256 of the uncompressed merges text: the tokenizer's identity. */
const char *tdm_tokenizer_digest(const tdm_tokenizer *tokenizer);
/* The file's (uncompressed) bytes, borrowed; what a checkpoint stores. */
const void *tdm_tokenizer_file(const tdm_tokenizer *tokenizer, size_t *bytes);

/* start, tokens, end: at most `context` ids; a longer text is cut and keeps its end token. token[context] is
 * caller's; *count is filled (>= 2), *truncated unless NULL. Thread-safe: the tokenizer is only read. The
 * text is cleaned as in the original, but for ftfy's guesses at wrongly decoded text ("Ã©" stays); bytes that
 * are not UTF-8 become U+FFFD. Errors: TDM_E_SHAPE for a context below 2, TDM_E_DATA beyond 16 MiB of text.
 */
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

#endif
