#include "shard_impl.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>
#include <utf8proc.h>

enum { BUFFER_BYTES = 16 * SHARD_CHUNK_BYTES }; /* image bytes are written in whole chunks */

struct tdm_shard_writer {
    char path[TDM_PATH_BYTES], temporary[TDM_PATH_BYTES];
    tdm_h5 *file;
    tdm_h5_array *image_bytes, *feature[TDM_MODALITIES];
    int64_t feature_width[TDM_MODALITIES];
    int64_t written_bytes; /* of /image/bytes, already in the file */
    tdm_text buffer;       /* and those that follow */
    int64_t images, class_count;
    bool has_identity, lacks_feature; /* lacks: some row of a shard with image features */
    /* whole data sets, held until finish; the i64 ones as raw bytes */
    tdm_text image_offset, identity, class_bits, caption_image, alternative_caption, has_feature;
    tdm_h5_strings names, captions, alternatives;
};

static tdm_status push_i64(tdm_text *list, int64_t value)
{
    return tdm_text_append(list, &value, sizeof(value));
}

static tdm_status put_i64s(tdm_shard_writer *writer, const char *name, const tdm_text *list)
{
    const int64_t rows = (int64_t)(list->length / sizeof(int64_t));
    return tdm_h5_put_array(writer->file, name, TDM_H5_I64, 1, &rows, SHARD_CHUNK_BYTES, list->data);
}

static tdm_status put_class_names(tdm_shard_writer *writer, const tdm_shard_info *info)
{
    tdm_h5_strings names = {0};
    tdm_status status = TDM_OK;
    for (int64_t i = 0; i < info->class_count && status == TDM_OK; i++)
        status =
            tdm_h5_strings_add(&names, info->class_name[i], strnlen(info->class_name[i], SHARD_NAME_BYTES));
    if (status == TDM_OK) status = tdm_h5_put_strings(writer->file, "class/name_", &names);
    tdm_h5_strings_free(&names);
    return status;
}

static tdm_status put_head(tdm_shard_writer *writer, const tdm_shard_info *info)
{
    const char *const text[][2] = {{"dataset", info->dataset},
                                   {"split", info->split},
                                   {"image_policy", info->image_policy},
                                   {"source_digest", info->source_digest},
                                   {"tokenizer_digest", info->tokenizer_digest}};
    for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++)
        TDM_TRY(tdm_h5_put_text(writer->file, text[i][0], text[i][1] ? text[i][1] : ""));
    TDM_TRY(tdm_h5_put_group(writer->file, "image"));
    TDM_TRY(tdm_h5_put_group(writer->file, "caption"));
    if (writer->class_count) {
        TDM_TRY(tdm_h5_put_group(writer->file, "class"));
        TDM_TRY(put_class_names(writer, info));
    }
    for (int m = 0; m < TDM_MODALITIES; m++)
        if (writer->feature_width[m] > 0)
            TDM_TRY(tdm_h5_grow(writer->file, shard_feature_name((tdm_modality)m), TDM_H5_F32,
                                writer->feature_width[m], SHARD_CHUNK_BYTES, &writer->feature[m]));
    return tdm_h5_grow(writer->file, "image/bytes", TDM_H5_U8, 0, SHARD_CHUNK_BYTES, &writer->image_bytes);
}

tdm_status tdm_shard_writer_create(const char *path, const tdm_shard_info *info, tdm_shard_writer **writer)
{
    *writer = NULL;
    TDM_REQUIRE(info->class_count >= 0 && (info->class_count == 0 || info->class_name), TDM_E_SHAPE,
                "%s: class_count is %lld without names", path, (long long)info->class_count);
    for (int m = 0; m < TDM_MODALITIES; m++)
        TDM_REQUIRE(info->feature_width[m] >= 0 && info->feature_width[m] <= SHARD_FEATURE_WIDTH, TDM_E_SHAPE,
                    "%s: features are %lld wide", path, (long long)info->feature_width[m]);
    tdm_shard_writer *made;
    TDM_TRY(TDM_ALLOC(1, &made));
    memcpy(made->feature_width, info->feature_width, sizeof(made->feature_width));
    made->class_count = info->class_count;
    snprintf(made->path, sizeof(made->path), "%s", path);
    int length = snprintf(made->temporary, sizeof(made->temporary), "%s.tmp", path);
    tdm_status status = TDM_OK;
    if (length >= (int)sizeof(made->temporary)) {
        made->temporary[0] = '\0'; /* nothing to remove */
        status = TDM_ERROR(TDM_E_IO, "%.200s…: path is too long", path);
    }
    if (status == TDM_OK) status = tdm_h5_create(made->temporary, SHARD_FORMAT, SHARD_VERSION, &made->file);
    if (status == TDM_OK) status = put_head(made, info);
    if (status == TDM_OK) status = push_i64(&made->image_offset, 0);
    if (status != TDM_OK) {
        tdm_shard_writer_destroy(&made);
        return status;
    }
    *writer = made;
    return TDM_OK;
}

/* Moves the first `bytes` of the buffer into the file. */
static tdm_status flush(tdm_shard_writer *writer, size_t bytes)
{
    if (bytes == 0) return TDM_OK;
    TDM_TRY(tdm_h5_append(writer->image_bytes, (int64_t)bytes, writer->buffer.data));
    writer->written_bytes += (int64_t)bytes;
    writer->buffer.length -= bytes;
    memmove(writer->buffer.data, writer->buffer.data + bytes, writer->buffer.length);
    return TDM_OK;
}

const char *shard_feature_name(tdm_modality modality)
{
    return modality == TDM_IMAGE ? "image/feature" : "caption/feature";
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n\v\f")] == '\0';
}

static bool is_utf8(const char *text)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
    while (*at) {
        utf8proc_int32_t code;
        utf8proc_ssize_t n = utf8proc_iterate(at, -1, &code);
        if (n <= 0) return false;
        at += n;
    }
    return true;
}

static tdm_status check_text(const char *name, const char *what, int64_t number, const char *text,
                             bool may_be_empty)
{
    TDM_REQUIRE(text && (may_be_empty || !is_blank(text)), TDM_E_DATA, "%s: %s %lld is empty", name, what,
                (long long)number);
    TDM_REQUIRE(strlen(text) <= (size_t)SHARD_TEXT_BYTES, TDM_E_DATA, "%s: %s %lld is longer than 16 MiB",
                name, what, (long long)number);
    TDM_REQUIRE(is_utf8(text), TDM_E_DATA, "%s: %s %lld is not valid UTF-8", name, what, (long long)number);
    return TDM_OK;
}

static tdm_status check_captions(const tdm_shard_writer *writer, const char *name,
                                 const tdm_shard_sample *sample)
{
    for (int64_t i = 0; i < sample->caption_n; i++) {
        TDM_TRY(check_text(name, "caption", i + 1, sample->caption[i], writer->feature_width[TDM_TEXT] > 0));
        for (int64_t k = 0; sample->alternative && k < sample->alternative[i].n; k++)
            TDM_TRY(check_text(name, "an alternative of caption", i + 1, sample->alternative[i].string[k],
                               false));
    }
    return TDM_OK;
}

static tdm_status check_finite(const char *name, const char *what, int64_t n, const float *value)
{
    for (int64_t i = 0; i < n; i++)
        TDM_REQUIRE(isfinite(value[i]), TDM_E_DATA, "%s: the %s feature is not finite at %lld", name, what,
                    (long long)i);
    return TDM_OK;
}

/* A shard has features of a modality or has not; a row of the first kind may lack its image. */
static tdm_status check_features(const tdm_shard_writer *writer, const char *name,
                                 const tdm_shard_sample *sample)
{
    const int64_t *width = writer->feature_width;
    TDM_REQUIRE(!sample->image_feature || width[TDM_IMAGE] > 0, TDM_E_DATA,
                "%s: has an image feature, but the shard has none", name);
    TDM_REQUIRE(!sample->caption_feature || width[TDM_TEXT] > 0, TDM_E_DATA,
                "%s: has caption features, but the shard has none", name);
    TDM_REQUIRE(width[TDM_IMAGE] == 0 || sample->image_bytes == 0 || sample->image_feature, TDM_E_DATA,
                "%s: its image has no feature", name);
    TDM_REQUIRE(width[TDM_TEXT] == 0 || sample->caption_n == 0 || sample->caption_feature, TDM_E_DATA,
                "%s: its captions have no features", name);
    if (sample->image_feature) TDM_TRY(check_finite(name, "image", width[TDM_IMAGE], sample->image_feature));
    if (!sample->caption_feature) return TDM_OK;
    return check_finite(name, "caption", sample->caption_n * width[TDM_TEXT], sample->caption_feature);
}

static tdm_status check_sample(const tdm_shard_writer *writer, const tdm_shard_sample *sample)
{
    const char *name = sample->name ? sample->name : "";
    TDM_REQUIRE(sample->image_bytes == 0 || sample->image, TDM_E_DATA, "%s: the image is missing", name);
    TDM_REQUIRE(sample->image_bytes > 0 || sample->image_feature || sample->caption_n > 0, TDM_E_DATA,
                "%s: has neither an image nor a caption", name);
    TDM_REQUIRE(sample->image_bytes <= SHARD_IMAGE_BYTES, TDM_E_DATA, "%s: the image is larger than 1 GiB",
                name);
    bool has_identity = sample->identity >= 0;
    TDM_REQUIRE(writer->images == 0 || has_identity == writer->has_identity, TDM_E_DATA,
                "%s: %s an identity, unlike the samples before it", name, has_identity ? "has" : "has not");
    for (int64_t i = 0; i < sample->class_n; i++)
        TDM_REQUIRE(sample->class_index[i] >= 0 && sample->class_index[i] < writer->class_count, TDM_E_DATA,
                    "%s: class %lld, but there are %lld classes", name, (long long)sample->class_index[i],
                    (long long)writer->class_count);
    TDM_TRY(check_captions(writer, name, sample));
    return check_features(writer, name, sample);
}

static tdm_status add_classes(tdm_shard_writer *writer, const tdm_shard_sample *sample)
{
    size_t row = writer->class_bits.length;
    for (int64_t i = 0; i < writer->class_count; i++) TDM_TRY(tdm_text_append(&writer->class_bits, "\0", 1));
    for (int64_t i = 0; i < sample->class_n; i++)
        writer->class_bits.data[row + (size_t)sample->class_index[i]] = 1;
    return TDM_OK;
}

static tdm_status add_image(tdm_shard_writer *writer, const tdm_shard_sample *sample)
{
    TDM_TRY(tdm_text_append(&writer->buffer, sample->image, (size_t)sample->image_bytes));
    TDM_TRY(push_i64(&writer->image_offset, writer->written_bytes + (int64_t)writer->buffer.length));
    if (writer->feature_width[TDM_IMAGE] == 0) return TDM_OK;
    const char has = sample->image_feature != NULL;
    writer->lacks_feature |= !has;
    TDM_TRY(tdm_text_append(&writer->has_feature, &has, 1));
    if (has) return tdm_h5_append(writer->feature[TDM_IMAGE], 1, sample->image_feature);
    float *zero;
    TDM_TRY(TDM_ALLOC(writer->feature_width[TDM_IMAGE], &zero));
    const tdm_status status = tdm_h5_append(writer->feature[TDM_IMAGE], 1, zero);
    tdm_free(zero);
    return status;
}

static tdm_status add_captions(tdm_shard_writer *writer, const tdm_shard_sample *sample)
{
    for (int64_t i = 0; i < sample->caption_n; i++) {
        for (int64_t k = 0; sample->alternative && k < sample->alternative[i].n; k++) {
            const char *alternative = sample->alternative[i].string[k];
            TDM_TRY(tdm_h5_strings_add(&writer->alternatives, alternative, strlen(alternative)));
            TDM_TRY(push_i64(&writer->alternative_caption, writer->captions.count));
        }
        TDM_TRY(tdm_h5_strings_add(&writer->captions, sample->caption[i], strlen(sample->caption[i])));
        TDM_TRY(push_i64(&writer->caption_image, writer->images));
    }
    if (writer->feature_width[TDM_TEXT] == 0) return TDM_OK;
    return tdm_h5_append(writer->feature[TDM_TEXT], sample->caption_n, sample->caption_feature);
}

tdm_status tdm_shard_writer_add(tdm_shard_writer *writer, const tdm_shard_sample *sample)
{
    TDM_TRY(check_sample(writer, sample));
    const char *name = sample->name ? sample->name : "";
    TDM_TRY(add_image(writer, sample));
    TDM_TRY(push_i64(&writer->identity, sample->identity >= 0 ? sample->identity : -1));
    TDM_TRY(tdm_h5_strings_add(&writer->names, name, strnlen(name, SHARD_NAME_BYTES)));
    TDM_TRY(add_classes(writer, sample));
    TDM_TRY(add_captions(writer, sample));
    writer->has_identity = sample->identity >= 0;
    writer->images++;
    if (writer->buffer.length >= BUFFER_BYTES)
        return flush(writer, writer->buffer.length / SHARD_CHUNK_BYTES * SHARD_CHUNK_BYTES);
    return TDM_OK;
}

static tdm_status put_rest(tdm_shard_writer *writer)
{
    TDM_TRY(flush(writer, writer->buffer.length));
    TDM_TRY(put_i64s(writer, "image/offset", &writer->image_offset));
    TDM_TRY(put_i64s(writer, "image/identity", &writer->identity));
    TDM_TRY(tdm_h5_put_strings(writer->file, "image/name_", &writer->names));
    if (writer->class_count) {
        const int64_t shape[2] = {writer->images, writer->class_count};
        TDM_TRY(tdm_h5_put_array(writer->file, "image/class", TDM_H5_U8, 2, shape, SHARD_CHUNK_BYTES,
                                 writer->class_bits.data));
    }
    TDM_TRY(tdm_h5_put_strings(writer->file, "caption/", &writer->captions));
    TDM_TRY(put_i64s(writer, "caption/image", &writer->caption_image));
    if (writer->alternatives.count > 0) {
        TDM_TRY(tdm_h5_put_strings(writer->file, "caption/alternative_", &writer->alternatives));
        TDM_TRY(put_i64s(writer, "caption/alternative_caption", &writer->alternative_caption));
    }
    if (writer->lacks_feature)
        TDM_TRY(tdm_h5_put_array(writer->file, "image/has_feature", TDM_H5_U8, 1, &writer->images,
                                 SHARD_CHUNK_BYTES, writer->has_feature.data));
    TDM_TRY(tdm_h5_put_i64(writer->file, "images", writer->images));
    return tdm_h5_put_i64(writer->file, "captions", writer->captions.count);
}

static tdm_status finish(tdm_shard_writer *writer, char digest[65])
{
    TDM_TRY(put_rest(writer));
    TDM_TRY(tdm_h5_finish(&writer->file));
    TDM_TRY(tdm_sha256_file(writer->temporary, digest));
    TDM_REQUIRE(rename(writer->temporary, writer->path) == 0, TDM_E_IO, "%s: cannot rename: %s",
                writer->temporary, strerror(errno));
    writer->temporary[0] = '\0';
    return tdm_fsync_parent(writer->path);
}

tdm_status tdm_shard_writer_finish(tdm_shard_writer **writer, int64_t *images, int64_t *captions,
                                   char digest[65])
{
    tdm_status status = finish(*writer, digest);
    *images = (*writer)->images;
    *captions = (*writer)->captions.count;
    tdm_shard_writer_destroy(writer);
    return status;
}

void tdm_shard_writer_destroy(tdm_shard_writer **writer)
{
    tdm_shard_writer *dying = *writer;
    *writer = NULL;
    if (!dying) return;
    tdm_h5_discard(&dying->file);
    if (dying->temporary[0]) unlink(dying->temporary);
    tdm_text *const list[] = {&dying->buffer,     &dying->image_offset,  &dying->identity,
                              &dying->class_bits, &dying->caption_image, &dying->alternative_caption,
                              &dying->has_feature};
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) tdm_text_free(list[i]);
    tdm_h5_strings_free(&dying->names);
    tdm_h5_strings_free(&dying->captions);
    tdm_h5_strings_free(&dying->alternatives);
    tdm_free(dying);
}
