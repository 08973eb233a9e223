/* Any bytes as a file of arrays: NumPy's, MATLAB's of version 5, a pickle. All that it says can be read is read. */
#include "fuzz.h"
#include "tandem/arrays.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void read_array(const tdm_array *a)
{
    enum { MOST = 1 << 16 };
    float *row = a->width <= MOST ? malloc(sizeof *row * (size_t)(a->width + 1)) : NULL;
    for (int64_t i = 0; row && !a->fault && i < a->rows && i < 64 && a->width; i++) {
        tdm_text text = {0};
        (void)!tdm_array_text(a, i, &text);
        if (!a->is_text) (void)!tdm_array_row(a, i, row);
        tdm_text_free(&text);
    }
    free(row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char path[64];
    const int fd = memfd_create("arrays", 0);
    tdm_arrays *arrays = NULL;
    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (bytes > 19 && !memcmp(data, "MATLAB 7.3", 10)) return close(fd); /* HDF5 is fuzzed by itself */
    if (tdm_arrays_create(&arrays) == TDM_OK && tdm_arrays_add(arrays, path) == TDM_OK)
        for (int64_t i = 0; i < tdm_arrays_count(arrays); i++) read_array(tdm_arrays_at(arrays, i));
    tdm_arrays_destroy(&arrays);
    close(fd);
    return 0;
}
