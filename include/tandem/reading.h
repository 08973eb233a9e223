/* What a process has read: a list of facts, each with a name for people, a path and a value. Ranks compare their lists
 * (tdm_comm_agree_on in comm.h).
 *
 *     tdm_reading reading = {0};
 *     tdm_status status = tdm_reading_add(&reading, "tokenizer", path, tdm_tokenizer_digest(tokenizer));
 *     if (status == TDM_OK) status = tdm_dataset_reading(dataset, "data set", &reading);
 *     TDM_TRY(tdm_comm_agree_on(comm, status, &reading));
 */
#ifndef TANDEM_READING_H
#define TANDEM_READING_H

#include "tandem/base.h"

typedef struct tdm_reading { /* zero-initialise; tdm_reading_free */
    tdm_text rows;           /* what, path and value of each fact, each with its NUL */
} tdm_reading;

typedef struct tdm_fact { /* points into the list */
    const char *what, *path, *value;
} tdm_fact;

/* what: a noun that "another" can stand before. path: what a message begins with. value: a digest, or what a
 * configuration says; all of it is compared, messages show its beginning. */
TDM_CHECKED tdm_status tdm_reading_add(tdm_reading *reading, const char *what, const char *path,
                                       const char *value);
/* The file's content, see tdm_file_digest. */
TDM_CHECKED tdm_status tdm_reading_add_file(tdm_reading *reading, const char *what, const char *path);
/* The fact at byte *at of the list, which is moved to the next; false at the end. */
bool tdm_reading_next(const tdm_reading *reading, size_t *at, tdm_fact *fact);
void tdm_reading_free(tdm_reading *reading);

/* A digest of a file's content that costs little for any size: SHA-256 of the size and the bytes, or, of a file
 * beyond 4 MiB, of 128 blocks of 4 KiB that are spread over it evenly, both ends among them. */
TDM_CHECKED tdm_status tdm_file_digest(const char *path, char hex[65]);

#endif
