/* Configuration: files with includes, every kind of slip and its message, printing and reading back. */
#include "check.h"
#include "scratch.h"
#include "tandem/config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[256];

/* A group as a loss registers it. */
typedef struct demo_options {
    double weight;
    bool soft;
    tdm_strings views;
    const char *mode;
    int64_t big;
} demo_options;
static const tdm_option demo_rows[] = {
    {"weight", TDM_OPTION_FLOAT, offsetof(demo_options, weight), "1.0", 0, 100, NULL, "", "Weight.", NULL,
     TDM_CHANGE_OF_GROUP},
    {"soft", TDM_OPTION_BOOL, offsetof(demo_options, soft), "true", 0, 0, NULL, "", "Soft targets.", NULL,
     TDM_CHANGE_OF_GROUP},
    {"views", TDM_OPTION_STRINGS, offsetof(demo_options, views), "[\"plain\", aug]", 0, 0, NULL, "", "Views.",
     NULL, TDM_CHANGE_OF_GROUP},
    {"mode", TDM_OPTION_STRING, offsetof(demo_options, mode), "a", 0, 0, "a|b", "", "Mode.", NULL,
     TDM_CHANGE_OF_GROUP},
    {"big", TDM_OPTION_INT, offsetof(demo_options, big), "0", 0, 0, NULL, "", "Any integer.", NULL,
     TDM_CHANGE_OF_GROUP},
};

static const tdm_option_group demo_group = {.prefix = "loss.demo",
                                            .rows = demo_rows,
                                            .count = sizeof demo_rows / sizeof demo_rows[0],
                                            .bytes = sizeof(demo_options),
                                            .change = TDM_CHANGE_RUN};

static void write_file(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    CHECK_NOT_NULL(file);
    fputs(text, file);
    fclose(file);
}

static tdm_status load(tdm_config *config, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return tdm_config_load(config, path);
}

static char *printed(const tdm_config *config)
{
    tdm_text text = {0};
    CHECK_OK(tdm_config_print(config, NULL, &text));
    return text.data; /* freed by the caller */
}

static void assert_same(const tdm_config *a, const tdm_config *b)
{
    char *text_a = printed(a), *text_b = printed(b);
    CHECK_STR_EQ(text_a, text_b);
    free(text_a);
    free(text_b);
    uint64_t hash_a, hash_b;
    CHECK_OK(tdm_config_hash(a, &hash_a));
    CHECK_OK(tdm_config_hash(b, &hash_b));
    CHECK_EQ(hash_a, hash_b);
}

static void test_defaults(void **state)
{
    (void)state;
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    CHECK_OK(tdm_config_check(&config));
    CHECK_EQ(config.train.batch, 256);
    CHECK_EQ(config.model.activation, 0);
    CHECK_EQ(config.model.image.std[2], 0.27577711);
    CHECK_EQ(config.optim.lr, 5e-4);
    const demo_options *demo = tdm_config_group(&config, "loss.demo");
    CHECK_NOT_NULL(demo);
    CHECK_EQ(demo->weight, 1);
    CHECK_TRUE(demo->soft);
    CHECK_EQ(demo->views.count, 2);
    CHECK_STR_EQ(demo->views.item[0], "plain");
    CHECK_STR_EQ(demo->views.item[1], "aug");
    CHECK_NULL(tdm_config_group(&config, "loss.none"));
    tdm_config_destroy(&config);
    tdm_config_destroy(&config); /* zeroed: fine */
}

static void test_load_and_include(void **state)
{
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s/models", dir);
    CHECK_OK(tdm_make_dirs(path));
    write_file("models/inner.cfg", "width = 96; heads = 4;\n");
    write_file("models/small.cfg", "embed_dim = 48;\nimage: {\n  @include \"inner.cfg\"\n}\n");
    write_file("run.cfg", "seed = 9007199254740992; # beyond 32 bits, without a suffix\n"
                          "/* @include \"nothing.cfg\" */\n"
                          "data: { dir = \"a \\\"b\\\" @include // #\"; }\n"
                          "model: { @include \"models/small.cfg\" dropout = 0.5 }\n"
                          "optim: { lr = 1; weight_decay = 1e-8; }\n"
                          "checkpoint: { every_minutes = 0x1; }\n"
                          "loss: { demo: { soft = false; views = (); big = -3000000000; } }\n");
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    CHECK_OK(load(&config, "run.cfg"));
    CHECK_EQ(config.seed, 9007199254740992);
    CHECK_STR_EQ(config.data.dir, "a \"b\" @include // #");
    CHECK_EQ(config.model.embed_dim, 48);
    CHECK_EQ(config.model.image.width, 96);
    CHECK_EQ(config.model.image.heads, 4);
    CHECK_EQ(config.model.dropout, 0.5);
    CHECK_EQ(config.optim.lr, 1.0); /* an integer where a number is expected */
    CHECK_EQ(config.checkpoint.every_minutes, 1.0);
    const demo_options *demo = tdm_config_group(&config, "loss.demo");
    CHECK_FALSE(demo->soft);
    CHECK_EQ(demo->views.count, 0);
    CHECK_EQ(demo->big, -3000000000);
    CHECK_EQ(config.train.batch, 256); /* untouched */
    tdm_config_destroy(&config);
}

/* text of a file -> the parts that the message must hold */
static void test_messages(void **state)
{
    (void)state;
    static const struct {
        const char *text, *where, *what;
    } slips[] = {
        {"train: {\n  bach = 3;\n}", "slip.cfg:2: ", "unknown key train.bach (did you mean train.batch?)"},
        {"\n\ntrian: { batch = 3; }", "slip.cfg:3: ", "unknown key trian (did you mean train?)"},
        {"batch = 3;", "slip.cfg:1: ", "unknown key batch (did you mean train.batch?)"},
        {"model: { image: { layer = 3; } }", "", "did you mean model.image.layers?"},
        {"model: { image: { qwertyuiop = 3; } }", "", "unknown key model.image.qwertyuiop"},
        {"loss: { demo: { wieght = 3; } }", "", "did you mean loss.demo.weight?"},
        {"loss: { dem: { weight = 3; } }", "", "unknown key loss.dem (did you mean loss.demo?)"},
        {"train: { batch = 0; }", "slip.cfg:1: ", "train.batch = 0 is out of range (1 to 1000000000 pairs)"},
        {"model: {\ndropout = 1.5; }", "slip.cfg:2: ", "model.dropout = 1.5 is out of range (0 to 0.95)"},
        {"train: { batch = 3.5; }", "", "train.batch: expected an integer (1 to 1000000000 pairs), got 3.5"},
        {"train: { batch = \"3\"; }", "", "expected an integer (1 to 1000000000 pairs), got \"3\""},
        {"train = 3;", "slip.cfg:1: ", "train is a group of keys { … }, got 3"},
        {"train: { batch: { a = 1; } }", "", "train.batch: expected an integer"},
        {"optim: { lr = true; }", "", "optim.lr: expected a number"},
        {"optim: { lr = 1e999; }", "", "optim.lr is not a finite number"},
        {"seed = 99999999999999999999;", "slip.cfg:1: ", "too large for 64 bits"},
        {"train: { recompute = \"chunks\"; }", "",
         "not one of none|mlp|block|chunk (did you mean \"chunk\"?)"},
        {"model: { image: { mean = [0.5, 0.5]; } }", "", "model.image.mean: expected three numbers"},
        {"model: { image: { stage_layers = [3, 4, 6]; } }", "",
         "model.image.stage_layers: expected four integers"},
        {"model: { image: { stage_layers = [3.0, 4.0, 6.0, 3.0]; } }", "", "expected four integers"},
        {"model: { image: { mean = [0, 0.5, 1]; } }", "", "write all numbers of an array with a point"},
        {"model: { image: { std = (0, 0.5, 1); } }", "", "model.image.std = 0 is out of range"},
        {"loss: { demo: { views = [1, 2]; } }", "", "loss.demo.views: expected strings"},
        {"loss: { demo: { soft = 1; } }", "", "loss.demo.soft: expected true or false, got 1"},
        {"seed = 1;\nseed = 2;", "slip.cfg:2: ", "duplicate setting name"},
        {"seed = 1;\ntrain: {\n", "slip.cfg:", "syntax error"},
        {"seed = 1;\ndata: { dir = \"open;\n}", "slip.cfg:2: ", "no closing quote"},
        {"seed = 1;\n\n/* open", "slip.cfg:3: ", "no closing */"},
        {"@include \"missing.cfg\"", "slip.cfg:1: @include: ", "missing.cfg: cannot open"},
        {"\n@include missing.cfg", "slip.cfg:2: ", "@include needs a file name in quotes"},
        {"seed = 1;\n@include \"slip.cfg\"", "slip.cfg:2: ", "files include each other"},
        {"@include \"models\"", "", "models: is not a file"},
        {"@include \"/dev/zero\"", "slip.cfg:1: ", "/dev/zero: is not a file"},
    };
    for (size_t i = 0; i < sizeof slips / sizeof slips[0]; i++) {
        write_file("slip.cfg", slips[i].text);
        tdm_config config;
        CHECK_OK(tdm_config_init(&config));
        const tdm_status status = load(&config, "slip.cfg");
        if (status == TDM_OK) fail_msg("accepted: %s", slips[i].text);
        CHECK_MESSAGE(slips[i].where);
        CHECK_MESSAGE(slips[i].what);
        tdm_config_destroy(&config);
    }
}

/* Editors put a byte order mark in front: of a file, of an included one. UTF-16 is told as what it is. */
static void test_byte_order_marks(void **state)
{
    (void)state;
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    write_file("models/marked.cfg", "\xef\xbb\xbfwidth = 64;\n");
    write_file("marked.cfg",
               "\xef\xbb\xbfseed = 5;\nmodel: { text: { @include \"models/marked.cfg\"\n }; }\n");
    CHECK_OK(load(&config, "marked.cfg"));
    CHECK_EQ(config.seed, 5);
    CHECK_EQ(config.model.text.width, 64);
    write_file("marked.cfg", "\xef\xbb\xbfsed = 5;\n");
    CHECK_FAILS(load(&config, "marked.cfg"), TDM_E_CONFIG, "marked.cfg:1: unknown key sed");
    char path[512];
    snprintf(path, sizeof path, "%s/wide.cfg", dir);
    CHECK_OK(tdm_write_file_atomic(path, "\xff\xfes\0e\0", 6));
    CHECK_FAILS(load(&config, "wide.cfg"), TDM_E_CONFIG,
                "wide.cfg: is not a text file: it is UTF-16, not UTF-8");
    CHECK_OK(tdm_write_file_atomic(path, "seed = 1;\0", 10));
    CHECK_FAILS(load(&config, "wide.cfg"), TDM_E_CONFIG, "wide.cfg: is not a text file: it holds a NUL");
    tdm_config_destroy(&config);
}

/* An error inside an included file names that file, one behind the include the including file. */
static void test_message_in_include(void **state)
{
    (void)state;
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    write_file("models/bad.cfg", "\nwidth = 3;\n\nwidht = 4;\n");
    write_file("outer.cfg", "# one\nmodel: {\n  text: {\n    @include \"models/bad.cfg\"\n  }\n}\n");
    CHECK_FAILS(load(&config, "outer.cfg"), TDM_E_CONFIG,
                "models/bad.cfg:4: unknown key model.text.widht (did you mean model.text.width?)");
    write_file("models/good.cfg", "width = 64;\n\n\n");
    write_file("outer.cfg", "model: { text: { @include \"models/good.cfg\"\n }; }\nsed = 2;\n");
    CHECK_FAILS(load(&config, "outer.cfg"), TDM_E_CONFIG,
                "outer.cfg:3: unknown key sed (did you mean seed?)");
    CHECK_FAILS(tdm_config_load(&config, "/no/such/file.cfg"), TDM_E_IO, "/no/such/file.cfg");
    tdm_config_destroy(&config);
}

static void test_set(void **state)
{
    (void)state;
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    static const char *const good[] = {"train.batch=17",
                                       "seed=3000000000",
                                       "optim.lr=1e-3",
                                       "optim.weight_decay=1e-5",
                                       "model.image.mean=[0.1, 0.2,0.3]",
                                       "model.image.std=1,2,3",
                                       "model.image.stage_layers=[3, 4,23 ,3]",
                                       "data.dir=/a b/c=d",
                                       "data.split=\"quoted\"",
                                       "loss.demo.soft=false",
                                       "loss.demo.views=[x, \"y,z\" ]",
                                       "loss.demo.mode=b"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        CHECK_OK(tdm_config_set(&config, good[i]));
    }
    CHECK_EQ(config.train.batch, 17);
    CHECK_EQ(config.seed, 3000000000);
    CHECK_EQ(config.optim.lr, 1e-3);
    CHECK_EQ(config.optim.weight_decay, 1e-5);
    CHECK_EQ(config.model.image.mean[2], 0.3);
    CHECK_EQ(config.model.image.std[1], 2);
    CHECK_EQ(config.model.image.stage_layers[2], 23);
    CHECK_EQ(config.model.image.stage_layers[3], 3);
    CHECK_STR_EQ(config.data.dir, "/a b/c=d");
    CHECK_STR_EQ(config.data.split, "quoted");
    const demo_options *demo = tdm_config_group(&config, "loss.demo");
    CHECK_FALSE(demo->soft);
    CHECK_EQ(demo->views.count, 2);
    CHECK_STR_EQ(demo->views.item[0], "x");
    CHECK_STR_EQ(demo->views.item[1], "y,z");
    CHECK_STR_EQ(demo->mode, "b");

    static const char *const bad[][2] = {
        {"train.batch", "expected group.key=value"},
        {"=3", "expected group.key=value"},
        {"train.batsh=3", "--set: unknown key train.batsh (did you mean train.batch?)"},
        {"train=3", "train is a group of keys"},
        {"train.batch=", "--set: train.batch: expected an integer"},
        {"train.batch=3x", "got \"3x\""},
        {"train.batch=-1", "out of range"},
        {"seed=99999999999999999999", "expected an integer"},
        {"optim.lr=fast", "expected a number"},
        {"optim.lr=nan", "not a finite number"},
        {"model.image.mean=[1,2]", "expected three numbers"},
        {"model.image.mean=[1,2,3", "expected three numbers"},
        {"model.image.stage_layers=[3,4,6]", "expected four integers"},
        {"model.image.stage_layers=[3,4,6,3,1]", "expected four integers"},
        {"model.image.stage_layers=[3,4,6.5,3]", "expected four integers"},
        {"model.image.stage_layers=3,0,6,3", "out of range"},
        {"loss.demo.soft=yes", "expected true or false"},
        {"loss.demo.views=[a", "expected strings"},
        {"loss.demo.views=[\"a", "expected strings"},
        {"loss.demo.mode=c", "not one of a|b"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_FAILS(tdm_config_set(&config, bad[i][0]), TDM_E_CONFIG, bad[i][1]);
    }
    tdm_config_destroy(&config);
}

/* What is printed reads back to the same values, whatever they are. */
static void test_round_trip(void **state)
{
    (void)state;
    tdm_config config, again, copy;
    CHECK_OK(tdm_config_init(&config));
    config.seed = INT64_C(9007199254740991);
    config.optim.lr = 1.0 / 3;
    config.optim.weight_decay = 4.9406564584124654e-15;
    config.model.image.mean[0] = -0.0;
    config.model.image.mean[1] = 1e-300;
    config.model.image.std[2] = 3;
    config.checkpoint.every_minutes = 0.1 + 0.2;
    config.data.dir = "back\\slash \"quote\" tab\t newline\n bell\a é 漢 x1f\x1f"
                      "1 @include \"x\" /* # //";
    demo_options *demo = (demo_options *)(uintptr_t)tdm_config_group(&config, "loss.demo");
    demo->big = INT64_MIN + 1;
    const char *items[] = {"", "a\"b", "c, d]"};
    const tdm_strings kept = demo->views;
    demo->views = (tdm_strings){3, items};

    char *text = printed(&config);
    CHECK_OK(tdm_config_init(&again));
    CHECK_OK(tdm_config_load_text(&again, "printed", text));
    assert_same(&config, &again);
    CHECK_EQ(again.optim.lr, 1.0 / 3);
    CHECK_STR_EQ(again.data.dir, config.data.dir);
    CHECK_OK(tdm_config_copy(&config, &copy));
    assert_same(&config, &copy);
    CHECK_TRUE(copy.data.dir != config.data.dir);
    copy.train.batch++;
    uint64_t hash[2];
    CHECK_OK(tdm_config_hash(&config, &hash[0]));
    CHECK_OK(tdm_config_hash(&copy, &hash[1]));
    CHECK_NE(hash[0], hash[1]);

    tdm_text model = {0};
    CHECK_OK(tdm_config_print(&config, "model", &model));
    CHECK_MEM_EQ(model.data, "model: {\n", 9);
    CHECK_LACKS(model.data, "optim");
    tdm_text_free(&model);
    demo->views = kept;
    free(text);
    tdm_config_destroy(&config);
    tdm_config_destroy(&again);
    tdm_config_destroy(&copy);
}

/* A text from a checkpoint may not open files. */
static void test_text_without_include(void **state)
{
    (void)state;
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    CHECK_FAILS(tdm_config_load_text(&config, "model.h5", "@include \"/etc/passwd\""), TDM_E_CONFIG,
                "model.h5:1: @include is not allowed here");
    CHECK_OK(tdm_config_load_text(&config, "model.h5", ""));
    tdm_config_destroy(&config);
}

static void test_rules(void **state)
{
    (void)state;
    static const char *const broken[][2] = {
        {"train.epochs=0", "both 0"},
        {"train.patience=3", "eval.dir is not set"},
        {"train.patience=3\neval.dir=shards\neval.every_epochs=0", "only one, at the end"},
        {"train.patience=3\neval.dir=shards\ncheckpoint.best_metric=", "needs checkpoint.best_metric"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        tdm_config config;
        CHECK_OK(tdm_config_init(&config));
        char text[256], *rest = text;
        snprintf(text, sizeof text, "%s", broken[i][0]);
        for (char *line; (line = strsep(&rest, "\n")) != NULL;) CHECK_OK(tdm_config_set(&config, line));
        CHECK_FAILS(tdm_config_check(&config), TDM_E_CONFIG, broken[i][1]);
        tdm_config_destroy(&config);
    }
}

/* A model definition by name or by path. */
static void test_load_model(void **state)
{
    (void)state;
    tdm_config config;
    CHECK_OK(tdm_config_init(&config));
    CHECK_FAILS(tdm_config_load_model(&config, "vit_b_99"), TDM_E_CONFIG, "vit_b_99");
    write_file("own.cfg", "embed_dim = 99;");
    char path[512];
    snprintf(path, sizeof path, "%s/own.cfg", dir);
    CHECK_OK(tdm_config_load_model(&config, path));
    CHECK_EQ(config.model.embed_dim, 99);
    tdm_config_destroy(&config);
}

static void test_help_and_registry(void **state)
{
    (void)state;
    tdm_text text = {0};
    CHECK_OK(tdm_config_help(&text));
    CHECK_CONTAINS(text.data, "  train.batch = 256\n      int, 1 to 1000000000 pairs. Pairs of one");
    CHECK_CONTAINS(text.data, "  loss.demo.weight = 1.0\n");
    size_t count;
    const tdm_option *row = tdm_config_options(&count);
    for (size_t i = 0; i < count; i++) {
        CHECK_CONTAINS(text.data, row[i].key);
        CHECK_GT(strlen(row[i].help), 5);
        CHECK_EQ(row[i].help[strlen(row[i].help) - 1], '.');
        CHECK_NE(row[i].change, TDM_CHANGE_OF_GROUP);
        for (size_t j = 0; j < i; j++) CHECK_STR_NE(row[i].key, row[j].key);
    }
    tdm_text_free(&text);

    tdm_option_group group = demo_group;
    CHECK_OK(tdm_config_register(&group));
    group.count--;
    CHECK_FAILS(tdm_config_register(&group), TDM_E_CONFIG, "registered twice");
    static const tdm_option wrong[] = {
        {"weight", TDM_OPTION_FLOAT, 0, "200", 0, 100, NULL, "", "Weight.", NULL, TDM_CHANGE_OF_GROUP}};
    group = (tdm_option_group){
        .prefix = "loss.wrong", .rows = wrong, .count = 1, .bytes = sizeof(double), .change = TDM_CHANGE_RUN};
    CHECK_FAILS(tdm_config_register(&group), TDM_E_CONFIG, "loss.wrong.weight = 200 is out of range");
    group.change = TDM_CHANGE_OF_GROUP;
    CHECK_FAILS(tdm_config_register(&group), TDM_E_CONFIG, "loss.wrong.weight does not say");
}

static void check_difference(const tdm_differences *list, int64_t i, const char *key, tdm_change change,
                             const char *was, const char *is)
{
    CHECK_LT(i, list->count);
    CHECK_STR_EQ(list->item[i].key, key);
    CHECK_EQ(list->item[i].change, change);
    CHECK_STR_EQ(list->item[i].was, was);
    CHECK_STR_EQ(list->item[i].is, is);
}

/* A set of rows counts where the key that chooses it has its value. */
static void test_compare(void **state)
{
    (void)state;
    static const tdm_option only[] = {
        {"depth", TDM_OPTION_INT, 0, "1", 0, 9, NULL, "", "Depth.", NULL, TDM_CHANGE_MEANING}};
    const tdm_option_group group = {.prefix = "loss.only",
                                    .rows = only,
                                    .count = 1,
                                    .bytes = sizeof(int64_t),
                                    .change = TDM_CHANGE_RUN,
                                    .if_key = "model.image.resize",
                                    .if_value = "squash"};
    CHECK_OK(tdm_config_register(&group));
    tdm_config was, is;
    tdm_differences list = {0};
    CHECK_OK(tdm_config_init(&was));
    CHECK_OK(tdm_config_init(&is));
    CHECK_OK(tdm_config_compare(&was, &is, &list));
    CHECK_EQ(list.count, 0);
    CHECK_OK(tdm_config_set(&is, "loss.demo.soft=false"));
    CHECK_OK(tdm_config_set(&is, "loss.only.depth=2"));
    CHECK_OK(tdm_config_set(&is, "model.activation=gelu"));
    CHECK_OK(tdm_config_set(&is, "model.image.mean=0.5, 0.5, 0.25"));
    CHECK_OK(tdm_config_compare(&was, &is, &list));
    CHECK_EQ(list.count, 3);
    check_difference(&list, 0, "model.activation", TDM_CHANGE_MEANING, "\"quickgelu\"", "\"gelu\"");
    check_difference(&list, 1, "model.image.mean", TDM_CHANGE_MEANING, "[0.48145466, 0.4578275, 0.40821073]",
                     "[0.5, 0.5, 0.25]");
    check_difference(&list, 2, "loss.demo.soft", TDM_CHANGE_RUN, "true", "false");
    tdm_differences_free(&list);
    CHECK_OK(tdm_config_set(&was, "model.image.resize=squash"));
    CHECK_OK(tdm_config_set(&is, "model.image.resize=squash"));
    CHECK_OK(tdm_config_compare(&was, &is, &list));
    CHECK_EQ(list.count, 4);
    check_difference(&list, 3, "loss.only.depth", TDM_CHANGE_MEANING, "1", "2");
    tdm_differences_free(&list);
    tdm_config_destroy(&was);
    tdm_config_destroy(&is);
}

static int setup(void **state)
{
    (void)state;
    if (scratch_dir(dir, sizeof dir) != 0) return 1;
    return tdm_config_register(&demo_group) != TDM_OK;
}

static int teardown(void **state)
{
    (void)state;
    tdm_config_unregister_all();
    return tdm_remove_tree(dir) != TDM_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_load_and_include),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_message_in_include),
        cmocka_unit_test(test_byte_order_marks),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_text_without_include),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_load_model),
        cmocka_unit_test(test_help_and_registry),
        cmocka_unit_test(test_compare),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
