/* What a file holds against what the model needs: missing, extra and mis-shaped tensors, all by name. */
#include "convert_impl.h"

#include <stdlib.h>
#include <string.h>

typedef enum problem_kind { MISSING, EXTRA, MISSHAPED, PROBLEM_KINDS } problem_kind;
static const char *const problem_words[PROBLEM_KINDS] = {"missing", "extra", "of another shape or type"};

enum { MOST_GROUPS = 4 }; /* of extra tensors that a message suggests to leave out */

typedef struct problems {
    tdm_text list[PROBLEM_KINDS]; /* names with ", " between */
    int64_t count[PROBLEM_KINDS];
    tdm_text ignore;        /* " --ignore GROUP" for every group of extra tensors */
    int64_t ignored_groups; /* in it */
    bool within;            /* an extra tensor is part of a tower */
} problems;

typedef struct tensor_set {
    const tdm_tensor **tensor;
    int64_t count;
} tensor_set;

static tdm_status add_problem(problems *p, problem_kind kind, const char *what)
{
    return tdm_text_printf(&p->list[kind], "%s%s", p->count[kind]++ > 0 ? ", " : "", what);
}

static bool is_floating(tdm_tensor_type type)
{
    return type == TDM_TENSOR_F64 || type == TDM_TENSOR_F32 || type == TDM_TENSOR_F16 ||
           type == TDM_TENSOR_BF16;
}

/* The shape is the parameter's; of position embeddings the number of rows may differ. */
static bool shape_fits(const tdm_param *row, int ndim, const int64_t *shape)
{
    if (row->ndim == 0 && ndim == 1) return shape[0] == 1;
    if (row->ndim != ndim) return false;
    for (int i = is_position_row(row->name) ? 1 : 0; i < ndim; i++) {
        if (row->shape[i] != shape[i]) return false;
    }
    return ndim == 0 || shape[0] > 0;
}

static tdm_status compare_row(const import_job *job, const tdm_param *row, tensor_set *used, problems *p)
{
    weights_parts parts;
    char missing[NAMING_NAME_BYTES], have[160], want[160], line[640];
    if (!weights_find(&job->src, row->name, &parts, missing)) return add_problem(p, MISSING, missing);
    for (int i = 0; i < parts.count; i++) used->tensor[used->count++] = parts.tensor[i];

    int ndim = 0;
    int64_t shape[TDM_TENSOR_MAX_DIMS];
    const tdm_tensor *tensor = parts.tensor[0];
    const bool whole = weights_shape(&job->src, row->name, &ndim, shape);
    if (whole && shape_fits(row, ndim, shape) && is_floating(tensor->type)) return TDM_OK;
    shape_text(tensor->ndim, tensor->shape, have, sizeof have);
    shape_text(row->ndim, row->shape, want, sizeof want);
    snprintf(line, sizeof line, "%s is %s %s, expected %s%s%s", tensor->name,
             tdm_tensor_type_name(tensor->type), have, is_floating(tensor->type) ? "" : "floating-point ",
             want,
             parts.how == NAMING_TRANSPOSED ? " transposed"
             : parts.how == NAMING_QKV      ? " in three parts"
                                            : "");
    return add_problem(p, MISSHAPED, line);
}

static bool begins_with_any(const tdm_strings *prefixes, const char *name)
{
    for (int64_t i = 0; i < prefixes->count; i++) {
        if (strncmp(name, prefixes->item[i], strlen(prefixes->item[i])) == 0) return true;
    }
    return false;
}

/* What a tensor that is no parameter counts as. */
typedef enum rest_kind { REST_EXTRA, REST_KNOWN, REST_LEFT_OUT } rest_kind;

static rest_kind classify(const import_job *job, const char *name)
{
    const naming *n = job->src.naming;
    const size_t prefix = strlen(job->src.prefix);
    if (begins_with_any(&job->options->ignore, name)) return REST_LEFT_OUT;
    if (strncmp(name, job->src.prefix, prefix) != 0) return REST_LEFT_OUT; /* an optimiser's state … */
    if (naming_fits_any(n->ignored, name + prefix)) return REST_KNOWN;
    return naming_fits_any(n->heads, name + prefix) ? REST_LEFT_OUT : REST_EXTRA;
}

static int by_address(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t) * (const tdm_tensor *const *)a;
    const uintptr_t y = (uintptr_t) * (const tdm_tensor *const *)b;
    return x < y ? -1 : x > y;
}

/* "logit_bias", or "head." of "head.0.weight": what --ignore leaves out an extra tensor with. */
static tdm_status add_group(const import_job *job, const tensor_set *used, const char *name, problems *p)
{
    char group[WEIGHTS_PREFIX_BYTES + NAMING_NAME_BYTES], flag[sizeof group + 16];
    const size_t prefix = strlen(job->src.prefix), n = strcspn(name + prefix, ".");
    snprintf(group, sizeof group, "%.*s", (int)(prefix + n + (name[prefix + n] == '.')), name);
    for (int64_t i = 0; i < used->count && !p->within; i++)
        p->within = strncmp(used->tensor[i]->name, group, strlen(group)) == 0;
    snprintf(flag, sizeof flag, " --ignore %s", group);
    if (p->ignore.data != NULL && strstr(p->ignore.data, flag) != NULL) return TDM_OK;
    return ++p->ignored_groups <= MOST_GROUPS ? tdm_text_printf(&p->ignore, "%s", flag) : TDM_OK;
}

static tdm_status compare_rest(const import_job *job, const tensor_set *used, problems *p)
{
    int64_t left_out = 0;
    const char *first = NULL;
    qsort(used->tensor, (size_t)used->count, sizeof *used->tensor, by_address);
    for (int64_t i = 0; i < tdm_tensor_file_count(job->src.file); i++) {
        const tdm_tensor *tensor = tdm_tensor_file_at(job->src.file, i);
        const char *name = tensor->name;
        if (bsearch(&tensor, used->tensor, (size_t)used->count, sizeof *used->tensor, by_address)) continue;
        const rest_kind kind = classify(job, name);
        if (kind == REST_EXTRA) TDM_TRY(add_problem(p, EXTRA, name));
        if (kind == REST_EXTRA) TDM_TRY(add_group(job, used, name, p));
        if (kind == REST_LEFT_OUT && left_out++ == 0) first = name;
    }
    if (left_out > 0)
        tdm_log(TDM_LOG_INFO, "%s: %lld tensors beside the model are left out (%s%s)", job->src.path,
                (long long)left_out, first, left_out > 1 ? ", …" : "");
    return TDM_OK;
}

/* A list that does not fit into the message goes into the log in full, in lines that fit there. */
static void log_list(const char *path, problem_kind kind, const char *list)
{
    enum { LINE = 1400 };
    while (*list != '\0') {
        size_t n = strlen(list);
        if (n > LINE) {
            n = LINE;
            while (n > 0 && list[n - 1] != ' ') n--;
            if (n == 0) n = LINE;
        }
        tdm_log(TDM_LOG_WARN, "%s: %s: %.*s", path, problem_words[kind], (int)n, list);
        list += n;
    }
}

static tdm_status report(const import_job *job, const problems *p)
{
    enum { SHOWN = 160 };
    size_t total = strlen(job->src.path) + p->ignore.length + 240;
    char text[sizeof tdm_error_last()->message];
    int used = 0;
    for (int kind = 0; kind < PROBLEM_KINDS; kind++) total += p->list[kind].length;
    const bool fits = total < sizeof text;
    text[0] = '\0';
    for (int kind = 0; kind < PROBLEM_KINDS; kind++) {
        if (p->count[kind] == 0) continue;
        if (!fits) log_list(job->src.path, (problem_kind)kind, p->list[kind].data);
        used += snprintf(text + used, sizeof text - (size_t)used, "%s%lld %s (%.*s%s)", used ? ", " : "",
                         (long long)p->count[kind], problem_words[kind], fits ? (int)sizeof text : SHOWN,
                         p->list[kind].data, fits || p->list[kind].length <= SHOWN ? "" : "…");
    }
    if (used == 0) return TDM_OK;
    const bool beside = p->count[MISSING] + p->count[MISSHAPED] == 0 && !p->within;
    const bool few = beside && p->ignored_groups <= MOST_GROUPS;
    TDM_FAIL(TDM_E_SHAPE, "%.300s: the tensors (named as %s's) are not the model's: %s%s%s", job->src.path,
             job->src.naming->name, text, few ? "; to leave out what is extra:" : "",
             few ? p->ignore.data : "");
}

tdm_status import_check(const import_job *job)
{
    problems p = {0};
    tensor_set used = {0};
    TDM_TRY(TDM_ALLOC(job->params.count * NAMING_PARTS, &used.tensor));
    tdm_status status = TDM_OK;
    for (int64_t i = 0; status == TDM_OK && i < job->params.count; i++) {
        status = compare_row(job, &job->params.row[i], &used, &p);
    }
    if (status == TDM_OK) status = compare_rest(job, &used, &p);
    if (status == TDM_OK) status = report(job, &p);
    for (int kind = 0; kind < PROBLEM_KINDS; kind++) tdm_text_free(&p.list[kind]);
    tdm_text_free(&p.ignore);
    tdm_free((void *)used.tensor);
    return status;
}
