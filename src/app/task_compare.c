/* tandem eval --compare A B …: is B better than A, over the same queries? */
#include "comparison.h"
#include "eval_task_table.h"

typedef struct compare_options {
    const char *first; /* what the others are compared with */
    const char *latex; /* file; "": none */
    comparison_options comparison;
} compare_options;

typedef struct systems { /* systems_free */
    int64_t count;
    const char **path, **name;
    tdm_text label; /* what `name` points into */
} systems;

/* NAME=FILE calls a file by a name; what exists as it stands is a file. */
static const char *path_in(const char *given)
{
    const char *equals = strchr(given, '=');
    const bool named = equals != NULL && equals > given && !tdm_path_exists(given);
    return named ? equals + 1 : given;
}

static tdm_status find_systems(const eval_request *request, const compare_options *o, systems *all)
{
    int64_t *label = NULL;
    TDM_REQUIRE(o->first[0] != '\0' && request->rest.count > 0, TDM_E_USAGE,
                "tandem eval: --compare takes two files or more: --compare A.csv B.csv");
    all->count = 1 + request->rest.count;
    TDM_TRY(TDM_ALLOC(all->count, &all->path));
    TDM_TRY(TDM_ALLOC(all->count, &all->name));
    TDM_TRY(TDM_ALLOC(all->count, &label));
    tdm_status status = TDM_OK;
    for (int64_t s = 0; status == TDM_OK && s < all->count; s++) {
        const char *given = s == 0 ? o->first : request->rest.item[s - 1];
        all->path[s] = path_in(given);
        const int length = all->path[s] > given ? (int)(all->path[s] - given - 1) : (int)strlen(given);
        label[s] = (int64_t)all->label.length;
        status = tdm_text_printf(&all->label, "%.*s%c", length, given, 0);
    }
    for (int64_t s = 0; status == TDM_OK && s < all->count; s++) all->name[s] = all->label.data + label[s];
    tdm_free(label);
    return status;
}

static void systems_free(systems *all)
{
    tdm_free((void *)all->path);
    tdm_free((void *)all->name);
    tdm_text_free(&all->label);
}

static tdm_status check_options(const eval_request *r)
{
    TDM_REQUIRE(
        r->inference.model[0] == '\0' && r->data[0] == '\0' && r->split[0] == '\0', TDM_E_USAGE,
        "tandem eval: --model, --data and --split belong to the tasks that embed, --compare takes files of "
        "--per-query");
    return TDM_OK;
}

/* On rank 0. */
static tdm_status write_files(const eval_request *r, const compare_options *o, const systems *all,
                              const comparison *made)
{
    comparison_log(made);
    TDM_TRY(comparison_write_json(made, all->path, r->json));
    if (o->latex[0] != '\0') TDM_TRY(comparison_write_latex(made, o->latex));
    return r->html[0] != '\0' ? comparison_write_html(made, r->html) : TDM_OK;
}

static tdm_status compare_run(tdm_comm *comm, const eval_request *request, const void *options)
{
    const compare_options *o = options;
    comparison_options how = o->comparison;
    comparison made = {0};
    systems all = {0};
    how.threads = request->inference.threads;
    TDM_TRY(check_options(request));
    tdm_status status = tdm_comm_agree(comm, find_systems(request, o, &all));
    if (status == TDM_OK) status = comparison_make(comm, all.count, all.name, all.path, &how, &made);
    if (status == TDM_OK)
        status =
            tdm_comm_agree(comm, tdm_comm_rank(comm) == 0 ? write_files(request, o, &all, &made) : TDM_OK);
    comparison_free(&made);
    systems_free(&all);
    return status;
}

/* ---- Options ---- */

static const compare_options defaults = {
    .first = "",
    .latex = "",
    .comparison = {.metrics = "",
                   .changed_by = "",
                   .changed = 10,
                   .permutations = 100000,
                   .intervals = {.level = 0.95, .resamples = 10000, .seed = 1}}};

static size_t compare_flags(void *options, tdm_flag flag[EVAL_TASK_MAX_FLAGS])
{
    compare_options *o = options;
    comparison_options *c = &o->comparison;
    const tdm_flag own[] = {
        FLAG_STRING("--compare", &o->first, "A B …", "",
                    "files of --per-query, each beside the first; NAME=FILE gives one a name"),
        FLAG_STRING("--metrics", &c->metrics, "NAME,…", "",
                    "that are compared; unset: all that the files share"),
        FLAG_INT("--permutations", &c->permutations, "N", "100000", "", 1, TDM_MOST_PERMUTATIONS,
                 "of signs, for p; all of them where there are no more"),
        INTERVAL_FLAGS(c->intervals, "0.95"),
        FLAG_SWITCH("--alone", &c->alone, "each query is by itself, whatever the column cluster says"),
        FLAG_INT("--changed", &c->changed, "N", "10", "queries", 0, 1000000,
                 "in each list of those that changed most"),
        FLAG_STRING("--changed-by", &c->changed_by, "NAME", "",
                    "metric of these lists; unset: map, else the first"),
        FLAG_STRING("--latex", &o->latex, "FILE", "", "writes a table for LaTeX (booktabs)"),
    };
    _Static_assert(sizeof own / sizeof own[0] <= EVAL_TASK_MAX_FLAGS, "there is room for the task's flags");
    memcpy(flag, own, sizeof own);
    return sizeof own / sizeof own[0];
}

const eval_task task_compare = {
    .name = "compare",
    .help = "is one system better than another, over the same queries; --compare is enough to choose it",
    .option_bytes = sizeof defaults,
    .defaults = &defaults,
    .chosen_by = "--compare",
    .takes_files = true,
    .flags = compare_flags,
    .run = compare_run,
};
