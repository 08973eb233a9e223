#include "read_tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>

static tdm_status not_a_tar(const tar_reader *tar)
{
    const char *why = archive_error_string(tar->archive);
    TDM_FAIL(TDM_E_FORMAT, "%s: not an uncompressed tar file, or damaged: %s", tar->path,
             why ? why : "unreadable");
}

tdm_status tar_open(const char *path, tar_reader *tar)
{
    *tar = (tar_reader){.path = path};
    FILE *file = fopen(path, "rb"); /* libarchive does not tell a missing file from a damaged one */
    TDM_REQUIRE(file, TDM_E_IO, "%s: cannot open: %s", path, strerror(errno));
    fclose(file);
    tar->archive = archive_read_new();
    TDM_REQUIRE(tar->archive, TDM_E_NOMEM, "%s: no memory to read it", path);
    archive_read_support_format_tar(tar->archive);
    if (archive_read_open_filename(tar->archive, path, 1 << 16) != ARCHIVE_OK) return not_a_tar(tar);
    return TDM_OK;
}

tdm_status tar_next(tar_reader *tar, bool *found)
{
    struct archive_entry *entry;
    *found = false;
    for (;;) {
        const int code = archive_read_next_header(tar->archive, &entry);
        if (code == ARCHIVE_EOF) return TDM_OK;
        if (code != ARCHIVE_OK && code != ARCHIVE_WARN) return not_a_tar(tar);
        tar->name = archive_entry_pathname(entry);
        TDM_REQUIRE(tar->name, TDM_E_FORMAT, "%s: a member's name cannot be read", tar->path);
        if (archive_entry_filetype(entry) == AE_IFREG) break;
    }
    tar->bytes = archive_entry_size(entry);
    tar->offset = archive_filter_bytes(tar->archive, 0); /* all headers are consumed, none of the data */
    *found = true;
    return TDM_OK;
}

tdm_status tar_read(tar_reader *tar, int64_t most_bytes, tdm_text *out)
{
    char block[16384];
    la_ssize_t n;
    TDM_REQUIRE(tar->bytes <= most_bytes, TDM_E_FORMAT, "%s: %s: %lld bytes are too many for text", tar->path,
                tar->name, (long long)tar->bytes);
    out->length = 0;
    TDM_TRY(tdm_text_append(out, "", 0));
    while ((n = archive_read_data(tar->archive, block, sizeof(block))) > 0)
        TDM_TRY(tdm_text_append(out, block, (size_t)n));
    TDM_REQUIRE(n == 0, TDM_E_FORMAT, "%s: %s: %s", tar->path, tar->name, archive_error_string(tar->archive));
    return TDM_OK;
}

void tar_close(tar_reader *tar)
{
    if (tar->archive) archive_read_free(tar->archive);
    *tar = (tar_reader){0};
}
