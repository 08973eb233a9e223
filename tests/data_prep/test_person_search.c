/* Data sets of text-based person search: what is listed of their own files, and how captions are cleaned. */
#include "caption_clean.h"
#include "list_case.h"

#include <jansson.h>

static const char cuhk[] =
    "[{\"split\":\"train\",\"captions\":[\"A man.\",\"He walks!\"],\"file_path\":\"a/1.png\",\"processed_tokens\":[[\"a\"]],\"id\":1},"
    "{\"split\":\"train\",\"captions\":[\"Third\"],\"captions_bt\":[\"The third\",\"one too many\"],\"file_path\":\"a/2.png\",\"id\":1},"
    "{\"split\":\"test\",\"captions\":[\"Other\",\"more\"],\"captions_bt\":[\"Another\"],\"file_path\":\"b/3.png\",\"id\":2},"
    "{\"split\":\"validate\",\"captions\":[\"Val\"],\"file_path\":\"b/4.png\",\"id\":3}]";

static void put_images(void)
{
    static const char *const name[] = {"c/imgs/a/1.png", "c/imgs/a/2.png", "c/imgs/b/3.png",
                                       "c/imgs/b/4.png"};
    for (size_t i = 0; i < 4; i++) put(name[i], "image");
}

static void expect_cuhk(void)
{
    CHECK_EQ(list.count, 4);
    EXPECT(0, "a/1.png", "A man.", "He walks!");
    EXPECT(1, "a/2.png", "Third");
    EXPECT(2, "b/3.png", "Other", "more"); /* the shorter list of back-translations loses no caption */
    CHECK_STR_EQ(list.item[0].split, "train");
    CHECK_STR_EQ(list.item[2].split, "test");
    CHECK_STR_EQ(list.item[3].split, "val"); /* whatever is neither train nor test */
    CHECK_EQ(list.item[0].identity, 1);
    CHECK_EQ(list.item[3].identity, 3);
    CHECK_STR_EQ(list.item[0].path, at("c/imgs/a/1.png"));
    CHECK_EQ(list.item[1].alternative_n, 1);
    CHECK_STR_EQ(list.item[1].alternative[0], "The third");
    CHECK_EQ(list.item[2].alternative_n, 1);
    CHECK_EQ(list.item[2].alternative_of[0], 0);
    CHECK_EQ(list.fault_n, 0);
}

static void cuhk_pedes_from_its_folder_its_file_and_another_root(void **state)
{
    (void)state;
    char source[1100];
    put_images();
    put("c/reid_raw.json", cuhk);
    CHECK_OK(list_again("cuhk_pedes", at("c")));
    expect_cuhk();
    CHECK_OK(list_again("cuhk_pedes", at("c/reid_raw.json")));
    expect_cuhk();
    put("elsewhere/reid_raw.json", cuhk);
    snprintf(source, sizeof source, "%s:%s", at("elsewhere/reid_raw.json"), at("c/imgs"));
    CHECK_OK(list_again("cuhk_pedes", source));
    expect_cuhk();
}

static void the_other_layouts(void **state)
{
    (void)state;
    put_images();
    put("c/ICFG-PEDES.json",
        "[{\"split\":\"train\",\"captions\":[\"x\"],\"file_path\":\"a/1.png\",\"id\":0}]");
    CHECK_OK(list_again("icfg_pedes", at("c")));
    EXPECT(0, "a/1.png", "x");
    CHECK_EQ(list.item[0].identity, 0);
    put("c/data_captions.json",
        "[{\"id\":0,\"img_path\":\"b/3.png\",\"captions\":[\"y\",\"z\"],\"split\":\"val\"}]");
    CHECK_OK(list_again("rstp_reid", at("c")));
    EXPECT(0, "b/3.png", "y", "z");
    CHECK_STR_EQ(list.item[0].split, "val");
    put("c/train_reid.json",
        "[{\"file_path\":\"a/1.png\",\"id\":7,\"captions\":[\"t\"],\"captions_bt\":[\"tt\"]}]");
    put("c/test_reid.json", "[{\"file_path\":\"b/3.png\",\"id\":8,\"captions\":[\"u\"]}]");
    CHECK_OK(list_again("tbps_json", at("c")));
    CHECK_EQ(list.count, 2);
    CHECK_STR_EQ(list.item[0].split, "train");
    CHECK_STR_EQ(list.item[1].split, "test");
    CHECK_STR_EQ(list.item[0].alternative[0], "tt");
    CHECK_OK(list_again("tbps_json", at("c/test_reid.json")));
    CHECK_EQ(list.count, 1);
}

/* One entry is wrong: it is named with its file, the others are listed. */
static void a_bad_entry_costs_itself_alone(void **state)
{
    (void)state;
    static const struct {
        const char *entry, *says;
    } wrong[] = {
        {"{\"split\":\"train\",\"captions\":[\"x\"],\"id\":5}", "[1] has no \"file_path\""},
        {"{\"split\":\"train\",\"captions\":[\"x\"],\"file_path\":\"none.png\",\"id\":5}",
         "[1]: there is no image"},
        {"{\"split\":\"train\",\"captions\":[\"x\"],\"file_path\":\"a/2.png\",\"id\":\"5\"}", "[1]"},
        {"{\"split\":\"train\",\"captions\":[\"x\"],\"file_path\":\"a/2.png\",\"id\":-5}", "\"id\" is -5"},
        {"{\"split\":\"train\",\"captions\":\"x\",\"file_path\":\"a/2.png\",\"id\":5}", "captions"},
        {"{\"captions\":[\"x\"],\"file_path\":\"a/2.png\",\"id\":5}", "[1] has no \"split\""},
        {"{\"split\":\"test\",\"captions\":[\"x\"],\"file_path\":\"a/2.png\",\"id\":1}",
         "[1]: identity 1 is in the split \"train\" already, not only in \"test\""},
        {"17", "[1]: is no object"},
    };
    put_images();
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char json[1024];
        snprintf(json, sizeof json,
                 "[{\"split\":\"train\",\"captions\":[\"first\"],\"file_path\":\"a/1.png\",\"id\":1},%s,"
                 "{\"split\":\"test\",\"captions\":[\"last\"],\"file_path\":\"b/3.png\",\"id\":2}]",
                 wrong[i].entry);
        put("c/reid_raw.json", json);
        CHECK_OK(list_again("cuhk_pedes", at("c")));
        CHECK_EQ(list.count, 2);
        CHECK_EQ(list.fault_n, 1);
        CHECK_CONTAINS(list.fault[0], wrong[i].says);
        CHECK_CONTAINS(list.fault[0], "reid_raw.json");
    }
}

static void a_file_of_another_kind_is_refused(void **state)
{
    (void)state;
    put("c/reid_raw.json", "{\"images\": []}");
    CHECK_FAILS(list_again("cuhk_pedes", at("c")), TDM_E_FORMAT,
                "is no list of entries, which each CUHK-PEDES file is");
    put("d/other.json", "[]");
    CHECK_FAILS(list_again("cuhk_pedes", at("d")), TDM_E_IO, "holds no reid_raw.json");
    CHECK_FAILS(list_again("tbps_json", at("d/other.json")), TDM_E_FORMAT, "its name does not say the split");
}

/* Against what Python makes of them (tests/golden/make_caption_golden.py). */
static void check_cleaning(const char *name, caption_cleaning how, int64_t max_words)
{
    char path[1024];
    tdm_text out = {0};
    snprintf(path, sizeof path, "%s/tests/golden/captions/%s.json", getenv("TANDEM_SOURCE_DIR"), name);
    json_t *cases = json_load_file(path, 0, NULL);
    CHECK_GE(json_array_size(cases), 22);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *in = json_array_get(json_array_get(cases, i), 0),
                     *want = json_array_get(json_array_get(cases, i), 1);
        CHECK_OK(caption_clean(how, max_words, json_string_value(in), json_string_length(in), &out));
        CHECK_STR_EQ(out.length ? out.data : "", json_string_value(want));
    }
    json_decref(cases);
    tdm_text_free(&out);
}

static void captions_are_cleaned_as_released(void **state)
{
    (void)state;
    check_cleaning("tbps", CAPTION_CLEAN_TBPS, 77);
    check_cleaning("cmr", CAPTION_CLEAN_CMR, 50);
    put_images();
    put("c/reid_raw.json", cuhk);
    CHECK_OK(list_with("cuhk_pedes", "c", (const char *const[]){"max_words", "1", NULL}));
    EXPECT(0, "a/1.png", "A man.", "He walks!"); /* not cleaned unless asked for */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down_list)
        CASE(cuhk_pedes_from_its_folder_its_file_and_another_root),
        CASE(the_other_layouts),
        CASE(a_bad_entry_costs_itself_alone),
        CASE(a_file_of_another_kind_is_refused),
        CASE(captions_are_cleaned_as_released),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
