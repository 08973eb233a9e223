#include "read_tar.h"

#include "pack_impl.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 512, LONGEST_CHAIN = 40 }; /* of links, as the kernel has it */

static void free_member(tar_member *member)
{
    free(member->name);
    free(member->link);
    free(member->fault);
}

void tar_close(tar_index *tar)
{
    for (int64_t i = 0; i < tar->count; i++) free_member(&tar->member[i]);
    free(tar->member);
    free(tar->damage);
    if (tar->file) fclose(tar->file);
    *tar = (tar_index){0};
}

/* ---- Names ---- */

/* Takes "." and empty parts out of a path, and "x/.." too; what leads out of the tar keeps its "..". In place. */
static void normalise(char *path)
{
    char *out = path;
    for (const char *at = path; *at;) {
        const size_t n = strcspn(at, "/");
        const bool up = n == 2 && !memcmp(at, "..", 2);
        char *last = out;
        while (last > path && last[-1] != '/') last--;
        if (up && out > path && strncmp(last, "..", (size_t)(out - last))) {
            out = last > path ? last - 1 : path;
        } else if (n && !(n == 1 && *at == '.')) {
            if (out > path) *out++ = '/';
            memmove(out, at, n);
            out += n;
        }
        at += n + (at[n] == '/');
    }
    *out = '\0';
}

/* The name of the member that a link leads to; "" for one that leads out of the tar for sure. Free it. */
static char *target_of(const tar_member *member)
{
    char *target;
    if (!member->hard && member->link[0] == '/') return strdup("");
    const size_t folder = member->hard ? 0 : (size_t)(pack_base_name(member->name) - member->name);
    const size_t bytes = folder + strlen(member->link) + 1;
    target = malloc(bytes);
    if (!target) return NULL;
    snprintf(target, bytes, "%.*s%s", (int)folder, member->name, member->link);
    normalise(target);
    return target;
}

/* ---- Reading headers ---- */

static tdm_status set_fault(const tar_index *tar, tar_member *member, const char *why)
{
    tdm_text text = {0};
    const tdm_status status = tdm_text_printf(&text, "%s: %s: %s", tar->path, member->name, why);
    if (status == TDM_OK) member->fault = strdup(text.data);
    tdm_text_free(&text);
    TDM_TRY(status);
    TDM_REQUIRE(member->fault, TDM_E_NOMEM, "%s: no memory for its members", tar->path);
    return TDM_OK;
}

static tdm_status add_member(tar_index *tar, struct archive_entry *entry, int64_t offset)
{
    if (tar->count == tar->capacity) {
        const int64_t capacity = tar->capacity ? 2 * tar->capacity : 256;
        tar_member *grown = realloc(tar->member, sizeof(*grown) * (size_t)capacity);
        TDM_REQUIRE(grown, TDM_E_NOMEM, "%s: no memory for its members", tar->path);
        tar->member = grown;
        tar->capacity = capacity;
    }
    const char *hard = archive_entry_hardlink(entry), *soft = archive_entry_symlink(entry);
    const char *link = hard ? hard : archive_entry_filetype(entry) == AE_IFLNK ? soft : NULL;
    tar_member *member = &tar->member[tar->count++];
    *member = (tar_member){.name = strdup(archive_entry_pathname(entry)),
                           .offset = offset,
                           .bytes = archive_entry_size(entry),
                           .link = link ? strdup(link) : NULL,
                           .hard = hard != NULL};
    TDM_REQUIRE(member->name && (member->link || !link), TDM_E_NOMEM, "%s: no memory for its members",
                tar->path);
    normalise(member->name);
    if (hard && member->bytes > 0) { /* pax may store the data again */
        free(member->link);
        member->link = NULL;
    }
    if (archive_entry_sparse_count(entry) > 0)
        return set_fault(tar, member, "is a sparse file, whose data do not stand in one piece");
    if (!member->link && (member->bytes < 0 || member->bytes > tar->bytes - offset))
        return set_fault(tar, member, "is cut short: the tar file ends within its data");
    return TDM_OK;
}

static tdm_status set_damage(tar_index *tar, struct archive *archive)
{
    tdm_text text = {0};
    const char *why = archive_error_string(archive);
    const tdm_status status =
        tdm_text_printf(&text, "%s: is cut short or damaged (%s): nothing can be read behind %s%s", tar->path,
                        why ? why : "unreadable", tar->count ? "" : "its beginning",
                        tar->count ? tar->member[tar->count - 1].name : "");
    if (status == TDM_OK) tar->damage = strdup(text.data);
    tdm_text_free(&text);
    TDM_TRY(status);
    TDM_REQUIRE(tar->damage, TDM_E_NOMEM, "%s: no memory for its members", tar->path);
    return TDM_OK;
}

static tdm_status not_a_tar(const tar_index *tar, struct archive *archive)
{
    const char *why = archive_error_string(archive);
    TDM_FAIL(TDM_E_FORMAT, "%s: not an uncompressed tar file, or damaged: %s", tar->path,
             why ? why : "unreadable");
}

static tdm_status read_headers(tar_index *tar, struct archive *archive)
{
    struct archive_entry *entry;
    for (bool any = false;; any = true) {
        const int code = archive_read_next_header(archive, &entry);
        if (code == ARCHIVE_EOF) return TDM_OK;
        if (code != ARCHIVE_OK && code != ARCHIVE_WARN)
            return any ? set_damage(tar, archive) : not_a_tar(tar, archive);
        const int64_t offset =
            archive_filter_bytes(archive, 0); /* all headers are consumed, none of the data */
        const mode_t type = archive_entry_filetype(entry);
        if (type == AE_IFDIR) continue;
        if (!archive_entry_pathname(entry) ||
            (type != AE_IFREG && type != AE_IFLNK && !archive_entry_hardlink(entry)))
            tar->foreign++;
        else
            TDM_TRY(add_member(tar, entry, offset));
    }
}

/* ---- Links ---- */

/* target[i] of a link: the member that it leads to, -1: there is none. Of several members of that name it is the last one
 * before the link, as unpacking would have it, else the first one behind. first, latest: [count] work, by name. */
static tdm_status find_targets(const tar_index *tar, tdm_pack_names *names, int64_t *first, int64_t *latest,
                               int64_t *target)
{
    int64_t at;
    for (int64_t i = 0; i < tar->count; i++) {
        const int64_t before = names->count;
        TDM_TRY(pack_names_index(names, tar->member[i].name, strlen(tar->member[i].name), &at));
        if (at == before) first[at] = i;
        latest[i] = -1;
    }
    for (int64_t i = 0; i < tar->count; i++) {
        const tar_member *member = &tar->member[i];
        char *name = member->link ? target_of(member) : NULL;
        TDM_REQUIRE(name || !member->link, TDM_E_NOMEM, "%s: no memory for its members", tar->path);
        target[i] = -1;
        if (name && pack_names_find(names, name, strlen(name), &at))
            target[i] = latest[at] >= 0 ? latest[at] : first[at];
        free(name);
        if (pack_names_find(names, member->name, strlen(member->name), &at)) latest[at] = i;
    }
    return TDM_OK;
}

static tdm_status follow(const tar_index *tar, const int64_t *target, tar_member *member)
{
    char why[600];
    int64_t at = target[member - tar->member];
    for (int step = 0; at >= 0 && tar->member[at].link && step < LONGEST_CHAIN; step++) at = target[at];
    const tar_member *end = at >= 0 ? &tar->member[at] : NULL;
    if (end && !end->link && !end->fault) {
        member->offset = end->offset;
        member->bytes = end->bytes;
        return TDM_OK;
    }
    snprintf(why, sizeof(why), "is a link to %.400s, %s", member->link,
             !end        ? "which the tar file does not hold"
             : end->link ? "which leads back to it or through too many others"
                         : "which cannot be read");
    return set_fault(tar, member, why);
}

static tdm_status follow_links(tar_index *tar)
{
    int64_t links = 0, *work = NULL;
    tdm_pack_names names = {0};
    for (int64_t i = 0; i < tar->count; i++) links += tar->member[i].link != NULL;
    if (!links) return TDM_OK;
    TDM_TRY(TDM_ALLOC(3 * tar->count, &work));
    int64_t *const target = work + 2 * tar->count;
    tdm_status status = find_targets(tar, &names, work, work + tar->count, target);
    for (int64_t i = 0; status == TDM_OK && i < tar->count; i++)
        if (tar->member[i].link) status = follow(tar, target, &tar->member[i]);
    pack_names_free(&names);
    tdm_free(work);
    return status;
}

/* ---- Opening ---- */

static tdm_status measure(tar_index *tar)
{
    tar->file = fopen(tar->path, "rb"); /* libarchive does not tell a missing file from a damaged one */
    TDM_REQUIRE(tar->file, TDM_E_IO, "%s: cannot open: %s", tar->path, strerror(errno));
    TDM_REQUIRE(fseeko(tar->file, 0, SEEK_END) == 0, TDM_E_IO, "%s: cannot be read: %s", tar->path,
                strerror(errno));
    tar->bytes = (int64_t)ftello(tar->file);
    return TDM_OK;
}

/* The last block of a whole tar file is zeros. */
static tdm_status look_for_end(tar_index *tar)
{
    static const char zeros[BLOCK];
    char block[BLOCK] = {1};
    if (tar->bytes >= BLOCK && !fseeko(tar->file, (off_t)(tar->bytes - BLOCK), SEEK_SET))
        TDM_REQUIRE(fread(block, 1, BLOCK, tar->file) == BLOCK, TDM_E_IO, "%s: cannot be read", tar->path);
    tar->unended = memcmp(block, zeros, BLOCK) != 0;
    return TDM_OK;
}

static tdm_status open_archive(tar_index *tar)
{
    struct archive *archive = archive_read_new();
    TDM_REQUIRE(archive, TDM_E_NOMEM, "%s: no memory to read it", tar->path);
    archive_read_support_format_tar(archive);
    archive_read_set_format_option(archive, "tar", "read_concatenated_archives", "1");
    tdm_status status = archive_read_open_filename(archive, tar->path, 1 << 16) == ARCHIVE_OK
                            ? TDM_OK
                            : not_a_tar(tar, archive);
    if (status == TDM_OK) status = read_headers(tar, archive);
    archive_read_free(archive);
    return status;
}

tdm_status tar_open(const char *path, tar_index *tar)
{
    *tar = (tar_index){.path = path};
    TDM_TRY(measure(tar));
    if (!tar->bytes) return TDM_OK;
    TDM_TRY(open_archive(tar));
    TDM_TRY(look_for_end(tar));
    return follow_links(tar);
}

/* ---- Data ---- */

tdm_status tar_read_head(tar_index *tar, const tar_member *member, int64_t most_bytes, tdm_text *out)
{
    char block[16384];
    TDM_REQUIRE(!member->fault, TDM_E_FORMAT, "%s", member->fault);
    out->length = 0;
    TDM_TRY(tdm_text_append(out, "", 0));
    TDM_REQUIRE(fseeko(tar->file, (off_t)member->offset, SEEK_SET) == 0, TDM_E_IO, "%s: cannot be read",
                tar->path);
    for (int64_t left = tdm_min_i64(member->bytes, most_bytes); left > 0;) {
        const size_t n = fread(block, 1, (size_t)tdm_min_i64(left, sizeof(block)), tar->file);
        TDM_REQUIRE(n > 0, TDM_E_IO, "%s: %s: cannot be read", tar->path, member->name);
        TDM_TRY(tdm_text_append(out, block, n));
        left -= (int64_t)n;
    }
    return TDM_OK;
}

tdm_status tar_read(tar_index *tar, const tar_member *member, int64_t most_bytes, tdm_text *out)
{
    TDM_REQUIRE(member->fault || member->bytes <= most_bytes, TDM_E_FORMAT,
                "%s: %s: %lld bytes are too many for text", tar->path, member->name,
                (long long)member->bytes);
    return tar_read_head(tar, member, most_bytes, out);
}
