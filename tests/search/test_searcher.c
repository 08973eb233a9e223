/* Finding in a packed directory and in stored embeddings, on 1 and 3 ranks, against the scores one by one. */
#include "check.h"
#include "scratch.h"
#include "tandem/pack.h"
#include "tandem/searcher.h"

#include "../../src/search/search_impl.h"
#include "../eval/shapes.h"
#include "../eval/tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static tdm_comm *comm;
static int rank, size;
static char dir[64], data_dir[80], model_dir[80], embedding_dir[80];

static const tdm_inference_options options = {
    .model = model_dir, .precision = "f32", .threads = 1, .batch = 16, .workers = 1};

static void open_model(tdm_inference *inference)
{
    *inference = (tdm_inference){0};
    CHECK_OK(tdm_inference_open(comm, &options, inference));
}

static tdm_status open_gallery(const tdm_inference *inference, const char *gallery, const char *split,
                               tdm_searcher *searcher)
{
    const tdm_searcher_options how = {.gallery = gallery, .split = split, .cache = ""};
    return tdm_searcher_open(comm, inference, &how, searcher);
}

/* One text and one image get the features that they get among others. oneDNN, which multiplies where there is no
 * AVX-512, adds in another order for another number of rows: features of unit norm differ by some 1e-7. */
static void test_one(void **state)
{
    (void)state;
    tdm_inference in;
    open_model(&in);
    tdm_dataset *dataset = NULL;
    tdm_embeddings e;
    CHECK_EQ(in.step, 7);
    CHECK_OK(tdm_inference_open_data(comm, &in, data_dir, "test", &dataset));
    CHECK_OK(tdm_inference_embed_data(comm, &in, dataset, true, &e));
    for (int64_t i = 0; i < 5 && i < e.captions; i++) {
        float feature[20];
        bool cut = true;
        tdm_text caption = {0}, image = {0};
        CHECK_OK(tdm_dataset_read_caption(dataset, e.caption_first + i, &caption));
        CHECK_OK(tdm_inference_embed_text(&in, caption.data, feature, &cut));
        CHECK_FALSE(cut);
        CHECK_CLOSE_ARRAY(e.d, feature, e.text + i * e.d, 1e-6);
        CHECK_OK(tdm_dataset_read_image(dataset, e.image_first + i, &image));
        CHECK_OK(tdm_inference_embed_image(&in, "it", image.data, image.length, feature));
        CHECK_CLOSE_ARRAY(e.d, feature, e.image + i * e.d, 1e-6);
        tdm_text_free(&caption);
        tdm_text_free(&image);
    }
    float feature[20];
    bool cut = false;
    CHECK_FAILS(tdm_inference_embed_text(&in, " \t", feature, &cut), TDM_E_DATA, "");
    CHECK_OK(tdm_inference_embed_text(&in, "a text that is longer than the context", feature, &cut));
    CHECK_TRUE(cut);
    CHECK_FAILS(tdm_inference_embed_image(&in, "no.png", "no", 2, feature), TDM_E_DATA, "no.png");
    tdm_embeddings_free(&e);
    tdm_dataset_close(&dataset);
    tdm_inference_close(&in);
}

static float dot(const float *a, const float *b, int64_t d)
{
    float sum = 0;
    for (int64_t k = 0; k < d; k++) sum = fmaf(a[k], b[k], sum);
    return sum;
}

/* On rank 0: item j of the list is the one with exactly j before it. gallery [rows][d] whole */
static void check_best(const tdm_found *found, const float *query, const float *gallery, int64_t d)
{
    for (int64_t q = 0; q < found->queries; q++) {
        for (int64_t j = 0; j < found->k; j++) {
            const int64_t at = found->row[q * found->k + j];
            CHECK_GE(at, 0);
            CHECK_LE(at, found->gallery - 1);
            const float score = dot(query + q * d, gallery + at * d, d);
            CHECK_EQ(found->score[q * found->k + j], score);
            int64_t before = 0;
            for (int64_t g = 0; g < found->gallery; g++) {
                const float other = dot(query + q * d, gallery + g * d, d);
                before += other > score || (other == score && g < at);
            }
            CHECK_EQ(before, j);
        }
    }
}

static float *whole_of(const float *piece, int64_t n, int64_t d)
{
    int64_t *rows = NULL, total = n;
    float *all = NULL;
    CHECK_OK(TDM_ALLOC(size, &rows));
    tdm_comm_gather_i64(comm, n, rows);
    tdm_comm_sum_i64(comm, &total, 1);
    CHECK_OK(TDM_ALLOC(total * d, &all));
    tdm_comm_gather_rows(comm, piece, all, rows, d * (int64_t)sizeof *all);
    tdm_free(rows);
    return all;
}

/* Each rank asks for its first `own` captions. */
static void check_find(tdm_searcher *s, tdm_modality what, int64_t own, int64_t k)
{
    const tdm_embeddings *e = &s->embeddings;
    float *query = whole_of(e->text, own, e->d);
    float *gallery =
        what == TDM_IMAGE ? whole_of(e->image, e->images, e->d) : whole_of(e->text, e->captions, e->d);
    tdm_found found;
    CHECK_OK(tdm_searcher_find(s, &(tdm_find){.what = what, .k = k}, own, e->text, &found));
    int64_t queries = own;
    tdm_comm_sum_i64(comm, &queries, 1);
    CHECK_EQ(found.queries, rank == 0 ? queries : 0);
    CHECK_EQ(found.k, tdm_min_i64(k, what == TDM_IMAGE ? 64 : 128));
    check_best(&found, query, gallery, e->d);
    tdm_found_free(&found);
    tdm_free(query);
    tdm_free(gallery);
}

static void check_items(tdm_searcher *s, tdm_modality what, bool has_source)
{
    tdm_found found;
    tdm_found_item *item = NULL;
    CHECK_OK(tdm_searcher_find(s, &(tdm_find){.what = what, .k = 3}, rank == 0 ? 1 : 0, s->embeddings.text,
                               &found));
    if (rank == 0) {
        CHECK_OK(TDM_ALLOC(found.k, &item));
        CHECK_OK(tdm_searcher_read(s, &found, 0, true, item));
    }
    for (int64_t i = 0; rank == 0 && i < found.k; i++) {
        CHECK_EQ(item[i].caption, what == TDM_TEXT ? found.row[i] : -1);
        if (has_source || what == TDM_IMAGE)
            CHECK_EQ(item[i].image, what == TDM_TEXT ? found.row[i] / 2 : found.row[i]);
        CHECK_EQ(item[i].score, (double)found.score[i]);
        CHECK_EQ(item[i].text.length > 0, has_source);
        CHECK_EQ(item[i].name.length > 0, has_source);
        CHECK_EQ(item[i].thumbnail.length > 0, has_source);
        if (has_source) CHECK_EQ(strstr(item[i].text.data, " / ") != NULL, what == TDM_IMAGE);
    }
    tdm_found_items_free(item, found.k);
    tdm_found_free(&found);
}

static void test_find(void **state)
{
    (void)state;
    tdm_inference in;
    open_model(&in);
    tdm_searcher packed, stored;
    CHECK_OK(open_gallery(&in, data_dir, "test", &packed));
    tdm_embedding_info info = {0};
    snprintf(info.source, sizeof info.source, "%s", data_dir);
    snprintf(info.split, sizeof info.split, "test");
    snprintf(info.model, sizeof info.model, "%s", model_dir);
    CHECK_OK(tdm_inference_digest(&in, info.model_digest));
    CHECK_OK(tdm_embeddings_write(comm, embedding_dir, &info, TDM_F32, &packed.embeddings));
    CHECK_OK(open_gallery(&in, embedding_dir, "", &stored));
    CHECK_STR_EQ(stored.split, "test");
    tdm_searcher *const searchers[] = {&packed, &stored};
    for (int i = 0; i < 2; i++) {
        check_find(searchers[i], TDM_IMAGE, 2, 5);
        check_find(searchers[i], TDM_IMAGE, rank == 0 ? 4 : 0, 100); /* more than there are */
        check_find(searchers[i], TDM_TEXT, rank, 7);
        check_items(searchers[i], TDM_IMAGE, true);
        check_items(searchers[i], TDM_TEXT, true);
    }
    tdm_searcher view = tdm_searcher_over(comm, &in, packed.dataset, &packed.embeddings);
    check_find(&view, TDM_IMAGE, 1, 3);
    tdm_searcher_close(&view); /* leaves what it borrowed */
    check_find(&packed, TDM_IMAGE, 1, 3);
    tdm_searcher_close(&stored);

    /* Embeddings without their source, and of another model. */
    snprintf(info.source, sizeof info.source, "%s/gone", dir);
    CHECK_OK(tdm_embeddings_write(comm, embedding_dir, &info, TDM_F32, &packed.embeddings));
    CHECK_OK(open_gallery(&in, embedding_dir, "", &stored));
    CHECK_NULL(stored.dataset);
    check_find(&stored, TDM_IMAGE, 1, 3);
    check_items(&stored, TDM_IMAGE, false);
    check_items(&stored, TDM_TEXT, false);
    tdm_searcher_close(&stored);
    memset(info.model_digest, 'a', 64);
    CHECK_OK(tdm_embeddings_write(comm, embedding_dir, &info, TDM_F32, &packed.embeddings));
    CHECK_FAILS(open_gallery(&in, embedding_dir, "", &stored), TDM_E_DATA, "another model");
    tdm_searcher_close(&packed);
    tdm_inference_close(&in);
}

/* ---- A folder of pictures ---- */

enum { PICTURES = 40 };
static char folder_dir[80], packed_dir[80], cache_dir[80];

static void write_text(const char *path, const char *text)
{
    CHECK_OK(tdm_write_file_atomic(path, text, strlen(text)));
}

/* Pictures of the split under names in their order, four folders of ten each, every third with two captions; one that
 * is no picture; a text without a picture; a stray file. By rank 0. */
static void make_folder(void)
{
    tdm_dataset *dataset = NULL;
    char path[256];
    CHECK_OK(tdm_dataset_open(data_dir, "test", &dataset));
    for (int i = 0; i < PICTURES; i++) {
        tdm_text encoded = {0};
        snprintf(path, sizeof path, "%s/kind %d", folder_dir, i / 10);
        CHECK_OK(tdm_make_dirs(path));
        snprintf(path, sizeof path, "%s/kind %d/%02d %s.png", folder_dir, i / 10, i,
                 i % 2 ? "\xc3\xbc\n\"" : "a");
        CHECK_OK(tdm_dataset_read_image(dataset, i, &encoded));
        CHECK_OK(tdm_write_file_atomic(path, encoded.data, encoded.length));
        tdm_text_free(&encoded);
        snprintf(strrchr(path, '.'), 5, ".txt");
        if (i % 3 == 0) write_text(path, i % 2 ? "a red disc\nred\n" : "a disc\na red thing\n");
    }
    tdm_dataset_close(&dataset);
    snprintf(path, sizeof path, "%s/kind 1/15 broken.jpg", folder_dir);
    write_text(path, "no picture");
    snprintf(path, sizeof path, "%s/kind 2/empty.png", folder_dir);
    write_text(path, "");
    snprintf(path, sizeof path, "%s/kind 2/notes.md", folder_dir);
    write_text(path, "x");
}

static tdm_status open_folder(const tdm_inference *inference, tdm_searcher *searcher)
{
    const tdm_searcher_options how = {
        .gallery = folder_dir, .split = "", .cache = cache_dir, .class_level = 1};
    return tdm_searcher_open(comm, inference, &how, searcher);
}

static void check_news(const tdm_searcher *s, int64_t known, int64_t embedded, int64_t gone)
{
    CHECK_EQ(s->news.known + s->news.recognised, known);
    CHECK_EQ(s->news.embedded, embedded);
    CHECK_EQ(s->news.gone, gone);
    CHECK_EQ(s->news.pictures, known + embedded);
}

/* What packing the folder and embedding that gives. */
static void check_as_packed(const tdm_inference *in, const tdm_searcher *folder)
{
    tdm_pack_format const *const *formats;
    size_t count;
    formats = tdm_pack_formats(&count);
    const tdm_pack_format *format = NULL;
    for (size_t i = 0; i < count; i++)
        if (strcmp(formats[i]->name, "folder") == 0) format = formats[i];
    int64_t levels[16] = {0}; /* room for the options, of which the first is class_level */
    CHECK_GE((int64_t)sizeof levels, (int64_t)format->option_bytes);
    tdm_pack_format_defaults(format, levels);
    levels[0] = 1;
    const char *const source[] = {folder_dir};
    const tdm_pack_options pack = {.format = "folder",
                                   .format_options = levels,
                                   .out_dir = packed_dir,
                                   .dataset_name = "folder",
                                   .split = "all",
                                   .shard_size = 16,
                                   .skip_bad = true,
                                   .keep_unpaired = true,
                                   .source = source,
                                   .source_count = 1};
    tdm_pack_result packed;
    CHECK_OK(tdm_pack(comm, &pack, &packed));
    CHECK_EQ(packed.bad, 2);
    tdm_searcher other;
    CHECK_OK(open_gallery(in, packed_dir, "", &other));
    const tdm_embeddings *a = &folder->embeddings, *b = &other.embeddings;
    int64_t of_a[2] = {a->images, a->captions}, of_b[2] = {b->images, b->captions};
    float *image_a = whole_of(a->image, a->images, a->d), *image_b = whole_of(b->image, b->images, b->d);
    float *text_a = whole_of(a->text, a->captions, a->d), *text_b = whole_of(b->text, b->captions, b->d);
    tdm_comm_sum_i64(comm, of_a, 2);
    tdm_comm_sum_i64(comm, of_b, 2);
    CHECK_EQ(of_a[0], of_b[0]);
    CHECK_EQ(of_a[1], of_b[1]);
    CHECK_CLOSE_ARRAY(of_a[0] * a->d, image_a, image_b, 1e-6); /* see test_one */
    CHECK_CLOSE_ARRAY(of_a[1] * a->d, text_a, text_b, 1e-6);
    CHECK_EQ(tdm_searcher_classes(folder), 4);
    for (int64_t i = 0; i < of_a[0]; i++) {
        tdm_found_item one = {0}, same = {0};
        const uint64_t *bits, *packed_bits;
        CHECK_OK(tdm_searcher_read_row(folder, TDM_IMAGE, i, true, &one));
        CHECK_OK(tdm_searcher_read_row(&other, TDM_IMAGE, i, true, &same));
        CHECK_STR_EQ(one.name.data, same.name.data);
        CHECK_EQ(one.text.length, same.text.length);
        if (one.text.length > 0) CHECK_STR_EQ(one.text.data, same.text.data);
        CHECK_EQ(one.thumbnail.length, same.thumbnail.length);
        CHECK_OK(tdm_searcher_class_bits(folder, one.image, &bits));
        CHECK_OK(tdm_searcher_class_bits(&other, same.image, &packed_bits));
        CHECK_EQ(bits[0], packed_bits[0]);
        tdm_text_free(&one.name);
        tdm_text_free(&one.text);
        tdm_text_free(&one.thumbnail);
        tdm_text_free(&same.name);
        tdm_text_free(&same.text);
        tdm_text_free(&same.thumbnail);
    }
    tdm_free(image_a);
    tdm_free(image_b);
    tdm_free(text_a);
    tdm_free(text_b);
    tdm_searcher_close(&other);
}

/* Rows of the gallery, whoever holds them; a picture alone, and between two. */
static void check_features(const tdm_inference *in, const tdm_searcher *s)
{
    const tdm_embeddings *e = &s->embeddings;
    const int64_t rows[] = {PICTURES - 1, 0, 17}, beyond[] = {0, PICTURES};
    float *all = whole_of(e->image, e->images, e->d), feature[3 * 20], mixed[20];
    CHECK_EQ(e->d, 20);
    CHECK_OK(tdm_searcher_features(s, TDM_IMAGE, 3, rows, feature));
    for (int i = 0; i < 3; i++) CHECK_EQ(memcmp(feature + i * 20, all + rows[i] * 20, sizeof mixed), 0);
    CHECK_FAILS(tdm_searcher_features(s, TDM_IMAGE, 2, beyond, feature), TDM_E_USAGE,
                "has no row 40, there are 40");
    CHECK_OK(tdm_inference_combine(in, feature, feature + 20, 0.25, mixed));
    float sum[20], square = 0;
    for (int k = 0; k < 20; k++) sum[k] = 0.75F * feature[k] + 0.25F * feature[20 + k];
    for (int k = 0; k < 20; k++) square += sum[k] * sum[k];
    for (int k = 0; k < 20; k++) sum[k] /= sqrtf(square);
    CHECK_CLOSE_ARRAY(20, mixed, sum, 1e-6);
    for (int k = 0; k < 20; k++) sum[k] = -feature[k];
    CHECK_FAILS(tdm_inference_combine(in, feature, sum, 0.5, mixed), TDM_E_NUMERIC, "cancel");
    tdm_text encoded = {0};
    CHECK_OK(tdm_searcher_read_image(s, 3, &encoded));
    CHECK_OK(tdm_inference_embed_image(in, "it", encoded.data, encoded.length, mixed));
    CHECK_CLOSE_ARRAY(20, mixed, all + 3 * 20, 1e-6);
    tdm_text_free(&encoded);
    tdm_free(all);
}

/* Only rows of the class, in the order that they have among all. */
static void check_filter(tdm_searcher *s)
{
    tdm_filter filter = {0};
    tdm_found some, all;
    const float *query = s->embeddings.image;
    const int64_t n = rank == 0 ? 1 : 0;
    CHECK_FAILS(tdm_filter_add_classes(s, "--class", "kind 7", &filter), TDM_E_USAGE, "did you mean");
    CHECK_FAILS(tdm_filter_add_identities(s, "--identity", "x", &filter), TDM_E_USAGE, "no identity \"x\"");
    CHECK_OK(tdm_filter_add_classes(s, "--class", "kind 1, kind 3", &filter));
    CHECK_OK(tdm_searcher_find(s, &(tdm_find){.k = 100, .what = TDM_IMAGE}, n, query, &all));
    CHECK_OK(
        tdm_searcher_find(s, &(tdm_find){.k = 7, .what = TDM_IMAGE, .filter = &filter}, n, query, &some));
    CHECK_EQ(some.gallery, 20);
    CHECK_EQ(some.k, 7);
    for (int64_t i = 0, j = 0; rank == 0 && j < some.k; i++) {
        if (all.row[i] / 10 % 2 == 0) continue;
        CHECK_EQ(some.row[j], all.row[i]);
        CHECK_EQ(some.score[j++], all.score[i]);
    }
    tdm_found_free(&some);
    CHECK_OK(tdm_searcher_find(s, &(tdm_find){.k = 3, .what = TDM_TEXT, .filter = &filter}, n, query, &some));
    CHECK_EQ(some.gallery, 14); /* 12, 15, 18; 30, 33, 36, 39 */
    tdm_found_free(&some);
    tdm_found_free(&all);
    tdm_filter_free(&filter);
}

/* Of copies one is shown, of what is nearly the same as well. */
static void check_duplicates(tdm_searcher *s)
{
    const tdm_embeddings *e = &s->embeddings;
    float *all = whole_of(e->image, e->images, e->d);
    tdm_found found, plain;
    CHECK_OK(tdm_searcher_find(s, &(tdm_find){.k = 200}, rank == 0, e->image, &plain));
    for (int way = 0; way < 2; way++) {
        const double threshold = way == 0 ? 1 : 0.9;
        const tdm_find find = {.k = 12, .hide_duplicates = threshold};
        CHECK_OK(tdm_searcher_find(s, &find, rank == 0, e->image, &found));
        int64_t shown = 0, hidden = 0, kept[12];
        for (int64_t i = 0; rank == 0 && i < plain.k && shown < 12; i++) {
            bool is_new = true;
            for (int64_t j = 0; j < shown; j++) {
                const float *a = all + plain.row[i] * e->d, *b = all + kept[j] * e->d;
                double sum = 0;
                for (int64_t k = 0; k < e->d; k++) sum += (double)a[k] * (double)b[k];
                if (sum >= threshold || memcmp(a, b, sizeof *a * (size_t)e->d) == 0) is_new = false;
            }
            if (is_new)
                kept[shown++] = plain.row[i];
            else
                hidden++;
        }
        for (int64_t j = 0; rank == 0 && j < found.k; j++) CHECK_EQ(found.row[j], j < shown ? kept[j] : -1);
        if (rank == 0) CHECK_EQ(found.hidden[0], hidden);
        if (rank == 0) CHECK_GE(hidden, 1);
        tdm_found_free(&found);
    }
    tdm_found_free(&plain);
    tdm_free(all);
}

static void change_folder(const char *remove, const char *from, const char *to)
{
    char a[256], b[256];
    tdm_comm_barrier(comm); /* the others have read what is there */
    if (rank == 0 && remove != NULL) {
        snprintf(a, sizeof a, "%s/%s", folder_dir, remove);
        CHECK_EQ(unlink(a), 0);
    }
    if (rank == 0 && from != NULL) {
        tdm_text bytes = {0};
        snprintf(a, sizeof a, "%s/%s", folder_dir, from);
        snprintf(b, sizeof b, "%s/%s", folder_dir, to);
        CHECK_OK(tdm_read_file(a, &bytes));
        CHECK_OK(tdm_write_file_atomic(b, bytes.data, bytes.length));
        tdm_text_free(&bytes);
    }
    tdm_comm_barrier(comm);
}

static void damage_cache(void)
{
    tdm_comm_barrier(comm);
    if (rank == 0) {
        char command[256];
        snprintf(command, sizeof command,
                 "for f in %s/*.h5; do head -c 2000 \"$f\" >x && cat x >\"$f\" && rm x; done", cache_dir);
        CHECK_EQ(system(command), 0);
    }
    tdm_comm_barrier(comm);
}

/* What another kind of processor made of the same pictures stays beside it. */
static void check_other_isa(const tdm_inference *in)
{
    const char *cap = getenv("TANDEM_ISA");
    char saved[32] = "";
    tdm_inference other;
    tdm_searcher s;
    if (strcmp(tdm_ops_isa(in->ops), "generic") == 0) return; /* there is no other */
    snprintf(saved, sizeof saved, "%s", cap ? cap : "");
    setenv("TANDEM_ISA", "generic", 1);
    open_model(&other);
    CHECK_EQ(tdm_ops_dtype(other.ops), tdm_ops_dtype(in->ops));
    for (int i = 0; i < 2; i++) {
        CHECK_OK(open_folder(&other, &s));
        check_news(&s, i * PICTURES, PICTURES - i * PICTURES, 0);
        tdm_searcher_close(&s);
    }
    tdm_inference_close(&other);
    setenv("TANDEM_ISA", saved, 1); /* empty: as unset */
    CHECK_OK(open_folder(in, &s));
    check_news(&s, PICTURES, 0, 0);
    tdm_searcher_close(&s);
}

static void test_folder(void **state)
{
    (void)state;
    tdm_inference in;
    open_model(&in);
    tdm_searcher s;
    if (rank == 0) make_folder();
    tdm_comm_barrier(comm);
    CHECK_OK(open_folder(&in, &s));
    check_news(&s, 0, PICTURES, 0);
    CHECK_EQ(s.news.unreadable, 2);
    CHECK_EQ(s.news.captions, 28);
    CHECK_EQ(s.news.captions_embedded, 28);
    int64_t bads;
    const tdm_unreadable *bad = tdm_searcher_unreadable(&s, &bads);
    CHECK_EQ(bads, rank == 0 ? 2 : 0);
    if (rank == 0) CHECK_STR_EQ(bad[0].name, "kind 1/15 broken.jpg");
    if (rank == 0) CHECK_NOT_NULL(strstr(bad[0].why, "is not a JPEG"));
    check_as_packed(&in, &s);
    check_find(&s, TDM_IMAGE, 0, 5);
    check_features(&in, &s);
    check_filter(&s);
    tdm_searcher_close(&s);

    /* The same again is known; a copy and a new name are recognised, what has changed is embedded. */
    CHECK_OK(open_folder(&in, &s));
    check_news(&s, PICTURES, 0, 0);
    CHECK_EQ(s.news.captions_embedded, 0);
    check_as_packed(&in, &s);
    tdm_searcher_close(&s);
    check_other_isa(&in);
    change_folder("kind 0/00 a.png", "kind 0/02 a.png", "copy.png");
    change_folder(NULL, "kind 0/04 a.png", "kind 0/05 \xc3\xbc\n\".png");
    change_folder(NULL, "kind 1/10 a.png", "kind 1/other.png");
    CHECK_OK(open_folder(&in, &s));
    CHECK_EQ(s.news.unreadable, 3); /* copy.png stands in no class */
    CHECK_EQ(s.news.gone, 1);
    CHECK_EQ(s.news.pictures, PICTURES);
    CHECK_EQ(s.news.embedded, 0);
    check_duplicates(&s);
    tdm_searcher_close(&s);

    /* A cache that is cut off, and one that cannot be. */
    damage_cache();
    CHECK_OK(open_folder(&in, &s));
    check_news(&s, 0, PICTURES, 0);
    tdm_searcher_close(&s);
    CHECK_OK(open_folder(&in, &s));
    check_news(&s, PICTURES, 0, 0);
    tdm_searcher_close(&s);
    const tdm_searcher_options nowhere = {.gallery = folder_dir, .split = "", .cache = "/dev/null/x"};
    CHECK_OK(tdm_searcher_open(comm, &in, &nowhere, &s));
    CHECK_EQ(s.news.embedded, PICTURES + 1);
    tdm_searcher_close(&s);
    CHECK_FAILS(open_gallery(&in, folder_dir, "test", &s), TDM_E_USAGE, "has no split");
    tdm_inference_close(&in);
}

/* A stamp is trusted when it has settled and all of it is the same. */
static void test_stamps(void **state)
{
    (void)state;
    if (rank != 0) return;
    char path[128];
    snprintf(path, sizeof path, "%s/stamp", dir);
    write_text(path, "one");
    picture_stamp young, again, old = {.bytes = 3, .modified_ns = 5, .changed_ns = 6, .inode = 7};
    CHECK_TRUE(picture_stamp_take(path, &young));
    CHECK_EQ(young.bytes, 3);
    CHECK_EQ(young.modified_ns, -1);
    CHECK_TRUE(picture_stamp_take(path, &again));
    CHECK_FALSE(picture_stamp_fits(&young, &again));
    again = old;
    CHECK_TRUE(picture_stamp_fits(&old, &again));
    again.inode++;
    CHECK_FALSE(picture_stamp_fits(&old, &again));
    CHECK_FALSE(picture_stamp_take("/nosuch", &old));
}

static void test_errors(void **state)
{
    (void)state;
    tdm_inference in;
    open_model(&in);
    tdm_searcher s;
    const struct {
        const char *dir, *split, *message;
        tdm_status status;
    } wrong[] = {
        {"/nosuch", "", "there is no such directory", TDM_E_IO},
        {data_dir, "", "which --split? It has", TDM_E_USAGE},
        {data_dir, "val", "val", TDM_E_DATA},
        {model_dir, "", "neither embeddings", TDM_E_IO},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const tdm_status status = open_gallery(&in, wrong[i].dir, wrong[i].split, &s);
        if (status != wrong[i].status || strstr(tdm_error_last()->message, wrong[i].message) == NULL)
            print_error("%s: %s\n", wrong[i].dir, tdm_error_last()->message);
        CHECK_EQ(status, wrong[i].status);
        CHECK_MESSAGE(wrong[i].message);
    }
    tdm_inference_close(&in);
    tdm_inference_options o = options;
    o.model = "/nosuch";
    tdm_inference none = {0};
    CHECK_NE(tdm_inference_open(comm, &o, &none), TDM_OK);
    tdm_inference_close(&none);
}

int main(int argc, char **argv)
{
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    rank = tdm_comm_rank(comm);
    size = tdm_comm_size(comm);
    tdm_status status = TDM_OK;
    if (rank == 0 && scratch_dir(dir, sizeof dir) != 0)
        status = TDM_ERROR(TDM_E_IO, "%s: cannot make it", dir);
    tdm_comm_broadcast(comm, dir, sizeof dir, 0);
    snprintf(data_dir, sizeof data_dir, "%s/data", dir);
    snprintf(model_dir, sizeof model_dir, "%s/model", dir);
    snprintf(embedding_dir, sizeof embedding_dir, "%s/embeddings", dir);
    snprintf(folder_dir, sizeof folder_dir, "%s/pictures", dir);
    snprintf(packed_dir, sizeof packed_dir, "%s/packed", dir);
    snprintf(cache_dir, sizeof cache_dir, "%s/cache", dir);
    if (rank == 0 && status == TDM_OK) status = tdm_make_dirs(data_dir);
    if (rank == 0 && status == TDM_OK) status = make_shapes(data_dir);
    if (rank == 0 && status == TDM_OK) status = tiny_model_write(model_dir, 3);
    status = tdm_comm_agree(comm, status);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),    cmocka_unit_test(test_find),   cmocka_unit_test(test_folder),
        cmocka_unit_test(test_stamps), cmocka_unit_test(test_errors),
    };
    int failed = 1;
    if (status == TDM_OK)
        failed = cmocka_run_group_tests(tests, NULL, NULL);
    else
        tdm_comm_report(comm);
    tdm_comm_barrier(comm);
    if (rank == 0 && tdm_remove_tree(dir) != TDM_OK) failed = 1;
    tdm_comm_destroy(&comm);
    return failed;
}
