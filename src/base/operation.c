#include "tandem/operation.h"

#include <string.h>

enum { PREFIX_BYTES = 80 };

static void prefix_of(const tdm_operation *operation, char prefix[PREFIX_BYTES])
{
    snprintf(prefix, PREFIX_BYTES, "augment.%s", operation->name);
}

tdm_status tdm_operation_register(const tdm_operation *operation)
{
    char prefix[PREFIX_BYTES];
    if (operation->option_count == 0) return TDM_OK;
    prefix_of(operation, prefix);
    const tdm_option_group rows = {.prefix = prefix,
                                   .rows = operation->options,
                                   .count = operation->option_count,
                                   .bytes = operation->option_bytes,
                                   .change = TDM_CHANGE_RUN};
    return tdm_config_register(&rows);
}

tdm_status tdm_operation_options(const tdm_config *config, const char *where, const tdm_operation *operation,
                                 const char *arguments, size_t length, const void **options)
{
    char prefix[PREFIX_BYTES];
    *options = NULL;
    if (operation->option_count == 0) {
        TDM_REQUIRE(length == 0, TDM_E_CONFIG, "%s: %s has no options", where, operation->name);
        return TDM_OK;
    }
    prefix_of(operation, prefix);
    *options = tdm_config_group(config, prefix);
    TDM_REQUIRE(*options, TDM_E_CONFIG, "%s: there is no group %s", where, prefix);
    if (length > 0) TDM_TRY(tdm_config_variant(config, where, prefix, arguments, length, options));
    return operation->check ? operation->check(where, *options) : TDM_OK;
}

double tdm_operation_probability(const tdm_operation *operation, const void *options)
{
    for (size_t i = 0; i < operation->option_count; i++)
        if (!strcmp(operation->options[i].key, "p"))
            return *(const double *)((const unsigned char *)options + operation->options[i].offset);
    return 1.0;
}
