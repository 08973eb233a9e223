/* Private to src/study. */
#ifndef TANDEM_STUDY_IMPL_H
#define TANDEM_STUDY_IMPL_H

#include "tandem/report.h"
#include "tandem/study.h"

/* What the table of a study is made of; the page draws it, the files list it. Owned; study_table_free. */
typedef struct study_table {
    tdm_study_table shown;
    tdm_study_line *line;
    tdm_study_cell *cell;
    double *value;
    char (*run_dir)[TDM_PATH_BYTES];
    const char **run_dirs;
    const char **label, **metric;
    bool *is_share;
} study_table;
TDM_CHECKED tdm_status study_table_make(const tdm_study *study, const char *out, study_table *table);
void study_table_free(study_table *table);

TDM_CHECKED tdm_status study_write_json(const tdm_study *study, const tdm_study_table *table,
                                        const char *path);
TDM_CHECKED tdm_status study_write_csv(const tdm_study_table *table, const char *path);
TDM_CHECKED tdm_status study_write_latex(const tdm_study_table *table, const char *path);
TDM_CHECKED tdm_status study_write_text(const tdm_study_table *table, const char *path);

#endif
