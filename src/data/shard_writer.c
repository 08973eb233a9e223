#include "shard_impl.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <utf8proc.h>

enum { BUFFER_BYTES = 16 * SHARD_CHUNK_BYTES }; /* image bytes are written in whole chunks */

struct tdm_shard_writer {
    char path[TDM_PATH_BYTES], temporary[TDM_PATH_BYTES];
    hid_t file, image_bytes;
    int64_t written_bytes; /* of /image/bytes, already in the file */
    tdm_text buffer;       /* and those that follow */
    int64_t images, captions, class_count;
    bool has_identity;
    /* whole data sets, held until finish; the i64 ones as raw bytes */
    tdm_text image_offset, identity, class_bits, name_bytes, name_offset;
    tdm_text caption_bytes, caption_offset, caption_image;
};

static tdm_status push_i64(tdm_text *list, int64_t value)
{
    return tdm_text_append(list, &value, sizeof(value));
}

/* A list of strings as NAME_bytes and NAME_offset. */
static tdm_status put_strings(const char *path, hid_t file, const char *bytes_name, const char *offset_name,
                              const tdm_text *bytes, const tdm_text *offset)
{
    hsize_t byte_count = bytes->length, offset_count = offset->length / sizeof(int64_t);
    TDM_TRY(shard_h5_put(path, file, bytes_name, H5T_NATIVE_UINT8, 1, &byte_count, SHARD_TEXT_CHUNK_BYTES,
                         false, bytes->data, NULL));
    return shard_h5_put(path, file, offset_name, H5T_NATIVE_INT64, 1, &offset_count, SHARD_CHUNK_ROWS, false,
                        offset->data, NULL);
}

static tdm_status put_class_names(tdm_shard_writer *writer, const tdm_shard_info *info)
{
    tdm_text bytes = {0}, offset = {0};
    tdm_status status = push_i64(&offset, 0);
    for (int64_t i = 0; i < info->class_count && status == TDM_OK; i++) {
        const char *name = info->class_name[i];
        status = tdm_text_append(&bytes, name, strnlen(name, SHARD_NAME_BYTES));
        if (status == TDM_OK) status = push_i64(&offset, (int64_t)bytes.length);
    }
    if (status == TDM_OK)
        status = put_strings(writer->temporary, writer->file, "class/name_bytes", "class/name_offset", &bytes,
                             &offset);
    tdm_text_free(&bytes);
    tdm_text_free(&offset);
    return status;
}

static tdm_status put_head(tdm_shard_writer *writer, const tdm_shard_info *info)
{
    const char *path = writer->temporary;
    const char *const text[][2] = {{"format", SHARD_FORMAT},
                                   {"dataset", info->dataset},
                                   {"split", info->split},
                                   {"tool_version", TDM_VERSION},
                                   {"image_policy", info->image_policy},
                                   {"source_digest", info->source_digest},
                                   {"tokenizer_digest", info->tokenizer_digest}};
    for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++)
        TDM_TRY(shard_h5_put_text(path, writer->file, text[i][0], text[i][1] ? text[i][1] : ""));
    TDM_TRY(shard_h5_put_i64(path, writer->file, "version", SHARD_VERSION));
    TDM_TRY(shard_h5_put_group(path, writer->file, "image"));
    TDM_TRY(shard_h5_put_group(path, writer->file, "caption"));
    if (writer->class_count) {
        TDM_TRY(shard_h5_put_group(path, writer->file, "class"));
        TDM_TRY(put_class_names(writer, info));
    }
    hsize_t none = 0;
    return shard_h5_put(path, writer->file, "image/bytes", H5T_NATIVE_UINT8, 1, &none, SHARD_CHUNK_BYTES,
                        true, NULL, &writer->image_bytes);
}

tdm_status tdm_shard_writer_create(const char *path, const tdm_shard_info *info, tdm_shard_writer **writer)
{
    *writer = NULL;
    TDM_REQUIRE(info->class_count >= 0 && (info->class_count == 0 || info->class_name), TDM_E_SHAPE,
                "%s: class_count is %lld without names", path, (long long)info->class_count);
    tdm_shard_writer *made;
    TDM_TRY(TDM_ALLOC(1, &made));
    made->file = made->image_bytes = H5I_INVALID_HID;
    made->class_count = info->class_count;
    snprintf(made->path, sizeof(made->path), "%s", path);
    int length = snprintf(made->temporary, sizeof(made->temporary), "%s.tmp", path);
    tdm_status status = TDM_OK;
    if (length >= (int)sizeof(made->temporary)) {
        made->temporary[0] = '\0'; /* nothing to remove */
        status = TDM_ERROR(TDM_E_IO, "%.200s…: path is too long", path);
    }
    if (status == TDM_OK) status = tdm_h5_create(made->temporary, &made->file);
    if (status == TDM_OK) status = put_head(made, info);
    if (status == TDM_OK) status = push_i64(&made->image_offset, 0);
    if (status == TDM_OK) status = push_i64(&made->name_offset, 0);
    if (status == TDM_OK) status = push_i64(&made->caption_offset, 0);
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
    hsize_t start = (hsize_t)writer->written_bytes, count = bytes, extent = start + count;
    hid_t in_file = H5I_INVALID_HID, in_memory = H5I_INVALID_HID;
    /* one chain, so that the first failure's reason is still there */
    bool ok = H5Dset_extent(writer->image_bytes, &extent) >= 0 &&
              (in_file = H5Dget_space(writer->image_bytes)) >= 0 &&
              (in_memory = H5Screate_simple(1, &count, NULL)) >= 0 &&
              H5Sselect_hyperslab(in_file, H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0 &&
              H5Dwrite(writer->image_bytes, H5T_NATIVE_UINT8, in_memory, in_file, H5P_DEFAULT,
                       writer->buffer.data) >= 0;
    tdm_status status = TDM_OK;
    if (!ok)
        status = TDM_ERROR(TDM_E_IO, "%s: cannot write /image/bytes: %s", writer->temporary, tdm_h5_reason());
    if (in_file >= 0) H5Sclose(in_file);
    if (in_memory >= 0) H5Sclose(in_memory);
    TDM_TRY(status);
    writer->written_bytes += (int64_t)bytes;
    writer->buffer.length -= bytes;
    memmove(writer->buffer.data, writer->buffer.data + bytes, writer->buffer.length);
    return TDM_OK;
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

static tdm_status check_sample(const tdm_shard_writer *writer, const tdm_shard_sample *sample)
{
    const char *name = sample->name ? sample->name : "";
    TDM_REQUIRE(sample->image && sample->image_bytes > 0, TDM_E_DATA, "%s: the image is empty", name);
    TDM_REQUIRE(sample->image_bytes <= SHARD_IMAGE_BYTES, TDM_E_DATA, "%s: the image is larger than 1 GiB",
                name);
    bool has_identity = sample->identity >= 0;
    TDM_REQUIRE(writer->images == 0 || has_identity == writer->has_identity, TDM_E_DATA,
                "%s: %s an identity, unlike the samples before it", name, has_identity ? "has" : "has not");
    for (int64_t i = 0; i < sample->class_n; i++)
        TDM_REQUIRE(sample->class_index[i] >= 0 && sample->class_index[i] < writer->class_count, TDM_E_DATA,
                    "%s: class %lld, but there are %lld classes", name, (long long)sample->class_index[i],
                    (long long)writer->class_count);
    for (int64_t i = 0; i < sample->caption_n; i++) {
        const char *caption = sample->caption[i];
        TDM_REQUIRE(caption && !is_blank(caption), TDM_E_DATA, "%s: caption %lld is empty", name,
                    (long long)i + 1);
        TDM_REQUIRE(strlen(caption) <= (size_t)SHARD_TEXT_BYTES, TDM_E_DATA,
                    "%s: caption %lld is longer than 16 MiB", name, (long long)i + 1);
        TDM_REQUIRE(is_utf8(caption), TDM_E_DATA, "%s: caption %lld is not valid UTF-8", name,
                    (long long)i + 1);
    }
    return TDM_OK;
}

static tdm_status add_classes(tdm_shard_writer *writer, const tdm_shard_sample *sample)
{
    size_t row = writer->class_bits.length;
    for (int64_t i = 0; i < writer->class_count; i++) TDM_TRY(tdm_text_append(&writer->class_bits, "\0", 1));
    for (int64_t i = 0; i < sample->class_n; i++)
        writer->class_bits.data[row + (size_t)sample->class_index[i]] = 1;
    return TDM_OK;
}

tdm_status tdm_shard_writer_add(tdm_shard_writer *writer, const tdm_shard_sample *sample)
{
    tdm_h5_quiet();
    TDM_TRY(check_sample(writer, sample));
    const char *name = sample->name ? sample->name : "";
    TDM_TRY(tdm_text_append(&writer->buffer, sample->image, (size_t)sample->image_bytes));
    TDM_TRY(push_i64(&writer->image_offset, writer->written_bytes + (int64_t)writer->buffer.length));
    TDM_TRY(push_i64(&writer->identity, sample->identity >= 0 ? sample->identity : -1));
    TDM_TRY(tdm_text_append(&writer->name_bytes, name, strnlen(name, SHARD_NAME_BYTES)));
    TDM_TRY(push_i64(&writer->name_offset, (int64_t)writer->name_bytes.length));
    TDM_TRY(add_classes(writer, sample));
    for (int64_t i = 0; i < sample->caption_n; i++) {
        TDM_TRY(tdm_text_append(&writer->caption_bytes, sample->caption[i], strlen(sample->caption[i])));
        TDM_TRY(push_i64(&writer->caption_offset, (int64_t)writer->caption_bytes.length));
        TDM_TRY(push_i64(&writer->caption_image, writer->images));
    }
    writer->has_identity = sample->identity >= 0;
    writer->images++;
    writer->captions += sample->caption_n;
    if (writer->buffer.length >= BUFFER_BYTES)
        return flush(writer, writer->buffer.length / SHARD_CHUNK_BYTES * SHARD_CHUNK_BYTES);
    return TDM_OK;
}

static tdm_status put_rest(tdm_shard_writer *writer)
{
    const char *path = writer->temporary;
    hid_t file = writer->file;
    TDM_TRY(flush(writer, writer->buffer.length));
    hsize_t images = (hsize_t)writer->images, captions = (hsize_t)writer->captions, offsets = images + 1;
    TDM_TRY(shard_h5_put(path, file, "image/offset", H5T_NATIVE_INT64, 1, &offsets, SHARD_CHUNK_ROWS, false,
                         writer->image_offset.data, NULL));
    TDM_TRY(shard_h5_put(path, file, "image/identity", H5T_NATIVE_INT64, 1, &images, SHARD_CHUNK_ROWS, false,
                         writer->identity.data, NULL));
    TDM_TRY(put_strings(path, file, "image/name_bytes", "image/name_offset", &writer->name_bytes,
                        &writer->name_offset));
    if (writer->class_count) {
        hsize_t dims[2] = {images, (hsize_t)writer->class_count};
        hsize_t rows = (hsize_t)tdm_max_i64(1, SHARD_CHUNK_BYTES / writer->class_count);
        TDM_TRY(shard_h5_put(path, file, "image/class", H5T_NATIVE_UINT8, 2, dims, rows, false,
                             writer->class_bits.data, NULL));
    }
    TDM_TRY(put_strings(path, file, "caption/bytes", "caption/offset", &writer->caption_bytes,
                        &writer->caption_offset));
    TDM_TRY(shard_h5_put(path, file, "caption/image", H5T_NATIVE_INT64, 1, &captions, SHARD_CHUNK_ROWS, false,
                         writer->caption_image.data, NULL));
    TDM_TRY(shard_h5_put_i64(path, file, "images", writer->images));
    return shard_h5_put_i64(path, file, "captions", writer->captions);
}

static tdm_status close_file(tdm_shard_writer *writer)
{
    TDM_REQUIRE(H5Dclose(writer->image_bytes) >= 0, TDM_E_IO, "%s: cannot write: %s", writer->temporary,
                tdm_h5_reason());
    writer->image_bytes = H5I_INVALID_HID;
    return tdm_h5_finish(writer->temporary, &writer->file);
}

static tdm_status finish(tdm_shard_writer *writer, char digest[65])
{
    TDM_TRY(put_rest(writer));
    TDM_TRY(close_file(writer));
    TDM_TRY(tdm_sha256_file(writer->temporary, digest));
    TDM_TRY(tdm_fsync_path(writer->temporary));
    TDM_REQUIRE(rename(writer->temporary, writer->path) == 0, TDM_E_IO, "%s: cannot rename: %s",
                writer->temporary, strerror(errno));
    writer->temporary[0] = '\0';
    return tdm_fsync_parent(writer->path);
}

tdm_status tdm_shard_writer_finish(tdm_shard_writer **writer, int64_t *images, int64_t *captions,
                                   char digest[65])
{
    tdm_h5_quiet();
    tdm_status status = finish(*writer, digest);
    *images = (*writer)->images;
    *captions = (*writer)->captions;
    tdm_shard_writer_destroy(writer);
    return status;
}

void tdm_shard_writer_destroy(tdm_shard_writer **writer)
{
    tdm_shard_writer *dying = *writer;
    *writer = NULL;
    if (!dying) return;
    tdm_h5_quiet();
    tdm_h5_discard(&dying->file); /* and the data set in it */
    if (dying->temporary[0]) unlink(dying->temporary);
    tdm_text *const list[] = {&dying->buffer,        &dying->image_offset,   &dying->identity,
                              &dying->class_bits,    &dying->name_bytes,     &dying->name_offset,
                              &dying->caption_bytes, &dying->caption_offset, &dying->caption_image};
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) tdm_text_free(list[i]);
    tdm_free(dying);
}
