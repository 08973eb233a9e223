/* Which build of the program runs, by the note that the linker puts into it. */
#include "tandem/base.h"

#include <elf.h>
#include <link.h>

enum { DIGITS = 16 };

/* The first bytes of the build id among the notes at `at`, as hexadecimal digits; nothing where there is none. */
static void find_build_id(const unsigned char *at, size_t bytes, char out[DIGITS + 1])
{
    const unsigned char *end = at + bytes;
    while ((size_t)(end - at) >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) note;
        memcpy(&note, at, sizeof note);
        const size_t name = ((size_t)note.n_namesz + 3) / 4 * 4, text = ((size_t)note.n_descsz + 3) / 4 * 4;
        at += sizeof note;
        if (name > (size_t)(end - at) || text > (size_t)(end - at) - name) return;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(at, "GNU", 4) == 0) {
            for (size_t i = 0; i < note.n_descsz && 2 * i < DIGITS; i++)
                snprintf(out + 2 * i, 3, "%02x", at[name + i]);
            return;
        }
        at += name + text;
    }
}

typedef struct search {
    const char *inside; /* an address of this library */
    int objects;
    char program[DIGITS + 1], library[DIGITS + 1];
} search;

static bool holds(const struct dl_phdr_info *info, const char *address)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        const uintptr_t begin = info->dlpi_addr + part->p_vaddr, at = (uintptr_t)address;
        if (part->p_type == PT_LOAD && at >= begin && at - begin < part->p_memsz) return true;
    }
    return false;
}

/* The first object is the program itself; a shared libtandem is another. */
static int look_at(struct dl_phdr_info *info, size_t bytes, void *context)
{
    search *s = context;
    (void)bytes;
    char *out = s->objects++ == 0 ? s->program : holds(info, s->inside) ? s->library : NULL;
    for (int i = 0; out != NULL && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        const uintptr_t at = info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_NOTE && !out[0])
            find_build_id((const unsigned char *)at, part->p_memsz, out); /* the loader has mapped it */
    }
    return 0;
}

void tdm_program_build(char build[TDM_BUILD_BYTES])
{
    static const char here;
    search s = {.inside = &here};
    (void)dl_iterate_phdr(look_at, &s);
    snprintf(build, TDM_BUILD_BYTES, "%s%s%s", s.program, s.library[0] ? "-" : "", s.library);
}
