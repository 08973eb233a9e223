/* Every key of the configuration says what a change of it means for a resumed run; what is refused, and what can be
 * insisted on. Whole runs: tests/run/changed.sh. */
#include "check.h"
#include "config_impl.h"
#include "tandem/tandem.h"

#include <stdlib.h>
#include <string.h>

/* Another value that the row allows, as text; false: a text that only its owner understands. */
static bool other_value(const config_field *field, char text[256])
{
    const tdm_option *o = field->option;
    const bool ranged = o->min < o->max;
    char choice[64];
    switch (o->type) {
    case TDM_OPTION_BOOL: snprintf(text, 256, "%s", *(const bool *)field->at ? "false" : "true"); return true;
    case TDM_OPTION_INT: {
        const int64_t value = *(const int64_t *)field->at;
        snprintf(text, 256, "%lld", (long long)(ranged && (double)value >= o->max ? value - 1 : value + 1));
        return true;
    }
    case TDM_OPTION_FLOAT: {
        const double value = *(const double *)field->at, half = ranged ? 0.5 * (value + o->max) : value + 1.0;
        snprintf(text, 256, "%.17g", half != value ? half : 0.5 * (value + o->min));
        return true;
    }
    case TDM_OPTION_INT4: snprintf(text, 256, "[7, 7, 7, 7]"); return true;
    case TDM_OPTION_FLOAT3: snprintf(text, 256, "[0.25, 0.25, 0.25]"); return true;
    case TDM_OPTION_CHOICE:
        if (strchr(o->choices, '|') == NULL) return false; /* there is only one */
        snprintf(text, 256, "%s", tdm_option_choice_text(o->choices, *(const int *)field->at == 0, choice));
        return true;
    case TDM_OPTION_STRING:
        if (o->choices == NULL) {
            snprintf(text, 256, "other");
            return true;
        }
        snprintf(text, 256, "%s",
                 tdm_option_choice_text(
                     o->choices, tdm_option_choice(o->choices, *(const char **)field->at) == 0, choice));
        return true;
    case TDM_OPTION_STRINGS:
        if (o->choices != NULL) return false;
        snprintf(text, 256, "[another]");
        return true;
    }
    return false;
}

static void test_every_key_has_a_class(void **state)
{
    (void)state;
    tdm_config was, is;
    config_field field;
    int compared = 0, idle = 0;
    CHECK_OK(tdm_config_init(&was));
    for (size_t i = 0; config_field_at(&was, i, &field); i++) {
        char assignment[512], value[256];
        tdm_differences list = {0};
        if (!other_value(&field, value)) continue;
        CHECK_OK(tdm_config_copy(&was, &is));
        snprintf(assignment, sizeof assignment, "%s=%s", field.key, value);
        CHECK_OK(tdm_config_set(&is, assignment));
        CHECK_OK(tdm_config_compare(&was, &is, &list));
        if (field.group != NULL && field.group->if_key != NULL && list.count == 0) {
            idle++; /* a head or a tower that is not chosen */
        } else {
            CHECK_EQ(list.count, 1);
            CHECK_STR_EQ(list.item[0].key, field.key);
            CHECK_NE(list.item[0].change, TDM_CHANGE_OF_GROUP);
            CHECK_STR_NE(list.item[0].was, list.item[0].is);
            compared++;
        }
        tdm_differences_free(&list);
        tdm_config_destroy(&is);
    }
    CHECK_GT(compared, 100);
    CHECK_GT(idle, 3);
    tdm_config_destroy(&was);
}

/* The class of a key, by changing it from `from` to `to`. */
static tdm_change class_of(const char *from, const char *to)
{
    tdm_config was, is;
    tdm_differences list = {0};
    CHECK_OK(tdm_config_init(&was));
    CHECK_OK(tdm_config_init(&is));
    for (const char *head = strstr(from, ".mlp.") ? "model.image.head=mlp" : NULL; head; head = NULL) {
        CHECK_OK(tdm_config_set(&was, head));
        CHECK_OK(tdm_config_set(&is, head));
    }
    if (strstr(from, "batch_stats")) {
        CHECK_OK(tdm_config_set(&was, "model.image.tower=resnet"));
        CHECK_OK(tdm_config_set(&is, "model.image.tower=resnet"));
    }
    CHECK_OK(tdm_config_set(&was, from));
    CHECK_OK(tdm_config_set(&is, to));
    CHECK_OK(tdm_config_compare(&was, &is, &list));
    CHECK_EQ(list.count, 1);
    const tdm_change change = list.item[0].change;
    tdm_differences_free(&list);
    tdm_config_destroy(&was);
    tdm_config_destroy(&is);
    return change;
}

/* Classes that nobody should change by accident. */
static void test_classes(void **state)
{
    (void)state;
    static const struct {
        tdm_change change;
        const char *from, *to;
    } rows[] = {
        {TDM_CHANGE_MEANING, "model.activation=gelu", "model.activation=quickgelu"},
        {TDM_CHANGE_MEANING, "model.image.heads=4", "model.image.heads=8"},
        {TDM_CHANGE_MEANING, "model.text.heads=4", "model.text.heads=8"},
        {TDM_CHANGE_MEANING, "model.image.mean=[0, 0, 0]", "model.image.mean=[0, 0, 0.5]"},
        {TDM_CHANGE_MEANING, "model.image.std=[1, 1, 1]", "model.image.std=[1, 1, 0.5]"},
        {TDM_CHANGE_MEANING, "model.image.resize=crop", "model.image.resize=longest"},
        {TDM_CHANGE_MEANING, "model.image.alpha=drop", "model.image.alpha=white"},
        {TDM_CHANGE_MEANING, "model.image.height_px=224", "model.image.height_px=256"},
        {TDM_CHANGE_MEANING, "model.image.tower=vit", "model.image.tower=resnet"},
        {TDM_CHANGE_MEANING, "model.text.context_length=77", "model.text.context_length=64"},
        {TDM_CHANGE_MEANING, "loss.mlm.heads=8", "loss.mlm.heads=4"},
        {TDM_CHANGE_RUN, "model.image.mlp.dropout=0.1", "model.image.mlp.dropout=0.2"},
        {TDM_CHANGE_MEANING, "model.image.mlp.hidden=10", "model.image.mlp.hidden=20"},
        {TDM_CHANGE_RUN, "model.image.batch_stats=sync", "model.image.batch_stats=frozen"},
        {TDM_CHANGE_RUN, "model.image.patch_dropout=0.5", "model.image.patch_dropout=0"},
        {TDM_CHANGE_RUN, "train.unmasked_share=0", "train.unmasked_share=0.1"},
        {TDM_CHANGE_RUN, "train.batch=2", "train.batch=4"},
        {TDM_CHANGE_RUN, "seed=1", "seed=2"},
        {TDM_CHANGE_RUN, "optim.lr=1", "optim.lr=2"},
        {TDM_CHANGE_RUN, "optim.schedule=cosine", "optim.schedule=linear"},
        {TDM_CHANGE_RUN, "optim.beta1=0.9", "optim.beta1=0.8"},
        {TDM_CHANGE_RUN, "augment.crop.min_scale=0.5", "augment.crop.min_scale=0.6"},
        {TDM_CHANGE_RUN, "augment.mask.p=0.5", "augment.mask.p=0.6"},
        {TDM_CHANGE_RUN, "views.aug_1.augment=[resize]", "views.aug_1.augment=[crop]"},
        {TDM_CHANGE_RUN, "loss.simclr.temperature=0.1", "loss.simclr.temperature=0.2"},
        {TDM_CHANGE_RUN, "loss.siglip.weight=0", "loss.siglip.weight=1"},
        {TDM_CHANGE_START, "loss.siglip.bias_init=0", "loss.siglip.bias_init=1"},
        {TDM_CHANGE_FREE, "train.chunk=0", "train.chunk=4"},
        {TDM_CHANGE_FREE, "data.workers=1", "data.workers=4"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (class_of(rows[i].from, rows[i].to) != rows[i].change)
            fail_msg("%s: of another class than %d", rows[i].from, (int)rows[i].change);
}

/* Refused are BREAKS always and MEANING unless insisted on; all of them at once. */
static void test_refused(void **state)
{
    (void)state;
    tdm_resume r = {.dir = "RUN/step", .state.has_facts = true};
    CHECK_OK(tdm_differences_add(&r.differences, "a.run", TDM_CHANGE_RUN, "1", "2"));
    CHECK_OK(tdm_differences_add(&r.differences, "a.free", TDM_CHANGE_FREE, "1", "2"));
    CHECK_OK(tdm_resume_check(&r, false));
    CHECK_OK(tdm_differences_add(&r.differences, "a.meaning", TDM_CHANGE_MEANING, "3", "4"));
    CHECK_OK(tdm_differences_add(&r.differences, "b.meaning", TDM_CHANGE_MEANING, "5", "6"));
    CHECK_FAILS(
        tdm_resume_check(&r, false), TDM_E_CONFIG,
        "RUN/step: does not go with this configuration: a.meaning was 3, is 4; b.meaning was 5, is 6. Put");
    CHECK_OK(tdm_resume_check(&r, true));
    CHECK_OK(tdm_differences_add(&r.differences, "optim.name", TDM_CHANGE_BREAKS, "x", "y"));
    CHECK_FAILS(tdm_resume_check(&r, true), TDM_E_CONFIG, "configuration: optim.name was x, is y. Nothing");
    for (int i = 0; i < 40; i++) /* too many for their values to have room: their names have */
        CHECK_OK(
            tdm_differences_add(&r.differences, "c.meaning", TDM_CHANGE_MEANING, "a long value", "another"));
    CHECK_FAILS(tdm_resume_check(&r, false), TDM_E_CONFIG, "a.meaning, b.meaning, optim.name, c.meaning");
    tdm_resume_destroy(&r);
}

static int set_up(void **state)
{
    (void)state;
    return tdm_register_options() != TDM_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_key_has_a_class),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
