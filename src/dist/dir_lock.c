/* Lock files, for directories on local disks, NFS and Lustre alike.
 *
 * A lock is a file that exists or does not. What its owner is goes into a file of a name of its own first; then
 * link() gives that file the lock's name. link() fails when the name is there, on every file system that has
 * hard links, and the lock appears with its whole content at once. Over NFS the answer may be lost and the
 * request repeated, so that a link which was made is reported as "exists": the link count, which is 2 exactly if
 * it was made, decides. flock and fcntl are not used: Lustre may be mounted without them, NFS servers may lose
 * them, and they cannot say who holds them. File systems without hard links (exFAT, some FUSE and SMB mounts) get
 * open(O_CREAT | O_EXCL), which is as exclusive but lets others see the file before it is written.
 *
 * Nothing has to be refreshed: whether an owner lives is asked of the kernel, where that can be done, and
 * otherwise of the user (--steal-lock). An owner is told apart from a later process of the same number by its
 * start and by the boot of its host.
 *
 * Replacing a dead owner's lock is a race between all who find it dead. Who wants to replace the lock with the
 * nonce N must hold the lock LOCK.N first, taken in the same way, and then looks whether N still is there; the
 * replacement itself is one rename(). */
#include "tandem/dir_lock.h"

#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define LOCK_NAME ".tandem-lock"
enum { MOST_DEPTH = 3, MOST_TRIES = 8, NONCE_BYTES = 8 };

/* A process, as a lock file names it. */
typedef struct owner {
    char command[64], host[128];
    char machine[64], boot[64], pid_space[64]; /* "" where the system does not say */
    char since[32];
    long long pid, start; /* start: in ticks since the boot, -1: unknown */
    char nonce[2 * NONCE_BYTES + 1];
} owner;

struct tdm_dir_lock {
    char dir[TDM_PATH_BYTES], path[TDM_PATH_BYTES]; /* path: "" on ranks that hold nothing */
    char own[TDM_PATH_BYTES];                       /* this process's file under its own name */
    owner self;
    bool steal, made_dir;
};

/* ---- Who is who ---- */

static tdm_status describe_self(const char *command, owner *self)
{
    unsigned char random[NONCE_BYTES];
    char state;
    *self = (owner){.pid = (long long)getpid(), .start = -1};
    snprintf(self->command, sizeof self->command, "%s", command);
    if (gethostname(self->host, sizeof self->host - 1) != 0) snprintf(self->host, sizeof self->host, "?");
    tdm_read_line("/etc/machine-id", self->machine, sizeof self->machine);
    tdm_read_line("/proc/sys/kernel/random/boot_id", self->boot, sizeof self->boot);
    if (readlink("/proc/self/ns/pid", self->pid_space, sizeof self->pid_space - 1) < 0)
        self->pid_space[0] = '\0';
    if (!process_read(self->pid, &state, &self->start)) self->start = -1;
    const time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) == NULL || strftime(self->since, sizeof self->since, "%F %T UTC", &utc) == 0)
        self->since[0] = '\0';
    TDM_REQUIRE(getrandom(random, sizeof random, 0) == sizeof random, TDM_E_LIBRARY,
                "the system gives no random bytes: %s", strerror(errno));
    for (int i = 0; i < NONCE_BYTES; i++) snprintf(self->nonce + 2 * i, 3, "%02x", random[i]);
    return TDM_OK;
}

/* The lock file's lines. The nonce is the last: who finds it has the whole file. */
static int print_owner(const owner *o, char *text, size_t bytes)
{
    return snprintf(
        text, bytes,
        "This directory is being written into. The file goes away with the process that it names.\n"
        "command %s\nhost %s\nprocess %lld\nsince %s\nstart %lld\nmachine %s\nboot %s\npid_space %s\n"
        "nonce %s\n",
        o->command, o->host, o->pid, o->since, o->start, o->machine, o->boot, o->pid_space, o->nonce);
}

static void parse_owner(const char *text, owner *o)
{
    char pid[32], start[32];
    const struct {
        const char *key;
        char *value;
        size_t bytes;
    } rows[] = {{"command", o->command, sizeof o->command},
                {"host", o->host, sizeof o->host},
                {"process", pid, sizeof pid},
                {"since", o->since, sizeof o->since},
                {"start", start, sizeof start},
                {"machine", o->machine, sizeof o->machine},
                {"boot", o->boot, sizeof o->boot},
                {"pid_space", o->pid_space, sizeof o->pid_space},
                {"nonce", o->nonce, sizeof o->nonce}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        process_value(text, rows[i].key, rows[i].value, rows[i].bytes);
    o->pid = strtoll(pid, NULL, 10);
    o->start = start[0] ? strtoll(start, NULL, 10) : -1;
    /* it becomes part of a file's name */
    if (o->nonce[strspn(o->nonce, "0123456789abcdef")] != '\0') o->nonce[0] = '\0';
}

/* *present: the file is there. A file that is no lock file, or is not written yet, gives an empty owner. */
static tdm_status read_owner(const char *path, owner *o, bool *present)
{
    char text[2048];
    *o = (owner){.start = -1};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    *present = fd >= 0;
    TDM_REQUIRE(fd >= 0 || errno == ENOENT || errno == ESTALE, TDM_E_IO, "%s: cannot open: %s", path,
                strerror(errno));
    if (fd < 0) return TDM_OK;
    const ssize_t n = read(fd, text, sizeof text - 1);
    const int error = errno;
    close(fd);
    *present = n >= 0 || error != ESTALE; /* removed by another host while it was read */
    TDM_REQUIRE(n >= 0 || error == ESTALE, TDM_E_IO, "%s: cannot read: %s", path, strerror(error));
    text[n > 0 ? n : 0] = '\0';
    parse_owner(text, o);
    return TDM_OK;
}

typedef enum life { LIFE_GONE, LIFE_LIVES, LIFE_UNKNOWN } life;

/* Whether the owner's process lives, as far as this process can tell. */
static life look_for(const owner *o, const owner *self)
{
    /* The same name alone does not make the same host: many are called "localhost". */
    if (!o->nonce[0] || strcmp(o->host, self->host) != 0 || strcmp(o->machine, self->machine) != 0)
        return LIFE_UNKNOWN;
    if (!o->boot[0] || !self->boot[0]) return LIFE_UNKNOWN;
    if (strcmp(o->boot, self->boot) != 0)
        return o->machine[0] ? LIFE_GONE : LIFE_UNKNOWN;                 /* it was restarted */
    if (strcmp(o->pid_space, self->pid_space) != 0) return LIFE_UNKNOWN; /* another container's numbers */
    if (o->pid <= 0) return LIFE_UNKNOWN;
    if (kill((pid_t)o->pid, 0) != 0 && errno == ESRCH) return LIFE_GONE;
    char state;
    long long start;
    if (!process_read(o->pid, &state, &start)) return LIFE_LIVES; /* hidden, as other users' may be */
    if (state == 'Z' || state == 'X') return LIFE_GONE;           /* ended, not yet waited for */
    return o->start >= 0 && start != o->start ? LIFE_GONE : LIFE_LIVES;
}

/* "`tandem train` on cn07, process 4711, since 2026-01-31 12:00:00 UTC" */
static const char *name_owner(const owner *o, char text[512])
{
    if (o->nonce[0])
        snprintf(text, 512, "`tandem %s` on %s, process %lld, since %s", o->command, o->host, o->pid,
                 o->since);
    else
        snprintf(text, 512, "somebody whose lock file cannot be read");
    return text;
}

/* TDM_OK when the lock of `o` may be replaced. */
static tdm_status may_replace(const tdm_dir_lock *lock, const char *path, const owner *o)
{
    char who[512];
    const life state = look_for(o, &lock->self);
    TDM_REQUIRE(state != LIFE_LIVES, TDM_E_IO, "%s: in use by %s; wait for it, or choose another directory",
                lock->dir, name_owner(o, who));
    TDM_REQUIRE(
        state == LIFE_GONE || lock->steal, TDM_E_IO,
        "%s: in use by %s; whether it still runs cannot be seen from here: if it does not, say --steal-lock (%s)",
        lock->dir, name_owner(o, who), path);
    return TDM_OK;
}

/* ---- Files ---- */

static tdm_status write_owner(const char *path, const owner *self, bool *exists)
{
    char text[2048];
    const int length = print_owner(self, text, sizeof text);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    *exists = fd < 0 && errno == EEXIST;
    if (*exists) return TDM_OK;
    TDM_REQUIRE(fd >= 0, TDM_E_IO, "%s: cannot create: %s", path, strerror(errno));
    const bool written = write(fd, text, (size_t)length) == length && fsync(fd) == 0;
    const int error = errno;
    close(fd);
    if (written) return TDM_OK;
    unlink(path);
    TDM_FAIL(TDM_E_IO, "%s: cannot write: %s", path, strerror(error));
}

static bool has_no_links(int error)
{
    return error == EPERM || error == ENOSYS || error == EOPNOTSUPP || error == EMLINK;
}

/* Gives this process's file the name `path`, if nothing has it. */
static tdm_status make_lock(const tdm_dir_lock *lock, const char *path, bool *made)
{
    struct stat info;
    bool exists;
    const int error = link(lock->own, path) == 0 ? 0 : errno;
    *made = error == 0 || (stat(lock->own, &info) == 0 && info.st_nlink == 2);
    if (*made || error == EEXIST) return TDM_OK;
    TDM_REQUIRE(has_no_links(error), TDM_E_IO, "%s: cannot create: %s", path, strerror(error));
    TDM_TRY(write_owner(path, &lock->self, &exists));
    *made = !exists;
    return TDM_OK;
}

static bool is_nonce(const char *path, const char *nonce)
{
    owner o;
    bool present;
    return read_owner(path, &o, &present) == TDM_OK && present && strcmp(o.nonce, nonce) == 0;
}

/* Names of files that live for a moment. ".tmp": readers of directories leave them alone, as any half-written file. */
static void name_own(const owner *self, char name[256])
{
    snprintf(name, 256, LOCK_NAME "-%.120s-%lld-%s.tmp", self->host, self->pid, self->nonce);
}

static void name_seen(const owner *self, char name[256])
{
    snprintf(name, 256, LOCK_NAME "-%s-seen.tmp", self->nonce);
}

/* A process that was killed in such a moment has left its file. */
static void remove_left(const char *dir, const owner *old)
{
    void (*const name_of[])(const owner *, char *) = {name_own, name_seen};
    char name[256], path[TDM_PATH_BYTES];
    for (size_t i = 0; i < sizeof name_of / sizeof name_of[0]; i++) {
        name_of[i](old, name);
        if (strchr(name, '/') == NULL && tdm_path_join(path, sizeof path, dir, name) == TDM_OK) unlink(path);
    }
}

static tdm_status claim(const tdm_dir_lock *lock, const char *path, int depth);

/* Puts this process's file in the place of the lock of `old`; *replaced is false when another was faster. */
static tdm_status replace(const tdm_dir_lock *lock, const char *path, const owner *old, int depth,
                          bool *replaced)
{
    char after[TDM_PATH_BYTES], who[512];
    const int length =
        snprintf(after, sizeof after, "%s.%s", path, old->nonce[0] ? old->nonce : "unreadable");
    TDM_REQUIRE(length < (int)sizeof after, TDM_E_IO, "%.200s…: path is too long", path);
    TDM_REQUIRE(depth < MOST_DEPTH, TDM_E_IO, "%s: remove this file; several who wanted the lock were killed",
                path);
    TDM_TRY(claim(lock, after, depth + 1));
    tdm_status status = TDM_OK;
    *replaced = is_nonce(path, old->nonce);
    /* a repeated request of NFS may fail although the first one was done */
    if (*replaced && rename(lock->own, path) != 0 && !is_nonce(path, lock->self.nonce))
        status = TDM_ERROR(TDM_E_IO, "%s: cannot replace: %s", path, strerror(errno));
    unlink(after);
    if (*replaced && status == TDM_OK) remove_left(lock->dir, old);
    if (*replaced && status == TDM_OK && depth == 0)
        tdm_log(TDM_LOG_WARN, "%s: took over the lock of %s, which %s", lock->dir, name_owner(old, who),
                look_for(old, &lock->self) == LIFE_GONE ? "no longer runs" : "was said not to run any more");
    return status;
}

static tdm_status claim(const tdm_dir_lock *lock, const char *path, int depth)
{
    for (int i = 0; i < MOST_TRIES; i++) {
        bool done, present;
        owner holder;
        TDM_TRY(make_lock(lock, path, &done));
        if (done) return TDM_OK;
        TDM_TRY(read_owner(path, &holder, &present));
        if (!present) continue; /* released meanwhile */
        TDM_TRY(may_replace(lock, path, &holder));
        TDM_TRY(replace(lock, path, &holder, depth, &done));
        if (done) return TDM_OK;
    }
    TDM_FAIL(TDM_E_IO, "%s: others take and release this lock all the time", path);
}

/* ---- The lock ---- */

static tdm_status take(tdm_dir_lock *lock, const tdm_dir_lock_options *options)
{
    char name[256];
    bool exists;
    lock->steal = options->steal;
    lock->made_dir = !tdm_path_exists(options->dir);
    TDM_TRY(tdm_make_dirs(options->dir));
    snprintf(lock->dir, sizeof lock->dir, "%s", options->dir);
    TDM_TRY(describe_self(options->command, &lock->self));
    name_own(&lock->self, name);
    TDM_TRY(tdm_path_join(lock->own, sizeof lock->own, options->dir, name));
    snprintf(name, sizeof name, LOCK_NAME "%s%.100s", options->part ? "." : "",
             options->part ? options->part : "");
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof path, options->dir, name));
    TDM_TRY(write_owner(lock->own, &lock->self, &exists));
    TDM_REQUIRE(!exists, TDM_E_IO, "%s: is there already", lock->own);
    const tdm_status status = claim(lock, path, 0);
    unlink(lock->own);
    if (status == TDM_OK) memcpy(lock->path, path, sizeof path);
    return status;
}

/* ---- Whether every rank sees the directory ---- */

/* Whether another host's new file may show up late, by the kind of the file system of `path` or of the folder above
 * that exists. */
static bool may_lag(const char *path)
{
    static const unsigned long local[] = {0xEF53 /* ext */,         0x58465342 /* XFS */,
                                          0x9123683E /* btrfs */,   0x01021994 /* tmpfs */,
                                          0x794C7630 /* overlay */, 0x2FC12FC1 /* ZFS */};
    char dir[TDM_PATH_BYTES];
    struct statfs info;
    snprintf(dir, sizeof dir, "%s", path);
    while (statfs(dir, &info) != 0) {
        char *slash = strrchr(dir, '/');
        if (strcmp(dir, "/") == 0 || strcmp(dir, ".") == 0) return true;
        if (slash == NULL || slash == dir)
            strcpy(dir, slash ? "/" : ".");
        else
            *slash = '\0';
    }
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++)
        if ((unsigned long)info.f_type == local[i]) return false;
    return true;
}

/* Opening a directory makes a client of NFS ask for its state anew. */
static bool can_see(const char *dir, const char *path)
{
    DIR *asked = opendir(dir);
    if (asked != NULL) closedir(asked);
    return tdm_path_exists(path);
}

/* This rank's part: the file that rank 0 has made is there, at the latest after so long as clients of network file
 * systems keep names that were missing. */
static tdm_status look_for_file(const tdm_comm *comm, const char *dir, const char *name, const char *host)
{
    enum { PAUSES_PER_S = 20, MOST_S = 65, SAID_AFTER_S = 3 };
    char path[TDM_PATH_BYTES];
    TDM_TRY(tdm_path_join(path, sizeof path, dir, name));
    const int pauses = may_lag(dir) ? MOST_S * PAUSES_PER_S : 0;
    for (int i = 0; !can_see(dir, path); i++) {
        TDM_REQUIRE(
            i < pauses, TDM_E_IO,
            "%s: is not the directory that rank 0 on %s writes into: what it has put there is not seen from "
            "this host; it must be on a file system that all ranks share",
            dir, host);
        if (i == SAID_AFTER_S * PAUSES_PER_S)
            tdm_log(TDM_LOG_ALL_RANKS, "%s: rank %d waits for what rank 0 on %s has written to be seen here",
                    dir, tdm_comm_rank(comm), host);
        TDM_TRY(tdm_stop_point("while waiting for %s to be seen by all ranks", dir));
        nanosleep(&(struct timespec){.tv_nsec = 1000000000 / PAUSES_PER_S}, NULL);
    }
    return TDM_OK;
}

/* Every rank sees a new file of rank 0, whose name nobody has asked for before. */
static tdm_status see_everywhere(tdm_comm *comm, const tdm_dir_lock *lock, const char *dir)
{
    struct {
        char name[256], host[128];
    } file = {.name = ""};
    char path[TDM_PATH_BYTES] = "";
    bool exists = false;
    tdm_status status = TDM_OK;
    if (tdm_comm_rank(comm) == 0) {
        name_seen(&lock->self, file.name);
        snprintf(file.host, sizeof file.host, "%s", lock->self.host);
        status = tdm_path_join(path, sizeof path, dir, file.name);
        if (status == TDM_OK) status = write_owner(path, &lock->self, &exists);
    }
    TDM_AGREE(comm, status);
    tdm_comm_broadcast(comm, &file, sizeof file, 0);
    status = tdm_comm_agree(comm, look_for_file(comm, dir, file.name, file.host));
    if (path[0]) unlink(path);
    return status;
}

tdm_status tdm_dir_lock_take(tdm_comm *comm, const tdm_dir_lock_options *options, tdm_dir_lock **lock)
{
    *lock = NULL;
    tdm_status status = TDM_ALLOC(1, lock);
    if (status == TDM_OK && (comm == NULL || tdm_comm_rank(comm) == 0)) status = take(*lock, options);
    if (comm != NULL) status = tdm_comm_agree(comm, status);
    if (status == TDM_OK && comm != NULL && tdm_comm_size(comm) > 1)
        status = see_everywhere(comm, *lock, options->dir);
    if (status != TDM_OK) tdm_dir_lock_release(lock);
    return status;
}

tdm_status tdm_dir_lock_check(const tdm_dir_lock *lock)
{
    owner o;
    bool present;
    char who[512];
    if (lock == NULL || !lock->path[0]) return TDM_OK;
    TDM_TRY(read_owner(lock->path, &o, &present));
    /* a file that was cleaned away: nobody else has it */
    TDM_REQUIRE(!present || strcmp(o.nonce, lock->self.nonce) == 0, TDM_E_IO,
                "%s: was taken over by %s; nothing more is written here", lock->dir, name_owner(&o, who));
    return TDM_OK;
}

void tdm_dir_lock_release(tdm_dir_lock **lock)
{
    if (lock == NULL || *lock == NULL) return;
    const tdm_error kept = *tdm_error_last();
    if ((*lock)->path[0] && is_nonce((*lock)->path, (*lock)->self.nonce)) unlink((*lock)->path);
    if ((*lock)->made_dir) rmdir((*lock)->dir); /* refused unless it is empty */
    tdm_free(*lock);
    *lock = NULL;
    (void)tdm_error_adopt(&kept);
}
