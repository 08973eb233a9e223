/* The rows that were asked for by name, behind those of the table. */
#include "metric_table.h"

#include <stdlib.h>
#include <string.h>

#define METRIC_ADDRESS(metric) &metric,
static const tdm_metric *const families[] = {TDM_METRIC_FAMILY_TABLE(METRIC_ADDRESS)};
enum { FAMILIES = sizeof families / sizeof families[0], NAME_BYTES = 64, TEXT_BYTES = 192 };
static const int64_t most_places = 1000000000;
static const char r_sum_name[] = "r_sum";

typedef struct metric_made { /* a family with its cutoff */
    tdm_metric metric;
    char name[NAME_BYTES], label[NAME_BYTES], title[TEXT_BYTES], help[TEXT_BYTES];
} metric_made;

const tdm_metric *const *tdm_metric_family_table(size_t *count)
{
    *count = FAMILIES;
    return families;
}

const tdm_metric *const *tdm_metric_rows_of(const tdm_metric_rows *rows, size_t *count)
{
    if (rows == NULL) return tdm_metric_table(count);
    *count = rows->count;
    return rows->row;
}

void tdm_metric_rows_free(tdm_metric_rows *rows)
{
    tdm_free(rows->made);
    *rows = (tdm_metric_rows){0};
}

/* ---- From a name to a row ---- */

/* Every METRIC_K in `text` as k. The texts are those of the table; out has room. */
static void fill_in(const char *text, const char *k, char *out, size_t bytes)
{
    size_t length = 0;
    out[0] = '\0';
    for (const char *at; *text != '\0'; text = at) {
        const char *variable = strstr(text, METRIC_K);
        const size_t plain = variable ? (size_t)(variable - text) : strlen(text);
        length +=
            (size_t)snprintf(out + length, bytes - length, "%.*s%s", (int)plain, text, variable ? k : "");
        at = text + plain + (variable ? strlen(METRIC_K) : 0);
    }
}

/* The first number in `name` from 1 to most_places, written as k; "" when there is none. */
static int64_t find_cutoff(const char *name, char k[16])
{
    const char *digits = name + strcspn(name, "0123456789");
    const long long cutoff = strtoll(digits, NULL, 10);
    k[0] = '\0';
    if (*digits == '\0' || cutoff < 1 || cutoff > most_places) return 0;
    snprintf(k, 16, "%lld", cutoff);
    return cutoff;
}

/* The family of the name, -1: none. A family with a variable needs a cutoff; "05" is not "5". */
static int find_family(const char *name, const char *k)
{
    char made[NAME_BYTES];
    for (int i = 0; i < FAMILIES; i++) {
        if (k[0] == '\0' && strstr(families[i]->name, METRIC_K)) continue;
        fill_in(families[i]->name, k, made, sizeof made);
        if (strcmp(made, name) == 0) return i;
    }
    return -1;
}

typedef bool match_text(const char *made, const char *name);

static bool is_name(const char *made, const char *name)
{
    return strcmp(made, name) == 0;
}

static bool begins_like(const char *made, const char *name)
{
    return strncmp(made, name, strlen(name)) == 0;
}

/* Does one of the row's other names match? */
static bool is_also(const tdm_metric *metric, const char *k, const char *name, match_text *matches)
{
    char made[TEXT_BYTES];
    if (metric->also == NULL) return false;
    fill_in(metric->also, k, made, sizeof made);
    for (char *rest = made, *one; (one = strtok_r(rest, ",", &rest)) != NULL;)
        if (matches(one, name)) return true;
    return false;
}

/* The name in the JSON of what `name` is called elsewhere; what has no other name keeps its own. */
static void find_own_name(const char *name, const char *k, char own[NAME_BYTES])
{
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_table(&count);
    snprintf(own, NAME_BYTES, "%s", name);
    for (size_t i = 0; i < count; i++)
        if (is_also(row[i], "", name, is_name)) snprintf(own, NAME_BYTES, "%s", row[i]->name);
    for (int i = 0; i < FAMILIES; i++)
        if ((k[0] != '\0' || !strstr(families[i]->name, METRIC_K)) && is_also(families[i], k, name, is_name))
            fill_in(families[i]->name, k, own, NAME_BYTES);
}

/* Names the ones that begin like it ("map_at_5": divided by what?), or the nearest. */
static tdm_status refuse(const char *where, tdm_status code, const char *name, const char *k)
{
    char made[FAMILIES][NAME_BYTES];
    const char *known[TDM_MAX_METRICS + FAMILIES + 1];
    size_t rows = 0, count = 0;
    const tdm_metric *const *row = tdm_metric_table(&rows);
    tdm_text like = {0};
    tdm_status status = TDM_OK;
    for (int i = 0; i < FAMILIES; i++) {
        fill_in(families[i]->name, k[0] ? k : "10", made[i], sizeof made[i]);
        known[count++] = made[i];
        if (status == TDM_OK && k[0] != '\0' &&
            (begins_like(made[i], name) || is_also(families[i], k, name, begins_like)))
            status = tdm_text_printf(&like, "%s%s", like.length > 0 ? ", " : "", made[i]);
    }
    for (size_t i = 0; i < rows; i++) known[count++] = row[i]->name;
    known[count++] = r_sum_name;
    const char *near = like.length > 0 ? like.data : tdm_nearest_name(name, known, count);
    if (status == TDM_OK)
        status = near ? TDM_ERROR(code, "%s: there is no metric \"%s\"; did you mean %s?", where, name, near)
                      : TDM_ERROR(code, "%s: there is no metric \"%s\"; `tandem eval --help` lists them",
                                  where, name);
    tdm_text_free(&like);
    return status;
}

static bool is_there(const tdm_metric_rows *rows, const char *name)
{
    for (size_t i = 0; i < rows->count; i++)
        if (strcmp(rows->row[i]->name, name) == 0) return true;
    return false;
}

static tdm_status add(const char *where, tdm_status code, const char *asked, tdm_metric_rows *rows)
{
    char k[16], name[NAME_BYTES];
    const int64_t cutoff = find_cutoff(asked, k);
    find_own_name(asked, k, name);
    if (strcmp(name, r_sum_name) == 0) {
        rows->r_sum = true;
        return TDM_OK;
    }
    /* What the console calls R@K is another figure. */
    if (strncmp(asked, "R@", 2) == 0 && strcmp(asked, name) != 0)
        tdm_log(TDM_LOG_INFO, "%s: %s is %s, as in ir-measures; any of several positives is recall_at_%s",
                where, asked, name, k);
    if (is_there(rows, name)) return TDM_OK;
    const int f = find_family(name, k);
    if (f < 0) return refuse(where, code, asked, k);
    TDM_REQUIRE(rows->count < TDM_MAX_METRICS, code, "%s: more than %d figures", where, TDM_MAX_METRICS);
    const tdm_metric *family = families[f];
    metric_made *made = &rows->made[rows->count];
    fill_in(family->name, k, made->name, sizeof made->name);
    fill_in(family->label, k, made->label, sizeof made->label);
    fill_in(family->title, k, made->title, sizeof made->title);
    fill_in(family->help, k, made->help, sizeof made->help);
    made->metric = *family;
    made->metric.name = made->name;
    made->metric.label = made->label;
    made->metric.title = made->title;
    made->metric.help = made->help;
    made->metric.also = NULL;
    made->metric.cutoff = strstr(family->name, METRIC_K) ? cutoff : 0;
    made->metric.is_headline = false; /* short lines and charts stay as they are */
    rows->row[rows->count++] = &made->metric;
    return TDM_OK;
}

tdm_status tdm_metric_rows_of_keys(const char *where, tdm_status code, const char *const *key, int64_t count,
                                   tdm_metric_rows *rows)
{
    tdm_text names = {0};
    tdm_status status = TDM_OK;
    for (int64_t i = 0; i < count && status == TDM_OK; i++) {
        const char *dot = strchr(key[i], '.');
        status = tdm_text_printf(&names, "%s%s", i > 0 ? "," : "", dot ? dot + 1 : key[i]);
    }
    if (status == TDM_OK) status = tdm_metric_rows_ask(where, code, names.data ? names.data : "", rows);
    tdm_text_free(&names);
    return status;
}

tdm_status tdm_metric_rows_ask(const char *where, tdm_status code, const char *names, tdm_metric_rows *rows)
{
    *rows = (tdm_metric_rows){0};
    const tdm_metric *const *table = tdm_metric_table(&rows->count);
    memcpy((void *)rows->row, (const void *)table, rows->count * sizeof *table);
    if (names[0] == '\0') return TDM_OK;
    tdm_status status = TDM_ALLOC(TDM_MAX_METRICS, &rows->made);
    for (const char *at = names; status == TDM_OK;) {
        char name[NAME_BYTES];
        const size_t length = strcspn(at, ",");
        /* A longer one is none, cut or not. */
        snprintf(name, sizeof name, "%.*s", (int)tdm_min_i64((int64_t)length, NAME_BYTES), at);
        status = add(where, code, name, rows);
        if (at[length] == '\0') break;
        at += length + 1;
    }
    if (status != TDM_OK) tdm_metric_rows_free(rows);
    return status;
}

tdm_status tdm_metric_choose_any(const char *where, tdm_status code, const char *key, tdm_metric_rows *rows,
                                 tdm_metric_choice *choice)
{
    char k[16], name[NAME_BYTES], own_key[2 * NAME_BYTES];
    const char *dot = strchr(key, '.'), *asked = dot ? dot + 1 : key;
    TDM_TRY(tdm_metric_rows_of_keys(where, code, &key, 1, rows));
    find_cutoff(asked, k);
    find_own_name(asked, k, name);
    TDM_REQUIRE(dot != NULL || rows->r_sum, code,
                "%s: \"%s\" is of a direction or of both: %s.%s or average.%s", where, key,
                tdm_direction_key(TDM_TEXT_TO_IMAGE), name, name);
    snprintf(own_key, sizeof own_key, "%.*s%s", (int)tdm_min_i64(asked - key, NAME_BYTES), key, name);
    return tdm_metric_choose(where, own_key, rows, choice);
}
