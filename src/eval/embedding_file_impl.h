/* Private to src/eval: what the writer and the reader of embedding files share. */
#ifndef TANDEM_EMBEDDING_FILE_IMPL_H
#define TANDEM_EMBEDDING_FILE_IMPL_H

#include "eval_impl.h"
#include "tandem/h5.h"

#define EMBEDDING_FORMAT "tandem.embedding"
enum { EMBEDDING_VERSION = 1 };

typedef struct embedding_file {
    char path[TDM_PATH_BYTES];
    hid_t id;
} embedding_file;

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

/* Records what the last HDF5 call complained about: "PATH: cannot DOING NAME: …". */
TDM_CHECKED tdm_status embedding_fail(tdm_status code, const embedding_file *file, const char *doing,
                                      const char *name);
TDM_CHECKED tdm_status embedding_put_text(embedding_file *file, const char *name, const char *value);
TDM_CHECKED tdm_status embedding_put_i64(embedding_file *file, const char *name, int64_t value);
/* data[rows][width] as a chunked data set with Fletcher-32; width 0: one dimension. */
TDM_CHECKED tdm_status embedding_put_rows(embedding_file *file, const char *name, hid_t file_type,
                                          hid_t memory_type, int64_t rows, int64_t width, const void *data);

TDM_CHECKED tdm_status embedding_get_text(const embedding_file *file, const char *name, char *out,
                                          size_t bytes);
TDM_CHECKED tdm_status embedding_get_i64(const embedding_file *file, const char *name,
                                         int64_t *value); /* >= 0 */
/* Opens a data set that must be [*rows][width], width 0: one dimension. The caller closes with H5Dclose. */
TDM_CHECKED tdm_status embedding_open_rows(const embedding_file *file, const char *name, int64_t width,
                                           hid_t *set, int64_t *rows);
/* Rows [first, first + n) of a data set of `rows` rows into out. */
TDM_CHECKED tdm_status embedding_get_rows(const embedding_file *file, const char *name, hid_t memory_type,
                                          int64_t rows, int64_t width, int64_t first, int64_t n, void *out);

/* One whole file, through path.tmp. */
TDM_CHECKED tdm_status embedding_write_part(const char *path, const part_info *p, const tdm_embeddings *e);
/* Rank `rank` of `size`'s piece out of all parts, without class bits of the captions; `first` describes part
 * 0. On failure the caller frees what `e` holds. */
TDM_CHECKED tdm_status embedding_read_piece(int rank, int size, const char *dir, const char *split,
                                            part_info *first, tdm_embeddings *e);

#endif
