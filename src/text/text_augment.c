/* Pipelines: the lists of augmentations of views of texts, compiled once. */
#include "augment_impl.h"
#include "augment_table.h"
#include "text_clean.h"

#include <string.h>

#define DECLARE_ROW(row) extern const text_augment_row row;
TEXT_AUGMENT_TABLE(DECLARE_ROW)
#define ROW_ADDRESS(row) &row,
static const text_augment_row *const table[] = {TEXT_AUGMENT_TABLE(ROW_ADDRESS) NULL};

typedef struct shared_options {
    const char *wordnet;
} shared_options;
static const tdm_option shared[] = {
    TDM_STRING_OPTION(
        shared_options, wordnet, "/usr/share/wordnet",
        "Directory of WordNet 3.0's files (index.noun, data.noun, noun.exc …) for operations that need "
        "synonyms; the default is where Debian's package wordnet-base has them."),
};
static const tdm_option_group shared_group = {.prefix = "augment",
                                              .rows = shared,
                                              .count = sizeof(shared) / sizeof(shared[0]),
                                              .bytes = sizeof(shared_options),
                                              .change = TDM_CHANGE_RUN};

tdm_status tdm_text_augment_register(void)
{
    TDM_TRY(tdm_config_register(&shared_group));
    for (size_t i = 0; table[i]; i++) TDM_TRY(tdm_operation_register(&table[i]->operation));
    return TDM_OK;
}

const tdm_operation *tdm_text_augment_row(size_t index)
{
    for (size_t i = 0; table[i]; i++)
        if (i == index) return &table[i]->operation;
    return NULL;
}

static const text_augment_row *find_row(const char *name)
{
    for (size_t i = 0; table[i]; i++)
        if (!strcmp(table[i]->operation.name, name)) return table[i];
    return NULL;
}

/* ---- compiling a list ---- */

typedef struct text_step {
    const text_augment_row *row;
    const void *options;
} text_step;

struct tdm_text_pipeline {
    const tdm_tokenizer *tokenizer;
    text_vocabulary vocabulary;
    wordnet *wordnet; /* NULL: no operation needs it */
    int64_t count;
    text_step step[];
};

static tdm_status open_wordnet(const tdm_config *config, const char *where, const char *name,
                               wordnet **opened)
{
    const shared_options *options = tdm_config_group(config, "augment");
    char who[256];
    if (*opened) return TDM_OK;
    snprintf(who, sizeof(who), "%s: %s", where, name);
    return wordnet_open(who, options->wordnet, opened);
}

static tdm_status add_step(const tdm_config *config, const char *where, const char *text,
                           tdm_text_pipeline *pipeline)
{
    char name[64];
    const char *arguments;
    size_t length;
    TDM_TRY(tdm_config_call(where, text, name, &arguments, &length));
    const text_augment_row *row = find_row(name);
    if (row == NULL) return TDM_OK; /* an operation on images */
    const text_augment_row *last = pipeline->count ? pipeline->step[pipeline->count - 1].row : NULL;
    TDM_REQUIRE(!last || !last->tokens || !row->words, TDM_E_CONFIG,
                "%s: %s changes words, it cannot stand behind %s, which changes their tokens", where, name,
                last->operation.name);
    text_step *step = &pipeline->step[pipeline->count];
    TDM_TRY(tdm_operation_options(config, where, &row->operation, arguments, length, &step->options));
    if (pipeline->tokenizer && row->fits) TDM_TRY(row->fits(where, step->options, &pipeline->vocabulary));
    if (row->wordnet) TDM_TRY(open_wordnet(config, where, name, &pipeline->wordnet));
    step->row = row;
    pipeline->count++;
    return TDM_OK;
}

tdm_status tdm_text_pipeline_create(const tdm_config *config, const char *where, const tdm_strings *list,
                                    const tdm_tokenizer *tokenizer, tdm_text_pipeline **pipeline)
{
    const size_t bytes = sizeof(tdm_text_pipeline) + (size_t)list->count * sizeof(text_step);
    tdm_text_pipeline *made;
    *pipeline = NULL;
    TDM_TRY(tdm_alloc(bytes, "augmentations", (void **)&made));
    made->tokenizer = tokenizer;
    if (tokenizer)
        made->vocabulary = (text_vocabulary){.start = tdm_tokenizer_start(tokenizer),
                                             .end = tdm_tokenizer_end(tokenizer),
                                             .mask = tdm_tokenizer_mask(tokenizer),
                                             .size = tdm_tokenizer_vocab_size(tokenizer)};
    for (int64_t i = 0; i < list->count; i++) {
        const tdm_status status = add_step(config, where, list->item[i], made);
        if (status != TDM_OK) {
            tdm_text_pipeline_destroy(&made);
            return status;
        }
    }
    *pipeline = made;
    return TDM_OK;
}

void tdm_text_pipeline_destroy(tdm_text_pipeline **pipeline)
{
    if (*pipeline) wordnet_close(&(*pipeline)->wordnet);
    tdm_free(*pipeline);
    *pipeline = NULL;
}

tdm_status tdm_text_pipeline_reading(const tdm_text_pipeline *pipeline, tdm_reading *reading)
{
    return pipeline->wordnet ? wordnet_reading(pipeline->wordnet, reading) : TDM_OK;
}

bool tdm_text_pipeline_is_plain(const tdm_text_pipeline *pipeline)
{
    return pipeline->count == 0;
}

bool tdm_text_pipeline_has_tokens(const tdm_text_pipeline *pipeline)
{
    for (int64_t i = 0; i < pipeline->count; i++)
        if (pipeline->step[i].row->tokens) return true;
    return false;
}

bool tdm_text_pipeline_has_targets(const tdm_text_pipeline *pipeline)
{
    for (int64_t i = 0; i < pipeline->count; i++)
        if (pipeline->step[i].row->targets) return true;
    return false;
}

/* ---- one view ---- */

void tdm_text_work_free(tdm_text_work *work)
{
    tdm_text_free(&work->text);
    tdm_text_free(&work->spare);
    if (work->lists) {
        text_list_free(&work->lists->words);
        text_list_free(&work->lists->candidates);
        text_list_free(&work->lists->synonyms);
    }
    tdm_free(work->lists);
    work->lists = NULL;
}

bool text_next_piece(const char **at, const char **begin, size_t *bytes)
{
    const char *end = *at + strlen(*at), *next;
    while (*at < end && text_is_space(text_decode_point(*at, end, &next))) *at = next;
    *begin = *at;
    while (*at < end && !text_is_space(text_decode_point(*at, end, &next))) *at = next;
    *bytes = (size_t)(*at - *begin);
    return *bytes > 0;
}

tdm_status text_take_apart(const tdm_text *text, text_list *words)
{
    const char *at = text->data, *begin;
    size_t bytes;
    text_list_clear(words);
    while (text_next_piece(&at, &begin, &bytes)) TDM_TRY(text_list_insert(words, words->count, begin, bytes));
    return TDM_OK;
}

tdm_status text_put_together(const text_list *words, tdm_text *text)
{
    text->length = 0;
    TDM_TRY(tdm_text_append(text, "", 0));
    for (int64_t i = 0; i < words->count; i++) {
        if (i > 0) TDM_TRY(tdm_text_append(text, " ", 1));
        TDM_TRY(tdm_text_append(text, text_list_at(words, i), words->item[i].bytes));
    }
    return TDM_OK;
}

int64_t text_amount_of(const text_amount *amount, int64_t words)
{
    const int64_t share = (int64_t)(amount->alpha * (double)words);
    if (amount->n > 0) return amount->n;
    return amount->alpha == 0.0 ? 0 : share > 1 ? share : 1;
}

static const char *const stop_words[] = {
#include "stop_words.inc"
};

bool text_is_stop_word(const char *word, size_t bytes)
{
    enum { LONGEST = 10 };
    char lower[LONGEST + 1] = {0};
    size_t low = 0, high = sizeof(stop_words) / sizeof(stop_words[0]);
    if (bytes > LONGEST) return false;
    for (size_t i = 0; i < bytes; i++)
        lower[i] = word[i] >= 'A' && word[i] <= 'Z' ? (char)(word[i] - 'A' + 'a') : word[i];
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const int order = strcmp(stop_words[middle], lower);
        if (order == 0) return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* The words through all operations on words; *text is the caption's own where there are none. */
static tdm_status change_words(tdm_text_work *work, const tdm_text_pipeline *pipeline,
                               const tdm_caption *caption, tdm_rng *rng, const char **text)
{
    *text = caption->text;
    for (int64_t i = 0; i < pipeline->count; i++) {
        const text_step *step = &pipeline->step[i];
        if (!step->row->words) continue;
        if (work->lists == NULL) TDM_TRY(TDM_ALLOC(1, &work->lists));
        if (*text == caption->text) {
            work->text.length = 0;
            TDM_TRY(tdm_text_append(&work->text, caption->text, strlen(caption->text)));
        }
        const text_call call = {.caption = caption,
                                .rng = rng,
                                .text = &work->text,
                                .spare = &work->spare,
                                .lists = work->lists,
                                .wordnet = pipeline->wordnet};
        TDM_TRY(step->row->words(step->options, &call));
        *text = work->text.data;
    }
    return TDM_OK;
}

tdm_status tdm_text_words(tdm_text_work *work, const tdm_text_pipeline *pipeline, const tdm_caption *caption,
                          tdm_rng rng, const char **text)
{
    return change_words(work, pipeline, caption, &rng, text);
}

tdm_status tdm_text_make(tdm_text_work *work, const tdm_text_pipeline *pipeline, const tdm_caption *caption,
                         tdm_rng rng, int64_t context, int32_t *token, int64_t *count, int32_t *target)
{
    const char *text;
    TDM_TRY(change_words(work, pipeline, caption, &rng, &text));
    TDM_TRY(tdm_tokenizer_encode(pipeline->tokenizer, text, context, token, count, NULL));
    text_tokens tokens = {.token = token, .target = target, .count = *count, .context = context};
    for (int64_t i = 0; target && i < context; i++) target[i] = -1;
    for (int64_t i = 0; i < pipeline->count; i++) {
        const text_step *step = &pipeline->step[i];
        if (step->row->tokens) step->row->tokens(step->options, &pipeline->vocabulary, &rng, &tokens);
    }
    *count = tokens.count;
    return TDM_OK;
}
