#include "tandem/views.h"

#include <string.h>

#define FIRST_OF_IMAGE TDM_VIEW_IMAGE_PLAIN
#define FIRST_OF_TEXT  TDM_VIEW_TEXT_PLAIN
#define VIEW_ROW(M, m, NAME, name)                                                                           \
    {TDM_##M, TDM_VIEW_NAME_##NAME, #name, #m "." #name, (int)TDM_VIEW_##M##_##NAME - (int)FIRST_OF_##M},
static const tdm_view_info info[TDM_VIEWS] = {TDM_VIEW_TABLE(VIEW_ROW)};

const tdm_view_info *tdm_view_of(tdm_view view)
{
    return &info[view];
}

int tdm_view_find(tdm_modality modality, const char *name)
{
    for (int v = 0; v < TDM_VIEWS; v++)
        if (info[v].modality == modality && strcmp(info[v].text, name) == 0) return v;
    return -1;
}

const char *tdm_modality_name(tdm_modality modality)
{
    static const char *const name[TDM_MODALITIES] = {"image", "text"};
    return name[modality];
}

int tdm_view_count(tdm_view_set views, tdm_modality modality)
{
    int count = 0;
    for (int v = 0; v < TDM_VIEWS; v++) count += views >> v & 1 && info[v].modality == modality;
    return count;
}
