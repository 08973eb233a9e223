/* tandem eval: finds the task, refuses the options of others, runs it. */
#include "eval_task_table.h"

#include <stdlib.h>
#include <string.h>

#define TASK_ADDRESS(task) &task,
static const eval_task *const tasks[] = {EVAL_TASK_TABLE(TASK_ADDRESS)};
enum {
    TASKS = sizeof tasks / sizeof tasks[0],
    COMMON_FLAGS = 16, /* at most */
    MAX_FLAGS = COMMON_FLAGS + TASKS * EVAL_TASK_MAX_FLAGS
};

/* The command line: the request, and each task's options with what was given of them. */
typedef struct eval_command {
    eval_request request;
    const char *task;
    void *options[TASKS];
    tdm_text heading[TASKS], names; /* "retrieval|zeroshot" */
    tdm_flag flag[MAX_FLAGS];
    bool given[MAX_FLAGS];
    int owner[MAX_FLAGS]; /* task that a flag belongs to, -1: all */
    bool required[COMMON_FLAGS];
    size_t flags;
} eval_command;

static void add_common_flags(eval_command *c)
{
    eval_request *r = &c->request;
    const tdm_flag common[] = {
        FLAG_STRING("--data", &r->data, "DIR", NULL, "packed data directory"),
        FLAG_STRING("--split", &r->split, "NAME", NULL, "its split"),
        FLAG_STRING("--task", &c->task, c->names.data, tasks[0]->name, "what to evaluate; see below"),
        FLAG_STRING("--json", &r->json, "FILE", "", "where the results are written; unset: standard output"),
        FLAG_STRING("--html", &r->html, "FILE", "", "a page to look at; see below"),
        INFERENCE_FLAGS(r->inference),
    };
    _Static_assert(sizeof common / sizeof common[0] <= COMMON_FLAGS,
                   "eval_command has room for the common flags");
    c->flags = sizeof common / sizeof common[0];
    memcpy(c->flag, common, sizeof common);
    for (size_t i = 0; i < c->flags; i++) {
        c->owner[i] = -1;
        c->flag[i].given = &c->given[i];
        c->required[i] = c->flag[i].default_text == NULL; /* by the tasks with a model */
        if (c->required[i]) c->flag[i].default_text = "";
    }
}

static tdm_status add_task_flags(eval_command *c, int t)
{
    const eval_task *task = tasks[t];
    tdm_flag *own = c->flag + c->flags;
    TDM_TRY(tdm_alloc(task->option_bytes, "options of a task", &c->options[t]));
    memcpy(c->options[t], task->defaults, task->option_bytes);
    TDM_TRY(tdm_text_printf(&c->heading[t], "--task %s: %s", task->name, task->help));
    const size_t count = task->flags(c->options[t], own);
    for (size_t i = 0; i < count; i++, c->flags++) {
        own[i].heading = c->heading[t].data;
        own[i].given = &c->given[c->flags];
        c->owner[c->flags] = t;
    }
    return TDM_OK;
}

static tdm_status add_flags(eval_command *c)
{
    for (int t = 0; t < TASKS; t++)
        TDM_TRY(tdm_text_printf(&c->names, "%s%s", t > 0 ? "|" : "", tasks[t]->name));
    add_common_flags(c);
    for (int t = 0; t < TASKS; t++) TDM_TRY(add_task_flags(c, t));
    return TDM_OK;
}

static bool is_given(const eval_command *c, const char *name)
{
    for (size_t i = 0; i < c->flags; i++)
        if (c->given[i] && strcmp(c->flag[i].name, name) == 0) return true;
    return false;
}

/* The one of --task, whose name the parser has checked, or the one that an option of its own chooses. */
static int find_task(const eval_command *c)
{
    int t = 0;
    while (t < TASKS - 1 && strcmp(c->task, tasks[t]->name) != 0) t++;
    for (int s = 0; s < TASKS && !is_given(c, "--task"); s++)
        if (tasks[s]->chosen_by != NULL && is_given(c, tasks[s]->chosen_by)) return s;
    return t;
}

static size_t value_bytes(tdm_flag_type type)
{
    switch (type) {
    case TDM_FLAG_SWITCH: return sizeof(bool);
    case TDM_FLAG_INT: return sizeof(int64_t);
    case TDM_FLAG_FLOAT: return sizeof(double);
    case TDM_FLAG_STRING: return sizeof(const char *);
    case TDM_FLAG_LIST: break; /* owned by its first task; none has one */
    }
    return 0;
}

/* An option that several tasks have: the parser gave it to the first of them. */
static void hand_over(eval_command *c, int task)
{
    for (size_t i = 0; i < c->flags; i++) {
        if (!c->given[i] || c->owner[i] < 0 || c->owner[i] == task) continue;
        for (size_t j = 0; j < c->flags; j++) {
            if (c->owner[j] != task || c->flag[j].type != c->flag[i].type ||
                strcmp(c->flag[j].name, c->flag[i].name) != 0)
                continue;
            memcpy(c->flag[j].value, c->flag[i].value, value_bytes(c->flag[i].type));
            c->given[i] = false;
            c->given[j] = true;
        }
    }
}

static tdm_status check_required(const eval_command *c, int task)
{
    for (size_t i = 0; tasks[task]->needs_model && i < COMMON_FLAGS; i++)
        TDM_REQUIRE(!c->required[i] || c->given[i], TDM_E_USAGE,
                    "eval: %s %s is missing; see `tandem eval --help`", c->flag[i].name, c->flag[i].argument);
    return TDM_OK;
}

/* One task's options are not silently ignored by another. */
static tdm_status refuse_options_of_others(const eval_command *c, int task)
{
    for (size_t i = 0; i < c->flags; i++) {
        const bool foreign = c->given[i] && c->owner[i] >= 0 && c->owner[i] != task;
        TDM_REQUIRE(!foreign, TDM_E_USAGE, "tandem eval: %s needs --task %s", c->flag[i].name,
                    tasks[c->owner[i]]->name);
    }
    return TDM_OK;
}

static tdm_status parse_and_run(tdm_comm *comm, eval_command *c, int argc, char **argv)
{
    bool help = false;
    TDM_TRY(add_flags(c));
    TDM_TRY(tdm_parse_flags(
        "eval",
        "--model CKPT --data DIR --split NAME [--task NAME] [--json FILE] [--html FILE]\n"
        "       tandem eval --query FILE --gallery FILE [--qrels FILE] [--json FILE] [--run-out FILE]\n"
        "       tandem eval --compare A B … [--json FILE] [--html FILE] [--latex FILE]",
        c->flag, c->flags, argc, argv, &c->request.rest, &help));
    for (int t = 0; help && t < TASKS && tdm_comm_rank(comm) == 0; t++)
        if (tasks[t]->explain != NULL) tasks[t]->explain();
    if (help) return TDM_OK;
    const int task = find_task(c);
    hand_over(c, task);
    TDM_TRY(refuse_options_of_others(c, task));
    TDM_TRY(check_required(c, task));
    TDM_REQUIRE(c->request.rest.count == 0 || tasks[task]->takes_files, TDM_E_USAGE,
                "tandem eval: takes options only, not \"%.80s\"", c->request.rest.item[0]);
    return tasks[task]->run(comm, &c->request, c->options[task]);
}

static tdm_status eval_run(tdm_comm *comm, int argc, char **argv)
{
    eval_command c = {
        .request = {.inference = INFERENCE_DEFAULTS, .data = "", .split = "", .json = "", .html = ""},
        .task = tasks[0]->name};
    const tdm_status status = parse_and_run(comm, &c, argc, argv);
    for (int t = 0; t < TASKS; t++) {
        tdm_free(c.options[t]);
        tdm_text_free(&c.heading[t]);
    }
    tdm_text_free(&c.names);
    free((void *)c.request.rest.item);
    return status;
}

const tdm_command tdm_command_eval = {
    .name = "eval",
    .summary =
        "exact retrieval metrics, or zero-shot accuracy, of a model on a split; metrics of any embeddings",
    .mpi = true,
    .stops = true,
    .run = eval_run};
