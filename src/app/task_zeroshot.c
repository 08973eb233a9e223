/* tandem eval --task zeroshot: the classes of images from prompts. */
#include "eval_task_table.h"
#include "result_json.h"

#include <math.h>
#include <string.h>

static const char default_template[] = "a photo of a {}.";

typedef struct zeroshot_options {
    const char *classes, *templates; /* files; "" = unset */
} zeroshot_options;

typedef struct zeroshot {
    tdm_comm *comm;
    const eval_request *request;
    const zeroshot_options *options;
    tdm_inference inference;
    tdm_dataset *dataset;
    tdm_line_list renamed, templates;
    const char **class_name; /* [prompts.classes] */
    const char *only_template;
    tdm_prompts prompts;
    float *class_feature; /* of this rank's piece */
    int64_t class_n;
    tdm_embeddings embeddings;
    tdm_accuracy accuracy;
} zeroshot;

static void zeroshot_close(zeroshot *z)
{
    tdm_accuracy_free(&z->accuracy);
    tdm_embeddings_free(&z->embeddings);
    tdm_free(z->class_feature);
    tdm_free((void *)z->class_name);
    tdm_line_list_free(&z->renamed);
    tdm_line_list_free(&z->templates);
    tdm_dataset_close(&z->dataset);
    tdm_inference_close(&z->inference);
}

/* ---- Input ---- */

static tdm_status read_classes(zeroshot *z)
{
    const zeroshot_options *o = z->options;
    const eval_request *request = z->request;
    const int64_t classes = tdm_dataset_class_count(z->dataset);
    TDM_REQUIRE(tdm_dataset_images(z->dataset) > tdm_dataset_imageless(z->dataset), TDM_E_DATA,
                "%s: split \"%s\" holds no images", request->data, request->split);
    TDM_REQUIRE(classes > 0, TDM_E_DATA, "%s: split \"%s\" has no classes to tell apart", request->data,
                request->split);
    if (o->classes[0] != '\0') TDM_TRY(tdm_class_names_read(o->classes, classes, &z->renamed));
    TDM_TRY(TDM_ALLOC(classes, &z->class_name));
    for (int64_t c = 0; c < classes; c++)
        z->class_name[c] = o->classes[0] != '\0' ? z->renamed.line[c] : tdm_dataset_class_name(z->dataset, c);
    z->prompts.classes = classes;
    z->prompts.class_name = z->class_name;
    return TDM_OK;
}

static tdm_status read_templates(zeroshot *z)
{
    z->only_template = default_template;
    z->prompts.form = &z->only_template;
    z->prompts.templates = 1;
    if (z->options->templates[0] == '\0') return TDM_OK;
    TDM_TRY(tdm_templates_read(z->options->templates, &z->templates));
    z->prompts.form = z->templates.line;
    z->prompts.templates = z->templates.count;
    return TDM_OK;
}

static tdm_status read_files(zeroshot *z, tdm_reading *reading)
{
    const zeroshot_options *o = z->options;
    TDM_TRY(read_classes(z));
    TDM_TRY(read_templates(z));
    if (tdm_comm_size(z->comm) == 1) return TDM_OK;
    if (o->classes[0] != '\0') TDM_TRY(tdm_reading_add_file(reading, "list of classes", o->classes));
    return o->templates[0] != '\0' ? tdm_reading_add_file(reading, "list of templates", o->templates)
                                   : TDM_OK;
}

static tdm_status open_input(zeroshot *z)
{
    tdm_reading reading = {0};
    const eval_request *request = z->request;
    TDM_TRY(tdm_inference_open_data(z->comm, &z->inference, request->data, request->split, &z->dataset));
    return tdm_comm_agree_on(z->comm, read_files(z, &reading), &reading);
}

/* ---- Results ---- */

static void show(const zeroshot *z, double embed_s)
{
    const tdm_accuracy *a = &z->accuracy;
    tdm_log(
        TDM_LOG_INFO,
        "zero-shot: top-1 %.4f  top-5 %.4f  mean per class %.4f  (%lld images, %lld classes, %lld template%s)",
        a->top_1, a->top_5, a->mean_per_class, (long long)a->images, (long long)a->classes,
        (long long)z->prompts.templates, z->prompts.templates == 1 ? "" : "s");
    if (a->without_class > 0)
        tdm_log(TDM_LOG_WARN, "%lld of %lld images have no class and are left out",
                (long long)a->without_class, (long long)a->images);
    if (a->several_classes > 0)
        tdm_log(TDM_LOG_INFO, "%lld images have several classes: any of them is right",
                (long long)a->several_classes);
    if (a->classes_without_images > 0)
        tdm_log(TDM_LOG_WARN, "%lld of %lld classes have no images and are left out of the mean per class",
                (long long)a->classes_without_images, (long long)a->classes);
    tdm_log(TDM_LOG_INFO, "embedding took %.1f s", embed_s);
}

/* Share of a class's images; not finite when it has none, null in JSON. */
static double share(int64_t found, int64_t images)
{
    return images > 0 ? (double)found / (double)images : NAN;
}

static json_t *share_json(int64_t found, int64_t images)
{
    return images > 0 ? json_real(share(found, images)) : json_null();
}

static json_t *class_json(const char *name, const tdm_class_accuracy *class)
{
    json_t *one = json_object();
    json_object_set_new(one, "name", tdm_json_text(name));
    json_object_set_new(one, "images", json_integer(class->images));
    json_object_set_new(one, "top_1", share_json(class->top_1, class->images));
    json_object_set_new(one, "top_5", share_json(class->top_5, class->images));
    return one;
}

static json_t *result_json(const zeroshot *z)
{
    const tdm_accuracy *a = &z->accuracy;
    json_t *root = json_object(), *per_class = json_array();
    json_object_set_new(root, "task", json_string("zeroshot"));
    json_object_set_new(root, "model", tdm_json_text(z->inference.dir));
    json_object_set_new(root, "step", json_integer(z->inference.step));
    json_object_set_new(root, "data", tdm_json_text(z->request->data));
    json_object_set_new(root, "split", tdm_json_text(z->request->split));
    json_object_set_new(root, "precision", json_string(tdm_inference_precision(&z->inference)));
    json_object_set_new(root, "images", json_integer(a->images));
    json_object_set_new(root, "without_class", json_integer(a->without_class));
    json_object_set_new(root, "several_classes", json_integer(a->several_classes));
    json_object_set_new(root, "classes", json_integer(a->classes));
    json_object_set_new(root, "classes_without_images", json_integer(a->classes_without_images));
    json_object_set_new(root, "templates", json_integer(z->prompts.templates));
    json_object_set_new(root, "top_1", json_real(a->top_1));
    json_object_set_new(root, "top_5", json_real(a->top_5));
    json_object_set_new(root, "mean_per_class", json_real(a->mean_per_class));
    for (int64_t c = 0; c < a->classes; c++)
        json_array_append_new(per_class, class_json(z->class_name[c], &a->per_class[c]));
    json_object_set_new(root, "per_class", per_class);
    return root;
}

static tdm_status write_table(const zeroshot *z)
{
    const tdm_accuracy *a = &z->accuracy;
    const tdm_tile tile[] = {{"top-1", a->top_1},
                             {"top-5", a->top_5},
                             {"mean of top-1 per class", a->mean_per_class},
                             {"images", (double)a->images},
                             {"of them without a class", (double)a->without_class},
                             {"classes", (double)a->classes}};
    tdm_class_row *row = NULL;
    tdm_text subtitle = {0};
    tdm_status status = TDM_ALLOC(a->classes, &row);
    for (int64_t c = 0; c < a->classes && status == TDM_OK; c++) {
        const tdm_class_accuracy *class = &a->per_class[c];
        row[c] = (tdm_class_row){z->class_name[c], class->images, share(class->top_1, class->images),
                                 share(class->top_5, class->images)};
    }
    if (status == TDM_OK)
        status =
            tdm_text_printf(&subtitle, "%s, step %lld, on %s, split %s; %lld templates, the first is \"%s\".",
                            z->inference.dir, (long long)z->inference.step, z->request->data,
                            z->request->split, (long long)z->prompts.templates, z->prompts.form[0]);
    if (status == TDM_OK)
        status = tdm_class_table_write(z->request->html, "Zero-shot classification", subtitle.data, tile,
                                       sizeof tile / sizeof tile[0], row, a->classes);
    tdm_text_free(&subtitle);
    tdm_free(row);
    return status;
}

static tdm_status write_results(const zeroshot *z)
{
    json_t *root = result_json(z);
    result_rounding(root, &z->inference);
    tdm_status status = result_selection(root, &z->inference, z->dataset);
    if (status == TDM_OK) status = result_write(root, 17, z->request->json);
    json_decref(root);
    TDM_TRY(status);
    return z->request->html[0] != '\0' ? write_table(z) : TDM_OK;
}

/* ---- The task ---- */

static tdm_status embed_all(zeroshot *z, int64_t *cut)
{
    const tdm_inference *in = &z->inference;
    TDM_TRY(tdm_zeroshot_classes(z->comm, in->model, in->ops, &in->config, in->tokenizer, &z->prompts,
                                 in->batch, &z->class_n, &z->class_feature, cut));
    return tdm_inference_embed_data(z->comm, in, z->dataset, false, &z->embeddings);
}

static tdm_status classify(zeroshot *z)
{
    int64_t cut = 0;
    TDM_TRY(tdm_inference_open(z->comm, &z->request->inference, &z->inference));
    TDM_TRY(open_input(z));
    TDM_TRY(inference_show(z->comm, &z->inference));
    TDM_TRY(tdm_inference_prepare(z->comm, &z->inference, z->dataset, true));
    const double begin_s = tdm_now_s();
    TDM_AGREE(z->comm, embed_all(z, &cut));
    const double embed_s = tdm_now_s() - begin_s;
    tdm_comm_sum_i64(z->comm, &cut, 1);
    if (cut > 0)
        tdm_log(TDM_LOG_WARN,
                "%lld of %lld prompts are longer than the %lld tokens that the model reads and were cut",
                (long long)cut, (long long)(z->prompts.classes * z->prompts.templates),
                (long long)tdm_caption_tokens(&z->inference.config));
    const tdm_embeddings *e = &z->embeddings;
    const tdm_eval_side image = {.n = e->images,
                                 .d = e->d,
                                 .feature = e->image,
                                 .labels = e->image_labels,
                                 .label_words = e->label_words};
    const tdm_eval_side classes = {.n = z->class_n, .d = e->d, .feature = z->class_feature};
    TDM_TRY(tdm_zeroshot_accuracy(z->comm, z->inference.ops, &image, &classes, &z->accuracy));
    show(z, embed_s);
    return tdm_comm_agree(z->comm, tdm_comm_rank(z->comm) == 0 ? write_results(z) : TDM_OK);
}

static tdm_status zeroshot_run(tdm_comm *comm, const eval_request *request, const void *options)
{
    zeroshot z = {.comm = comm, .request = request, .options = options};
    const tdm_status status = classify(&z);
    zeroshot_close(&z);
    return status;
}

/* ---- Options ---- */

static const zeroshot_options defaults = {.classes = "", .templates = ""};

static size_t zeroshot_flags(void *options, tdm_flag flag[EVAL_TASK_MAX_FLAGS])
{
    zeroshot_options *o = options;
    const tdm_flag own[] = {
        FLAG_STRING(
            "--classes", &o->classes, "FILE", "",
            "class names for the prompts, one a line, in the order of the data set's classes; unset: the data set's own names"),
        FLAG_STRING("--templates", &o->templates, "FILE", "",
                    "prompts, one a line, with {} for the class name; unset: only \"a photo of a {}.\""),
    };
    memcpy(flag, own, sizeof own);
    return sizeof own / sizeof own[0];
}

const eval_task task_zeroshot = {
    .name = "zeroshot",
    .help = "the classes of images from prompts; --html: accuracy by class",
    .option_bytes = sizeof defaults,
    .defaults = &defaults,
    .needs_model = true,
    .flags = zeroshot_flags,
    .run = zeroshot_run,
};
