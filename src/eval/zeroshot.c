/* Zero-shot classification: prompts to class features, and accuracy by the best classes of each image. */
#include "eval_impl.h"

#include "tandem/config.h"
#include "tandem/model.h"
#include "tandem/plain_text.h"
#include "tandem/tokenizer.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOP = 5 };

/* ---- Files of lines ---- */

void tdm_line_list_free(tdm_line_list *list)
{
    tdm_free((void *)list->line);
    tdm_free(list->number);
    tdm_text_free(&list->text);
    *list = (tdm_line_list){0};
}

/* The line that begins at *at, trimmed in place; *at moves behind it. NULL when it is blank or a comment. */
static const char *next_line(char **at)
{
    char *line = *at, *end = line + strcspn(line, "\n");
    const bool comment = line[0] == '#';
    *at = *end == '\0' ? end : end + 1;
    while (line < end && isspace((unsigned char)*line)) line++;
    while (end > line && isspace((unsigned char)end[-1])) end--;
    *end = '\0';
    return comment || line == end ? NULL : line;
}

static tdm_status split_lines(const char *path, tdm_line_list *list)
{
    TDM_TRY(tdm_read_file(path, &list->text));
    TDM_REQUIRE(strlen(list->text.data) == list->text.length, TDM_E_FORMAT, "%s: is not a text file: it %s",
                path, tdm_why_no_text(list->text.data, list->text.length));
    int64_t lines = 1;
    for (const char *c = list->text.data; *c != '\0'; c++) lines += *c == '\n';
    TDM_TRY(TDM_ALLOC(lines, &list->line));
    TDM_TRY(TDM_ALLOC(lines, &list->number));
    char *at = list->text.data;
    at += tdm_byte_order_mark(at, list->text.length);
    for (int64_t number = 1; *at != '\0'; number++) {
        const char *line = next_line(&at);
        if (line == NULL) continue;
        list->number[list->count] = number;
        list->line[list->count++] = line;
    }
    return TDM_OK;
}

static tdm_status check_templates(const char *path, const tdm_line_list *list)
{
    TDM_REQUIRE(list->count > 0, TDM_E_FORMAT, "%s: holds no template", path);
    for (int64_t i = 0; i < list->count; i++)
        TDM_REQUIRE(strstr(list->line[i], "{}") != NULL, TDM_E_FORMAT,
                    "%s:%lld: template \"%.100s\" has no {} for the class name", path,
                    (long long)list->number[i], list->line[i]);
    return TDM_OK;
}

static tdm_status check_class_names(const char *path, const tdm_line_list *list, int64_t classes)
{
    TDM_REQUIRE(list->count == classes, TDM_E_FORMAT,
                "%s: holds %lld class names, the data set has %lld classes", path, (long long)list->count,
                (long long)classes);
    return TDM_OK;
}

tdm_status tdm_templates_read(const char *path, tdm_line_list *list)
{
    *list = (tdm_line_list){0};
    tdm_status status = split_lines(path, list);
    if (status == TDM_OK) status = check_templates(path, list);
    if (status != TDM_OK) tdm_line_list_free(list);
    return status;
}

tdm_status tdm_class_names_read(const char *path, int64_t classes, tdm_line_list *list)
{
    *list = (tdm_line_list){0};
    tdm_status status = split_lines(path, list);
    if (status == TDM_OK) status = check_class_names(path, list, classes);
    if (status != TDM_OK) tdm_line_list_free(list);
    return status;
}

/* ---- Class features ---- */

static tdm_status fill_template(const char *form, const char *name, tdm_text *prompt)
{
    prompt->length = 0;
    for (const char *hole; (hole = strstr(form, "{}")) != NULL; form = hole + 2) {
        TDM_TRY(tdm_text_append(prompt, form, (size_t)(hole - form)));
        TDM_TRY(tdm_text_append(prompt, name, strlen(name)));
    }
    return tdm_text_append(prompt, form, strlen(form));
}

/* Prompts [first, first + n) of this rank's list, classes × templates, as token rows in one batch. */
typedef struct prompt_batch {
    const tdm_prompts *prompts;
    const tdm_tokenizer *tokenizer;
    int64_t context, first_class, cut;
    tdm_text prompt;
    int32_t *token; /* [batch · context] */
    int64_t *seq;   /* [batch + 1] */
    float *feature; /* [batch][d] */
    float *norm;    /* [batch] */
    double *sum;    /* [d], of the class under way */
} prompt_batch;

static tdm_status tokenize_prompts(prompt_batch *b, int64_t first, int64_t n)
{
    const tdm_prompts *p = b->prompts;
    b->seq[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t class = b->first_class + (first + i) / p->templates;
        int64_t count;
        bool cut;
        TDM_TRY(fill_template(p->form[(first + i) % p->templates], p->class_name[class], &b->prompt));
        TDM_TRY(tdm_tokenizer_encode(b->tokenizer, b->prompt.data, b->context, b->token + b->seq[i], &count,
                                     &cut));
        b->seq[i + 1] = b->seq[i] + count;
        b->cut += cut;
    }
    return TDM_OK;
}

/* Adds a prompt's unit feature to its class; the last one of a class writes the class feature. Sums run in
 * f64 in the order of the templates: the same bits however the prompts are cut into batches. */
static void add_prompt(prompt_batch *b, int64_t prompt, int64_t d, const float *feature, float *classes)
{
    const int64_t templates = b->prompts->templates, class = prompt / templates;
    for (int64_t k = 0; k < d; k++) b->sum[k] += (double)feature[k];
    if ((prompt + 1) % templates != 0) return;
    double square = 0.0;
    for (int64_t k = 0; k < d; k++) square += b->sum[k] * b->sum[k];
    const double scale = 1.0 / fmax(sqrt(square), 1e-12); /* of the mean's norm it differs by `templates` */
    for (int64_t k = 0; k < d; k++) classes[class * d + k] = (float)(b->sum[k] * scale);
    memset(b->sum, 0, (size_t)d * sizeof *b->sum);
}

static tdm_status embed_prompts(prompt_batch *b, struct tdm_model *model, tdm_ops *ops, int64_t batch,
                                int64_t n, float *classes)
{
    const int64_t d = tdm_model_embed_dim(model), all = n * b->prompts->templates;
    TDM_TRY(TDM_ALLOC(batch * b->context, &b->token));
    TDM_TRY(TDM_ALLOC(batch + 1, &b->seq));
    TDM_TRY(TDM_ALLOC(batch * d, &b->feature));
    TDM_TRY(TDM_ALLOC(batch, &b->norm));
    TDM_TRY(TDM_ALLOC(d, &b->sum));
    for (int64_t first = 0; first < all; first += batch) {
        const int64_t rows = tdm_min_i64(batch, all - first);
        TDM_TRY(tdm_stop_point("after embedding %lld of %lld prompts", (long long)first, (long long)all));
        TDM_TRY(tokenize_prompts(b, first, rows));
        const tdm_tower_input input = {.n = rows, .token = b->token, .seq = b->seq};
        TDM_TRY(tdm_model_embed(model, TDM_TEXT, &input, &(tdm_pass){.train = false},
                                &(tdm_tower_output){.pooled = b->feature}));
        tdm_l2norm_forward(ops, rows, d, b->feature, b->feature, b->norm);
        for (int64_t i = 0; i < rows; i++) add_prompt(b, first + i, d, b->feature + i * d, classes);
        tdm_progress("embedding prompts %lld/%lld", (long long)(first + rows), (long long)all);
    }
    return TDM_OK;
}

tdm_status tdm_zeroshot_classes(tdm_comm *comm, struct tdm_model *model, tdm_ops *ops,
                                const struct tdm_config *config, const struct tdm_tokenizer *tokenizer,
                                const tdm_prompts *prompts, int64_t batch, int64_t *n, float **feature,
                                int64_t *cut)
{
    const int rank = tdm_comm_rank(comm), size = tdm_comm_size(comm);
    *feature = NULL;
    *cut = 0;
    TDM_REQUIRE(tokenizer != NULL, TDM_E_CONFIG, "the model has no tokenizer: it cannot read prompts");
    TDM_REQUIRE(prompts->classes >= 1 && prompts->templates >= 1 && batch >= 1, TDM_E_SHAPE,
                "prompts of %lld classes and %lld templates in batches of %lld", (long long)prompts->classes,
                (long long)prompts->templates, (long long)batch);
    prompt_batch b = {.prompts = prompts,
                      .tokenizer = tokenizer,
                      .context = tdm_caption_tokens(config),
                      .first_class = tdm_part_begin(prompts->classes, size, rank)};
    *n = tdm_part_begin(prompts->classes, size, rank + 1) - b.first_class;
    tdm_status status = TDM_ALLOC(*n * tdm_model_embed_dim(model), feature);
    if (status == TDM_OK) status = embed_prompts(&b, model, ops, batch, *n, *feature);
    tdm_progress_clear();
    *cut = b.cut;
    tdm_text_free(&b.prompt);
    tdm_free(b.token);
    tdm_free(b.seq);
    tdm_free(b.feature);
    tdm_free(b.norm);
    tdm_free(b.sum);
    if (status != TDM_OK) {
        tdm_free(*feature);
        *feature = NULL;
    }
    return status;
}

/* ---- Accuracy ---- */

static bool has_label(const uint64_t *label, int64_t class)
{
    return label[class / 64] >> (class % 64) & 1;
}

/* Place of the first class in best[k] that the image belongs to; k when there is none. */
static int64_t first_hit(const uint64_t *label, const int64_t *best, int64_t k)
{
    int64_t place = 0;
    while (place < k && (best[place] < 0 || !has_label(label, best[place]))) place++;
    return place;
}

/* What the ranks add up, besides per_class. */
enum { IMAGES, WITHOUT, SEVERAL, HIT_1, HIT_5, TOTALS };

static void count_image(const uint64_t *label, int64_t classes, const int64_t *best, int64_t k,
                        int64_t *total, tdm_class_accuracy *per_class)
{
    int64_t labels = 0;
    const int64_t place = first_hit(label, best, k);
    for (int64_t c = 0; c < classes; c++) {
        if (!has_label(label, c)) continue;
        labels++;
        per_class[c].images++;
        per_class[c].top_1 += place < 1;
        per_class[c].top_5 += place < k;
    }
    total[IMAGES]++;
    total[WITHOUT] += labels == 0;
    total[SEVERAL] += labels > 1;
    total[HIT_1] += labels > 0 && place < 1;
    total[HIT_5] += labels > 0 && place < k;
}

static tdm_status summarise(const int64_t *total, tdm_accuracy *a)
{
    const int64_t labelled = total[IMAGES] - total[WITHOUT];
    TDM_REQUIRE(total[IMAGES] > 0, TDM_E_DATA, "zero-shot classification: there are no images");
    TDM_REQUIRE(labelled > 0, TDM_E_DATA, "zero-shot classification: none of the %lld images has a class",
                (long long)total[IMAGES]);
    a->images = total[IMAGES];
    a->without_class = total[WITHOUT];
    a->several_classes = total[SEVERAL];
    a->top_1 = (double)total[HIT_1] / (double)labelled;
    a->top_5 = (double)total[HIT_5] / (double)labelled;
    double sum = 0.0;
    for (int64_t c = 0; c < a->classes; c++) {
        const tdm_class_accuracy *one = &a->per_class[c];
        if (one->images == 0) a->classes_without_images++;
        if (one->images > 0) sum += (double)one->top_1 / (double)one->images;
    }
    a->mean_per_class = sum / (double)(a->classes - a->classes_without_images);
    return TDM_OK;
}

static tdm_status check_labels(const tdm_eval_side *image, int64_t classes)
{
    TDM_REQUIRE(image->n == 0 || (image->labels != NULL && image->label_words == (classes + 63) / 64),
                TDM_E_SHAPE, "zero-shot classification: %lld label words for %lld classes",
                (long long)image->label_words, (long long)classes);
    return TDM_OK;
}

static tdm_status score(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *image,
                        const tdm_eval_side *classes, int64_t *best, float *cosine, tdm_accuracy *a)
{
    int64_t total[TOTALS] = {0};
    const int64_t k = tdm_min_i64(TOP, a->classes);
    TDM_TRY(tdm_eval_top_k(comm, ops, image, classes, k, tdm_eval_block_rows(ops), best, cosine));
    for (int64_t i = 0; i < image->n; i++)
        count_image(image->labels + i * image->label_words, a->classes, best + i * k, k, total, a->per_class);
    tdm_comm_sum_i64(comm, total, TOTALS);
    tdm_comm_sum_i64(comm, &a->per_class->images,
                     a->classes * (int64_t)(sizeof *a->per_class / sizeof(int64_t)));
    return summarise(total, a);
}

tdm_status tdm_zeroshot_accuracy(tdm_comm *comm, tdm_ops *ops, const tdm_eval_side *image,
                                 const tdm_eval_side *classes, tdm_accuracy *accuracy)
{
    int64_t *best = NULL;
    float *cosine = NULL;
    *accuracy = (tdm_accuracy){.classes = classes->n};
    tdm_comm_sum_i64(comm, &accuracy->classes, 1);
    tdm_status status = check_labels(image, accuracy->classes);
    if (status == TDM_OK) status = TDM_ALLOC(accuracy->classes, &accuracy->per_class);
    if (status == TDM_OK) status = TDM_ALLOC(image->n * TOP, &best);
    if (status == TDM_OK) status = TDM_ALLOC(image->n * TOP, &cosine);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) status = score(comm, ops, image, classes, best, cosine, accuracy);
    tdm_free(best);
    tdm_free(cosine);
    if (status != TDM_OK) tdm_accuracy_free(accuracy);
    return status;
}

void tdm_accuracy_free(tdm_accuracy *accuracy)
{
    tdm_free(accuracy->per_class);
    *accuracy = (tdm_accuracy){0};
}
