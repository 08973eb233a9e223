#include "augment_sheet.h"

#include <string.h>

enum { DRAWS = 8, WHERE_BYTES = 64 };

/* One view that is shown. */
typedef struct shown_view {
    tdm_view view;
    const tdm_view_info *info;
    tdm_text list; /* as text */
    tdm_image_pipeline *image;
    tdm_text_pipeline *text;
} shown_view;

/* What is shown of one sample. */
typedef struct shown_sample {
    tdm_text name, caption, image;
    tdm_view_draws draws[TDM_VIEWS];
    tdm_text draw[TDM_VIEWS][DRAWS];
} shown_sample;

typedef struct sheet {
    const augment_sheet_options *options;
    tdm_session session;
    tdm_image_work *work;
    tdm_text_work text_work;
    shown_view view[TDM_VIEWS];
    int64_t views, samples;
    shown_sample *sample; /* [samples] */
    tdm_text *wording;    /* [wordings] of one caption */
    const char **alternative;
    int64_t wordings;
} sheet;

/* ---- which views ---- */

static tdm_status list_text(const tdm_strings *list, tdm_text *text)
{
    for (int64_t i = 0; i < list->count; i++)
        TDM_TRY(tdm_text_printf(text, "%s%s", i ? ", " : "", list->item[i]));
    return TDM_OK;
}

/* Without anything done to it a view is not shown. */
static tdm_status add_view(sheet *s, tdm_view view)
{
    const tdm_config *c = &s->session.config;
    shown_view *v = &s->view[s->views];
    *v = (shown_view){.view = view, .info = tdm_view_of(view)};
    const tdm_strings *list = &c->views[v->info->name].augment;
    char where[WHERE_BYTES];
    snprintf(where, sizeof where, "views.%s.augment", v->info->text);
    if (list->count == 0) return TDM_OK;
    if (v->info->modality == TDM_TEXT) {
        TDM_TRY(tdm_text_pipeline_create(c, where, list, s->session.tokenizer, &v->text));
        if (tdm_text_pipeline_is_plain(v->text)) {
            tdm_text_pipeline_destroy(&v->text);
            return TDM_OK;
        }
    } else {
        TDM_TRY(tdm_image_pipeline_create(c, where, list, &v->image));
    }
    s->views++;
    return list_text(list, &v->list);
}

static bool same_list(const tdm_strings *a, const tdm_strings *b)
{
    for (int64_t i = 0; i < a->count && i < b->count; i++)
        if (strcmp(a->item[i], b->item[i]) != 0) return false;
    return a->count == b->count;
}

/* Those that the objectives need or whose list is not the default; without objectives all. */
static tdm_status choose_views(sheet *s)
{
    const tdm_config *c = &s->session.config;
    tdm_view_set wanted;
    tdm_config fresh;
    if (tdm_trainer_views(c, &wanted) != TDM_OK) wanted = (1u << TDM_VIEWS) - 1;
    TDM_TRY(tdm_config_init(&fresh));
    for (int v = 0; v < TDM_VIEWS; v++) {
        const tdm_view_name name = tdm_view_of((tdm_view)v)->name;
        if (!same_list(&c->views[name].augment, &fresh.views[name].augment)) wanted |= 1u << v;
    }
    tdm_config_destroy(&fresh);
    for (int v = 0; v < TDM_VIEWS; v++)
        if (wanted >> v & 1) TDM_TRY(add_view(s, (tdm_view)v));
    TDM_REQUIRE(s->views > 0, TDM_E_CONFIG,
                "%s: the lists of all views that the objectives need are empty: nothing is augmented",
                s->options->config);
    return TDM_OK;
}

/* ---- one sample ---- */

/* The stream of the loader: the draw of an epoch. */
static tdm_rng stream(const sheet *s, const shown_view *view, int64_t sample, int64_t epoch)
{
    const uint32_t purpose = view->info->modality == TDM_IMAGE ? TDM_RNG_AUGMENT : TDM_RNG_TEXT;
    return tdm_rng_at((uint64_t)s->session.config.seed, (uint64_t)epoch, (uint64_t)sample,
                      purpose + (uint32_t)view->info->number * 256);
}

static tdm_status draw_image(sheet *s, const shown_view *view, const shown_sample *of, const char *name,
                             tdm_rng rng, tdm_text *png)
{
    const tdm_tower_config *tower = &s->session.config.model.image;
    uint8_t *pixel;
    TDM_TRY(TDM_ALLOC(tower->height_px * tower->width_px * 3, &pixel));
    const tdm_image_request want = {.pipeline = view->image, .rng = rng, .out = pixel};
    tdm_status status =
        tdm_image_make(s->work, name, of->image.data, of->image.length, tdm_image_policy_of(tower),
                       tower->height_px, tower->width_px, 1, &want);
    if (status == TDM_OK) status = tdm_image_encode_png(pixel, tower->height_px, tower->width_px, png);
    tdm_free(pixel);
    return status;
}

/* The words; of a view whose tokens are changed what they say. */
static tdm_status draw_text(sheet *s, const shown_view *view, const tdm_caption *caption, tdm_rng rng,
                            tdm_text *out)
{
    const int64_t context = tdm_caption_tokens(&s->session.config);
    if (!tdm_text_pipeline_has_tokens(view->text)) {
        const char *words;
        TDM_TRY(tdm_text_words(&s->text_work, view->text, caption, rng, &words));
        return tdm_text_append(out, words, strlen(words));
    }
    int32_t *token;
    int64_t count;
    TDM_TRY(TDM_ALLOC(2 * context, &token));
    tdm_status status =
        tdm_text_make(&s->text_work, view->text, caption, rng, context, token, &count, token + context);
    if (status == TDM_OK) status = tdm_tokenizer_decode(s->session.tokenizer, token, count, out);
    tdm_free(token);
    return status;
}

static tdm_status read_caption(sheet *s, int64_t row, tdm_text *text, tdm_caption *caption)
{
    int64_t first, count;
    TDM_TRY(tdm_dataset_read_caption(s->session.dataset, row, text));
    tdm_dataset_caption_alternatives(s->session.dataset, row, &first, &count);
    for (int64_t i = 0; i < s->wordings; i++) tdm_text_free(&s->wording[i]);
    tdm_free(s->wording);
    tdm_free(s->alternative);
    s->wording = NULL;
    s->alternative = NULL;
    s->wordings = 0;
    TDM_TRY(TDM_ALLOC(count, &s->wording));
    s->wordings = count;
    TDM_TRY(TDM_ALLOC(count, &s->alternative));
    for (int64_t i = 0; i < count; i++) {
        TDM_TRY(tdm_dataset_read_alternative(s->session.dataset, first + i, &s->wording[i]));
        s->alternative[i] = s->wording[i].data;
    }
    *caption = (tdm_caption){.text = text->data, .alternative = s->alternative, .alternatives = count};
    return TDM_OK;
}

static tdm_status draw_view(sheet *s, int64_t v, shown_sample *to, int64_t image, int64_t key,
                            const tdm_caption *caption, tdm_view_draws *draws)
{
    const shown_view *view = &s->view[v];
    const bool has = view->image ? to->image.length > 0 : caption != NULL;
    *draws = (tdm_view_draws){.view = view->info->label,
                              .list = view->list.data,
                              .image = view->image ? to->draw[v] : NULL,
                              .words = view->image ? NULL : to->draw[v],
                              .n = has ? DRAWS : 0};
    for (int64_t k = 0; k < draws->n; k++) {
        const tdm_rng rng = stream(s, view, key, k);
        if (view->image)
            TDM_TRY(
                draw_image(s, view, to, tdm_dataset_where(s->session.dataset, image), rng, &to->draw[v][k]));
        else
            TDM_TRY(draw_text(s, view, caption, rng, &to->draw[v][k]));
    }
    return TDM_OK;
}

/* An image row with its first caption; samples of training are captions or images. */
static tdm_status draw_sample(sheet *s, int64_t image, shown_sample *to)
{
    tdm_dataset *data = s->session.dataset;
    int64_t first, count;
    tdm_caption caption;
    tdm_dataset_image_captions(data, image, &first, &count);
    TDM_TRY(tdm_dataset_read_name(data, image, &to->name));
    if (tdm_dataset_has_image(data, image)) TDM_TRY(tdm_dataset_read_image(data, image, &to->image));
    if (count > 0) TDM_TRY(read_caption(s, first, &to->caption, &caption));
    const bool by_caption = s->session.config.data.sample == TDM_SAMPLE_CAPTION && count > 0;
    for (int64_t v = 0; v < s->views; v++)
        TDM_TRY(draw_view(s, v, to, image, by_caption ? first : image, count > 0 ? &caption : NULL,
                          &to->draws[v]));
    return TDM_OK;
}

/* ---- the sheet ---- */

static tdm_status set_from(tdm_config *config, const char *key, const char *value)
{
    tdm_text assignment = {0};
    if (!value[0]) return TDM_OK;
    tdm_status status = tdm_text_printf(&assignment, "%s=%s", key, value);
    if (status == TDM_OK) status = tdm_config_set(config, assignment.data);
    tdm_text_free(&assignment);
    return status;
}

static tdm_status write_sheet(sheet *s)
{
    const tdm_config *c = &s->session.config;
    tdm_view_sample *shown;
    tdm_text subtitle = {0};
    TDM_TRY(TDM_ALLOC(s->samples, &shown));
    for (int64_t i = 0; i < s->samples; i++)
        shown[i] = (tdm_view_sample){.name = s->sample[i].name.data ? s->sample[i].name.data : "",
                                     .caption = s->sample[i].caption.data,
                                     .image = s->sample[i].image.data,
                                     .image_bytes = (int64_t)s->sample[i].image.length,
                                     .view = s->sample[i].draws,
                                     .views = s->views};
    tdm_status status =
        tdm_text_printf(&subtitle, "%s; %s, split %s; %lld x %lld px; seed %lld", s->options->config,
                        c->data.dir, c->data.split, (long long)c->model.image.height_px,
                        (long long)c->model.image.width_px, (long long)c->seed);
    if (status == TDM_OK)
        status = tdm_views_page_write(s->options->html, "Augmentations", subtitle.data, shown, s->samples);
    tdm_text_free(&subtitle);
    tdm_free(shown);
    return status;
}

static tdm_status make_sheet(sheet *s)
{
    const augment_sheet_options *o = s->options;
    TDM_TRY(tdm_session_configure(&s->session, o->config, &o->set));
    TDM_TRY(set_from(&s->session.config, "data.dir", o->data));
    TDM_TRY(set_from(&s->session.config, "data.split", o->split));
    TDM_TRY(tdm_session_open_data(&s->session));
    TDM_TRY(choose_views(s));
    const int64_t rows = tdm_dataset_images(s->session.dataset), samples = tdm_min_i64(o->samples, rows);
    TDM_TRY(tdm_image_work_create(&s->work));
    TDM_TRY(TDM_ALLOC(samples, &s->sample));
    s->samples = samples;
    for (int64_t i = 0; i < samples; i++) TDM_TRY(draw_sample(s, i * rows / samples, &s->sample[i]));
    TDM_TRY(write_sheet(s));
    tdm_log(TDM_LOG_INFO, "%s: %lld samples of %s, split %s, %lld views, %d draws of each", o->html,
            (long long)samples, s->session.config.data.dir, s->session.config.data.split, (long long)s->views,
            DRAWS);
    return TDM_OK;
}

static void sheet_free(sheet *s)
{
    for (int64_t i = 0; i < s->samples; i++) {
        tdm_text_free(&s->sample[i].name);
        tdm_text_free(&s->sample[i].caption);
        tdm_text_free(&s->sample[i].image);
        for (int v = 0; v < TDM_VIEWS; v++)
            for (int k = 0; k < DRAWS; k++) tdm_text_free(&s->sample[i].draw[v][k]);
    }
    tdm_free(s->sample);
    for (int64_t v = 0; v < TDM_VIEWS; v++) {
        tdm_image_pipeline_destroy(&s->view[v].image);
        tdm_text_pipeline_destroy(&s->view[v].text);
        tdm_text_free(&s->view[v].list);
    }
    for (int64_t i = 0; i < s->wordings; i++) tdm_text_free(&s->wording[i]);
    tdm_free(s->wording);
    tdm_free(s->alternative);
    tdm_text_work_free(&s->text_work);
    tdm_image_work_destroy(&s->work);
    tdm_session_destroy(&s->session);
}

tdm_status augment_sheet(tdm_comm *comm, const augment_sheet_options *options)
{
    sheet s = {.options = options, .session = {.comm = comm}};
    const tdm_status status = make_sheet(&s);
    sheet_free(&s);
    return status;
}
