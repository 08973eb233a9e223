/* Private to data_prep: what an uncompressed tar file holds, each member with its place, so that the packer can read
 * it without the archive. Links within the tar are followed.
 *
 *     tar_index tar;
 *     tdm_status status = tar_open("000.tar", &tar);
 *     for (int64_t i = 0; status == TDM_OK && i < tar.count; i++) use(tar.member[i].name, tar.member[i].offset);
 *     tar_close(&tar);
 */
#ifndef TANDEM_READ_TAR_H
#define TANDEM_READ_TAR_H

#include "tandem/base.h"

typedef struct tar_member {
    char *name;            /* without "./" and doubled slashes */
    int64_t offset, bytes; /* of its data in the tar file; those of its target, if it is a link */
    char *link;            /* what it leads to; NULL: it is a file of its own */
    bool hard;             /* the link's name is a path from the root, not from its own folder */
    char *fault;           /* why its data cannot be read: "000.tar: 7.jpg: is cut short …"; else NULL */
} tar_member;

typedef struct tar_index {
    const char *path;   /* borrowed */
    tar_member *member; /* [count] files, in the tar's order; folders are passed over */
    int64_t count, capacity;
    char *damage;    /* the tar cannot be read from some place on, and why; else NULL */
    bool unended;    /* the mark at its end is missing: it may have been cut between two members */
    int64_t foreign; /* devices and the like, which were passed over */
    FILE *file;      /* for tar_read */
    int64_t bytes;   /* of the file */
} tar_index;

/* Reads the headers of all members. Errors name the tar: it cannot be opened, is none, or is compressed. Damage further
 * on is none: what stands before it is listed. An empty file has no members. Pair with tar_close, after a failure too. */
TDM_CHECKED tdm_status tar_open(const char *path, tar_index *tar);
/* The first `most_bytes` of a member's data, or all of it, into `out` (cleared first). */
TDM_CHECKED tdm_status tar_read_head(tar_index *tar, const tar_member *member, int64_t most_bytes,
                                     tdm_text *out);
/* All of it: more than `most_bytes` is an error that names tar and member. */
TDM_CHECKED tdm_status tar_read(tar_index *tar, const tar_member *member, int64_t most_bytes, tdm_text *out);
void tar_close(tar_index *tar);

#endif
