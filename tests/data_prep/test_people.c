/* The synthetic people: the same bytes for any number of threads, a layout that the packer reads, nobody twice, captions
 * that are true. */
#include "caption.h"
#include "list_case.h"
#include "people.h"
#include "picture.h"

#include <jansson.h>
#include <math.h>

enum { PEOPLE = 60 };

static void make(const char *name, int64_t seed, int64_t threads)
{
    char out[512];
    snprintf(out, sizeof out, "%s", at(name));
    CHECK_OK(tdm_make_dirs(out));
    CHECK_OK(people_make(&(people_options){
        .identities = PEOPLE, .seed = seed, .twins = PEOPLE_TWINS, .threads = threads, .out = out}));
}

static void expect_same_file(const char *a, const char *b, bool same)
{
    tdm_text left = {0}, right = {0};
    CHECK_OK(tdm_read_file(at(a), &left));
    CHECK_OK(tdm_read_file(at(b), &right));
    CHECK_EQ(left.length == right.length && !memcmp(left.data, right.data, left.length), same);
    tdm_text_free(&left);
    tdm_text_free(&right);
}

static void equal_arguments_give_equal_bytes(void **state)
{
    (void)state;
    make("one", 3, 1);
    make("two", 3, 4);
    make("other", 4, 2);
    expect_same_file("one/reid_raw.json", "two/reid_raw.json", true);
    expect_same_file("one/synthetic.json", "two/synthetic.json", true);
    expect_same_file("one/reid_raw.json", "other/reid_raw.json", false);
    json_t *entries = json_load_file(at("one/reid_raw.json"), 0, NULL);
    CHECK_GE(json_array_size(entries), 2 * PEOPLE);
    for (size_t i = 0; i < json_array_size(entries); i++) {
        char one[128], two[128];
        const char *path = json_string_value(json_object_get(json_array_get(entries, i), "file_path"));
        snprintf(one, sizeof one, "one/imgs/%s", path);
        snprintf(two, sizeof two, "two/imgs/%s", path);
        expect_same_file(one, two, true);
    }
    json_decref(entries);
    CHECK_FAILS(
        people_make(&(people_options){.identities = 4, .held_out = 2, .threads = 1, .out = at("two")}),
        TDM_E_USAGE, "--held-out 2: val and test would take all of 4 identities");
    CHECK_FAILS(people_make(&(people_options){.identities = 3, .threads = 1, .out = at("one")}), TDM_E_IO,
                "holds a data set already");
}

static void the_packer_reads_it(void **state)
{
    (void)state;
    int64_t of_identity[PEOPLE + 1] = {0}, begin[PEOPLE_SPLITS + 1];
    char camera_of[PEOPLE + 1][CAMERAS + 1];
    memset(camera_of, 0, sizeof camera_of);
    make("set", 1, 2);
    people_divide(PEOPLE, 0, begin);
    CHECK_OK(list_again("cuhk_pedes", at("set")));
    CHECK_EQ(list.fault_n, 0);
    for (int64_t i = 0; i < list.count; i++) {
        const tdm_pack_item *item = &list.item[i];
        const int64_t who = item->identity - 1; /* as CUHK-PEDES, from 1 and without gaps */
        int64_t height, width;
        int camera = 0;
        tdm_text file = {0};
        CHECK_TRUE(who >= 0 && who < PEOPLE);
        CHECK_STR_EQ(item->split, who < begin[1] ? "train" : who < begin[2] ? "val" : "test");
        CHECK_EQ(item->caption_n, 2);
        CHECK_EQ(item->alternative_n, 2);
        CHECK_EQ(sscanf(item->name, "cam_%d/", &camera), 1);
        CHECK_EQ(camera_of[who][camera]++, 0); /* one image a camera */
        of_identity[who]++;
        CHECK_OK(tdm_read_file(item->path, &file));
        CHECK_OK(tdm_image_probe(item->path, file.data, file.length, &height, &width));
        CHECK_TRUE(height >= 120 && height <= 256 && width > 40 && width <= height / 2);
        tdm_text_free(&file);
    }
    for (int64_t i = 0; i < PEOPLE; i++) CHECK_TRUE(of_identity[i] >= 2 && of_identity[i] <= 6);
    people_divide(13003, 0, begin);
    CHECK_EQ(begin[1], 11003);
    CHECK_EQ(begin[2], 12003);
    people_divide(3, 0, begin);
    CHECK_EQ(begin[1], 1);
    people_divide(1000, 300, begin);
    CHECK_EQ(begin[1], 400);
    CHECK_EQ(begin[2], 700);
    CHECK_EQ(begin[3], 1000);
}

/* ---- Who there is ---- */

static int differences(const person *a, const person *b)
{
    int n = 0;
    for (int t = 0; t < TRAITS; t++) n += a->trait[t] != b->trait[t];
    return n;
}

/* Pairs of people of one split who differ in this many traits: counted up to 2. */
static void count_pairs(double twins, int64_t pairs[3])
{
    enum { MANY = 1500 };
    int64_t begin[PEOPLE_SPLITS + 1];
    person *people;
    people_divide(MANY, 0, begin);
    CHECK_OK(people_draw(7, twins, begin, PEOPLE_SPLITS, &people));
    memset(pairs, 0, 3 * sizeof *pairs);
    for (int64_t i = 0; i < MANY; i++)
        for (int64_t j = 0; j < i; j++) {
            const int n = differences(&people[i], &people[j]);
            pairs[n < 2 ? n : 2]++;
        }
    tdm_free(people);
}

static void nobody_is_there_twice(void **state)
{
    (void)state;
    int64_t pairs[3];
    count_pairs(0.0, pairs);
    CHECK_EQ(pairs[0], 0);
    CHECK_EQ(pairs[1], 0); /* near-twins only where they are asked for */
    count_pairs(0.5, pairs);
    CHECK_EQ(pairs[0], 0);
    CHECK_GE(pairs[1], 1500 / 4);
    count_pairs(1.0, pairs); /* a group that has all its twins is followed by another one */
    CHECK_EQ(pairs[0], 0);
    CHECK_GE(pairs[1], 1500 - 100);
}

/* ---- Captions ---- */

/* What follows a garment's word: it has the colour in front of it. */
static const struct {
    person_trait thing, colour;
} coloured[] = {{TRAIT_HAT, TRAIT_HAT_COLOUR},       {TRAIT_TOP, TRAIT_TOP_COLOUR},
                {TRAIT_BOTTOM, TRAIT_BOTTOM_COLOUR}, {TRAIT_SHOES, TRAIT_SHOES_COLOUR},
                {TRAIT_BAG, TRAIT_BAG_COLOUR},       {TRAIT_PATTERN, TRAIT_PATTERN_COLOUR}};

/* How long a word of the list `text` begins with, as a whole word; 0: with none. */
static size_t word_at(const char *text, const char *const *words)
{
    size_t longest = 0;
    for (int i = 0; i < 6 && words[i]; i++) {
        const size_t n = strlen(words[i]);
        if (!strncmp(text, words[i], n) && !strchr("abcdefghijklmnopqrstuvwxyz-", text[n] ? text[n] : ' ') &&
            n > longest)
            longest = n;
    }
    return longest;
}

/* The longest word of any value of the trait at `text`; *value is whose. */
static size_t value_at(const char *text, person_trait trait, int values, int *value)
{
    size_t longest = 0;
    for (int v = 0; v < values; v++) {
        const size_t n = word_at(text, caption_words(trait, v));
        if (n > longest) {
            longest = n;
            *value = v;
        }
    }
    return longest;
}

/* Reads the caption from left to right: each colour belongs to the thing behind it ("red and white striped shirt": the
 * second to the pattern), each thing is one that the person has. Counts what was said. */
static void check_caption(const person *p, const char *caption, uint32_t *said)
{
    int colour[2] = {-1, -1}, colours = 0, value = 0;
    char text[512];
    CHECK_LT(snprintf(text, sizeof text, "%s", caption), (int)sizeof text);
    text[0] = (char)(text[0] | 32);
    for (const char *c = text; *c; c++) {
        if (c > text && c[-1] != ' ') continue;
        if (!strncmp(c, "with ", 5) || c[-(c > text)] == '.') colours = 0;
        size_t longest = value_at(c, TRAIT_TOP_COLOUR, COLOURS, &value);
        person_trait trait = TRAITS;
        int of = 0, thing_value = 0;
        for (size_t k = 0; k < sizeof coloured / sizeof coloured[0]; k++) {
            const int values = coloured[k].thing == TRAIT_TOP ? 7 : 5;
            const size_t n = value_at(c, coloured[k].thing, values, &thing_value);
            if (n <= longest) continue;
            longest = n;
            trait = coloured[k].thing;
            of = (int)k;
            value = thing_value;
        }
        if (!longest) continue;
        if (trait == TRAITS) {
            if (!strncmp(c + longest, " hair", 5) || !strncmp(c + longest, " pony", 5)) {
                CHECK_TRUE(word_at(c, caption_words(TRAIT_HAIR_COLOUR, p->trait[TRAIT_HAIR_COLOUR])) > 0);
                *said |= 1u << TRAIT_HAIR_COLOUR;
            } else {
                CHECK_LT(colours, 2);
                colour[colours++] = value;
            }
        } else {
            CHECK_EQ(value, p->trait[trait]);
            *said |= 1u << trait;
            if (trait == TRAIT_PATTERN && colours != 1) continue; /* an adjective in front of the top */
            if (trait == TRAIT_PATTERN && strstr(c, "ed ") == c + longest - 2) continue;
            if (colours) {
                CHECK_EQ(colour[0], p->trait[coloured[of].colour]);
                *said |= 1u << coloured[of].colour;
            }
            if (colours == 2) CHECK_EQ(colour[1], p->trait[TRAIT_PATTERN_COLOUR]);
            colours = 0;
        }
        c += longest - 1;
    }
    CHECK_EQ(colours, 0);
}

static void captions_are_true(void **state)
{
    (void)state;
    enum { MANY = 2000 };
    const int64_t begin[2] = {0, MANY};
    person *people;
    tdm_text first = {0}, second = {0};
    int64_t equal = 0;
    uint32_t ever = 0;
    CHECK_OK(people_draw(5, 0.3, begin, 1, &people));
    for (int64_t i = 0; i < MANY; i++) {
        tdm_rng rng = people_rng(5, DRAW_WORDS, i);
        const uint32_t mentions = caption_mentions(&people[i], &rng);
        uint32_t said = 0, said_again = 0;
        first.length = second.length = 0;
        CHECK_OK(caption_write(&people[i], mentions, &rng, &first));
        CHECK_OK(caption_write(&people[i], mentions, &rng, &second));
        check_caption(&people[i], first.data, &said);
        check_caption(&people[i], second.data, &said_again);
        CHECK_EQ(said & ~mentions, 0); /* nothing that was not noticed */
        CHECK_EQ(said_again & ~mentions, 0);
        equal += !strcmp(first.data, second.data);
        ever |= said;
    }
    CHECK_LT(equal, MANY / 20); /* a translation back is mostly in other words */
    for (size_t k = 0; k < sizeof coloured / sizeof coloured[0]; k++)
        CHECK_TRUE(ever >> coloured[k].thing & ever >> coloured[k].colour & 1);
    tdm_text_free(&first);
    tdm_text_free(&second);
    tdm_free(people);
}

/* ---- Pictures ---- */

static void a_picture_shows_its_person(void **state)
{
    (void)state;
    person p = {{[TRAIT_HAIR] = HAIR_SHORT,
                 [TRAIT_TOP] = TOP_SWEATER,
                 [TRAIT_BOTTOM] = BOTTOM_TROUSERS,
                 [TRAIT_BOTTOM_COLOUR] = COLOUR_NAVY}};
    static const struct {
        int colour, most; /* channel that is the largest by far */
    } want[] = {{COLOUR_RED, 0}, {COLOUR_GREEN, 1}, {COLOUR_BLUE, 2}};
    for (size_t k = 0; k < sizeof want / sizeof want[0]; k++)
        for (int camera = 0; camera < CAMERAS; camera++) {
            picture taken;
            p.trait[TRAIT_TOP_COLOUR] = (uint8_t)want[k].colour;
            CHECK_OK(picture_take(&p, camera, people_rng(1, DRAW_SHADE, 0),
                                  people_rng(1, DRAW_PICTURE, camera), &taken));
            int64_t sum[3] = {0};
            for (int64_t y = taken.height / 3; y < taken.height * 2 / 5; y++) /* the chest */
                for (int64_t x = taken.width * 2 / 5; x < taken.width * 3 / 5; x++)
                    for (int c = 0; c < 3; c++) sum[c] += taken.pixel[(y * taken.width + x) * 3 + c];
            for (int c = 0; c < 3; c++) CHECK_TRUE(c == want[k].most || sum[want[k].most] > sum[c] * 11 / 10);
            tdm_free(taken.pixel);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down_list)
        CASE(equal_arguments_give_equal_bytes),
        CASE(the_packer_reads_it),
        CASE(nobody_is_there_twice),
        CASE(captions_are_true),
        CASE(a_picture_shows_its_person),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
