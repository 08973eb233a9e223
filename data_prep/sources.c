/* Near misses: a SOURCE that no format reads, or another one than was asked for, is named as what it is. */
#include "pack_impl.h"

#include <stdlib.h>
#include <string.h>

typedef struct kind {
    const char *magic;
    size_t at, length;
    const char *what, *instead;
    const char *format; /* that reads it; NULL: none does */
} kind;

static const char save_text[] = "write images to files and a CSV of their paths and captions: --format csv";

static const char pickle_text[] =
    "write images to files and a CSV of their paths and captions: --format csv; features are "
    "read by --format features";

static const kind kinds[] = {
    {"\x1f\x8b", 0, 2, "is compressed with gzip",
     "members are read by their places, so unpack it first (gunzip; tar xzf)", NULL},
    {"BZh", 0, 3, "is compressed with bzip2", "unpack it first (bunzip2; tar xjf)", NULL},
    {"\xfd"
     "7zXZ",
     0, 5, "is compressed with xz", "unpack it first (unxz; tar xJf)", NULL},
    {"\x28\xb5\x2f\xfd", 0, 4, "is compressed with zstd", "unpack it first (unzstd)", NULL},
    {"\x04\x22\x4d\x18", 0, 4, "is compressed with lz4", "unpack it first (unlz4)", NULL},
    {"MATLAB ", 0, 7, "is a file of MATLAB", "--format features reads features of that kind", "features"},
    {"PK\x03\x04", 0, 4, "is a zip archive or an Excel workbook",
     "unpack it (unzip) and pack the folder, or save the table as CSV", NULL},
    {"7z\xbc\xaf", 0, 4, "is a 7z archive", "unpack it and pack the folder", NULL},
    {"Rar!", 0, 4, "is a RAR archive", "unpack it and pack the folder", NULL},
    {"PAR1", 0, 4, "is a Parquet file", save_text, NULL},
    {"ARROW1", 0, 6, "is an Arrow file", save_text, NULL},
    {"SQLite format 3", 0, 15, "is an SQLite database", save_text, NULL},
    {"\x80\x02", 0, 2, "is a pickle of Python", pickle_text, "features"},
    {"\x80\x03", 0, 2, "is a pickle of Python", pickle_text, "features"},
    {"\x80\x04", 0, 2, "is a pickle of Python", pickle_text, "features"},
    {"\x80\x05", 0, 2, "is a pickle of Python", pickle_text, "features"},
    {"\x93NUMPY", 0, 6, "is an array of NumPy", "--format features reads features of that kind", "features"},
    {"\x89HDF\r\n", 0, 6, "is an HDF5 file", "--format features reads features of that kind", "features"},
    {"ustar", 257, 5, "is a tar file", "--format webdataset reads those", "webdataset"},
};

static const kind *kind_of(const char *path)
{
    char head[512] = {0};
    FILE *file = fopen(path, "rb");
    const size_t n = file ? fread(head, 1, sizeof(head), file) : 0;
    if (file) fclose(file);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (n >= kinds[i].at + kinds[i].length &&
            !memcmp(head + kinds[i].at, kinds[i].magic, kinds[i].length))
            return &kinds[i];
    return NULL;
}

static bool is_address(const char *source)
{
    static const char *const prefix[] = {"pipe:", "s3:", "gs:", "hf:", "http:", "https:"};
    for (size_t i = 0; i < sizeof(prefix) / sizeof(prefix[0]); i++)
        if (!strncmp(source, prefix[i], strlen(prefix[i]))) return true;
    return strstr(source, "://") != NULL;
}

tdm_status pack_check_source(const tdm_pack_format *format, const char *source)
{
    if (!format->takes_file && !format->takes_folder) return TDM_OK; /* the format sees for itself */
    if (!tdm_path_exists(source)) {
        TDM_REQUIRE(!is_address(source), TDM_E_IO,
                    "%s: is an address: files are read, not fetched; download it first", source);
        TDM_REQUIRE(!strpbrk(source, "{*?"), TDM_E_IO,
                    "%s: no such file; the shell expands {000..099} and *, where they do not stand in quotes",
                    source);
        return TDM_OK; /* the format says what is missing */
    }
    const bool folder = tdm_path_is_dir(source);
    TDM_REQUIRE(!folder || format->takes_folder, TDM_E_USAGE,
                "%s: is a folder, and --format %s reads files, %s/…; --format folder reads folders of images",
                source, format->name, source);
    if (folder) return TDM_OK;
    const kind *is = kind_of(source);
    const size_t end = strlen(source);
    if (is && !is->format && end > 4 && !strcmp(source + end - 4, ".npz") &&
        !strcmp(format->name, "features"))
        return TDM_OK; /* a zip archive of arrays */
    TDM_REQUIRE(!is || (is->format && !strcmp(is->format, format->name)), TDM_E_FORMAT, "%s: %s: %s", source,
                is ? is->what : "", is ? is->instead : "");
    TDM_REQUIRE(format->takes_file, TDM_E_IO, "%s: is a file, and --format %s reads folders", source,
                format->name);
    return TDM_OK;
}
