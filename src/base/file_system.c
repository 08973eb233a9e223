#include "tandem/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statfs.h>
#include <unistd.h>

/* statfs(2), and what the file systems of clusters say of themselves. */
static const struct kind {
    uint32_t magic;
    const char *name;
    bool is_network;
} kinds[] = {
    {0x0BD00BD0, "lustre", true},   {0x47504653, "gpfs", true},   {0x6969, "nfs", true},
    {0x19830326, "beegfs", true},   {0x00C36400, "ceph", true},   {0xAAD7AAEA, "panfs", true},
    {0x20030528, "orangefs", true}, {0x5346414F, "afs", true},    {0xFF534D42, "cifs", true},
    {0xFE534D42, "smb2", true},     {0x01021997, "9p", true},     {0x65735546, "fuse", true},
    {0xEF53, "ext4", false},        {0x58465342, "xfs", false},   {0x9123683E, "btrfs", false},
    {0x2FC12FC1, "zfs", false},     {0x01021994, "tmpfs", false}, {0x858458F6, "ramfs", false},
    {0x794C7630, "overlay", false}, {0x4D44, "fat", false},       {0x2011BAB0, "exfat", false},
};

/* What dir_lock.c does: a file, and a second name for it. */
static void try_links(const char *dir, char out[48])
{
    char host[64] = "", first[TDM_PATH_BYTES], second[TDM_PATH_BYTES];
    if (gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    snprintf(out, 48, "the path is too long");
    const int n = snprintf(first, sizeof first, "%s/.tandem-link-%s-%ld", dir, host, (long)getpid());
    if (n < 0 || n + 2 >= (int)sizeof first) return;
    snprintf(second, sizeof second, "%.*s-2", (int)sizeof second - 3, first);
    const int file = open(first, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (file < 0) {
        snprintf(out, 48, "cannot write: %.32s", strerror(errno));
        return;
    }
    close(file);
    if (link(first, second) == 0) {
        snprintf(out, 48, "work");
        (void)unlink(second);
    } else {
        snprintf(out, 48, "fail: %.40s", strerror(errno));
    }
    (void)unlink(first);
}

void tdm_file_system_describe(const char *dir, tdm_file_system *system)
{
    struct statfs found;
    *system = (tdm_file_system){.type = "missing"};
    if (!tdm_path_is_dir(dir) || statfs(dir, &found) != 0) return;
    const uint32_t magic = (uint32_t)found.f_type;
    snprintf(system->type, sizeof system->type, "0x%x", magic);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (kinds[i].magic != magic) continue;
        snprintf(system->type, sizeof system->type, "%s", kinds[i].name);
        system->is_network = kinds[i].is_network;
    }
    system->free_bytes = (int64_t)found.f_bavail * (int64_t)found.f_bsize;
    try_links(dir, system->hard_links);
}
