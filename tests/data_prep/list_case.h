/* What a format lists, for the tests of formats: list_again, EXPECT. */
#ifndef TESTS_DATA_PREP_LIST_CASE_H
#define TESTS_DATA_PREP_LIST_CASE_H

#include "raw_case.h"
#include "tandem/pack.h"

#include <stdlib.h>

static tdm_pack_list list;

static inline int tear_down_list(void **state)
{
    tdm_pack_list_free(&list);
    return tear_down(state);
}

static inline const tdm_pack_format *format_named(const char *name)
{
    size_t count;
    const tdm_pack_format *const *formats = tdm_pack_formats(&count);
    for (size_t i = 0; i < count; i++)
        if (!strcmp(formats[i]->name, name)) return formats[i];
    fail_msg("no format \"%s\"", name);
    return NULL;
}

static inline tdm_status list_again(const char *format, const char *source)
{
    tdm_pack_list_free(&list);
    return tdm_pack_list_source(format_named(format), NULL, source, &list);
}

/* Item i is called `name` and has these captions (NULL ends them). */
static inline void expect(int64_t i, const char *name, const char *const *caption)
{
    CHECK_LT(i, list.count);
    const tdm_pack_item *item = &list.item[i];
    CHECK_STR_EQ(item->name, name);
    int64_t k = 0;
    for (; caption[k]; k++) {
        CHECK_LT(k, item->caption_n);
        CHECK_STR_EQ(item->caption[k], caption[k]);
    }
    CHECK_EQ(item->caption_n, k);
}
#define EXPECT(i, name, ...)       expect((i), (name), (const char *const[]){__VA_ARGS__, NULL})
#define EXPECT_NO_CAPTION(i, name) expect((i), (name), (const char *const[]){NULL})

/* The format's option `key`, a string, a number or a choice. */
static inline void set_option(const tdm_pack_format *format, void *values, const char *key, const char *value)
{
    for (size_t i = 0; i < format->option_count; i++) {
        const tdm_option *row = &format->options[i];
        if (strcmp(row->key, key)) continue;
        void *at_option = (char *)values + row->offset;
        if (row->type == TDM_OPTION_STRING) *(const char **)at_option = value;
        if (row->type == TDM_OPTION_INT) *(int64_t *)at_option = strtoll(value, NULL, 10);
        if (row->type == TDM_OPTION_CHOICE) *(int *)at_option = tdm_option_choice(row->choices, value);
        CHECK_TRUE(row->type == TDM_OPTION_STRING || row->type == TDM_OPTION_INT ||
                   row->type == TDM_OPTION_CHOICE);
        return;
    }
    fail_msg("%s has no option %s", format->name, key);
}

/* Lists `source` with options, pairs of key and value up to NULL. */
static inline tdm_status list_with(const char *name, const char *source, const char *const *option)
{
    const tdm_pack_format *format = format_named(name);
    void *values;
    CHECK_OK(tdm_alloc(format->option_bytes, "options", &values));
    tdm_pack_format_defaults(format, values);
    for (; *option; option += 2) set_option(format, values, option[0], option[1]);
    tdm_pack_list_free(&list);
    const tdm_status status = tdm_pack_list_source(format, values, at(source), &list);
    tdm_free(values);
    return status;
}

/* How many of a kind and extension were left out. */
static inline int64_t left_out(const char *kind, const char *extension)
{
    for (int64_t g = 0; g < list.left_out_key.count; g++)
        if (!strcmp(list.left_out[g].kind, kind) && !strcmp(list.left_out[g].extension, extension))
            return list.left_out[g].count;
    return 0;
}

#endif
