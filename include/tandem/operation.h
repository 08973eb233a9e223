/* What the configuration knows of an augmentation: its name and its options, the group augment.NAME. What it does to
 * images or texts is known to the folder whose table holds its row. */
#ifndef TANDEM_OPERATION_H
#define TANDEM_OPERATION_H

#include "tandem/config.h"

typedef struct tdm_operation {
    const char *name;
    const tdm_option *options; /* NULL: it has none. One that is named "p" is the probability. */
    size_t option_count, option_bytes;
    /* What must hold between the options; `where` begins the message. NULL: nothing. */
    tdm_status (*check)(const char *where, const void *options);
} tdm_operation;

/* The options of a row's struct, for its `.operation`. */
#define TDM_OPERATION_OPTIONS(type, rows)                                                                    \
    .options = (rows), .option_count = sizeof(rows) / sizeof((rows)[0]), .option_bytes = sizeof(type)

/* Before the first tdm_config_init. */
TDM_CHECKED tdm_status tdm_operation_register(const tdm_operation *operation);
/* The options of one entry of a list, NAME or NAME(key=value, …), of which tdm_config_call made `arguments`: those of
 * the group, or a copy with some of them changed. Checked. *options lives as long as the configuration; NULL when the
 * operation has none. */
TDM_CHECKED tdm_status tdm_operation_options(const tdm_config *config, const char *where,
                                             const tdm_operation *operation, const char *arguments,
                                             size_t length, const void **options);
/* The option "p"; 1 where there is none. */
double tdm_operation_probability(const tdm_operation *operation, const void *options);

#endif
