/* What state.h5 says of the run beside its moments and its first attributes: a text in the data set /progress, a line
 * for each value. (HDF5 keeps more than eight attributes in a heap, which cannot be closed when the disk is full.) */
#include "checkpoint_impl.h"

#include <stdlib.h>
#include <string.h>

typedef struct value_row {
    const char *name;
    enum { COUNT, NUMBER, TEXT, TRUTH } type; /* int64_t, double, char[bytes], bool */
    size_t offset, bytes;
    bool is_later; /* not in the first files with /progress: zeros where it is missing */
} value_row;

#define ROW(name, type, field)                                                                               \
    {                                                                                                        \
        name, type, offsetof(tdm_train_state, field), sizeof(((tdm_train_state *)0)->field), false           \
    }
#define LATER(name, type, field)                                                                             \
    {                                                                                                        \
        name, type, offsetof(tdm_train_state, field), sizeof(((tdm_train_state *)0)->field), true            \
    }
static const value_row rows[] = {
    ROW("epoch", COUNT, place.epoch),
    ROW("epoch_sample", COUNT, place.sample),
    ROW("samples_per_epoch", COUNT, samples_per_epoch),
    ROW("samples_seen", COUNT, samples_seen),
    ROW("clock_step", COUNT, clock.step),
    ROW("clock_at", NUMBER, clock.at),
    ROW("clock_rate", NUMBER, clock.rate),
    ROW("data_digest", TEXT, data_digest),
    ROW("eval_digest", TEXT, eval_digest),
    ROW("identity_digest", TEXT, identity_digest),
    ROW("precision", TEXT, precision),
    LATER("best_epoch", NUMBER, best_epoch),
    LATER("evaluations_since_best", COUNT, evaluations_since_best),
    LATER("evaluation_due", TRUTH, evaluation_due),
    LATER("end", TEXT, end),
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static tdm_status print_value(const value_row *row, const tdm_train_state *state, tdm_text *text)
{
    const unsigned char *at = (const unsigned char *)state + row->offset;
    int64_t count;
    double number;
    switch (row->type) {
    case COUNT:
        memcpy(&count, at, sizeof count);
        return tdm_text_printf(text, "%s %lld\n", row->name, (long long)count);
    case NUMBER:
        memcpy(&number, at, sizeof number);
        return tdm_text_printf(text, "%s %.17g\n", row->name, number);
    case TEXT: return tdm_text_printf(text, "%s %s\n", row->name, (const char *)at);
    case TRUTH: return tdm_text_printf(text, "%s %d\n", row->name, *(const bool *)at ? 1 : 0);
    }
    return TDM_OK;
}

tdm_status progress_put(tdm_h5 *file, const tdm_train_state *state)
{
    tdm_text text = {0};
    tdm_status status = TDM_OK;
    for (int i = 0; status == TDM_OK && i < ROWS; i++) status = print_value(&rows[i], state, &text);
    const int64_t shape[1] = {(int64_t)text.length};
    if (status == TDM_OK)
        status = tdm_h5_put_array(file, "progress", TDM_H5_U8, 1, shape, 1 << 16, text.data);
    tdm_text_free(&text);
    return status;
}

/* The text behind "NAME " in its line; NULL: there is no such line, or it does not end. Sets *length. */
static const char *find_value(const tdm_text *text, const char *name, size_t *length)
{
    const size_t n = strlen(name);
    for (const char *line = text->data, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        if (strncmp(line, name, n) != 0 || line[n] != ' ') continue;
        *length = (size_t)(end - line) - n - 1;
        return line + n + 1;
    }
    return NULL;
}

static bool read_value(const value_row *row, const char *value, size_t length, unsigned char *at)
{
    char *end;
    if (row->type == COUNT) {
        const int64_t count = strtoll(value, &end, 10);
        memcpy(at, &count, sizeof count);
        return length > 0 && end == value + length && count >= 0;
    }
    if (row->type == NUMBER) {
        const double number = strtod(value, &end);
        memcpy(at, &number, sizeof number);
        return length > 0 && end == value + length && number >= 0.0 && number < 1e18;
    }
    if (row->type == TRUTH) {
        *(bool *)at = value[0] == '1';
        return length == 1 && (value[0] == '0' || value[0] == '1');
    }
    if (length >= row->bytes) return false;
    memcpy(at, value, length);
    at[length] = '\0';
    return true;
}

static tdm_status read_values(const char *path, const tdm_text *text, tdm_train_state *state)
{
    for (int i = 0; i < ROWS; i++) {
        size_t length;
        const char *value = find_value(text, rows[i].name, &length);
        if (value == NULL && rows[i].is_later) continue;
        TDM_REQUIRE(value && read_value(&rows[i], value, length, (unsigned char *)state + rows[i].offset),
                    TDM_E_FORMAT, "%s: /progress has no %s that can be", path, rows[i].name);
    }
    TDM_REQUIRE(state->clock.rate > 0.0 && state->samples_per_epoch > 0, TDM_E_FORMAT,
                "%s: /progress says a place that cannot be", path);
    return TDM_OK;
}

tdm_status progress_get(tdm_h5 *file, tdm_train_state *state)
{
    state->has_facts = tdm_h5_has(file, "progress");
    if (!state->has_facts) return TDM_OK;
    tdm_text text = {0};
    tdm_status status = tdm_h5_get_bytes(file, "progress", &text);
    if (status == TDM_OK) status = read_values(tdm_h5_path(file), &text, state);
    tdm_text_free(&text);
    return status;
}
