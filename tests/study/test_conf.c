/* Every configuration and every row of every study in conf/ is accepted: names of keys, values, and the rules between
 * them. No data and no weights are needed. */
#include "check.h"
#include "tandem/loss.h"
#include "tandem/model.h"
#include "tandem/session.h"
#include "tandem/study.h"

#include <fts.h>
#include <stdlib.h>

/* What tdm_session_configure checks. A pretrained model's own definition is not here: its rules are left out. */
static void accept(const char *file, const tdm_strings *set)
{
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    CHECK_OK(tdm_config_load(&config, file));
    for (int64_t i = 0; set && i < set->count; i++) CHECK_OK(tdm_config_set(&config, set->item[i]));
    CHECK_OK(tdm_loss_settle(&config));
    CHECK_OK(tdm_config_check(&config));
    CHECK_OK(tdm_views_check(&config));
    if (!config.model.pretrained[0]) CHECK_OK(tdm_model_check(&config));
    tdm_config_destroy(&config);
}

static void accept_study(const char *path)
{
    tdm_study *study;
    CHECK_OK(tdm_study_read(path, NULL, &study));
    for (int64_t i = 0; i < study->rows; i++) accept(study->config, &study->row[i].set);
    tdm_study_destroy(&study);
}

static void all_of_conf(void **state)
{
    (void)state;
    char root[TDM_PATH_BYTES];
    snprintf(root, sizeof root, "%s/conf", getenv("TANDEM_SOURCE_DIR"));
    char *roots[] = {root, NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    CHECK_NOT_NULL(walk);
    int runs = 0, studies = 0;
    for (FTSENT *entry; (entry = fts_read(walk)) != NULL;) {
        const char *dot = strrchr(entry->fts_name, '.');
        tdm_text text = {0};
        if (entry->fts_info != FTS_F || !dot || strcmp(dot, ".cfg") != 0) continue;
        CHECK_OK(tdm_read_file(entry->fts_path, &text));
        /* the others are parts of these */
        const bool is_study = strstr(text.data, "\nmetrics"), is_run = strstr(text.data, "\ntrain:");
        tdm_text_free(&text);
        if (is_study) accept_study(entry->fts_path);
        if (is_run) accept(entry->fts_path, NULL);
        studies += is_study;
        runs += is_run;
    }
    fts_close(walk);
    CHECK_GE(studies, 20);
    CHECK_GE(runs, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_of_conf)};
    if (tdm_register_options() != TDM_OK) return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_config_unregister_all();
    return failed;
}
