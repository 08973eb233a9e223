/* The packer on one and more ranks: what is stored, what is refused, what is left of a failure. Rank 0 writes
 * the raw data and reads the result; every rank packs. */
#include "check.h"
#include "data/toy.h"
#include "pack_impl.h"
#include "tandem/pack.h"
#include "tandem/tokenizer.h"

#include <jansson.h>
#include <signal.h>
#include <sys/resource.h>

enum { IMAGES = 23, SHARD = 5 };

static tdm_comm *comm;
static char dir[64];

static bool first_rank(void)
{
    return tdm_comm_rank(comm) == 0;
}

static int set_up(void **state)
{
    (void)state;
    if (first_rank()) toy_dir(dir);
    tdm_comm_broadcast(comm, dir, sizeof(dir), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tdm_comm_barrier(comm);
    return first_rank() && tdm_remove_tree(dir) != TDM_OK;
}

static const char *at(const char *name)
{
    static char path[8][512];
    static int next;
    char *out = path[next++ % 8];
    CHECK_OK(tdm_path_join(out, sizeof(path[0]), dir, name));
    return out;
}

static void put_bytes(const char *name, const void *data, size_t bytes)
{
    CHECK_OK(tdm_make_dirs(at("raw")));
    FILE *file =
        fopen(at(name), "wb"); /* not tdm_write_file_atomic: its fsyncs would take most of the test's time */
    CHECK_NOT_NULL(file);
    CHECK_EQ(fwrite(data, 1, bytes, file), bytes);
    CHECK_EQ(fclose(file), 0);
}

static void put(const char *name, const char *text)
{
    put_bytes(name, text, strlen(text));
}

/* A picture whose colours tell its number; JPEG by its name. */
static void put_image(const char *name, int number, int64_t height, int64_t width)
{
    uint8_t *pixel;
    tdm_text file = {0};
    CHECK_OK(tdm_alloc((size_t)(height * width * 3), name, (void **)&pixel));
    for (int64_t i = 0; i < height * width * 3; i++) pixel[i] = (uint8_t)(number * 37 + i % 3 * 50 + i / 97);
    if (strstr(name, ".jpg"))
        CHECK_OK(tdm_image_encode_jpeg(pixel, height, width, 90, &file));
    else
        CHECK_OK(tdm_image_encode_png(pixel, height, width, &file));
    put_bytes(name, file.data, file.length);
    tdm_text_free(&file);
    tdm_free(pixel);
}

/* raw/00.png … with raw/00.txt …, every third a JPEG. */
static void put_folder(void)
{
    char name[64], caption[64];
    for (int i = 0; i < IMAGES; i++) {
        snprintf(name, sizeof(name), "raw/%02d.%s", i, i % 3 ? "png" : "jpg");
        put_image(name, i, 12, 10);
        snprintf(name, sizeof(name), "raw/%02d.txt", i);
        snprintf(caption, sizeof(caption), "picture %d\nanother of %d\n", i, i);
        put(name, caption);
    }
}

typedef struct call { /* options with room for the source's text */
    tdm_pack_options options;
    char out[512], source[512];
    const char *sources[1];
} call;

static void prepare(call *c, const char *format, const char *source)
{
    memset(c, 0, sizeof(*c));
    snprintf(c->out, sizeof(c->out), "%s", at("out"));
    snprintf(c->source, sizeof(c->source), "%s", at(source));
    c->sources[0] = c->source;
    c->options = (tdm_pack_options){.format = format,
                                    .out_dir = c->out,
                                    .dataset_name = "toy",
                                    .split = "",
                                    .context_length = 16,
                                    .shard_size = SHARD,
                                    .seed = 1,
                                    .source = c->sources,
                                    .source_count = 1};
}

/* Collective. What rank 0 wrote is there for all; all get the same code. */
static tdm_status pack(const call *c, tdm_pack_result *result)
{
    tdm_comm_barrier(comm);
    const tdm_status status = tdm_pack(comm, &c->options, result);
    CHECK_TRUE(tdm_comm_all_equal_u64(comm, (uint64_t)status));
    tdm_comm_barrier(comm);
    return status;
}

/* Everything of the split `name` in order, "name=caption|caption;…" into text. */
static int64_t read_split(const char *name, tdm_text *text)
{
    tdm_dataset *set = NULL;
    tdm_text piece = {0};
    text->length = 0;
    CHECK_OK(tdm_text_append(text, "", 0));
    CHECK_OK(tdm_dataset_open(at("out"), name, &set));
    CHECK_OK(tdm_dataset_verify(set));
    const int64_t images = tdm_dataset_images(set);
    for (int64_t i = 0; i < images; i++) {
        int64_t first, n;
        CHECK_OK(tdm_dataset_read_name(set, i, &piece));
        CHECK_OK(tdm_text_printf(text, "%s", piece.data));
        tdm_dataset_image_captions(set, i, &first, &n);
        for (int64_t k = first; k < first + n; k++) {
            CHECK_OK(tdm_dataset_read_caption(set, k, &piece));
            CHECK_OK(tdm_text_printf(text, "%c%s", k == first ? '=' : '|', piece.data));
        }
        CHECK_OK(tdm_text_printf(text, ";"));
    }
    tdm_text_free(&piece);
    tdm_dataset_close(&set);
    return images;
}

static json_t *read_report(void)
{
    json_error_t error;
    json_t *report = json_load_file(at("out/pack-report.json"), 0, &error);
    if (!report) fail_msg("pack-report.json: %s", error.text);
    return report;
}

static void expect_bad(const json_t *report, size_t i, const char *name, const char *says)
{
    const json_t *bad = json_array_get(json_object_get(report, "bad"), i);
    const char *found = json_string_value(json_object_get(bad, "name"));
    const char *error = json_string_value(json_object_get(bad, "error"));
    CHECK_NOT_NULL(found);
    CHECK_STR_EQ(found, name);
    CHECK_CONTAINS(error, says);
}

/* ---- what is stored ---- */

static void original_bytes_and_captions(void **state)
{
    (void)state;
    call c;
    tdm_pack_result result;
    if (first_rank()) put_folder();
    prepare(&c, "folder", "raw");
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.images, IMAGES);
    CHECK_EQ(result.captions, 2 * IMAGES);
    CHECK_EQ(result.shards, (IMAGES + SHARD - 1) / SHARD);
    CHECK_EQ(result.bad, 0);
    if (!first_rank()) return;

    tdm_dataset *set = NULL;
    tdm_text stored = {0}, raw = {0};
    CHECK_OK(tdm_dataset_open(at("out"), "train", &set));
    CHECK_FALSE(tdm_dataset_has_identity(set));
    for (int64_t i = 0; i < IMAGES; i++) {
        char name[64];
        snprintf(name, sizeof(name), "raw/%02d.%s", (int)i, i % 3 ? "png" : "jpg");
        tdm_text_free(&raw);
        CHECK_OK(tdm_read_file(at(name), &raw));
        CHECK_OK(tdm_dataset_read_image(set, i, &stored));
        CHECK_EQ(stored.length, raw.length);
        CHECK_MEM_EQ(stored.data, raw.data, raw.length);
    }
    tdm_dataset_close(&set);
    CHECK_EQ(read_split("train", &stored), IMAGES);
    CHECK_CONTAINS(stored.data, ";07.png=picture 7|another of 7;08.png=picture 8|");
    tdm_text_free(&stored);
    tdm_text_free(&raw);
}

static void smaller_images(void **state)
{
    (void)state;
    call c;
    tdm_pack_result result;
    if (first_rank()) {
        put_image("raw/a.jpg", 1, 40, 100); /* shorter side to 20 */
        put_image("raw/b.png", 2, 90, 30);
        put_image("raw/c.png", 3, 12, 50); /* never enlarged: original bytes */
        put("raw/a.txt", "a");
        put("raw/b.txt", "b");
        put("raw/c.txt", "c");
    }
    prepare(&c, "folder", "raw");
    c.options.image_px = 20;
    CHECK_OK(pack(&c, &result));
    if (!first_rank()) return;
    static const int64_t size[3][2] = {{20, 50}, {60, 20}, {12, 50}};
    tdm_dataset *set = NULL;
    tdm_text stored = {0}, raw = {0};
    CHECK_OK(tdm_dataset_open(at("out"), "train", &set));
    for (int64_t i = 0; i < 3; i++) {
        int64_t height, width;
        CHECK_OK(tdm_dataset_read_image(set, i, &stored));
        CHECK_OK(tdm_image_probe("stored", stored.data, stored.length, &height, &width));
        CHECK_EQ(height, size[i][0]);
        CHECK_EQ(width, size[i][1]);
        CHECK_EQ(i == 0, !memcmp(stored.data, "\xff\xd8", 2)); /* a JPEG stays one */
    }
    CHECK_OK(tdm_read_file(at("raw/c.png"), &raw));
    CHECK_EQ(stored.length, raw.length);
    CHECK_MEM_EQ(stored.data, raw.data, raw.length);
    tdm_dataset_close(&set);
    tdm_text_free(&stored);
    tdm_text_free(&raw);
}

static void tokenizer_digest_and_long_captions(void **state)
{
    (void)state;
    call c;
    tdm_pack_result result;
    if (first_rank()) {
        put_folder();
        put("raw/03.txt", "a caption of very many letters that no merge joins\nshort");
        put("raw/09.txt", "a bad image's caption is not counted, however long it may be");
        put("raw/09.jpg", "no image");
        put("raw/10.txt", "nor is that of a caption which is not UTF-8 \xff");
        put("bpe.txt", "#version: 0.2\np i\n");
    }
    char tokenizer[512];
    snprintf(tokenizer, sizeof(tokenizer), "%s", at("bpe.txt"));
    prepare(&c, "folder", "raw");
    c.options.tokenizer = tokenizer;
    c.options.skip_bad = true;
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.truncated_captions, 1); /* of 16 tokens; "another of 22" has 14 */
    CHECK_EQ(result.bad, 2);
    const int64_t images = result.images;
    c.options.refuse_overlong = true; /* the sample goes, with its other caption */
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.truncated_captions, 0);
    CHECK_EQ(result.bad, 3);
    CHECK_EQ(result.images, images - 1);
    c.options.refuse_overlong = false;
    CHECK_OK(pack(&c, &result));
    if (!first_rank()) return;
    tdm_tokenizer *t = NULL;
    tdm_dataset *set = NULL;
    CHECK_OK(tdm_tokenizer_open(tokenizer, &t));
    CHECK_OK(tdm_dataset_open(at("out"), "train", &set));
    CHECK_STR_EQ(tdm_dataset_tokenizer_digest(set), tdm_tokenizer_digest(t));
    tdm_dataset_close(&set);
    tdm_tokenizer_destroy(&t);
}

/* ---- bad samples ---- */

static void put_bad_folder(void)
{
    put_folder();
    put("raw/04.png", "this is no image");
    put("raw/11.png", "");
    CHECK_EQ(unlink(at("raw/13.txt")), 0);
    put("raw/17.txt", "caf\xe9"); /* Latin-1 */
    put("raw/19.txt", " \n\n");
    tdm_text file = {0};
    CHECK_OK(tdm_read_file(at("raw/22.png"), &file));
    put_bytes("raw/22.png", file.data, file.length / 2);
    tdm_text_free(&file);
}

static void bad_samples_are_skipped_and_reported(void **state)
{
    (void)state;
    call c;
    tdm_pack_result result;
    if (first_rank()) put_bad_folder();
    prepare(&c, "folder", "raw");
    c.options.skip_bad = true;
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.bad, 6);
    CHECK_EQ(result.images, IMAGES - 6);
    if (!first_rank()) return;

    json_t *report = read_report();
    CHECK_EQ(json_array_size(json_object_get(report, "bad")), 6);
    expect_bad(report, 0, "04.png", "04.png"); /* in the list's order, from whichever rank */
    expect_bad(report, 1, "11.png", "empty");
    expect_bad(report, 2, "13.png", "has no caption");
    expect_bad(report, 3, "17.png", "UTF-8");
    expect_bad(report, 4, "19.png", "has no caption");
    expect_bad(report, 5, "22.png", "22.png");
    CHECK_EQ(json_integer_value(json_object_get(report, "images")), IMAGES - 6);
    json_decref(report);

    tdm_index_row *row = NULL; /* shards are cut before anything is left out */
    int64_t rows;
    CHECK_OK(tdm_index_read(at("out"), &row, &rows));
    static const int64_t images[] = {4, 5, 3, 3, 2};
    CHECK_EQ(rows, 5);
    for (int64_t i = 0; i < rows; i++) CHECK_EQ(row[i].images, images[i]);
    tdm_free(row);
    tdm_text text = {0};
    CHECK_EQ(read_split("train", &text), IMAGES - 6);
    CHECK_LACKS(text.data, "04.png");
    tdm_text_free(&text);
}

static void the_first_bad_image_is_the_error(void **state)
{
    (void)state;
    call c;
    tdm_pack_result result;
    if (first_rank()) put_bad_folder();
    prepare(&c, "folder", "raw");
    CHECK_FAILS(pack(&c, &result), TDM_E_DATA, "04.png");
    if (first_rank()) CHECK_FALSE(tdm_path_exists(at("out/dataset.h5")));

    if (first_rank()) { /* with more ranks the one that meets 11.png is not the first rank */
        put_image("raw/04.png", 4, 8, 8);
        put("raw/08.txt", "\xff");
    }
    CHECK_FAILS(pack(&c, &result), TDM_E_DATA, "08.txt: line 1: the caption");
    CHECK_MESSAGE("UTF-8");
}

static void empty_captions_and_missing_files(void **state)
{
    (void)state;
    call c;
    tdm_pack_result result;
    if (first_rank()) {
        put_image("raw/1.png", 1, 8, 8);
        put("raw/pairs.csv", "filepath,title\n1.png,good\n1.png,\"  \"\nabsent.png,x\n");
    }
    prepare(&c, "csv", "raw/pairs.csv");
    CHECK_FAILS(pack(&c, &result), TDM_E_DATA, "pairs.csv: line 3 (1.png, caption 2): the caption is empty");
    c.options.skip_bad = true; /* the caption is lost, not the image with its good one */
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.images, 1);
    CHECK_EQ(result.captions, 1);
    CHECK_EQ(result.bad, 1);
    CHECK_EQ(result.bad_captions, 1);
    if (first_rank()) {
        json_t *report = read_report();
        expect_bad(report, 0, "absent.png", "absent.png");
        const json_t *lost = json_array_get(json_object_get(report, "bad_captions"), 0);
        CHECK_EQ(json_integer_value(json_object_get(lost, "caption")), 2);
        CHECK_CONTAINS(json_string_value(json_object_get(lost, "error")),
                       "pairs.csv: line 3 (1.png, caption 2): the caption is empty");
        json_decref(report);
        put("raw/pairs.csv", "filepath,title\n1.png,\xc2\xa0\nabsent.png,x\n");
    }
    CHECK_FAILS(pack(&c, &result), TDM_E_DATA, "every sample is bad");
    CHECK_MESSAGE("pack-report.json");
    CHECK_MESSAGE("the first: ");
    CHECK_MESSAGE("pairs.csv: line 2 (1.png, caption 1): the caption is empty");
    if (first_rank()) {
        json_t *report = read_report();
        expect_bad(report, 0, "1.png", "the caption is empty");
        expect_bad(report, 1, "absent.png", "absent.png");
        json_decref(report);
    }
}

/* ---- what a format notes ---- */

static const struct {
    const char *text;
    size_t length;
    const char *says; /* NULL: it is a caption */
} judged[] = {
    {"a boat", 6, NULL},
    {" caf\xc3\xa9 \n", 8, NULL},
    {"a \xf0\x9f\x98\x80", 6, NULL},
    {"", 0, "is empty"},
    {" \t\r\n\v\f", 6, "is empty"},
    {"\xc2\xa0\xc2\xa0", 4, "is empty"},                     /* no-break space */
    {"\xe2\x80\x80\xe2\x80\x8a\xe2\x80\x8b", 9, "is empty"}, /* U+2000, U+200A, U+200B */
    {"\xef\xbb\xbf", 3, "is empty"},                         /* byte order mark */
    {"\xe2\x80\x8d\xef\xb8\x8f", 6, "is empty"},             /* joiner, variation selector */
    {"\xe3\x80\x80", 3, "is empty"},                         /* ideographic space */
    {"\xe2\x80\xa8\xc2\xad\xe3\x85\xa4", 8, "is empty"},     /* line separator, soft hyphen, Hangul filler */
    {"\xe2\xa0\x80", 3, "is empty"},                         /* blank of Braille */
    {"a\0 boat", 7, "holds a zero byte behind \"a\", at its byte 2"}, /* never cut */
    {"\0", 1, "holds a zero byte behind \"\", at its byte 1"},
    {"caf\xe9 au lait", 12, "is not UTF-8 behind \"caf\", at its byte 4"},
    {"caf\xc3", 4, "is not UTF-8"},
    {"\xed\xa0\x80", 3, "is not UTF-8"}, /* a surrogate */
    {"\xff\0", 2, "is not UTF-8 behind \"\", at its byte 1"},
};
enum { JUDGED = sizeof(judged) / sizeof(judged[0]) };

static void captions_are_judged(void **state)
{
    (void)state;
    for (int i = 0; i < JUDGED; i++) {
        tdm_pack_list list = {0};
        tdm_pack_item *item;
        CHECK_OK(pack_list_add(&list, "1.png", NULL, "", &item));
        CHECK_OK(pack_item_caption(item, NULL, "good", 4));
        CHECK_OK(pack_item_caption(item, i % 2 ? "x.txt: line 7" : NULL, judged[i].text, judged[i].length));
        CHECK_OK(pack_item_alternative(item, "wording", 7)); /* lost with its caption */
        CHECK_EQ(item->caption_n, (judged[i].says ? 1 : 2));
        CHECK_EQ(item->caption_fault_n, (judged[i].says ? 1 : 0));
        CHECK_EQ(item->alternative_n, (judged[i].says ? 0 : 1));
        if (judged[i].says) {
            const tdm_pack_caption_fault *fault = &item->caption_fault[0];
            CHECK_CONTAINS(fault->why, judged[i].says);
            CHECK_CONTAINS(fault->why, (i % 2 ? "x.txt: line 7: the caption" : "1.png: caption 2"));
            CHECK_EQ(fault->number, 2);
            CHECK_EQ(fault->empty, !strcmp(judged[i].says, "is empty"));
        }
        tdm_pack_list_free(&list);
    }
}

/* A format that the table does not hold: four images and all that can be noted beside them. FOLDER/empty: nothing;
 * FOLDER/broken: one image, then the source is unreadable. */
static tdm_status list_noted(const char *folder, const void *options, tdm_pack_list *all)
{
    (void)options;
    static const char *const identity[] = {"ada", "bob", "ada", ""};
    tdm_pack_item *item;
    char path[600];
    if (strstr(folder, "empty")) return TDM_OK;
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s/%d.png", folder, i);
        TDM_TRY(pack_list_add(all, path + strlen(folder) + 1, path, "", &item));
        TDM_TRY(pack_item_fault(item, pack_item_identity(all, item, identity[i], strlen(identity[i]))));
        TDM_TRY(pack_item_fault(item, pack_item_classes(all, item, " cat | dog |cat", 15, "|")));
        TDM_TRY(pack_item_caption(item, NULL, "a caption", 9));
        if (i == 1) TDM_TRY(pack_item_caption(item, "list: line 8", "a\0b", 3));
        if (strstr(folder, "broken")) TDM_FAIL(TDM_E_FORMAT, "%s: is damaged", folder);
    }
    TDM_TRY(pack_item_fault(&all->item[2], pack_item_identity(all, &all->item[2], "bob", 3)));
    TDM_TRY(pack_list_fault(all, "list: line 3", TDM_ERROR(TDM_E_FORMAT, "list: line 3 has 1 field")));
    TDM_TRY(pack_list_leave_out(all, "files of no use", "a/x.MD", NULL));
    TDM_TRY(pack_list_leave_out(all, "files of no use", "a/y.md", "too dull"));
    TDM_TRY(pack_list_leave_out(all, "files of no use", "a.b/caf\xe9", NULL));
    return pack_list_leave_out(all, "columns that are not used", "pairs.csv: column \"id\"", NULL);
}

static const tdm_pack_format noted = {.name = "noted", .help = "", .list = list_noted};

static void expect_left_out(const json_t *report, size_t i, const char *extension, int64_t count,
                            const char *where)
{
    const json_t *group = json_array_get(json_object_get(report, "left_out"), i);
    CHECK_STR_EQ(json_string_value(json_object_get(group, "extension")), extension);
    CHECK_EQ(json_integer_value(json_object_get(group, "count")), count);
    const json_t *listed = json_object_get(group, "listed");
    CHECK_EQ(json_array_size(listed), count);
    CHECK_STR_EQ(json_string_value(json_object_get(json_array_get(listed, 0), "where")), where);
}

static void faults_and_what_is_left_out(void **state)
{
    (void)state;
    call c;
    tdm_pack_result result;
    char name[32];
    if (first_rank())
        for (int i = 0; i < 4; i++) {
            snprintf(name, sizeof(name), "raw/%d.png", i);
            put_image(name, i, 8, 8);
        }
    prepare(&c, "none of the table", "raw");
    c.options.reader = &noted;
    CHECK_FAILS(pack(&c, &result), TDM_E_DATA, "list: line 3 has 1 field");
    c.options.skip_bad = true;
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.images, 2);
    CHECK_EQ(result.bad, 3);
    CHECK_EQ(result.bad_captions, 1);
    CHECK_EQ(result.left_out, 4);
    CHECK_EQ(result.split_n, 1);
    CHECK_STR_EQ(result.split[0].name, "train");
    CHECK_EQ(result.split[0].samples, 2);
    CHECK_EQ(result.split[0].images, 2);
    CHECK_EQ(result.split[0].captions, 2);
    CHECK_EQ(result.split[0].identities, 2);
    CHECK_EQ(result.split[0].classes, 2);
    if (!first_rank()) return;
    json_t *report = read_report();
    expect_bad(report, 0, "list: line 3", "list: line 3 has 1 field");
    expect_bad(report, 1, "2.png", "has two identities, \"ada\" and \"bob\"");
    expect_bad(report, 2, "3.png", "has no identity, as 1 of 4 samples; others have, as 2.png");
    expect_left_out(report, 0, ".md", 2, "a/x.MD");
    expect_left_out(report, 1, "", 1, "a.b/caf\xef\xbf\xbd");
    expect_left_out(report, 2, "", 1, "pairs.csv: column \"id\"");
    const json_t *names = json_object_get(report, "identity_names");
    CHECK_EQ(json_array_size(names), 2);
    CHECK_STR_EQ(json_string_value(json_array_get(names, 1)), "bob");
    json_decref(report);
}

/* Sources without anything, or unreadable from some place on, among others. */
static void empty_and_damaged_sources(void **state)
{
    (void)state;
    call c;
    tdm_pack_result result;
    char source[3][512];
    if (first_rank()) {
        CHECK_OK(tdm_make_dirs(at("raw/empty")));
        CHECK_OK(tdm_make_dirs(at("raw/broken")));
        for (int i = 0; i < 4; i++) {
            char name[32];
            snprintf(name, sizeof(name), "raw/%d.png", i);
            put_image(name, i, 8, 8);
        }
        put_image("raw/broken/0.png", 9, 8, 8);
    }
    snprintf(source[0], sizeof(source[0]), "%s", at("raw/empty"));
    snprintf(source[1], sizeof(source[1]), "%s", at("raw/broken"));
    snprintf(source[2], sizeof(source[2]), "%s", at("raw"));
    const char *const sources[] = {source[0], source[1], source[2]};
    prepare(&c, "none of the table", "raw");
    c.options.reader = &noted;
    c.options.source = sources;
    c.options.source_count = 3;
    CHECK_FAILS(pack(&c, &result), TDM_E_FORMAT, "raw/broken: is damaged");
    c.options.skip_bad = true;
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.images, 4); /* of the damaged one what was listed before */
    CHECK_EQ(result.bad, 3);
    if (first_rank()) {
        json_t *report = read_report();
        expect_bad(report, 0, source[1], "is damaged");
        const json_t *empty = json_object_get(report, "empty_sources");
        CHECK_EQ(json_array_size(empty), 1);
        CHECK_STR_EQ(json_string_value(json_array_get(empty, 0)), source[0]);
        json_decref(report);
    }
    c.options.source_count = 1;
    CHECK_FAILS(pack(&c, &result), TDM_E_DATA, "raw/empty: holds no images and no captions");
}

/* Names of identities that are all numbers are those numbers. */
static tdm_status list_numbered(const char *folder, const void *options, tdm_pack_list *all)
{
    (void)options;
    static const char *const identity[] = {"70", " 3 ", "70"};
    for (int i = 0; i < 3; i++) {
        tdm_pack_item *item;
        char path[600];
        snprintf(path, sizeof(path), "%s/%d.png", folder, i);
        TDM_TRY(pack_list_add(all, path + strlen(folder) + 1, path, "", &item));
        TDM_TRY(pack_item_fault(item, pack_item_identity(all, item, identity[i], strlen(identity[i]))));
        TDM_TRY(pack_item_caption(item, NULL, "a caption", 9));
    }
    return TDM_OK;
}

static void identities_that_are_numbers(void **state)
{
    (void)state;
    static const tdm_pack_format numbered = {.name = "numbered", .help = "", .list = list_numbered};
    call c;
    tdm_pack_result result;
    if (first_rank())
        for (int i = 0; i < 3; i++) {
            char name[32];
            snprintf(name, sizeof(name), "raw/%d.png", i);
            put_image(name, i, 8, 8);
        }
    prepare(&c, "none of the table", "raw");
    c.options.reader = &numbered;
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.split[0].identities, 2);
    if (!first_rank()) return;
    tdm_dataset *set = NULL;
    CHECK_OK(tdm_dataset_open(at("out"), "train", &set));
    CHECK_EQ(tdm_dataset_identity(set, 0), 70);
    CHECK_EQ(tdm_dataset_identity(set, 1), 3);
    CHECK_EQ(tdm_dataset_identity(set, 2), 70);
    tdm_dataset_close(&set);
    json_t *report = read_report();
    CHECK_NULL(json_object_get(report, "identity_names"));
    json_decref(report);
}

/* ---- samples of one modality ---- */

static void put_unpaired(void)
{
    put_folder();
    CHECK_EQ(unlink(at("raw/04.png")), 0);
    CHECK_EQ(unlink(at("raw/08.txt")), 0);
    put("raw/09.txt", "\n");
    put("raw/99.txt", "a text of its own\n");
    put_bytes("raw/13.txt", "U\0T\0F\0", 6);
    put("raw/98.txt", "\n");
}

static void unpaired_samples_are_bad(void **state)
{
    (void)state;
    call c;
    tdm_pack_result result;
    if (first_rank()) put_unpaired();
    prepare(&c, "folder", "raw");
    CHECK_FAILS(pack(&c, &result), TDM_E_DATA, "04.txt: has no image");
    CHECK_MESSAGE("--unpaired keep");
    c.options.skip_bad = true;
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.images, IMAGES - 4);
    CHECK_EQ(result.images_only, 0);
    CHECK_EQ(result.texts_only, 0);
    if (!first_rank()) return;
    json_t *report = read_report();
    CHECK_EQ(json_array_size(json_object_get(report, "bad")), 6);
    expect_bad(report, 0, "04.txt", "has no image");
    expect_bad(report, 1, "08.png", "has no caption");
    expect_bad(report, 2, "09.jpg", "has no caption");
    expect_bad(report, 3, "13.png", "UTF-16");
    expect_bad(report, 4, "98.txt", "has neither an image nor a caption");
    expect_bad(report, 5, "99.txt", "has no image");
    json_decref(report);
}

static void unpaired_samples_are_kept(void **state)
{
    (void)state;
    call c;
    tdm_pack_result result;
    if (first_rank()) put_unpaired();
    prepare(&c, "folder", "raw");
    c.options.keep_unpaired = true;
    CHECK_FAILS(pack(&c, &result), TDM_E_DATA, "13.txt");
    CHECK_MESSAGE("UTF-16");
    c.options.skip_bad = true;
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.bad, 1);
    CHECK_EQ(result.bad_captions, 1); /* of 13.png, which stands alone now */
    CHECK_EQ(result.images_only, 3);
    CHECK_EQ(result.texts_only, 2);
    if (!first_rank()) return;
    json_t *report = read_report();
    CHECK_EQ(json_integer_value(json_object_get(report, "images_only")), 3);
    CHECK_EQ(json_integer_value(json_object_get(report, "texts_only")), 2);
    json_decref(report);
    tdm_text text = {0};
    (void)read_split("train", &text);
    CHECK_CONTAINS(text.data, ";04.txt=picture 4|another of 4;05.png=");
    CHECK_CONTAINS(text.data, ";08.png;09.jpg;10.png=");
    CHECK_CONTAINS(text.data, ";99.txt=a text of its own;");
    tdm_text_free(&text);
}

/* ---- alternative wordings ---- */

/* A format that the table does not hold: two images, three captions, wordings of some. */
static tdm_status list_wordings(const char *folder, const void *options, tdm_pack_list *all)
{
    (void)options;
    static const char *const caption[] = {"a boat", "some boat", "a dog"};
    for (int k = 0; k < 3; k++) {
        char path[600];
        snprintf(path, sizeof(path), "%s/%d.png", folder, k / 2);
        tdm_pack_item *item;
        if (k % 2 == 0) TDM_TRY(pack_list_add(all, path + strlen(folder) + 1, path, "", &item));
        item = &all->item[all->count - 1];
        TDM_TRY(pack_item_caption(item, NULL, caption[k], strlen(caption[k])));
        if (k != 1) TDM_TRY(pack_item_alternative(item, " another wording ", 17));
        if (k == 2) TDM_TRY(pack_item_alternative(item, "  ", 2)); /* none */
        if (k == 2) TDM_TRY(pack_item_alternative(item, "a hound", 7));
    }
    return TDM_OK;
}

static void alternative_wordings(void **state)
{
    (void)state;
    static const tdm_pack_format wordings = {.name = "wordings", .help = "", .list = list_wordings};
    static const char *const want[] = {"another wording", "another wording", "a hound"};
    static const int64_t first[] = {0, 1, 1, 3};
    call c;
    tdm_pack_result result;
    if (first_rank())
        for (int i = 0; i < 2; i++) put_image(i ? "raw/1.png" : "raw/0.png", i, 8, 8);
    prepare(&c, "none of the table", "raw");
    c.options.reader = &wordings;
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.captions, 3);
    CHECK_EQ(result.alternatives, 3);
    if (!first_rank()) return;
    tdm_dataset *set = NULL;
    tdm_text text = {0};
    CHECK_OK(tdm_dataset_open(at("out"), "train", &set));
    CHECK_EQ(tdm_dataset_alternatives(set), 3);
    for (int64_t k = 0; k < 3; k++) {
        int64_t begin, n;
        tdm_dataset_caption_alternatives(set, k, &begin, &n);
        CHECK_EQ(begin, first[k]);
        CHECK_EQ(n, first[k + 1] - first[k]);
        CHECK_OK(tdm_dataset_read_alternative(set, k, &text));
        CHECK_STR_EQ(text.data, want[k]);
    }
    tdm_text_free(&text);
    tdm_dataset_close(&set);
}

/* A full disk is not the sample's fault: it ends the run, with skip_bad too, and leaves no index. */
static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    call c;
    tdm_pack_result result;
    if (first_rank()) {
        char name[64];
        for (int i = 0; i < 2 * SHARD; i++) {
            const int64_t px = 256;
            uint8_t *pixel;
            tdm_text file = {0};
            CHECK_OK(TDM_ALLOC(px * px * 3, &pixel));
            tdm_rng rng = tdm_rng_at(1, 0, (uint64_t)i, TDM_RNG_TEST);
            for (int64_t k = 0; k < px * px * 3; k++) pixel[k] = (uint8_t)tdm_rng_u32(&rng);
            CHECK_OK(tdm_image_encode_png(pixel, px, px, &file)); /* noise: 190 kB */
            snprintf(name, sizeof(name), "raw/%02d.png", i);
            put_bytes(name, file.data, file.length);
            snprintf(name, sizeof(name), "raw/%02d.txt", i);
            put(name, "noise");
            tdm_text_free(&file);
            tdm_free(pixel);
        }
    }
    prepare(&c, "folder", "raw");
    c.options.skip_bad = true;
    tdm_comm_barrier(comm);
    struct rlimit old, small;
    void (*const on_limit)(int) = signal(SIGXFSZ, SIG_IGN);
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 300000, .rlim_max = old.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    const tdm_status status = tdm_pack(comm, &c.options, &result);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, on_limit);
    CHECK_FAILS(status, TDM_E_IO, "");
    if (first_rank()) CHECK_FALSE(tdm_path_exists(at("out/dataset.h5")));
}

/* ---- splits ---- */

static void fractions_depend_on_the_name_alone(void **state)
{
    (void)state;
    call c;
    tdm_pack_result result;
    tdm_text train = {0}, val = {0}, again = {0};
    if (first_rank()) put_folder();
    prepare(&c, "folder", "raw");
    c.options.split = "train=0.7,val=0.3";
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.images, IMAGES);
    if (first_rank()) {
        CHECK_EQ(read_split("train", &train) + read_split("val", &val), IMAGES);
        for (int i = 0; i < IMAGES; i++) {
            char part[64];
            snprintf(part, sizeof(part), "picture %d|", i);
            CHECK_EQ(!!strstr(train.data, part) + !!strstr(val.data, part), 1);
        }
        /* fewer images: those that are left stay where they were */
        for (int i = 1; i < IMAGES; i += 2) {
            char name[64];
            snprintf(name, sizeof(name), "raw/%02d.%s", i, i % 3 ? "png" : "jpg");
            CHECK_EQ(unlink(at(name)), 0);
            snprintf(name, sizeof(name), "raw/%02d.txt", i);
            CHECK_EQ(unlink(at(name)), 0);
        }
    }
    CHECK_OK(pack(&c, &result));
    if (first_rank()) {
        (void)read_split("val", &again);
        for (int i = 0; i < IMAGES; i += 2) {
            char part[64];
            snprintf(part, sizeof(part), "picture %d|", i);
            CHECK_EQ(!!strstr(val.data, part), !!strstr(again.data, part));
        }
    }
    c.options.seed = 2;
    CHECK_OK(pack(&c, &result));
    if (first_rank()) {
        (void)read_split("val", &val);
        CHECK_STR_NE(val.data, again.data);
    }
    tdm_text_free(&train);
    tdm_text_free(&val);
    tdm_text_free(&again);
}

static void own_splits_and_their_merging(void **state)
{
    (void)state;
    call c;
    tdm_pack_result result;
    tdm_text text = {0};
    if (first_rank()) {
        static const char *const split[] = {"train", "restval", "val", "test"};
        tdm_text json = {0};
        CHECK_OK(tdm_text_printf(&json, "{\"images\": ["));
        for (int i = 0; i < 8; i++) {
            char name[64];
            snprintf(name, sizeof(name), "raw/%d.png", i);
            put_image(name, i, 8, 8);
            CHECK_OK(tdm_text_printf(
                &json, "%s{\"filename\": \"%d.png\", \"split\": \"%s\", \"sentences\": [{\"raw\": \"c%d\"}]}",
                i ? "," : "", i, split[i % 4], i));
        }
        CHECK_OK(tdm_text_printf(&json, "]}"));
        put_bytes("raw/set.json", json.data, json.length);
        tdm_text_free(&json);
    }
    prepare(&c, "karpathy", "raw/set.json");
    c.options.split = "train=train+restval,test";
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.images, 6); /* "val" was not asked for */
    if (first_rank()) {
        (void)read_split("train", &text);
        CHECK_STR_EQ(text.data, "0.png=c0;1.png=c1;4.png=c4;5.png=c5;");
        (void)read_split("test", &text);
        CHECK_STR_EQ(text.data, "3.png=c3;7.png=c7;");
    }
    c.options.split = "";
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.images, 8);
    if (first_rank()) {
        (void)read_split("train", &text);
        CHECK_STR_EQ(text.data, "0.png=c0;4.png=c4;");
        (void)read_split("restval", &text);
        CHECK_STR_EQ(text.data, "1.png=c1;5.png=c5;");
    }
    c.options.split =
        "train=restval+train*0.5,dev=train*0.5"; /* every image of "train" once, "restval" whole */
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.images, 4);
    if (first_rank()) {
        tdm_text dev = {0};
        (void)read_split("train", &text);
        (void)read_split("dev", &dev);
        CHECK_TRUE(strstr(text.data, "1.png=c1;"));
        CHECK_TRUE(strstr(text.data, "5.png=c5;"));
        CHECK_NE(strstr(text.data, "0.png") != NULL, strstr(dev.data, "0.png") != NULL);
        CHECK_NE(strstr(text.data, "4.png") != NULL, strstr(dev.data, "4.png") != NULL);
        tdm_text_free(&dev);
    }
    c.options.split = "train,dev";
    CHECK_FAILS(pack(&c, &result), TDM_E_USAGE, "--split train,dev");
    CHECK_MESSAGE("\"dev\"");
    c.options.split = "train=0.5,val=0.5";
    CHECK_FAILS(pack(&c, &result), TDM_E_USAGE, "0.png");
    CHECK_MESSAGE("a split of its own");
    tdm_text_free(&text);
}

static void wrong_options(void **state)
{
    (void)state;
    static const struct {
        const char *split, *says;
    } wrong[] = {
        {"train=0.9,val=0.2", "sum to"},
        {"train=train*1.5", "no fraction"},
        {"train=train*half", "no fraction"},
        {"train=0", "fraction"},
        {"train=-0.5", "fraction"},
        {"train=1.5", "fraction"},
        {"=0.5", "cannot read"},
        {"a/b", "cannot read"},
        {",", "cannot read"},
    };
    call c;
    tdm_pack_result result;
    if (first_rank()) put_folder();
    prepare(&c, "folder", "raw");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        c.options.split = wrong[i].split;
        CHECK_FAILS(pack(&c, &result), TDM_E_USAGE, wrong[i].split);
        CHECK_MESSAGE(wrong[i].says);
    }
    prepare(&c, "foldr", "raw");
    CHECK_FAILS(pack(&c, &result), TDM_E_USAGE, "foldr");
    CHECK_MESSAGE("folder");
    prepare(&c, "folder", "raw");
    c.options.source_count = 0;
    CHECK_FAILS(pack(&c, &result), TDM_E_USAGE, "SOURCE");
    prepare(&c, "folder", "empty");
    if (first_rank()) CHECK_OK(tdm_make_dirs(at("empty")));
    CHECK_FAILS(pack(&c, &result), TDM_E_DATA, "empty");
    CHECK_MESSAGE("no images");
}

/* ---- packing again ---- */

static void another_packing_replaces_its_splits_only(void **state)
{
    (void)state;
    call c;
    tdm_pack_result result;
    tdm_text text = {0};
    if (first_rank()) put_folder();
    prepare(&c, "folder", "raw");
    c.options.split = "val";
    CHECK_OK(pack(&c, &result));
    c.options.split = "train";
    CHECK_OK(pack(&c, &result));
    c.options.shard_size = 20; /* two shards instead of five */
    CHECK_OK(pack(&c, &result));
    CHECK_EQ(result.shards, 2);
    if (first_rank()) {
        CHECK_TRUE(tdm_path_exists(at("out/train-00001.h5")));
        CHECK_FALSE(tdm_path_exists(at("out/train-00002.h5")));
        CHECK_TRUE(tdm_path_exists(at("out/val-00004.h5")));
        CHECK_EQ(read_split("train", &text), IMAGES);
        CHECK_EQ(read_split("val", &text), IMAGES);
    }
    tdm_text_free(&text);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(original_bytes_and_captions),
        CASE(smaller_images),
        CASE(tokenizer_digest_and_long_captions),
        CASE(bad_samples_are_skipped_and_reported),
        CASE(the_first_bad_image_is_the_error),
        CASE(empty_captions_and_missing_files),
        CASE(captions_are_judged),
        CASE(faults_and_what_is_left_out),
        CASE(empty_and_damaged_sources),
        CASE(identities_that_are_numbers),
        CASE(unpaired_samples_are_bad),
        CASE(unpaired_samples_are_kept),
        CASE(alternative_wordings),
        CASE(a_full_disk_is_an_error),
        CASE(fractions_depend_on_the_name_alone),
        CASE(own_splits_and_their_merging),
        CASE(wrong_options),
        CASE(another_packing_replaces_its_splits_only),
    };
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    double failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_max_f64(comm, &failed, 1);
    tdm_comm_destroy(&comm);
    return failed != 0;
}
