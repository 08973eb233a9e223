/* Raw data on disk for the tests of readers and formats: a folder of its own per test, files and tar files. */
#ifndef TESTS_DATA_PREP_RAW_CASE_H
#define TESTS_DATA_PREP_RAW_CASE_H

#include "check.h"
#include "data/toy.h"

#include <archive.h>
#include <archive_entry.h>

static char dir[64];

static inline int set_up(void **state)
{
    (void)state;
    toy_dir(dir);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    return tdm_remove_tree(dir) == TDM_OK ? 0 : 1;
}

/* DIR/name, in one of a few rotating buffers. */
static inline const char *at(const char *name)
{
    static char path[8][512];
    static int next;
    char *out = path[next++ % 8];
    CHECK_OK(tdm_path_join(out, sizeof(path[0]), dir, name));
    return out;
}

static inline void put_bytes(const char *name, const void *data, size_t bytes)
{
    char folder[512];
    snprintf(folder, sizeof(folder), "%s", at(name));
    *strrchr(folder, '/') = '\0';
    CHECK_OK(tdm_make_dirs(folder));
    FILE *file =
        fopen(at(name), "wb"); /* not tdm_write_file_atomic: its fsyncs would take most of the test's time */
    CHECK_NOT_NULL(file);
    CHECK_EQ(fwrite(data, 1, bytes, file), bytes);
    CHECK_EQ(fclose(file), 0);
}

static inline void put(const char *name, const char *text)
{
    put_bytes(name, text, strlen(text));
}

/* ---- tar files: make_tar, make_tar_file…, make_tar_end ---- */
static struct archive *made_tar;

static inline void make_tar(const char *name, int (*format)(struct archive *))
{
    made_tar = archive_write_new();
    CHECK_EQ(format(made_tar), ARCHIVE_OK);
    CHECK_EQ(archive_write_open_filename(made_tar, at(name)), ARCHIVE_OK);
}

static inline void make_tar_file(const char *name, const char *text)
{
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_size(entry, (la_int64_t)strlen(text));
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    CHECK_GE(archive_write_header(made_tar, entry), ARCHIVE_WARN);
    CHECK_EQ(archive_write_data(made_tar, text, strlen(text)), strlen(text));
    archive_entry_free(entry);
}

static inline void make_tar_end(void)
{
    CHECK_EQ(archive_write_close(made_tar), ARCHIVE_OK);
    archive_write_free(made_tar);
}

#endif
