/* `tandem augment --html`: the views of some samples, drawn as training draws them. */
#ifndef TANDEM_APP_AUGMENT_SHEET_H
#define TANDEM_APP_AUGMENT_SHEET_H

#include "command.h"

typedef struct augment_sheet_options {
    const char *config, *data, *split, *html; /* data, split: "" = the configuration's */
    tdm_strings set;
    int64_t samples;
} augment_sheet_options;
TDM_CHECKED tdm_status augment_sheet(tdm_comm *comm, const augment_sheet_options *options);

#endif
