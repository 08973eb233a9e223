/* Shared by the tests of src/tensors/: a directory to write in, golden tensors, messages. */
#ifndef TESTS_TENSORS_CASE_H
#define TESTS_TENSORS_CASE_H

#include "check.h"
#include "scratch.h"
#include "tandem/tensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../golden/tensor_golden.h"

enum { CASE_PATH_BYTES = 512 };
#define COUNT_OF(array) ((int64_t)(sizeof(array) / sizeof((array)[0])))

static char case_dir[64];

static inline int case_setup(void **state)
{
    (void)state;
    return scratch_dir(case_dir, sizeof case_dir);
}

static inline int case_teardown(void **state)
{
    (void)state;
    return tdm_remove_tree(case_dir) != TDM_OK;
}

static inline const char *case_path(const char *name)
{
    static char path[CASE_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", case_dir, name);
    return path;
}

static inline const char *golden_path(const char *name)
{
    static char path[CASE_PATH_BYTES];
    snprintf(path, sizeof path, "%s/tests/golden/tensors/%s", getenv("TANDEM_SOURCE_DIR"), name);
    return path;
}

static inline void write_case(const char *name, const void *data, size_t bytes)
{
    CHECK_OK(tdm_write_file_atomic(case_path(name), data, bytes));
}

/* The file is refused with this code, and the message names it and says `part`. */
static inline void assert_refused(const char *path, tdm_status code, const char *part)
{
    tdm_tensor_file *file = NULL;
    CHECK_FAILS(tdm_tensor_file_open(path, &file), code, part);
    CHECK_MESSAGE(strrchr(path, '/') + 1);
    CHECK_NULL(file);
}

static inline void assert_golden_tensor(tdm_tensor_file *file, const struct golden_tensor *golden)
{
    const tdm_tensor *t = tdm_tensor_file_find(file, golden->name);
    if (t == NULL) fail_msg("%s: has no %s", golden->file, golden->name);
    float *value = malloc((size_t)(t->elements + 1) * sizeof *value);
    CHECK_NOT_NULL(value);
    CHECK_EQ(t->type, golden->type);
    CHECK_EQ(t->ndim, golden->ndim);
    CHECK_EQ(t->elements, golden->elements);
    for (int i = 0; i < t->ndim; i++) CHECK_EQ(t->shape[i], golden->shape[i]);
    CHECK_OK(tdm_tensor_file_read_f32(file, t, value));
    for (int64_t i = 0; i < t->elements; i++)
        if (memcmp(&value[i], &golden->value[i], sizeof *value) != 0)
            fail_msg("%s: %s[%lld] is %.9g, not %.9g", golden->file, golden->name, (long long)i,
                     (double)value[i], (double)golden->value[i]);
    free(value);
}

/* Every file whose name ends so holds exactly its golden tensors. Returns how many files that were. */
static inline int check_golden(bool (*wanted)(const char *file))
{
    int files = 0;
    for (int64_t i = 0; i < COUNT_OF(GOLDEN_FILE); i++) {
        tdm_tensor_file *file;
        if (!wanted(GOLDEN_FILE[i].file)) continue;
        CHECK_OK(tdm_tensor_file_open(golden_path(GOLDEN_FILE[i].file), &file));
        for (int64_t k = 0; k < COUNT_OF(GOLDEN_TENSOR); k++)
            if (strcmp(GOLDEN_TENSOR[k].file, GOLDEN_FILE[i].file) == 0)
                assert_golden_tensor(file, &GOLDEN_TENSOR[k]);
        CHECK_EQ(tdm_tensor_file_count(file), GOLDEN_FILE[i].count);
        tdm_tensor_file_close(&file);
        files++;
    }
    return files;
}

#endif
