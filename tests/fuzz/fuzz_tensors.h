/* Shared by the fuzz targets of src/tensors/: a file in memory, opened and read whole. */
#ifndef TESTS_FUZZ_TENSORS_H
#define TESTS_FUZZ_TENSORS_H

#include "fuzz.h"
#include "tandem/tensors.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FUZZ_ELEMENTS_MAX = 1 << 20 };

static inline void fuzz_read_tensor(tdm_tensor_file *file, const tdm_tensor *t)
{
    FUZZ_REQUIRE(t != NULL && t == tdm_tensor_file_find(file, t->name) && t->name[0] != '\0');
    FUZZ_REQUIRE(t->type >= 0 && t->type < TDM_TENSOR_TYPES && t->ndim >= 0 &&
                 t->ndim <= TDM_TENSOR_MAX_DIMS);
    int64_t elements = 1;
    for (int i = 0; i < t->ndim; i++) elements *= t->shape[i];
    FUZZ_REQUIRE(elements == t->elements && elements >= 0);
    if (elements > FUZZ_ELEMENTS_MAX) return;
    float *value = malloc(elements > 0 ? (size_t)elements * sizeof *value : 1); /* exactly what it may fill */
    FUZZ_REQUIRE(value != NULL);
    FUZZ_REQUIRE(tdm_tensor_file_read_f32(file, t, value) == TDM_OK);
    free(value);
}

/* Returns whether the file could be opened. */
static inline bool fuzz_read_tensors(const void *data, size_t bytes)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("tensors", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    FUZZ_REQUIRE(ftruncate(fd, 0) == 0 && pwrite(fd, data, bytes, 0) == (ssize_t)bytes);
    tdm_tensor_file *file;
    if (tdm_tensor_file_open(path, &file) != TDM_OK) {
        FUZZ_REQUIRE(file == NULL && strstr(tdm_error_last()->message, "/proc/self/fd/") != NULL);
        return false;
    }
    for (int64_t i = 0; i < tdm_tensor_file_count(file); i++)
        fuzz_read_tensor(file, tdm_tensor_file_at(file, i));
    tdm_tensor_file_close(&file);
    FUZZ_REQUIRE(file == NULL);
    return true;
}

#endif
