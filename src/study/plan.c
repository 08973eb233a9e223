/* The study file, and the runs that it asks for. */
#include "tandem/study.h"

#include <libconfig.h>

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 10000, MOST_AXES = 8 };

/* Everything that the study's strings and lists point to. */
typedef struct memory {
    void **item;
    size_t count;
} memory;

static tdm_status keep(tdm_study *study, size_t bytes, void *out)
{
    memory *m = study->memory;
    void **grown = realloc(m->item, sizeof *grown * (m->count + 1));
    TDM_REQUIRE(grown, TDM_E_NOMEM, "no memory for a study");
    m->item = grown;
    grown[m->count] = calloc(1, bytes ? bytes : 1);
    TDM_REQUIRE(grown[m->count], TDM_E_NOMEM, "no memory for a study");
    *(void **)out = grown[m->count++];
    return TDM_OK;
}

static tdm_status keep_text(tdm_study *study, const char *text, char **out)
{
    TDM_TRY(keep(study, strlen(text) + 1, out));
    strcpy(*out, text);
    return TDM_OK;
}

void tdm_study_destroy(tdm_study **study)
{
    if (!*study) return;
    memory *m = (*study)->memory;
    for (size_t i = 0; m && i < m->count; i++) free(m->item[i]);
    if (m) free(m->item);
    free(m);
    tdm_metric_rows_free(&(*study)->metric_rows);
    free((*study)->row);
    free(*study);
    *study = NULL;
}

/* ---- Reading ---- */

typedef struct reader {
    tdm_study *study;
    const char *path;
    const tdm_strings *set; /* of the command line */
} reader;

#define WHERE(r, setting) (r)->path, config_setting_source_line(setting)

static tdm_status check_keys(const reader *r, const config_setting_t *group, const char *const *known,
                             size_t count)
{
    for (unsigned i = 0; i < (unsigned)config_setting_length(group); i++) {
        const config_setting_t *key = config_setting_get_elem(group, i);
        const char *name = config_setting_name(key);
        bool found = false;
        for (size_t k = 0; k < count; k++) found |= !strcmp(name, known[k]);
        if (found) continue;
        const char *near = tdm_nearest_name(name, known, count);
        TDM_FAIL(TDM_E_CONFIG, "%s:%d: unknown key \"%s\"%s%s%s", WHERE(r, key), name,
                 near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    }
    return TDM_OK;
}
#define CHECK_KEYS(r, group, ...)                                                                            \
    check_keys((r), (group), (const char *const[]){__VA_ARGS__},                                             \
               sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static tdm_status read_text(const reader *r, const config_setting_t *group, const char *key, char **out)
{
    const config_setting_t *value = config_setting_get_member(group, key);
    if (!value) return TDM_OK;
    TDM_REQUIRE(config_setting_type(value) == CONFIG_TYPE_STRING, TDM_E_CONFIG, "%s:%d: %s must be a string",
                WHERE(r, value), key);
    return keep_text(r->study, config_setting_get_string(value), out);
}

/* A list of strings, behind those that are there. */
static tdm_status read_strings(const reader *r, const config_setting_t *group, const char *key,
                               tdm_strings *out)
{
    const config_setting_t *value = config_setting_get_member(group, key);
    if (!value) return TDM_OK;
    TDM_REQUIRE(config_setting_is_aggregate(value) && !config_setting_is_group(value), TDM_E_CONFIG,
                "%s:%d: %s must be a list of strings", WHERE(r, value), key);
    const int more = config_setting_length(value);
    const char **item;
    TDM_TRY(keep(r->study, sizeof *item * (size_t)(out->count + more), &item));
    if (out->count) memcpy((void *)item, (const void *)out->item, sizeof *item * (size_t)out->count);
    for (int i = 0; i < more; i++) {
        const char *text = config_setting_get_string_elem(value, i);
        char *copy;
        TDM_REQUIRE(text, TDM_E_CONFIG, "%s:%d: %s must be a list of strings", WHERE(r, value), key);
        TDM_TRY(keep_text(r->study, text, &copy));
        item[out->count + i] = copy;
    }
    *out = (tdm_strings){.item = item, .count = out->count + more};
    return TDM_OK;
}

static tdm_status read_seeds(const reader *r, const config_setting_t *group, const int64_t **seed,
                             int64_t *count)
{
    const config_setting_t *value = config_setting_get_member(group, "seeds");
    int64_t *list;
    if (!value) return TDM_OK;
    TDM_REQUIRE(config_setting_is_aggregate(value) && config_setting_length(value) > 0, TDM_E_CONFIG,
                "%s:%d: seeds must be a list of whole numbers", WHERE(r, value));
    *count = config_setting_length(value);
    TDM_TRY(keep(r->study, sizeof *list * (size_t)*count, &list));
    for (int64_t i = 0; i < *count; i++) {
        const config_setting_t *one = config_setting_get_elem(value, (unsigned)i);
        TDM_REQUIRE(config_setting_type(one) == CONFIG_TYPE_INT ||
                        config_setting_type(one) == CONFIG_TYPE_INT64,
                    TDM_E_CONFIG, "%s:%d: seeds must be a list of whole numbers", WHERE(r, value));
        list[i] = config_setting_get_int64(one);
        for (int64_t k = 0; k < i; k++)
            TDM_REQUIRE(list[k] != list[i], TDM_E_CONFIG, "%s:%d: seeds: %lld stands there twice",
                        WHERE(r, value), (long long)list[i]);
    }
    *seed = list;
    return TDM_OK;
}

/* One value of an axis. */
typedef struct axis_value {
    char *label;
    tdm_strings set;
    double x;
    const int64_t *seed;
    int64_t seeds;
} axis_value;
typedef struct axis {
    char *name;
    axis_value *value;
    int64_t count;
    bool numeric;
} axis;

static tdm_status read_value(const reader *r, const config_setting_t *group, axis_value *value)
{
    const config_setting_t *x = config_setting_get_member(group, "x");
    *value = (axis_value){.x = NAN};
    TDM_REQUIRE(config_setting_is_group(group), TDM_E_CONFIG,
                "%s:%d: a value of an axis is a group { label = …; set = […]; }", WHERE(r, group));
    TDM_TRY(CHECK_KEYS(r, group, "label", "set", "x", "seeds"));
    TDM_TRY(read_text(r, group, "label", &value->label));
    TDM_REQUIRE(value->label && value->label[0], TDM_E_CONFIG, "%s:%d: a value of an axis needs a label",
                WHERE(r, group));
    TDM_TRY(read_strings(r, group, "set", &value->set));
    TDM_TRY(read_seeds(r, group, &value->seed, &value->seeds));
    if (!x) return TDM_OK;
    TDM_REQUIRE(config_setting_is_number(x), TDM_E_CONFIG, "%s:%d: x must be a number", WHERE(r, x));
    value->x = config_setting_type(x) == CONFIG_TYPE_FLOAT ? config_setting_get_float(x)
                                                           : (double)config_setting_get_int64(x);
    return TDM_OK;
}

static tdm_status read_axis(const reader *r, const config_setting_t *group, axis *a)
{
    TDM_REQUIRE(config_setting_is_group(group), TDM_E_CONFIG,
                "%s:%d: an axis is a group { name = …; values = ( … ); }", WHERE(r, group));
    TDM_TRY(CHECK_KEYS(r, group, "name", "values"));
    TDM_TRY(read_text(r, group, "name", &a->name));
    const config_setting_t *values = config_setting_get_member(group, "values");
    TDM_REQUIRE(values && config_setting_is_list(values) && config_setting_length(values) > 0, TDM_E_CONFIG,
                "%s:%d: an axis needs values = ( { label = …; set = […]; }, … )", WHERE(r, group));
    a->count = config_setting_length(values);
    TDM_TRY(keep(r->study, sizeof *a->value * (size_t)a->count, &a->value));
    for (int64_t i = 0; i < a->count; i++) {
        TDM_TRY(read_value(r, config_setting_get_elem(values, (unsigned)i), &a->value[i]));
        a->numeric = i ? a->numeric && isfinite(a->value[i].x) : isfinite(a->value[i].x);
    }
    return TDM_OK;
}

static tdm_status append_strings(tdm_study *study, tdm_strings *to, const tdm_strings *more)
{
    const char **item;
    if (!more || !more->count) return TDM_OK;
    TDM_TRY(keep(study, sizeof *item * (size_t)(to->count + more->count), &item));
    for (int64_t i = 0; i < to->count; i++) item[i] = to->item[i];
    for (int64_t i = 0; i < more->count; i++) item[to->count + i] = more->item[i];
    *to = (tdm_strings){.item = item, .count = to->count + more->count};
    return TDM_OK;
}

static tdm_status add_word(tdm_text *text, const char *word)
{
    return tdm_text_printf(text, "%s%s", text->length ? ", " : "", word);
}

/* A folder's name: letters and digits of the label in lower case, all else a dash; made unique by `rows` before. */
static tdm_status make_slug(tdm_study *study, tdm_study_row *row)
{
    char slug[96];
    size_t n = 0;
    for (const char *c = row->label; *c && n < sizeof slug - 16; c++) {
        if (isalnum((unsigned char)*c))
            slug[n++] = (char)tolower((unsigned char)*c);
        else if (n && slug[n - 1] != '-')
            slug[n++] = '-';
    }
    while (n && slug[n - 1] == '-') n--;
    slug[n] = '\0';
    if (!n) strcpy(slug, "row");
    n = strlen(slug);
    for (int64_t copy = 2;; copy++) {
        bool taken = false;
        for (const tdm_study_row *other = study->row; other < row; other++)
            taken |= !strcmp(other->slug, slug);
        if (!taken) return keep_text(study, slug, &row->slug);
        snprintf(slug + n, sizeof slug - n, "-%lld", (long long)copy);
    }
}

/* The row that has value place[k] of each axis. */
static tdm_status make_row(const reader *r, const axis *axes, int64_t count, const int64_t *place,
                           const tdm_strings *set, const int64_t *seed, int64_t seeds)
{
    tdm_study *study = r->study;
    tdm_study_row *row = &study->row[study->rows];
    tdm_text label = {0}, series = {0};
    *row = (tdm_study_row){.x = NAN, .set = *set, .seed = seed, .seeds = seeds};
    tdm_status status = TDM_OK;
    for (int64_t k = 0; k < count && status == TDM_OK; k++) {
        const axis_value *value = &axes[k].value[place[k]];
        status = add_word(&label, value->label);
        if (status == TDM_OK && !axes[k].numeric) status = add_word(&series, value->label);
        if (axes[k].numeric) row->x = value->x;
        if (value->seeds) row->seed = value->seed, row->seeds = value->seeds;
        if (status == TDM_OK) status = append_strings(study, &row->set, &value->set);
    }
    if (status == TDM_OK) status = append_strings(study, &row->set, r->set);
    if (status == TDM_OK) status = keep_text(study, label.length ? label.data : "all", &row->label);
    if (status == TDM_OK) status = keep_text(study, series.length ? series.data : "", &row->series);
    tdm_text_free(&label);
    tdm_text_free(&series);
    TDM_TRY(status);
    for (int64_t i = 0; i < study->rows; i++)
        TDM_REQUIRE(strcmp(study->row[i].label, row->label), TDM_E_CONFIG, "%s: two rows are called \"%s\"",
                    r->path, row->label);
    TDM_TRY(make_slug(study, row));
    study->rows++;
    return TDM_OK;
}

static tdm_status make_rows(const reader *r, const axis *axes, int64_t count, const tdm_strings *set,
                            const int64_t *seed, int64_t seeds)
{
    int64_t rows = 1, place[MOST_AXES] = {0};
    for (int64_t k = 0; k < count; k++) {
        rows *= axes[k].count;
        TDM_REQUIRE(rows <= MOST_ROWS, TDM_E_CONFIG, "%s: more than %d rows", r->path, MOST_ROWS);
    }
    r->study->row = calloc((size_t)rows, sizeof *r->study->row);
    TDM_REQUIRE(r->study->row, TDM_E_NOMEM, "no memory for %lld rows", (long long)rows);
    for (int64_t i = 0; i < rows; i++) {
        TDM_TRY(make_row(r, axes, count, place, set, seed, seeds));
        for (int64_t k = count - 1; k >= 0 && ++place[k] == axes[k].count; k--) place[k] = 0;
    }
    return TDM_OK;
}

static tdm_status read_rows(const reader *r, const config_setting_t *root)
{
    axis axes[MOST_AXES] = {{0}};
    static const int64_t first_seed[] = {1};
    const int64_t *seed = first_seed;
    int64_t seeds = 1, count = 0;
    tdm_strings set = {0};
    const config_setting_t *list = config_setting_get_member(root, "axes");
    TDM_TRY(read_strings(r, root, "set", &set));
    TDM_TRY(read_seeds(r, root, &seed, &seeds));
    if (list) {
        TDM_REQUIRE(config_setting_is_list(list), TDM_E_CONFIG,
                    "%s:%d: axes must be a list ( { name = …; values = ( … ); }, … )", WHERE(r, list));
        count = config_setting_length(list);
        TDM_REQUIRE(count <= MOST_AXES, TDM_E_CONFIG, "%s:%d: more than %d axes", WHERE(r, list), MOST_AXES);
    }
    for (int64_t k = 0; k < count; k++) {
        TDM_TRY(read_axis(r, config_setting_get_elem(list, (unsigned)k), &axes[k]));
        for (int64_t j = 0; j < k && axes[k].numeric; j++)
            TDM_REQUIRE(!axes[j].numeric, TDM_E_CONFIG,
                        "%s:%d: two axes have numbers x; one can be plotted over", WHERE(r, list));
        if (axes[k].numeric) r->study->x_title = axes[k].name;
    }
    return make_rows(r, axes, count, &set, seed, seeds);
}

static tdm_status read_eval(const reader *r, const config_setting_t *root)
{
    tdm_study *study = r->study;
    const config_setting_t *group = config_setting_get_member(root, "eval");
    if (!group) return TDM_OK;
    TDM_REQUIRE(config_setting_is_group(group), TDM_E_CONFIG, "%s:%d: eval must be a group", WHERE(r, group));
    TDM_TRY(CHECK_KEYS(r, group, "data", "split", "checkpoint", "positives"));
    TDM_TRY(read_text(r, group, "data", &study->eval_data));
    TDM_TRY(read_text(r, group, "split", &study->eval_split));
    TDM_TRY(read_text(r, group, "checkpoint", &study->eval_checkpoint));
    TDM_TRY(read_text(r, group, "positives", &study->eval_positives));
    TDM_REQUIRE(study->eval_split, TDM_E_CONFIG, "%s:%d: eval needs a split", WHERE(r, group));
    TDM_REQUIRE(!study->eval_checkpoint || !strcmp(study->eval_checkpoint, "latest") ||
                    !strcmp(study->eval_checkpoint, "best"),
                TDM_E_CONFIG, "%s:%d: eval.checkpoint must be latest or best, not \"%s\"", WHERE(r, group),
                study->eval_checkpoint);
    return TDM_OK;
}

/* "DIR/small.cfg" of a file DIR/study.cfg. */
static tdm_status base_configuration(const reader *r)
{
    tdm_study *study = r->study;
    const char *slash = strrchr(r->path, '/');
    char path[TDM_PATH_BYTES];
    TDM_REQUIRE(study->config, TDM_E_CONFIG, "%s: config is missing: the base configuration of the runs",
                r->path);
    if (study->config[0] == '/' || !slash) return TDM_OK;
    const int length = snprintf(path, sizeof path, "%.*s/%s", (int)(slash - r->path), r->path, study->config);
    TDM_REQUIRE(length < TDM_PATH_BYTES, TDM_E_IO, "%s: path is too long", study->config);
    return keep_text(study, path, &study->config);
}

static tdm_status find_base(const reader *r, const char *label)
{
    tdm_study *study = r->study;
    if (!label) return TDM_OK;
    while (study->base < study->rows && strcmp(study->row[study->base].label, label)) study->base++;
    TDM_REQUIRE(study->base < study->rows, TDM_E_CONFIG,
                "%s: base = \"%s\": no row is called that; the first is \"%s\"", r->path, label,
                study->row[0].label);
    return TDM_OK;
}

/* The rows that the metrics name, and whether each of them is there. */
static tdm_status read_metrics(const reader *r, tdm_study *study)
{
    char where[TDM_PATH_BYTES + 16];
    tdm_metric_choice choice;
    snprintf(where, sizeof where, "%s: metrics", r->path);
    TDM_TRY(tdm_metric_rows_of_keys(where, TDM_E_CONFIG, study->metric.item, study->metric.count,
                                    &study->metric_rows));
    for (int64_t k = 0; k < study->metric.count; k++)
        TDM_TRY(tdm_metric_choose(where, study->metric.item[k], &study->metric_rows, &choice));
    return TDM_OK;
}

static tdm_status read_root(const reader *r, const config_setting_t *root)
{
    tdm_study *study = r->study;
    char *base = NULL;
    const char *slash = strrchr(r->path, '/');
    TDM_TRY(CHECK_KEYS(r, root, "title", "config", "set", "seeds", "metrics", "base", "axes", "eval"));
    TDM_TRY(keep_text(study, slash ? slash + 1 : r->path, &study->name));
    char *dot = strrchr(study->name, '.');
    if (dot && dot > study->name) *dot = '\0';
    study->title = study->name;
    TDM_TRY(read_text(r, root, "title", &study->title));
    TDM_TRY(read_text(r, root, "config", &study->config));
    TDM_TRY(base_configuration(r));
    TDM_TRY(read_strings(r, root, "metrics", &study->metric));
    TDM_REQUIRE(study->metric.count > 0, TDM_E_CONFIG,
                "%s: metrics is missing, such as [\"text_to_image.recall_at_1\"]", r->path);
    TDM_TRY(read_metrics(r, study));
    TDM_TRY(read_text(r, root, "base", &base));
    TDM_TRY(read_eval(r, root));
    TDM_TRY(read_rows(r, root));
    return find_base(r, base);
}

/* @include "…" is relative to the file. */
static void set_include_dir(config_t *file, const char *path)
{
    char dir[TDM_PATH_BYTES];
    const char *slash = strrchr(path, '/');
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    config_set_include_dir(file, dir);
}

tdm_status tdm_study_read(const char *path, const tdm_strings *set, tdm_study **study)
{
    config_t file;
    tdm_text text = {0};
    *study = calloc(1, sizeof **study);
    TDM_REQUIRE(*study, TDM_E_NOMEM, "no memory for a study");
    (*study)->memory = calloc(1, sizeof(memory));
    TDM_REQUIRE((*study)->memory, TDM_E_NOMEM, "no memory for a study");
    TDM_TRY(tdm_read_file(path, &text));
    config_init(&file);
    set_include_dir(&file, path);
    const reader r = {.study = *study, .path = path, .set = set};
    tdm_status status =
        config_read_string(&file, text.data) == CONFIG_TRUE
            ? read_root(&r, config_root_setting(&file))
            : TDM_ERROR(TDM_E_CONFIG, "%s:%d: %s", path, config_error_line(&file), config_error_text(&file));
    config_destroy(&file);
    tdm_text_free(&text);
    return status;
}

/* ---- Runs ---- */

int64_t tdm_study_runs(const tdm_study *study)
{
    int64_t runs = 0;
    for (int64_t i = 0; i < study->rows; i++) runs += study->row[i].seeds;
    return runs;
}

static tdm_status digest_run(const tdm_study *study, tdm_study_run *run)
{
    const tdm_study_row *row = &study->row[run->row];
    tdm_text text = {0}, config = {0};
    tdm_status status = tdm_read_file(study->config, &config);
    if (status == TDM_OK) status = tdm_text_append(&text, config.data, config.length);
    for (int64_t i = 0; status == TDM_OK && i < row->set.count; i++)
        status = tdm_text_printf(&text, "\nset %s", row->set.item[i]);
    if (status == TDM_OK)
        status = tdm_text_printf(
            &text, "\nseed %lld\neval %s %s %s %s", (long long)run->seed,
            study->eval_data ? study->eval_data : "", study->eval_split ? study->eval_split : "",
            study->eval_checkpoint ? study->eval_checkpoint
            : study->eval_split    ? "latest" /* as before the default depended on the run */
                                   : "",
            study->eval_positives ? study->eval_positives : "");
    if (status == TDM_OK) status = tdm_sha256_buffer(text.data, text.length, run->digest);
    tdm_text_free(&config);
    tdm_text_free(&text);
    return status;
}

tdm_status tdm_study_run_at(const tdm_study *study, const char *out, int64_t index, tdm_study_run *run)
{
    int64_t at = 0;
    for (int64_t round = 0;; round++)
        for (int64_t i = 0; i < study->rows; i++) {
            const tdm_study_row *row = &study->row[i];
            if (round >= row->seeds || at++ != index) continue;
            *run = (tdm_study_run){.row = i, .seed = row->seed[round]};
            const int length = snprintf(run->dir, sizeof run->dir, "%s/runs/%s/seed-%lld", out, row->slug,
                                        (long long)run->seed);
            TDM_REQUIRE(length < TDM_PATH_BYTES, TDM_E_IO, "%s: path is too long", out);
            return digest_run(study, run);
        }
}
