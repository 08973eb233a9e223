/* Private to src/eval: what the writer and the reader of embedding files share. */
#ifndef TANDEM_EMBEDDING_FILE_IMPL_H
#define TANDEM_EMBEDDING_FILE_IMPL_H

#include "eval_impl.h"
#include "tandem/h5.h"

#define EMBEDDING_FORMAT "tandem.embedding"
enum { EMBEDDING_VERSION = 1 };

/* What the attributes of one part say. */
typedef struct part_info {
    tdm_embedding_info info;
    tdm_dtype dtype;
    int64_t d, parts, part, images_total, captions_total, image_first, caption_first, classes;
    int64_t images, captions; /* rows of its data sets */
} part_info;

/* DIR/SPLIT-00007.h5 */
TDM_CHECKED tdm_status embedding_part_path(char out[TDM_PATH_BYTES], const char *dir, const char *split,
                                           int64_t part);

/* One whole file, through path.tmp. */
TDM_CHECKED tdm_status embedding_write_part(const char *path, const part_info *p, const tdm_embeddings *e);
/* Rank `rank` of `size`'s piece out of all parts, without class bits of the captions; `first` describes part
 * 0. On failure the caller frees what `e` holds. */
TDM_CHECKED tdm_status embedding_read_piece(int rank, int size, const char *dir, const char *split,
                                            part_info *first, tdm_embeddings *e);

#endif
