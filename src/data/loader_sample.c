/* Which samples an epoch has; and one sample: read from its shard, made into views, packed. */
#include "dataset_impl.h"
#include "loader_impl.h"

#include <string.h>

/* ---- which samples there are ---- */

/* Rows with an image and without a caption. */
static tdm_status list_captionless(sample_list *list)
{
    const int64_t rows = tdm_dataset_images(list->dataset);
    int64_t n = 0;
    TDM_TRY(TDM_ALLOC(tdm_dataset_captionless(list->dataset), &list->captionless));
    for (int64_t i = 0; i < rows; i++) {
        int64_t first, count;
        tdm_dataset_image_captions(list->dataset, i, &first, &count);
        if (count == 0) list->captionless[n++] = i;
    }
    return TDM_OK;
}

static int64_t count_imageless_captions(const tdm_dataset *dataset)
{
    const int64_t captions = tdm_dataset_captions(dataset);
    int64_t imageless = 0;
    for (int64_t i = 0; tdm_dataset_imageless(dataset) > 0 && i < captions; i++) {
        const int64_t row = tdm_dataset_caption_image(dataset, i);
        imageless += tdm_dataset_is_taken(dataset, row) && !tdm_dataset_has_image(dataset, row);
    }
    return imageless;
}

static int64_t count_captionless(const tdm_dataset *dataset)
{
    return tdm_dataset_samples(dataset, TDM_SAMPLE_ALL) - tdm_dataset_samples(dataset, TDM_SAMPLE_CAPTION);
}

int64_t tdm_dataset_samples(const tdm_dataset *dataset, tdm_sample kind)
{
    if (dataset->taken) return dataset->taken_samples[kind];
    switch (kind) {
    case TDM_SAMPLE_CAPTION: return tdm_dataset_captions(dataset);
    case TDM_SAMPLE_IMAGE: return tdm_dataset_images(dataset) - tdm_dataset_imageless(dataset);
    case TDM_SAMPLE_ALL: return tdm_dataset_captions(dataset) + tdm_dataset_captionless(dataset);
    }
    return 0;
}

/* Images and texts by themselves. */
static tdm_status list_unpaired(const tdm_draw *draw, int64_t batch, sample_list *list)
{
    for (int m = 0; m < TDM_MODALITIES; m++) {
        list->rows[m] = imbalance_rows(list->dataset, (tdm_modality)m, NULL);
        TDM_TRY(TDM_ALLOC(list->rows[m], &list->row[m]));
        imbalance_rows(list->dataset, (tdm_modality)m, list->row[m]);
    }
    list->samples = imbalance_samples(list->rows, draw, batch);
    return TDM_OK;
}

tdm_status sample_list_create(const tdm_dataset *dataset, tdm_sample kind, const tdm_draw *draw,
                              int64_t batch, sample_list *list)
{
    *list = (sample_list){.dataset = dataset, .kind = kind};
    if (draw->unpaired) return list_unpaired(draw, batch, list);
    list->samples = tdm_dataset_samples(dataset, kind);
    if (dataset->taken) {
        TDM_TRY(TDM_ALLOC(list->samples, &list->taken));
        dataset_taken_samples(dataset, kind, list->taken);
    }
    switch (kind) {
    case TDM_SAMPLE_CAPTION: list->images_left_out = count_captionless(dataset); return TDM_OK;
    case TDM_SAMPLE_IMAGE: list->captions_left_out = count_imageless_captions(dataset); return TDM_OK;
    case TDM_SAMPLE_ALL: return list_captionless(list);
    }
    return TDM_OK;
}

void sample_list_free(sample_list *list)
{
    tdm_free(list->captionless);
    tdm_free(list->taken);
    list->captionless = list->taken = NULL;
    for (int m = 0; m < TDM_MODALITIES; m++) {
        tdm_free(list->row[m]);
        list->row[m] = NULL;
    }
}

/* ---- where a run stands ---- */

tdm_place tdm_place_after(tdm_place from, int64_t samples, int64_t batch, int64_t batches)
{
    const int64_t per_epoch = samples / batch, first = (samples - from.sample) / batch; /* of this epoch */
    if (batches < first) return (tdm_place){from.epoch, from.sample + batches * batch};
    const int64_t behind = batches - first;
    return (tdm_place){from.epoch + 1 + behind / per_epoch, behind % per_epoch * batch};
}

int64_t tdm_place_batches(tdm_place from, int64_t samples, int64_t batch, int64_t epochs)
{
    if (from.epoch >= epochs) return from.epoch == epochs && from.sample == 0 ? 0 : -1;
    return (samples - from.sample) / batch + (epochs - from.epoch - 1) * (samples / batch);
}

/* ---- which sample ---- */

/* Sample number `index` of all: its key, its image's row, and its caption's (-1: none). */
static void find_sample(const loader_plan *plan, int64_t epoch, int64_t index, int64_t *sample,
                        int64_t *image, int64_t *caption)
{
    const sample_list *list = &plan->list;
    const int64_t captions = tdm_dataset_captions(plan->dataset);
    *sample = index;
    *caption = -1;
    if (list->kind == TDM_SAMPLE_IMAGE) {
        int64_t first, count;
        *sample = *image = tdm_dataset_image_row(plan->dataset, index);
        tdm_dataset_image_captions(plan->dataset, *image, &first, &count);
        if (count == 0) return;
        tdm_rng rng = tdm_rng_at(plan->config.seed, (uint64_t)epoch, (uint64_t)*sample, TDM_RNG_CAPTION);
        *caption = first + tdm_rng_below(&rng, count);
    } else if (index < captions) {
        *image = tdm_dataset_caption_image(plan->dataset, index);
        *caption = index;
    } else {
        *image = list->captionless[index - captions];
    }
}

/* What the views show of the batch: rows, and where samples are missing, which. */
static void show_rows(const loader_plan *plan, slot *to, const int64_t rows[TDM_MODALITIES])
{
    tdm_batch *batch = &to->batch;
    for (int v = 0; v < TDM_VIEWS; v++) {
        const tdm_modality m = tdm_view_of((tdm_view)v)->modality;
        const view_room *room = &to->room[v];
        batch->view[v] = (tdm_batch_view){0};
        if (!loader_wants_view(&plan->config, v, m) || rows[m] == 0) continue;
        batch->view[v] = (tdm_batch_view){.n = rows[m],
                                          .member = rows[m] == batch->n ? NULL : to->member[m],
                                          .image = room->image,
                                          .text = {room->packed, room->seq},
                                          .target = room->packed_target,
                                          .feature = room->feature};
    }
}

/* What stands at one place of a global batch. */
typedef struct named_sample {
    int64_t sample, image, caption; /* key, row, caption or -1 */
    bool has[TDM_MODALITIES];
} named_sample;

/* Images and texts alternate as evenly as their numbers allow, so that the ranks have the same work. Both have an order
 * of their own: else equal numbers would make pairs again. */
static named_sample name_unpaired(const loader_plan *plan, tdm_place place, int64_t at)
{
    const int64_t B = plan->config.global_batch, images = plan->draw.rows[TDM_IMAGE],
                  before = at * images / plan->draw.samples;
    const bool is_image = (at + 1) * images / plan->draw.samples > before;
    const tdm_modality m = is_image ? TDM_IMAGE : TDM_TEXT;
    const int64_t rows = plan->draw.rows[m], number = is_image ? before : at - before;
    const int64_t first = place.sample / B * rows + place.sample % B * rows / B;
    const uint64_t seed = plan->config.seed + (uint64_t)m * UINT64_C(0x9e3779b97f4a7c15);
    const int64_t index = tdm_permute(plan->list.rows[m], seed, (uint64_t)place.epoch, first + number);
    const int64_t row = plan->list.row[m][index];
    return (named_sample){.sample = row,
                          .image = is_image ? row : tdm_dataset_caption_image(plan->dataset, row),
                          .caption = is_image ? -1 : row,
                          .has = {[TDM_IMAGE] = is_image, [TDM_TEXT] = !is_image}};
}

/* Place `at` of the global batch that begins at `place`. */
static named_sample name_sample(const loader_plan *plan, tdm_place place, int64_t at)
{
    named_sample s;
    if (plan->draw.unpaired) return name_unpaired(plan, place, at);
    int64_t index =
        tdm_permute(plan->list.samples, plan->config.seed, (uint64_t)place.epoch, place.sample + at);
    if (plan->list.taken) index = plan->list.taken[index];
    find_sample(plan, place.epoch, index, &s.sample, &s.image, &s.caption);
    s.has[TDM_IMAGE] = at < plan->draw.rows[TDM_IMAGE] && tdm_dataset_has_image(plan->dataset, s.image);
    s.has[TDM_TEXT] = at < plan->draw.rows[TDM_TEXT] && s.caption >= 0;
    return s;
}

/* The sample that is mixed into sample `i` of the rank's piece; the batch begins at `place`. */
static void find_partner(const loader_plan *plan, tdm_place place, int64_t i, struct mix_partner *partner)
{
    const uint64_t seed = plan->config.seed;
    const int64_t at = loader_mix_partner(&plan->mix, seed, place.epoch, place.sample,
                                          plan->config.global_batch, plan->begin + i);
    partner->is_there = at >= 0;
    if (at < 0) return;
    const named_sample s = name_sample(plan, place, at);
    partner->sample = s.sample;
    partner->image_row = s.has[TDM_IMAGE] ? s.image : -1;
    partner->caption_row = s.has[TDM_TEXT] ? s.caption : -1;
}

void loader_name_samples(const loader_plan *plan, slot *to, int64_t number)
{
    tdm_batch *batch = &to->batch;
    const tdm_place place =
        tdm_place_after(plan->config.from, plan->list.samples, plan->config.global_batch, number);
    batch->epoch = place.epoch;
    int64_t rows[TDM_MODALITIES] = {0};
    for (int64_t i = 0; i < plan->n; i++) {
        sample_input *input = &to->input[i];
        const named_sample s = name_sample(plan, place, plan->begin + i);
        batch->sample[i] = s.sample;
        batch->image_row[i] = s.image;
        input->caption_row = s.caption;
        find_partner(plan, place, i, &input->partner);
        batch->identity[i] = tdm_dataset_identity(plan->dataset, batch->image_row[i]);
        for (int m = 0; m < TDM_MODALITIES; m++) {
            input->row[m] = s.has[m] ? rows[m] : -1;
            if (s.has[m]) to->member[m][rows[m]++] = i;
        }
    }
    show_rows(plan, to, rows);
}

/* ---- reading ---- */

static tdm_status read_classes(const loader_plan *plan, slot *to, int64_t i)
{
    tdm_batch *batch = &to->batch;
    const uint64_t *words;
    if (batch->class_words == 0) return TDM_OK;
    TDM_TRY(tdm_dataset_class_bits(plan->dataset, batch->image_row[i], &words));
    memcpy(batch->class_bits + i * batch->class_words, words, (size_t)batch->class_words * sizeof(*words));
    return TDM_OK;
}

static tdm_status read_wordings(const loader_plan *plan, sample_input *input)
{
    int64_t first, count;
    tdm_dataset_caption_alternatives(plan->dataset, input->caption_row, &first, &count);
    if (count > input->wordings) {
        tdm_text *more;
        tdm_free(input->alternative);
        TDM_TRY(TDM_ALLOC(count, &input->alternative));
        TDM_TRY(TDM_ALLOC(count, &more));
        if (input->wordings) memcpy(more, input->wording, (size_t)input->wordings * sizeof(*more));
        tdm_free(input->wording);
        input->wording = more;
        input->wordings = count;
    }
    input->alternatives = count;
    for (int64_t k = 0; k < count; k++) {
        TDM_TRY(tdm_dataset_read_alternative(plan->dataset, first + k, &input->wording[k]));
        input->alternative[k] = input->wording[k].data;
    }
    return TDM_OK;
}

/* The plain view is the only one of a tower that reads features. */
static tdm_status read_feature(const loader_plan *plan, slot *to, int64_t i, tdm_modality modality)
{
    const sample_input *input = &to->input[i];
    const int view = modality == TDM_IMAGE ? TDM_VIEW_IMAGE_PLAIN : TDM_VIEW_TEXT_PLAIN;
    const int64_t width = plan->config.feature_width[modality];
    return tdm_dataset_read_feature(plan->dataset, modality,
                                    modality == TDM_IMAGE ? to->batch.image_row[i] : input->caption_row,
                                    to->room[view].feature + input->row[modality] * width);
}

/* What is mixed into a part that the sample has. */
static tdm_status read_partner(const loader_plan *plan, sample_input *input, tdm_modality modality)
{
    struct mix_partner *partner = &input->partner;
    if (!partner->is_there) return TDM_OK;
    if (modality == TDM_IMAGE && partner->image_row >= 0)
        return tdm_dataset_read_image(plan->dataset, partner->image_row, &partner->image);
    if (modality == TDM_TEXT && partner->caption_row >= 0)
        return tdm_dataset_read_caption(plan->dataset, partner->caption_row, &partner->caption);
    return TDM_OK;
}

tdm_status loader_read_sample(const loader_plan *plan, slot *to, int64_t i)
{
    const tdm_loader_config *config = &plan->config;
    sample_input *input = &to->input[i];
    TDM_TRY(read_classes(plan, to, i));
    for (int m = 0; m < TDM_MODALITIES; m++) {
        if (!loader_wants(config, (tdm_modality)m) || input->row[m] < 0) continue;
        if (config->feature_width[m]) {
            TDM_TRY(read_feature(plan, to, i, (tdm_modality)m));
        } else if (m == TDM_IMAGE) {
            TDM_TRY(tdm_dataset_read_image(plan->dataset, to->batch.image_row[i], &input->image));
            TDM_TRY(read_partner(plan, input, TDM_IMAGE));
        } else {
            TDM_TRY(tdm_dataset_read_caption(plan->dataset, input->caption_row, &input->caption));
            TDM_TRY(read_wordings(plan, input));
            TDM_TRY(read_partner(plan, input, TDM_TEXT));
        }
    }
    return TDM_OK;
}

/* ---- making ---- */

static tdm_rng stream(const loader_plan *plan, int64_t epoch, int64_t sample, int view, uint32_t purpose)
{
    return tdm_rng_at(plan->config.seed, (uint64_t)epoch, (uint64_t)sample,
                      purpose + (uint32_t)tdm_view_of((tdm_view)view)->number * 256);
}

static uint8_t *view_pixels(const loader_plan *plan, const slot *to, int64_t i, int view)
{
    const int64_t bytes = plan->config.height * plan->config.width * 3;
    return to->room[view].image + to->input[i].row[TDM_IMAGE] * bytes;
}

/* The partner's own view, mixed into that of sample `i`. */
static tdm_status mix_images(const loader_plan *plan, sample_work *work, slot *to, int64_t i)
{
    const tdm_loader_config *config = &plan->config;
    const struct mix_partner *partner = &to->input[i].partner;
    if (!partner->is_there || partner->image_row < 0) return TDM_OK;
    if (!work->other) TDM_TRY(TDM_ALLOC(config->height * config->width * 3, &work->other));
    for (int v = 0; v < TDM_VIEWS; v++) {
        if (!loader_wants_view(config, v, TDM_IMAGE) || !plan->mix.view[v]) continue;
        const tdm_image_request want = {
            .pipeline = plan->pipelines.image[v],
            .rng = stream(plan, to->batch.epoch, partner->sample, v, TDM_RNG_AUGMENT),
            .out = work->other};
        TDM_TRY(tdm_image_make(work->image, tdm_dataset_where(plan->dataset, partner->image_row),
                               partner->image.data, partner->image.length, config->image_policy,
                               config->height, config->width, 1, &want));
        TDM_TRY(tdm_image_mix(work->image, (tdm_image_mix_kind)plan->mix.options->kind, config->height,
                              config->width, work->other, view_pixels(plan, to, i, v)));
    }
    return TDM_OK;
}

static tdm_status make_images(const loader_plan *plan, sample_work *work, slot *to, int64_t i)
{
    const tdm_loader_config *config = &plan->config;
    const sample_input *input = &to->input[i];
    tdm_image_request want[TDM_VIEWS];
    int count = 0;
    if (!loader_makes(config, TDM_IMAGE) || input->row[TDM_IMAGE] < 0) return TDM_OK;
    if (!work->image) TDM_TRY(tdm_image_work_create(&work->image));
    for (int v = 0; v < TDM_VIEWS; v++) {
        if (!loader_wants_view(config, v, TDM_IMAGE)) continue;
        want[count++] =
            (tdm_image_request){.pipeline = plan->pipelines.image[v],
                                .rng = stream(plan, to->batch.epoch, to->batch.sample[i], v, TDM_RNG_AUGMENT),
                                .out = view_pixels(plan, to, i, v)};
    }
    TDM_TRY(tdm_image_make(work->image, tdm_dataset_where(plan->dataset, to->batch.image_row[i]),
                           input->image.data, input->image.length, config->image_policy, config->height,
                           config->width, count, want));
    return mix_images(plan, work, to, i);
}

/* Is this view's text the tokens of another one? */
static bool shares_tokens(const loader_plan *plan, int view)
{
    return view != plan->first_plain && !plan->mix.view[view] &&
           tdm_text_pipeline_is_plain(plan->pipelines.text[view]);
}

/* The caption with the partner's behind it, where there is one. */
static tdm_status join_captions(sample_work *work, const sample_input *input, const char **text)
{
    const struct mix_partner *partner = &input->partner;
    *text = input->caption.data;
    if (!partner->is_there || partner->caption_row < 0) return TDM_OK;
    work->joined.length = 0;
    TDM_TRY(tdm_text_printf(&work->joined, "%s %s", input->caption.data, partner->caption.data));
    *text = work->joined.data;
    return TDM_OK;
}

static tdm_status make_texts(const loader_plan *plan, sample_work *work, slot *to, int64_t i)
{
    const tdm_loader_config *config = &plan->config;
    const sample_input *input = &to->input[i];
    const int64_t row = input->row[TDM_TEXT], at = row * config->context_length;
    tdm_caption caption = {.alternative = input->alternative, .alternatives = input->alternatives};
    const char *mixed;
    if (!loader_makes(config, TDM_TEXT) || row < 0) return TDM_OK;
    TDM_TRY(join_captions(work, input, &mixed));
    for (int v = 0; v < TDM_VIEWS; v++) {
        const view_room *room = &to->room[v];
        if (!loader_wants_view(config, v, TDM_TEXT) || shares_tokens(plan, v)) continue;
        caption.text = plan->mix.view[v] ? mixed : input->caption.data;
        TDM_TRY(tdm_text_make(&work->text, plan->pipelines.text[v], &caption,
                              stream(plan, to->batch.epoch, to->batch.sample[i], v, TDM_RNG_TEXT),
                              config->context_length, room->token + at, &room->count[row],
                              room->target ? room->target + at : NULL));
    }
    return TDM_OK;
}

tdm_status loader_make_sample(const loader_plan *plan, sample_work *work, slot *to, int64_t i)
{
    const sample_input *input = &to->input[i];
    if (input->error.code != TDM_OK) return tdm_error_adopt(&input->error);
    TDM_TRY(make_texts(plan, work, to, i));
    return make_images(plan, work, to, i);
}

void sample_work_free(sample_work *work)
{
    tdm_image_work_destroy(&work->image);
    tdm_text_work_free(&work->text);
    tdm_text_free(&work->joined);
    tdm_free(work->other);
    work->other = NULL;
}

/* ---- packing ---- */

void loader_pack(const loader_plan *plan, slot *to)
{
    const int64_t context = plan->config.context_length;
    for (int v = 0; loader_makes(&plan->config, TDM_TEXT) && v < TDM_VIEWS; v++) {
        if (!loader_wants_view(&plan->config, v, TDM_TEXT)) continue;
        const view_room *room = &to->room[v];
        const view_room *from = shares_tokens(plan, v) ? &to->room[plan->first_plain] : room;
        room->seq[0] = 0;
        for (int64_t row = 0; row < to->batch.view[v].n; row++) {
            const size_t bytes = (size_t)from->count[row] * sizeof(int32_t);
            memcpy(room->packed + room->seq[row], from->token + row * context, bytes);
            if (room->target)
                memcpy(room->packed_target + room->seq[row], room->target + row * context, bytes);
            room->seq[row + 1] = room->seq[row] + from->count[row];
        }
    }
}

/* ---- memory ---- */

static tdm_status make_text_room(const loader_plan *plan, int view, view_room *room)
{
    const int64_t tokens = plan->n * plan->config.context_length;
    TDM_TRY(TDM_ALLOC(tokens, &room->packed));
    TDM_TRY(TDM_ALLOC(plan->n + 1, &room->seq));
    if (shares_tokens(plan, view)) return TDM_OK;
    TDM_TRY(TDM_ALLOC(tokens, &room->token));
    TDM_TRY(TDM_ALLOC(plan->n, &room->count));
    if (!tdm_text_pipeline_has_targets(plan->pipelines.text[view])) return TDM_OK;
    TDM_TRY(TDM_ALLOC(tokens, &room->target));
    return TDM_ALLOC(tokens, &room->packed_target);
}

static tdm_status make_room(const loader_plan *plan, int view, view_room *room)
{
    const tdm_loader_config *config = &plan->config;
    const tdm_modality modality = tdm_view_of((tdm_view)view)->modality;
    const int64_t width = config->feature_width[modality];
    if (width) return TDM_ALLOC(plan->n * width, &room->feature);
    if (modality == TDM_TEXT) return make_text_room(plan, view, room);
    return TDM_ALLOC(plan->n * config->height * config->width * 3, &room->image);
}

tdm_status loader_make_slot(const loader_plan *plan, slot *made)
{
    const tdm_loader_config *config = &plan->config;
    tdm_batch *batch = &made->batch;
    const int64_t n = plan->n;
    batch->n = n;
    TDM_TRY(TDM_ALLOC(n, &batch->sample));
    TDM_TRY(TDM_ALLOC(n, &batch->image_row));
    TDM_TRY(TDM_ALLOC(n, &batch->identity));
    TDM_TRY(TDM_ALLOC(n, &made->input));
    for (int m = 0; m < TDM_MODALITIES; m++) TDM_TRY(TDM_ALLOC(n, &made->member[m]));
    batch->class_words = tdm_dataset_class_words(plan->dataset);
    if (batch->class_words) TDM_TRY(TDM_ALLOC(n * batch->class_words, &batch->class_bits));
    for (int v = 0; v < TDM_VIEWS; v++)
        if (config->views >> v & 1) TDM_TRY(make_room(plan, v, &made->room[v]));
    return TDM_OK;
}

void loader_free_slot(slot *dying, int64_t n)
{
    tdm_batch *batch = &dying->batch;
    for (int64_t i = 0; dying->input && i < n; i++) {
        tdm_text_free(&dying->input[i].image);
        tdm_text_free(&dying->input[i].caption);
        tdm_text_free(&dying->input[i].partner.image);
        tdm_text_free(&dying->input[i].partner.caption);
        for (int64_t k = 0; k < dying->input[i].wordings; k++) tdm_text_free(&dying->input[i].wording[k]);
        tdm_free(dying->input[i].wording);
        tdm_free(dying->input[i].alternative);
    }
    tdm_free(dying->input);
    tdm_free(batch->sample);
    tdm_free(batch->image_row);
    tdm_free(batch->identity);
    tdm_free(batch->class_bits);
    for (int m = 0; m < TDM_MODALITIES; m++) tdm_free(dying->member[m]);
    for (int v = 0; v < TDM_VIEWS; v++) {
        view_room *room = &dying->room[v];
        tdm_free(room->image);
        tdm_free(room->feature);
        tdm_free(room->token);
        tdm_free(room->target);
        tdm_free(room->count);
        tdm_free(room->packed);
        tdm_free(room->packed_target);
        tdm_free(room->seq);
    }
}
