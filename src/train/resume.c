#include "tandem/resume.h"

#include <math.h>
#include <string.h>

void tdm_resume_destroy(tdm_resume *r)
{
    tdm_config_destroy(&r->config);
    tdm_differences_free(&r->differences);
}

/* ---- Comparing ---- */

/* A split as people know it, and by its content. */
static void describe_split(char out[512], const char *dir, const char *split, int64_t samples,
                           const char *digest)
{
    snprintf(out, 512, "%.300s, split %.32s, %lld samples, %.12s…", dir, split, (long long)samples, digest);
}

static tdm_status compare_data(const tdm_session *s, tdm_resume *r)
{
    const tdm_config *was = &r->config, *is = &s->config;
    char digest[65], before[512], now[512];
    if (!r->state.has_facts) {
        if (strcmp(was->data.dir, is->data.dir) != 0)
            TDM_TRY(tdm_differences_add(&r->differences, "data.dir", TDM_CHANGE_RUN, was->data.dir,
                                        is->data.dir));
        if (strcmp(was->data.split, is->data.split) != 0)
            TDM_TRY(tdm_differences_add(&r->differences, "data.split", TDM_CHANGE_RUN, was->data.split,
                                        is->data.split));
        return TDM_OK;
    }
    TDM_TRY(tdm_dataset_digest(s->dataset, digest));
    if (strcmp(digest, r->state.data_digest) == 0) return TDM_OK;
    describe_split(before, was->data.dir, was->data.split, r->state.samples_per_epoch, r->state.data_digest);
    describe_split(now, is->data.dir, is->data.split,
                   tdm_dataset_samples(s->dataset, (tdm_sample)is->data.sample), digest);
    return tdm_differences_add(&r->differences, "the data set", TDM_CHANGE_RUN, before, now);
}

/* What "auto" came to; of an earlier version only what was written down. */
static tdm_status compare_precision(const tdm_session *s, tdm_resume *r)
{
    const char *was = r->state.has_facts ? r->state.precision : r->config.train.precision;
    const char *is = tdm_session_precision(s);
    if (strcmp(was, "auto") == 0 || strcmp(was, is) == 0) return TDM_OK;
    return tdm_differences_add(&r->differences, "train.precision", TDM_CHANGE_RUN, was, is);
}

static tdm_status compare_digests(tdm_resume *r, const char *what, const char *was, const char *is)
{
    char before[16], now[16];
    if (was[0] == '\0' || is[0] == '\0' || strcmp(was, is) == 0) return TDM_OK;
    snprintf(before, sizeof before, "%.12s…", was);
    snprintf(now, sizeof now, "%.12s…", is);
    return tdm_differences_add(&r->differences, what, TDM_CHANGE_MEANING, before, now);
}

/* A value of another metric, or on other data, is no measure for the next one. */
static tdm_status compare_best(const tdm_session *s, const tdm_dataset *eval, tdm_resume *r)
{
    const tdm_config *was = &r->config, *is = &s->config;
    char digest[65] = "";
    if (eval != NULL) TDM_TRY(tdm_dataset_digest(eval, digest));
    const bool same_data = r->state.has_facts ? strcmp(r->state.eval_digest, digest) == 0
                                              : strcmp(was->eval.dir, is->eval.dir) == 0 &&
                                                    strcmp(was->eval.split, is->eval.split) == 0;
    if (same_data && strcmp(was->checkpoint.best_metric, is->checkpoint.best_metric) == 0 &&
        strcmp(was->eval.positives, is->eval.positives) == 0)
        return TDM_OK;
    if (isfinite(r->state.best_value) && is->checkpoint.best_metric[0] && is->eval.dir[0])
        tdm_log(
            TDM_LOG_WARN,
            "resume: the best value so far, %.4g at step %lld, is %s of %s, split %s, positives %s; the run "
            "measures %s of %s, split %s, positives %s: a new best is looked for",
            r->state.best_value, (long long)r->state.best_step, was->checkpoint.best_metric, was->eval.dir,
            was->eval.split, was->eval.positives, is->checkpoint.best_metric, is->eval.dir, is->eval.split,
            is->eval.positives);
    r->state.best_value = NAN;
    r->state.best_step = -1;
    r->state.evaluations_since_best = 0;
    return TDM_OK;
}

static tdm_status compare(const tdm_session *s, const tdm_tokenizer *tokenizer, const tdm_dataset *eval,
                          tdm_resume *r)
{
    TDM_TRY(tdm_config_compare(&r->config, &s->config, &r->differences));
    if (tokenizer != NULL && s->tokenizer != NULL)
        TDM_TRY(compare_digests(r, "the tokenizer", tdm_tokenizer_digest(tokenizer),
                                tdm_tokenizer_digest(s->tokenizer)));
    TDM_TRY(
        compare_digests(r, "the identities of the classifier", r->state.identity_digest, s->identity_digest));
    TDM_TRY(compare_data(s, r));
    TDM_TRY(compare_precision(s, r));
    return compare_best(s, eval, r);
}

tdm_status tdm_resume_open(tdm_session *s, const char *dir, const tdm_dataset *eval, tdm_resume *r)
{
    tdm_tokenizer *tokenizer = NULL;
    snprintf(r->dir, sizeof r->dir, "%s", dir);
    TDM_TRY(tdm_checkpoint_read_progress(dir, &r->state));
    TDM_TRY(tdm_config_init(&r->config));
    tdm_status status = tdm_checkpoint_read_config(dir, &r->config, &tokenizer, NULL);
    if (status == TDM_OK) status = compare(s, tokenizer, eval, r);
    tdm_tokenizer_destroy(&tokenizer);
    return status;
}

/* ---- Refusing and reporting ---- */

static bool is_refused(const tdm_difference *d, bool insist)
{
    return d->change == TDM_CHANGE_BREAKS || (d->change == TDM_CHANGE_MEANING && !insist);
}

/* "a was 1, is 2; b was …"; without the values where the list would be too long for a message. */
static tdm_status list_refused(const tdm_resume *r, bool insist, bool values, tdm_text *text, bool *breaks)
{
    TDM_TRY(tdm_text_append(text, "", 0));
    for (int64_t i = 0; i < r->differences.count; i++) {
        const tdm_difference *d = &r->differences.item[i];
        if (!is_refused(d, insist)) continue;
        if (d->change == TDM_CHANGE_BREAKS) *breaks = true;
        TDM_TRY(tdm_text_printf(text, "%s%s", text->length > 0 ? values ? "; " : ", " : "", d->key));
        if (values) TDM_TRY(tdm_text_printf(text, " was %s, is %s", d->was, d->is));
    }
    return TDM_OK;
}

tdm_status tdm_resume_check(const tdm_resume *r, bool insist)
{
    enum { LONG_LIST = 600 };
    tdm_text text = {0};
    bool breaks = false;
    tdm_status status = list_refused(r, insist, true, &text, &breaks);
    if (status == TDM_OK && text.length > LONG_LIST) {
        text.length = 0;
        status = list_refused(r, insist, false, &text, &breaks);
    }
    if (status == TDM_OK && text.length > 0)
        status = TDM_ERROR(
            TDM_E_CONFIG, "%s: does not go with this configuration: %s. %s", r->dir, text.data,
            breaks ? "Nothing can be resumed like that: put it back, or begin a new run with model.pretrained"
                   : "Put it back, choose another --out, or accept it with --resume-changed");
    tdm_text_free(&text);
    return status;
}

static void report(const tdm_difference *d)
{
    switch (d->change) {
    case TDM_CHANGE_MEANING:
        tdm_log(TDM_LOG_WARN, "resume: %s was %s, is %s: accepted, the weights mean something else now",
                d->key, d->was, d->is);
        return;
    case TDM_CHANGE_RUN: tdm_log(TDM_LOG_WARN, "resume: %s was %s, is %s", d->key, d->was, d->is); return;
    case TDM_CHANGE_START:
        tdm_log(TDM_LOG_WARN, "resume: %s was %s, is %s: without effect, it counts only when a run begins",
                d->key, d->was, d->is);
        return;
    case TDM_CHANGE_OF_GROUP:
    case TDM_CHANGE_BREAKS:
    case TDM_CHANGE_FREE: return;
    }
}

/* After all that could refuse: a run that is refused says why, and nothing else. */
static void report_all(const tdm_resume *r)
{
    if (!r->state.has_facts)
        tdm_log(
            TDM_LOG_INFO,
            "resume: %s is of an earlier version, which did not write down the content of the data set, the "
            "precision and the place in the epoch: they are taken to be the same",
            r->dir);
    for (int64_t i = 0; i < r->differences.count; i++) report(&r->differences.item[i]);
}

/* ---- Placing ---- */

/* What an earlier version left to be told from the number of steps. */
static void guess_place(int64_t samples, tdm_resume *r)
{
    tdm_train_state *state = &r->state;
    const int64_t batch = r->config.train.batch, per_epoch = tdm_max_i64(1, samples / batch);
    state->place = (tdm_place){state->step / per_epoch, state->step % per_epoch * batch};
    state->samples_per_epoch = samples;
    state->samples_seen = state->step * batch;
    state->clock = (tdm_clock){.rate = 1.0};
}

/* Steps that `config` asks for beyond the checkpoint's, had its batch and data set stayed; -1: it is beyond the end. */
static int64_t steps_as_before(const tdm_resume *r, const tdm_config *config)
{
    const tdm_train_state *state = &r->state;
    if (config->train.steps > 0) return config->train.steps - state->step;
    return tdm_place_batches(state->place, state->samples_per_epoch, r->config.train.batch,
                             config->train.epochs);
}

/* The same share of the epoch in a data set of another size. */
static tdm_place place_in(tdm_place place, int64_t samples_were, int64_t samples)
{
    if (samples == samples_were || samples_were < 1) return place;
    const double share = (double)place.sample / (double)samples_were;
    place.sample = tdm_min_i64(samples, (int64_t)floor(share * (double)samples));
    return place;
}

static tdm_status check_end(const tdm_session *s, const tdm_resume *r, int64_t left)
{
    const tdm_config *c = &s->config;
    const tdm_train_state *state = &r->state;
    if (c->train.steps > 0)
        TDM_REQUIRE(
            left >= 0, TDM_E_CONFIG,
            "%s: is at step %lld, but train.steps = %lld ends before that; give more steps, or choose "
            "another --out",
            r->dir, (long long)state->step, (long long)c->train.steps);
    TDM_REQUIRE(
        left >= 0, TDM_E_CONFIG,
        "%s: has %lld epochs behind it%s, but train.epochs = %lld ends before that; give more epochs, or "
        "choose another --out",
        r->dir, (long long)state->place.epoch, state->place.sample > 0 ? " and a part of the next" : "",
        (long long)c->train.epochs);
    return TDM_OK;
}

/* The schedule goes on where it stands. Had nothing changed it would end after `as_before` steps; now the same stretch
 * has `left` steps. */
static void set_clock(tdm_session *s, const tdm_clock *was, int64_t step, int64_t as_before, int64_t left)
{
    s->clock = *was;
    const double at = tdm_clock_at(was, step);
    s->clock.end = at + was->rate * (double)as_before;
    if (left != as_before && left > 0)
        s->clock = (tdm_clock){
            .step = step, .at = at, .rate = (s->clock.end - at) / (double)left, .end = s->clock.end};
}

static tdm_status find_rates(const tdm_session *s, tdm_resume *r)
{
    const double at = tdm_clock_at(&s->clock, r->state.step);
    const int64_t left = tdm_max_i64(0, steps_as_before(r, &r->config));
    TDM_TRY(tdm_learning_rate_of(&s->config, at, s->clock.end, &r->lr_is));
    return tdm_learning_rate_of(&r->config, at, at + r->state.clock.rate * (double)left, &r->lr_was);
}

static void show_place(const tdm_session *s, const tdm_resume *r, int64_t samples)
{
    const tdm_place was = r->state.place, is = s->from;
    const int64_t skipped = samples - place_in(was, r->state.samples_per_epoch, samples).sample;
    if (samples != r->state.samples_per_epoch && was.sample > 0)
        tdm_log(
            TDM_LOG_WARN,
            "resume: epoch %lld goes on at the same share of the data set's new size; the samples before that place "
            "of its order are not seen in this epoch",
            (long long)was.epoch + 1);
    if (is.epoch > was.epoch && skipped > 0)
        tdm_log(TDM_LOG_WARN,
                "resume: the last %lld samples of epoch %lld are fewer than one batch and are left out",
                (long long)skipped, (long long)was.epoch + 1);
    tdm_log(
        TDM_LOG_WARN,
        "resume: goes on with step %lld of %lld, at sample %lld of %lld of epoch %lld; learning rate %.4g, by "
        "the checkpoint's configuration %.4g",
        (long long)s->first_step + 1, (long long)s->total_steps, (long long)is.sample + 1, (long long)samples,
        (long long)is.epoch + 1, r->lr_is, r->lr_was);
}

/* Is there anything to say about the place? */
static bool run_differs(const tdm_resume *r)
{
    for (int64_t i = 0; i < r->differences.count; i++)
        if (r->differences.item[i].change != TDM_CHANGE_FREE) return true;
    return false;
}

tdm_status tdm_resume_place(tdm_session *s, tdm_resume *r)
{
    const tdm_config *c = &s->config;
    tdm_train_state *state = &r->state;
    const int64_t samples = tdm_dataset_samples(s->dataset, (tdm_sample)c->data.sample);
    if (samples < c->train.batch) return TDM_OK; /* the loader says so */
    if (!state->has_facts) guess_place(samples, r);
    s->from = tdm_place_after(place_in(state->place, state->samples_per_epoch, samples), samples,
                              c->train.batch, 0);
    s->first_step = state->step;
    s->samples_before = state->samples_seen;

    const int64_t as_before = steps_as_before(r, c);
    TDM_TRY(check_end(s, r, as_before));
    report_all(r);
    const int64_t left =
        c->train.steps > 0
            ? as_before
            : tdm_max_i64(0, tdm_place_batches(s->from, samples, c->train.batch, c->train.epochs));
    s->total_steps = state->step + left;
    set_clock(s, &state->clock, state->step, as_before, left);
    TDM_TRY(find_rates(s, r));
    if (run_differs(r) && left > 0) show_place(s, r, samples);
    return TDM_OK;
}
