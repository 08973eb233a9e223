#include "search_queries.h"

#include "tandem/json_text.h"
#include "text_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- The list ---- */

static bool copy_of(const char *text, char **copy)
{
    *copy = text != NULL ? strdup(text) : NULL;
    return text == NULL || *copy != NULL;
}

static tdm_status grow(search_queries *queries)
{
    if (queries->count < queries->capacity) return TDM_OK;
    const int64_t capacity = 2 * queries->capacity + 16;
    search_query *grown = realloc(queries->query, (size_t)capacity * sizeof *grown);
    TDM_REQUIRE(grown != NULL, TDM_E_NOMEM, "no memory for %lld queries", (long long)capacity);
    queries->query = grown;
    queries->capacity = capacity;
    return TDM_OK;
}

tdm_status search_queries_add(search_queries *queries, const char *text, const char *image, double weight)
{
    TDM_TRY(grow(queries));
    search_query *at = &queries->query[queries->count];
    *at = (search_query){.weight = weight};
    const bool copied = copy_of(text, &at->text) && copy_of(image, &at->image);
    queries->count++;
    TDM_REQUIRE(copied, TDM_E_NOMEM, "no memory for a query");
    return TDM_OK;
}

void search_queries_free(search_queries *queries)
{
    for (int64_t i = 0; i < queries->count; i++) {
        free(queries->query[i].text);
        free(queries->query[i].image);
        free(queries->query[i].id);
    }
    free(queries->query);
    *queries = (search_queries){0};
}

/* ---- A file ---- */

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '\0';
}

/* The string of a member, NULL where it is not there. */
static tdm_status get_string(const json_t *object, const char *where, const char *key, const char **value)
{
    const json_t *member = json_object_get(object, key);
    *value = member != NULL ? json_string_value(member) : NULL;
    TDM_REQUIRE(member == NULL || (*value != NULL && !is_blank(*value)), TDM_E_DATA,
                "%s: \"%s\" must be a text that is not empty", where, key);
    TDM_REQUIRE(member == NULL || strlen(*value) == json_string_length(member), TDM_E_DATA,
                "%s: \"%s\" holds a NUL", where, key);
    return TDM_OK;
}

static tdm_status check_keys(json_t *object, const char *where)
{
    static const char *const known[] = {"text", "image", "weight", "id"};
    enum { KNOWN = sizeof known / sizeof known[0] };
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        size_t i = 0;
        while (i < KNOWN && strcmp(key, known[i]) != 0) i++;
        TDM_REQUIRE(i < KNOWN, TDM_E_DATA, "%s: there is no \"%.100s\"; a query has text, image, weight, id",
                    where, key);
    }
    return TDM_OK;
}

static tdm_status add_object(search_queries *queries, const char *where, json_t *object, double weight)
{
    const char *text, *image, *id;
    TDM_TRY(check_keys(object, where));
    TDM_TRY(get_string(object, where, "text", &text));
    TDM_TRY(get_string(object, where, "image", &image));
    TDM_TRY(get_string(object, where, "id", &id));
    TDM_REQUIRE(text != NULL || image != NULL, TDM_E_DATA, "%s: a query has a text, an image, or both",
                where);
    const json_t *own = json_object_get(object, "weight");
    if (own != NULL) weight = json_number_value(own);
    TDM_REQUIRE(own == NULL || (json_is_number(own) && weight >= 0 && weight <= 1), TDM_E_DATA,
                "%s: \"weight\" must be a number from 0 to 1", where);
    TDM_TRY(search_queries_add(queries, text, image, weight));
    TDM_REQUIRE(copy_of(id, &queries->query[queries->count - 1].id), TDM_E_NOMEM, "no memory for a query");
    return TDM_OK;
}

static tdm_status add_json(search_queries *queries, const char *where, const text_lines *lines, double weight)
{
    json_error_t error;
    json_t *object = json_loadb(lines->line, lines->length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    TDM_REQUIRE(object != NULL, TDM_E_DATA, "%s: is no JSON: %s (column %d)", where, error.text,
                error.column);
    const tdm_status status = add_object(queries, where, object, weight);
    json_decref(object);
    return status;
}

static tdm_status add_line(search_queries *queries, const char *where, text_lines *lines, double weight)
{
    static const char mark[] = "image:";
    char *line = lines->line;
    if (lines->length > 0 && line[lines->length - 1] == '\r') line[--lines->length] = '\0';
    if (line[0] == '{') return add_json(queries, where, lines, weight);
    if (strncmp(line, mark, sizeof mark - 1) != 0) return search_queries_add(queries, line, NULL, weight);
    const char *path = line + sizeof mark - 1;
    path += strspn(path, " ");
    TDM_REQUIRE(path[0] != '\0', TDM_E_DATA, "%s: image: without a file", where);
    return search_queries_add(queries, NULL, path, weight);
}

static tdm_status add_lines(search_queries *queries, FILE *file, const char *name, double weight)
{
    text_lines lines = {.file = file, .name = name};
    char where[TDM_PATH_BYTES + 32];
    bool found = true;
    tdm_status status = TDM_OK;
    while (status == TDM_OK) {
        status = text_lines_next(&lines, &found);
        if (status != TDM_OK || !found) break;
        if (is_blank(lines.line)) continue;
        snprintf(where, sizeof where, "%s: line %lld", name, (long long)lines.number);
        status = add_line(queries, where, &lines, weight);
        if (status == TDM_OK) queries->query[queries->count - 1].line = lines.number;
    }
    text_lines_free(&lines);
    return status;
}

static tdm_status read_stream(FILE *file, tdm_text *all)
{
    char piece[1 << 16];
    for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;) TDM_TRY(tdm_text_append(all, piece, n));
    TDM_REQUIRE(!ferror(file), TDM_E_IO, "standard input: cannot read: %s", strerror(errno));
    return TDM_OK;
}

/* Of rank 0 on every rank. Collective. */
static tdm_status share_text(tdm_comm *comm, tdm_status status, tdm_text *all)
{
    int64_t bytes = (int64_t)all->length;
    char *room = NULL;
    TDM_AGREE(comm, status);
    tdm_comm_broadcast(comm, &bytes, sizeof bytes, 0);
    status = TDM_ALLOC(bytes + 1, &room);
    if (status == TDM_OK && tdm_comm_rank(comm) == 0) memcpy(room, all->data, (size_t)bytes);
    status = tdm_comm_agree(comm, status);
    if (status == TDM_OK) {
        tdm_comm_broadcast(comm, room, bytes, 0);
        all->length = 0;
        status = tdm_comm_agree(comm, tdm_text_append(all, room, (size_t)bytes));
    }
    tdm_free(room);
    return status;
}

static tdm_status parse(search_queries *queries, const tdm_text *all, const char *name, double weight)
{
    TDM_REQUIRE(all->length > 0, TDM_E_DATA, "%s: holds no query", name);
    FILE *file = fmemopen(all->data, all->length, "r");
    TDM_REQUIRE(file != NULL, TDM_E_NOMEM, "%s: no memory to read it", name);
    const tdm_status status = add_lines(queries, file, name, weight);
    fclose(file);
    TDM_TRY(status);
    TDM_REQUIRE(queries->count > 0, TDM_E_DATA, "%s: holds no query", name);
    return TDM_OK;
}

tdm_status search_queries_read(tdm_comm *comm, const char *file, double weight, search_queries *queries)
{
    const bool from_input = strcmp(file, "-") == 0;
    tdm_text all = {0};
    tdm_status status = TDM_OK;
    queries->file = from_input ? "standard input" : file;
    if (tdm_comm_rank(comm) == 0) status = from_input ? read_stream(stdin, &all) : tdm_read_file(file, &all);
    status = share_text(comm, status, &all);
    if (status == TDM_OK) status = tdm_comm_agree(comm, parse(queries, &all, queries->file, weight));
    tdm_text_free(&all);
    return status;
}

/* ---- Embedding ---- */

/* place[n]: the queries of [begin, end) that have an image, or those that have a text. */
static int64_t choose(const search_queries *queries, int64_t begin, int64_t end, bool images, int64_t *place,
                      const char **value)
{
    int64_t n = 0;
    for (int64_t i = begin; i < end; i++) {
        const char *own = images ? queries->query[i].image : queries->query[i].text;
        if (own == NULL) continue;
        value[n] = own;
        place[n++] = i;
    }
    return n;
}

/* Names the line. */
static tdm_status fault_of(const search_queries *queries, int64_t i, tdm_status status)
{
    if (queries->query[i].line == 0) return status;
    return TDM_ERROR(status, "%s: line %lld: %s", queries->file, (long long)queries->query[i].line,
                     tdm_error_last()->message);
}

typedef struct query_room {
    int64_t *place;
    const char **value;
    float *feature; /* [n][d] of one modality */
    bool *cut;
} query_room;

static tdm_status embed_images(const tdm_inference *in, const search_queries *queries, int64_t begin,
                               int64_t end, const query_room *room, float *feature)
{
    const int64_t d = tdm_model_embed_dim(in->model);
    const int64_t n = choose(queries, begin, end, true, room->place, room->value);
    int64_t failed = -1;
    if (n == 0) return TDM_OK;
    const tdm_status status = tdm_search_embed_files(in, n, room->value, room->feature, &failed);
    if (status != TDM_OK && failed >= 0) return fault_of(queries, room->place[failed], status);
    TDM_TRY(status);
    for (int64_t i = 0; i < n; i++)
        memcpy(feature + (room->place[i] - begin) * d, room->feature + i * d, (size_t)d * sizeof *feature);
    return TDM_OK;
}

/* Behind the images, which the texts join. */
static tdm_status embed_texts(const tdm_inference *in, const search_queries *queries, int64_t begin,
                              int64_t end, const query_room *room, float *feature, int64_t *cut)
{
    const int64_t d = tdm_model_embed_dim(in->model);
    const int64_t n = choose(queries, begin, end, false, room->place, room->value);
    *cut = 0;
    if (n == 0) return TDM_OK;
    TDM_TRY(tdm_inference_embed_texts(in, n, room->value, room->feature, room->cut));
    for (int64_t i = 0; i < n; i++) {
        const search_query *query = &queries->query[room->place[i]];
        float *out = feature + (room->place[i] - begin) * d;
        *cut += room->cut[i];
        if (query->image == NULL) {
            memcpy(out, room->feature + i * d, (size_t)d * sizeof *out);
            continue;
        }
        const tdm_status status = tdm_inference_combine(in, room->feature + i * d, out, query->weight, out);
        if (status != TDM_OK) return fault_of(queries, room->place[i], status);
    }
    return TDM_OK;
}

tdm_status search_queries_embed(const tdm_inference *inference, const search_queries *queries, int64_t begin,
                                int64_t end, float *feature, int64_t *cut)
{
    query_room room = {0};
    const int64_t n = end - begin;
    tdm_status status = TDM_ALLOC(n, &room.place);
    if (status == TDM_OK) status = TDM_ALLOC(n, &room.value);
    if (status == TDM_OK) status = TDM_ALLOC(n * tdm_model_embed_dim(inference->model), &room.feature);
    if (status == TDM_OK) status = TDM_ALLOC(n, &room.cut);
    if (status == TDM_OK) status = embed_images(inference, queries, begin, end, &room, feature);
    if (status == TDM_OK) status = embed_texts(inference, queries, begin, end, &room, feature, cut);
    tdm_free(room.place);
    tdm_free((void *)room.value);
    tdm_free(room.feature);
    tdm_free(room.cut);
    return status;
}
