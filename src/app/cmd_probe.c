/* tandem probe: what the layers of both towers contribute, as in "An Empirical Study of CLIP for Text-based Person
 * Search" (arXiv 2308.10045), its section on model compression. M is a retrieval metric, a part is the attention, the
 * MLP (each with its LayerNorm) or the whole of a layer:
 *
 *     C1 = d / (largest d of the tower), d = M(trained) - M(without the part), clipped to [0, --clip]
 *     C2 = least a on a grid of [0, 1] with M(trained) - M(the part at (1 - a) initial + a trained) < --eps
 *
 * Each part is one entry, appended to DIR/probe.jsonl when it is done. */
#include "inference_flags.h"
#include "result_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PARTS = 3, CHOICES = 5 };
static const unsigned part_bits[PARTS] = {TDM_BLOCK_ATTENTION, TDM_BLOCK_MLP, TDM_BLOCK_WHOLE};
static const char *const part_name[PARTS] = {"attention", "mlp", "whole"};

typedef struct probe_options {
    tdm_inference_options inference;
    const char *data, *split, *out, *metric, *positives, *from, *search;
    int64_t seed; /* -1: the configuration's */
    double eps, clip, step;
    bool steal_lock;
} probe_options;

typedef struct entry {
    double drop, c2; /* drop in shares; NaN: not done yet */
} entry;

typedef struct probe {
    tdm_comm *comm;
    const probe_options *options;
    char from[TDM_PATH_BYTES]; /* "random", or the checkpoint of the initial weights */
    int64_t seed;
    int64_t intervals; /* of the grid */
    const tdm_match *match;
    tdm_metric_rows rows; /* the table's, and the one that --metric names */
    tdm_metric_choice metric;
    char model_digest[65];                      /* on rank 0 */
    char data_digest[65], path[TDM_PATH_BYTES]; /* of probe.jsonl */
    tdm_inference in;
    tdm_dataset *dataset;
    tdm_embeddings embeddings;
    tdm_dir_lock *lock;
    float *plain[TDM_MODALITIES]; /* this rank's features of the trained model */
    float *initial, *trained;     /* [params.total]; of one layer at most */
    int64_t layers[TDM_MODALITIES], count;
    entry *entry; /* [count]: image tower, text tower; by layer, by part */
    double value; /* M(trained) */
} probe;

static entry *entry_of(const probe *p, int modality, int64_t layer, int part)
{
    return &p->entry[((modality == TDM_TEXT ? p->layers[TDM_IMAGE] : 0) + layer) * PARTS + part];
}

/* ---- What is kept ---- */

static json_t *describe(const probe *p)
{
    const probe_options *o = p->options;
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:f, s:f, s:s}", "model", p->model_digest,
                     "data", p->data_digest, "split", o->split, "metric", o->metric, "positives",
                     p->match->name, "precision", tdm_dtype_name(tdm_ops_dtype(p->in.ops)), "from", p->from,
                     "seed", (json_int_t)p->seed, "eps", o->eps, "grid", o->step, "search", o->search);
}

/* Entries of an earlier start count when they are of the same probe. */
static tdm_status check_header(const probe *p, const json_t *was)
{
    json_t *is = describe(p), *value;
    const char *key, *other = NULL;
    json_object_foreach(is, key, value) if (!other && !json_equal(value, json_object_get(was, key))) other =
        key;
    tdm_status status = TDM_OK;
    if (other)
        status =
            TDM_ERROR(TDM_E_USAGE, "%s: was begun with another \"%s\"; choose another --out", p->path, other);
    json_decref(is);
    return status;
}

static void take_entry(probe *p, const json_t *line)
{
    const char *tower = json_string_value(json_object_get(line, "tower"));
    const char *part = json_string_value(json_object_get(line, "part"));
    const int64_t layer = json_integer_value(json_object_get(line, "layer")) - 1;
    for (int m = 0; tower && part && m < TDM_MODALITIES; m++)
        for (int k = 0; k < PARTS; k++) {
            if (strcmp(tower, tdm_modality_name((tdm_modality)m)) != 0 || strcmp(part, part_name[k]) != 0)
                continue;
            if (layer < 0 || layer >= p->layers[m]) continue;
            *entry_of(p, m, layer, k) = (entry){json_number_value(json_object_get(line, "drop")),
                                                json_number_value(json_object_get(line, "c2"))};
        }
}

/* One line at the end of the file, on the disk before the next entry begins. */
static tdm_status append_line(const probe *p, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(object);
    TDM_REQUIRE(text, TDM_E_NOMEM, "cannot make a line of %s", p->path);
    FILE *file = fopen(p->path, "a");
    bool good = file && fprintf(file, "%s\n", text) > 0 && fflush(file) == 0 && fsync(fileno(file)) == 0;
    if (file) good = fclose(file) == 0 && good;
    free(text);
    TDM_REQUIRE(good, TDM_E_IO, "%s: cannot write", p->path);
    return TDM_OK;
}

/* Rank 0. A half-written last line is cut off. */
static tdm_status read_kept(probe *p)
{
    tdm_text text = {0}, whole = {0};
    TDM_TRY(tdm_inference_digest(&p->in, p->model_digest));
    if (!tdm_path_exists(p->path)) return append_line(p, describe(p));
    tdm_status status = tdm_read_file(p->path, &text);
    bool first = true;
    for (char *line = text.data, *end; status == TDM_OK && line && (end = strchr(line, '\n'));
         line = end + 1) {
        *end = '\0';
        json_t *object = json_loads(line, 0, NULL);
        if (object && first) status = check_header(p, object);
        if (object && !first) take_entry(p, object);
        if (object && status == TDM_OK) status = tdm_text_printf(&whole, "%s\n", line);
        first = false;
        json_decref(object);
    }
    if (status == TDM_OK && whole.length == 0) { /* killed before the first line was whole */
        status = tdm_write_file_atomic(p->path, "", 0);
        if (status == TDM_OK) status = append_line(p, describe(p));
    } else if (status == TDM_OK)
        status = tdm_write_file_atomic(p->path, whole.data, whole.length);
    tdm_text_free(&text);
    tdm_text_free(&whole);
    return status;
}

static tdm_status keep(const probe *p, int modality, int64_t layer, int part)
{
    const entry *e = entry_of(p, modality, layer, part);
    if (tdm_comm_rank(p->comm) != 0) return TDM_OK;
    TDM_TRY(tdm_dir_lock_check(p->lock));
    return append_line(
        p, json_pack("{s:s, s:I, s:s, s:f, s:f}", "tower", tdm_modality_name((tdm_modality)modality), "layer",
                     (json_int_t)(layer + 1), "part", part_name[part], "drop", e->drop, "c2", e->c2));
}

/* ---- Measuring ---- */

static tdm_status measure(probe *p, double *value)
{
    tdm_metrics metrics[TDM_DIRECTIONS];
    tdm_eval_detail detail[TDM_DIRECTIONS] = {{.rows = &p->rows}, {.rows = &p->rows}};
    TDM_TRY(tdm_eval_embeddings_in_detail(p->comm, p->in.ops, &p->embeddings, p->match, TDM_COSINE, metrics,
                                          detail));
    *value = tdm_metrics_chosen(metrics, &p->metric);
    return TDM_OK;
}

/* M of the model as it is now; only the tower that has changed embeds. Collective. */
static tdm_status measure_tower(probe *p, int modality, double *value)
{
    const tdm_inference *in = &p->in;
    TDM_AGREE(p->comm, tdm_embed_again(in->model, in->ops, &in->config, p->dataset, in->tokenizer, in->batch,
                                       in->workers, (tdm_modality)modality, &p->embeddings));
    return measure(p, value);
}

static tdm_status measure_without(probe *p, int modality, int64_t layer, int part, double *drop)
{
    const tdm_modality m = (tdm_modality)modality;
    const unsigned was = tdm_model_left_out(p->in.model, m, layer);
    double value = 0;
    tdm_model_leave_out(p->in.model, m, layer, was | part_bits[part]);
    const tdm_status status = measure_tower(p, modality, &value);
    tdm_model_leave_out(p->in.model, m, layer, was);
    *drop = p->value - value;
    return status;
}

/* The elements of the arena that hold a part. */
static tdm_span elements_of(const probe *p, int modality, int64_t layer, unsigned part)
{
    const tdm_params *params = &p->in.params;
    const tdm_span rows = tdm_model_part(p->in.model, (tdm_modality)modality, layer, part);
    return (tdm_span){params->row[rows.begin].offset,
                      rows.end < params->count ? params->row[rows.end].offset : params->total};
}

/* Is M close enough to the trained model's with the part so far on its way? */
static tdm_status is_enough(probe *p, int modality, tdm_span span, double a, int64_t layer, int part,
                            bool *enough)
{
    float *weight = p->in.params.weight;
    double value = 0;
    for (int64_t i = span.begin; i < span.end; i++)
        weight[i] = (float)((1.0 - a) * (double)p->initial[i] + a * (double)p->trained[i - span.begin]);
    TDM_AGREE(p->comm, tdm_model_load(p->in.model));
    TDM_TRY(measure_tower(p, modality, &value));
    *enough = p->value - value < p->options->eps / 100.0;
    tdm_log(TDM_LOG_DEBUG, "layer %lld %s: a = %.3f gives %.4f", (long long)(layer + 1), part_name[part], a,
            value);
    return TDM_OK;
}

/* The least point of the grid; at its end stand the trained weights, which are enough. */
static tdm_status find_least(probe *p, int modality, int64_t layer, int part, tdm_span span, double *c2)
{
    const bool bisect = strcmp(p->options->search, "bisect") == 0;
    int64_t below = -1, above = p->intervals; /* the first that is tried of a bisection is 0 */
    while (above - below > 1) {
        const int64_t at = !bisect || below < 0 ? below + 1 : below + (above - below) / 2;
        bool enough;
        TDM_TRY(is_enough(p, modality, span, (double)at / (double)p->intervals, layer, part, &enough));
        if (enough)
            above = at;
        else
            below = at;
    }
    *c2 = (double)above / (double)p->intervals;
    return TDM_OK;
}

static tdm_status probe_entry(probe *p, int modality, int64_t layer, int part)
{
    entry *e = entry_of(p, modality, layer, part), done;
    const tdm_span span = elements_of(p, modality, layer, part_bits[part]);
    const size_t bytes = sizeof(float) * (size_t)(span.end - span.begin);
    if (isfinite(e->drop)) return TDM_OK;
    TDM_TRY(measure_without(p, modality, layer, part, &done.drop));
    memcpy(p->trained, p->in.params.weight + span.begin, bytes);
    const tdm_status status = find_least(p, modality, layer, part, span, &done.c2);
    memcpy(p->in.params.weight + span.begin, p->trained, bytes);
    TDM_TRY(status);
    TDM_AGREE(p->comm, tdm_model_load(p->in.model));
    *e = done;
    tdm_log(TDM_LOG_INFO, "%s layer %lld, %s: %.2f points lost without it, C2 = %.2f",
            tdm_modality_name((tdm_modality)modality), (long long)(layer + 1), part_name[part],
            100.0 * e->drop, e->c2);
    return tdm_comm_agree(p->comm, keep(p, modality, layer, part));
}

static tdm_status probe_tower(probe *p, int modality)
{
    tdm_embeddings *e = &p->embeddings;
    float *feature = modality == TDM_IMAGE ? e->image : e->text;
    const size_t bytes = sizeof(float) * (size_t)((modality == TDM_IMAGE ? e->images : e->captions) * e->d);
    for (int64_t layer = 0; layer < p->layers[modality]; layer++)
        for (int part = 0; part < PARTS; part++) TDM_TRY(probe_entry(p, modality, layer, part));
    memcpy(feature, p->plain[modality], bytes);
    return TDM_OK;
}

/* ---- Results ---- */

/* C1 of a tower's parts, [PARTS][layers], and C2 in the same order. */
static tdm_status scores_of(const probe *p, int modality, double **c1, double **c2)
{
    const int64_t layers = p->layers[modality];
    const double clip = p->options->clip > 0 ? p->options->clip / 100.0 : 1.0;
    double largest = 0;
    TDM_TRY(TDM_ALLOC(PARTS * layers, c1));
    TDM_TRY(TDM_ALLOC(PARTS * layers, c2));
    for (int part = 0; part < PARTS; part++)
        for (int64_t i = 0; i < layers; i++) {
            const entry *e = entry_of(p, modality, i, part);
            (*c1)[part * layers + i] = fmin(fmax(e->drop, 0.0), clip);
            (*c2)[part * layers + i] = e->c2;
            largest = fmax(largest, (*c1)[part * layers + i]);
        }
    for (int64_t i = 0; i < PARTS * layers && largest > 0; i++) (*c1)[i] /= largest;
    return TDM_OK;
}

/* The x layers of the least C1 + C2 of the whole layer, in their order; ties: the lower layer. */
static json_t *choose(int64_t layers, int64_t x, const double *c1, const double *c2)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < layers; i++) {
        int64_t before = 0; /* layers that are chosen rather */
        for (int64_t k = 0; k < layers; k++) {
            const double mine = c1[i] + c2[i], other = c1[k] + c2[k];
            before += other < mine || (other == mine && k < i);
        }
        char text[24];
        snprintf(text, sizeof text, "%lld", (long long)(i + 1));
        if (before < x) json_array_append_new(list, json_string(text));
    }
    return list;
}

static json_t *tower_json(const probe *p, int modality, const double *c1, const double *c2, json_t *choices)
{
    const int64_t layers = p->layers[modality];
    json_t *list = json_array();
    for (int64_t i = 0; i < layers; i++) {
        json_t *layer = json_pack("{s:I}", "layer", (json_int_t)(i + 1));
        for (int part = 0; part < PARTS; part++)
            json_object_set_new(layer, part_name[part],
                                json_pack("{s:f, s:f, s:f}", "points_lost",
                                          100.0 * entry_of(p, modality, i, part)->drop, "c1",
                                          c1[part * layers + i], "c2", c2[part * layers + i]));
        json_array_append_new(list, layer);
    }
    for (int64_t x = 1; x <= CHOICES && x < layers; x++)
        json_array_append_new(choices, choose(layers, x, c1 + 2 * layers, c2 + 2 * layers));
    return json_pack("{s:o, s:O}", "layers", list, "choice", choices);
}

typedef struct probe_page {
    tdm_probe_scores scores[2 * TDM_MODALITIES];
    const char *note[TDM_MODALITIES * CHOICES];
    char text[TDM_MODALITIES * CHOICES][160];
    int64_t count, notes;
} probe_page;

static void add_notes(probe_page *page, int modality, const json_t *choices)
{
    for (size_t x = 0; x < json_array_size(choices); x++) {
        char *list = json_dumps(json_array_get(choices, x), 0);
        snprintf(page->text[page->notes], sizeof page->text[0], "model.%s.drop = %s",
                 tdm_modality_name((tdm_modality)modality), list ? list : "");
        free(list);
        page->note[page->notes] = page->text[page->notes];
        page->notes++;
    }
}

static tdm_status write_files(const probe *p, const json_t *root, const probe_page *page)
{
    char path[TDM_PATH_BYTES];
    tdm_text subtitle = {0};
    TDM_TRY(tdm_path_join(path, sizeof path, p->options->out, "probe.json"));
    TDM_TRY(result_write(root, 15, path));
    TDM_TRY(tdm_path_join(path, sizeof path, p->options->out, "probe.html"));
    tdm_status status =
        tdm_text_printf(&subtitle, "%s on %s, split %s: %s = %.4f; initial weights: %s", p->in.dir,
                        p->options->data, p->options->split, p->options->metric, p->value, p->from);
    if (status == TDM_OK)
        status = tdm_probe_page_write(path, "What the layers contribute", subtitle.data, page->scores,
                                      page->count, page->note, page->notes);
    tdm_text_free(&subtitle);
    if (status == TDM_OK) tdm_log(TDM_LOG_INFO, "written: %s, and probe.json beside it", path);
    return status;
}

/* Rank 0. */
static tdm_status write_results(const probe *p)
{
    static const char *const title[TDM_MODALITIES][2] = {{"Image tower, C1", "Image tower, C2"},
                                                         {"Text tower, C1", "Text tower, C2"}};
    double *score[TDM_MODALITIES][2] = {{0}};
    probe_page page = {.count = 0};
    json_t *root = json_pack("{s:o, s:I, s:o, s:f, s:f, s:o}", "model", tdm_json_text(p->in.dir), "step",
                             (json_int_t)p->in.step, "data", tdm_json_text(p->options->data), "value",
                             p->value, "clip", p->options->clip, "settings", describe(p));
    tdm_status status = TDM_OK;
    for (int m = 0; m < TDM_MODALITIES && status == TDM_OK; m++) {
        status = scores_of(p, m, &score[m][0], &score[m][1]);
        if (status != TDM_OK || p->layers[m] == 0) continue;
        json_t *choices = json_array();
        json_object_set_new(root, tdm_modality_name((tdm_modality)m),
                            tower_json(p, m, score[m][0], score[m][1], choices));
        add_notes(&page, m, choices);
        json_decref(choices);
        for (int c = 0; c < 2; c++)
            page.scores[page.count++] = (tdm_probe_scores){.title = title[m][c],
                                                           .layers = p->layers[m],
                                                           .parts = PARTS,
                                                           .part = part_name,
                                                           .score = score[m][c]};
    }
    if (status == TDM_OK) status = write_files(p, root, &page);
    for (int m = 0; m < TDM_MODALITIES; m++)
        for (int c = 0; c < 2; c++) tdm_free(score[m][c]);
    json_decref(root);
    return status;
}

/* ---- The command ---- */

static tdm_status check_options(probe *p)
{
    const probe_options *o = p->options;
    const char *positives = o->positives[0] ? o->positives : p->in.config.eval.positives;
    TDM_TRY(tdm_match_find("tandem probe: positives", TDM_E_USAGE, positives, &p->match));
    TDM_TRY(tdm_metric_choose_any("tandem probe: --metric", TDM_E_USAGE, o->metric, &p->rows, &p->metric));
    TDM_REQUIRE(p->metric.metric->is_share && !p->metric.metric->less_is_better, TDM_E_USAGE,
                "tandem probe: --metric %s is not a share of which more is better", o->metric);
    p->intervals = llround(1.0 / o->step);
    TDM_REQUIRE(fabs((double)p->intervals * o->step - 1.0) < 1e-6, TDM_E_USAGE,
                "tandem probe: --grid %g does not divide 1", o->step);
    const char *from = o->from[0] ? o->from : p->in.config.model.pretrained;
    p->seed = o->seed >= 0 ? o->seed : p->in.config.seed;
    if (!from[0] || !strcmp(from, "random"))
        strcpy(p->from, "random");
    else
        TDM_TRY(tdm_checkpoint_find(from, true, p->from, sizeof p->from));
    return TDM_OK;
}

/* The checkpoint of the initial weights. */
static tdm_status agree_on_initial(const probe *p)
{
    tdm_reading reading = {0};
    if (tdm_comm_size(p->comm) == 1 || strcmp(p->from, "random") == 0) return TDM_OK;
    return tdm_comm_agree_on(p->comm, tdm_checkpoint_reading(p->from, "initial model", false, &reading),
                             &reading);
}

static tdm_status prepare(probe *p)
{
    const tdm_inference *in = &p->in;
    tdm_params initial = in->params; /* the same rows */
    int64_t most = 0;
    for (int m = 0; m < TDM_MODALITIES; m++) {
        p->layers[m] = tdm_model_layers(in->model, (tdm_modality)m);
        p->count += PARTS * p->layers[m];
        for (int64_t i = 0; i < p->layers[m]; i++) {
            const tdm_span span = elements_of(p, m, i, TDM_BLOCK_WHOLE);
            most = tdm_max_i64(most, span.end - span.begin);
        }
    }
    TDM_REQUIRE(p->count > 0, TDM_E_CONFIG, "%s: no tower is a transformer: there are no layers to probe",
                in->dir);
    TDM_TRY(TDM_ALLOC(p->count, &p->entry));
    for (int64_t i = 0; i < p->count; i++) p->entry[i] = (entry){NAN, NAN};
    TDM_TRY(TDM_ALLOC(most, &p->trained));
    TDM_TRY(TDM_ALLOC(in->params.total, &p->initial));
    initial.weight = p->initial;
    tdm_params_init(&initial, (uint64_t)p->seed);
    if (strcmp(p->from, "random") != 0) TDM_TRY(tdm_pretrained_read(p->from, &in->config, &initial));
    TDM_TRY(tdm_dataset_digest(p->dataset, p->data_digest));
    return tdm_path_join(p->path, sizeof p->path, p->options->out, "probe.jsonl");
}

static tdm_status keep_plain(probe *p)
{
    const tdm_embeddings *e = &p->embeddings;
    const int64_t size[TDM_MODALITIES] = {[TDM_IMAGE] = e->images * e->d, [TDM_TEXT] = e->captions * e->d};
    for (int m = 0; m < TDM_MODALITIES; m++) {
        TDM_TRY(TDM_ALLOC(size[m], &p->plain[m]));
        memcpy(p->plain[m], m == TDM_IMAGE ? e->image : e->text, sizeof(float) * (size_t)size[m]);
    }
    return TDM_OK;
}

static tdm_status run(probe *p)
{
    const probe_options *o = p->options;
    tdm_inference_options model = o->inference;
    model.own_weights = true; /* those of layers are set back and forth */
    TDM_REQUIRE(strcmp(o->inference.precision, "int8") != 0, TDM_E_USAGE,
                "tandem probe: --precision int8: what a probe leaves out is measured without rounding");
    TDM_TRY(tdm_inference_open(p->comm, &model, &p->in));
    TDM_TRY(tdm_inference_open_data(p->comm, &p->in, o->data, o->split, &p->dataset));
    TDM_AGREE(p->comm, check_options(p));
    TDM_TRY(agree_on_initial(p));
    TDM_AGREE(p->comm, prepare(p));
    const tdm_dir_lock_options own = {.dir = o->out, .command = "probe", .steal = o->steal_lock};
    TDM_TRY(tdm_dir_lock_take(p->comm, &own, &p->lock));
    TDM_AGREE(p->comm, tdm_comm_rank(p->comm) == 0 ? read_kept(p) : TDM_OK);
    tdm_comm_broadcast(p->comm, p->entry, (int64_t)sizeof *p->entry * p->count, 0);
    TDM_TRY(inference_show(p->comm, &p->in));
    TDM_AGREE(p->comm, tdm_inference_embed_data(p->comm, &p->in, p->dataset, true, &p->embeddings));
    TDM_AGREE(p->comm, keep_plain(p));
    TDM_TRY(measure(p, &p->value));
    TDM_REQUIRE(isfinite(p->value), TDM_E_DATA, "%s, split %s: no query has a positive: %s has no value",
                o->data, o->split, o->metric);
    tdm_log(TDM_LOG_INFO, "%s = %.4f; initial weights: %s, %lld parts of layers", o->metric, p->value,
            p->from, (long long)p->count);
    for (int m = 0; m < TDM_MODALITIES; m++) TDM_TRY(probe_tower(p, m));
    return tdm_comm_agree(p->comm, tdm_comm_rank(p->comm) == 0 ? write_results(p) : TDM_OK);
}

static tdm_status probe_run(tdm_comm *comm, int argc, char **argv)
{
    probe_options o = {.inference = INFERENCE_DEFAULTS,
                       .data = "",
                       .split = "",
                       .out = "",
                       .metric = "text_to_image.recall_at_1",
                       .positives = "",
                       .from = "",
                       .search = "bisect",
                       .seed = -1,
                       .eps = 3.0,
                       .step = 0.01};
    const tdm_flag flags[] = {
        FLAG_STRING("--data", &o.data, "DIR", NULL, "packed data directory"),
        FLAG_STRING("--split", &o.split, "NAME", NULL, "its split"),
        FLAG_STRING("--out", &o.out, "DIR", NULL,
                    "probe.json, probe.html, and probe.jsonl, by which a later start goes on"),
        FLAG_STRING(
            "--metric", &o.metric, "KEY", "text_to_image.recall_at_1",
            "M of the scores: a share, as tandem eval or its --metrics names it, of a direction or their "
            "average"),
        FLAG_STRING("--positives", &o.positives, "NAME", "",
                    "as of tandem eval; unset: eval.positives of the model's configuration"),
        FLAG_STRING("--from", &o.from, "CKPT", "",
                    "initial weights of C2: a checkpoint, or random; unset: what the run began with (its "
                    "model.pretrained, else random); the study does not say which"),
        FLAG_INT("--seed", &o.seed, "N", "-1", "", -1, 1e15,
                 "of random initial weights; -1: the configuration's"),
        FLAG_FLOAT("--eps", &o.eps, "X", "3", "points", 1e-9, 100, "C2: how much M may be lower"),
        FLAG_FLOAT("--clip", &o.clip, "X", "0", "points", 0, 100,
                   "C1: losses count up to this; 0: all of them; the study does not give its value"),
        FLAG_FLOAT("--grid", &o.step, "X", "0.01", "", 1e-4, 1, "C2: distance of two points"),
        FLAG_STRING("--search", &o.search, "bisect|grid", "bisect",
                    "C2: by bisection (M taken to rise along the way), or point by point from 0"),
        FLAG_STEAL_LOCK(&o.steal_lock),
        INFERENCE_FLAGS(o.inference),
    };
    bool help = false;
    TDM_TRY(tdm_parse_options("probe", "--model CKPT --data DIR --split NAME --out DIR", flags,
                              sizeof flags / sizeof flags[0], argc, argv, &help));
    if (help) return TDM_OK;
    probe p = {.comm = comm, .options = &o};
    const tdm_status status = run(&p);
    tdm_dir_lock_release(&p.lock);
    for (int m = 0; m < TDM_MODALITIES; m++) tdm_free(p.plain[m]);
    tdm_free(p.initial);
    tdm_free(p.trained);
    tdm_free(p.entry);
    tdm_metric_rows_free(&p.rows);
    tdm_embeddings_free(&p.embeddings);
    tdm_dataset_close(&p.dataset);
    tdm_inference_close(&p.in);
    return status;
}

const tdm_command tdm_command_probe = {.name = "probe",
                                       .summary = "what the layers of a model contribute (compression probe)",
                                       .mpi = true,
                                       .stops = true,
                                       .run = probe_run};
