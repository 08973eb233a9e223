/* The zip container of PyTorch's archives: where each entry lies. Entries are stored, as PyTorch writes
 * them; 64-bit sizes are understood. Checksums are not compared: PyTorch can be told not to write them. */
#ifndef TANDEM_ZIP_H
#define TANDEM_ZIP_H

#include "tensors_impl.h"

typedef struct zip_entry {
    const char *name; /* borrowed from the directory; not NUL-terminated */
    size_t name_bytes;
    int64_t bytes, packed; /* as it is read, and in the file, which is the same where it is stored */
    int64_t header_at;     /* its local header, in the file */
    uint16_t method;       /* 0: stored */
    uint16_t flags;
} zip_entry;

typedef struct zip_archive {
    const tensor_source *source; /* borrowed */
    unsigned char *directory;    /* as in the file */
    int64_t directory_at, directory_bytes;
    zip_entry *entry; /* [entries], sorted by name */
    int64_t entries;
} zip_archive;

/* Reads the directory. Errors: TDM_E_IO, TDM_E_FORMAT. Free also after an error. */
TDM_CHECKED tdm_status zip_open(const tensor_source *source, zip_archive *zip);
void zip_free(zip_archive *zip);
const zip_entry *zip_find(const zip_archive *zip, const char *name); /* NULL when not there */
/* data_at: the entry's first byte in the file; all its bytes lie before the directory. Refuses entries that
 * are compressed or encrypted. */
TDM_CHECKED tdm_status zip_locate(const zip_archive *zip, const zip_entry *entry, int64_t *data_at);

#endif
