#include "vmfile/vmlock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "base/fdio.h"
#include "base/log.h"
#include "vmfile/slots.h"

#define SNAPSHOTS (INT64_C(1) << 62)
#define RUN       (SNAPSHOTS - 1)
#define SETTINGS  (SNAPSHOTS - 2)

/*
 * QEMU's bytes: 100 + N is read-locked by who uses right N, 200 + N by who does
 * not share it; 0 is to read consistently, 1 to write, 3 to resize. A program
 * takes its locks first and then looks for those that conflict, so of two that
 * come at once one at least sees the other.
 */
static const int64_t qemu_takes[] = {100, 101, 103, 201, 203};
static const int64_t qemu_conflicts[] = {201, 203, 101, 103};

enum {
    CRC = 0,
    TEXT = 4,
    TEXT_MAX = SLOTS_OWNER_SIZE - TEXT,
    SETTINGS_TRIES = 500,
    SETTINGS_PAUSE_NS = 10 * 1000 * 1000
};

/* --- Locks ---------------------------------------------------------------- */

static int lock_byte(int fd, int64_t byte, short type)
{
    struct flock fl = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &fl) < 0 ? -errno : 0;
}

/* Whether another description has a lock that conflicts with a lock of this
 * type on the bytes. -errno if that cannot be told. */
static int test_bytes(int fd, int64_t byte, int64_t len, short type)
{
    struct flock fl = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = len};

    if (fcntl(fd, F_OFD_GETLK, &fl) < 0)
        return -errno;
    return fl.l_type != F_UNLCK;
}

static bool is_conflict(int rc)
{
    return rc == -EAGAIN || rc == -EACCES;
}

/* What file systems say that keep no locks. */
static bool has_no_locks(int rc)
{
    return rc == -ENOLCK || rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -EINVAL;
}

static void unlock_all(int fd)
{
    (void)lock_byte(fd, RUN, F_UNLCK);
    for (size_t i = 0; i < ARRAY_LEN(qemu_takes); i++)
        (void)lock_byte(fd, qemu_takes[i], F_UNLCK);
}

/* -EAGAIN for a conflict; nothing is then held. */
static int lock_all(int fd)
{
    int rc = lock_byte(fd, RUN, F_WRLCK);

    if (rc < 0)
        return is_conflict(rc) ? -EAGAIN : rc;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(qemu_takes); i++)
        rc = lock_byte(fd, qemu_takes[i], F_RDLCK);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(qemu_conflicts); i++)
        rc = test_bytes(fd, qemu_conflicts[i], 1, F_WRLCK);
    if (rc == 0)
        return 0;
    unlock_all(fd);
    return rc > 0 || is_conflict(rc) ? -EAGAIN : rc;
}

/* --- The owner record ----------------------------------------------------- */

/* The first line of a file of /proc; empty if there is none. */
static void read_line(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

    if (fd >= 0)
        (void)close(fd);
    buf[n > 0 ? n : 0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
}

static void this_process(struct vmlock_owner *o, const char *doing)
{
    *o = (struct vmlock_owner){.pid = getpid(), .since = (uint64_t)time(NULL)};
    if (gethostname(o->host, sizeof(o->host) - 1) < 0)
        o->host[0] = '\0';
    read_line("/proc/sys/kernel/random/boot_id", o->boot_id,
              sizeof(o->boot_id));
    (void)snprintf(o->doing, sizeof(o->doing), "%s", doing);
}

/* Where the record is in the file, or -errno. */
static int64_t record_offset(int fd)
{
    struct slots s;
    struct err err;
    int rc = slots_find(fd, "", &s, &err);

    return rc < 0 ? rc : (int64_t)(s.offset + s.owner);
}

/* A whole second is what the store gives a file when it closes it, to tell
 * whether somebody else wrote later: the record is none of that. */
static void keep_time(int fd, const struct stat *before)
{
    const struct timespec at[2] = {{.tv_nsec = UTIME_OMIT}, before->st_mtim};

    if (!before->st_mtim.tv_nsec && futimens(fd, at) < 0)
        log_debug("vmfile", "the file's time could not be kept");
}

static void write_record(int fd, const struct vmlock_owner *o)
{
    struct stat before;
    uint8_t rec[SLOTS_OWNER_SIZE] = {0};
    int64_t off = record_offset(fd);

    if (off < 0 || fstat(fd, &before) < 0)
        return;
    if (o) {
        (void)snprintf((char *)rec + TEXT, TEXT_MAX,
                       "%ld\n%" PRIu64 "\n%s\n%s\n%s\n", (long)o->pid, o->since,
                       o->boot_id, o->doing, o->host);
        put_le32(rec + CRC, crc32c_update(0, rec + TEXT, TEXT_MAX));
    }
    /* fdatasync: on a network file system others see it only then. A lock
     * without its record still holds. */
    if (fd_pwrite_full(fd, rec, sizeof(rec), (uint64_t)off) < 0 ||
        fdatasync(fd) < 0)
        log_debug("vmfile", "the owner record could not be written");
    keep_time(fd, &before);
}

/* What a file says is printed, so it must be printable. */
static void take_text(char *dst, size_t size, const char *src, size_t len)
{
    len = len < size ? len : size - 1;
    for (size_t i = 0; i < len; i++)
        dst[i] = isgraph((unsigned char)src[i]) ? src[i] : '?';
    dst[len] = '\0';
}

static bool parse_record(const char *text, struct vmlock_owner *o)
{
    char *end;
    size_t len;

    o->pid = (pid_t)strtol(text, &end, 10);
    if (*end++ != '\n' || o->pid <= 0)
        return false;
    o->since = strtoull(end, &end, 10);
    if (*end++ != '\n')
        return false;
    len = strcspn(end, "\n");
    take_text(o->boot_id, sizeof(o->boot_id), end, len);
    end += len + (end[len] == '\n');
    len = strcspn(end, "\n");
    take_text(o->doing, sizeof(o->doing), end, len);
    end += len + (end[len] == '\n');
    take_text(o->host, sizeof(o->host), end, strcspn(end, "\n"));
    return true;
}

static bool read_record(int fd, struct vmlock_owner *o)
{
    uint8_t rec[SLOTS_OWNER_SIZE + 1] = {0};
    int64_t off = record_offset(fd);
    struct vmlock_owner self;

    *o = (struct vmlock_owner){.pid = 0};
    if (off < 0 || fd_pread_full(fd, rec, SLOTS_OWNER_SIZE, (uint64_t)off) !=
                       SLOTS_OWNER_SIZE)
        return false;
    if (get_le32(rec + CRC) != crc32c_update(0, rec + TEXT, TEXT_MAX) ||
        !parse_record((char *)rec + TEXT, o)) {
        *o = (struct vmlock_owner){.pid = 0};
        return false;
    }
    this_process(&self, "");
    o->local = strcmp(self.boot_id, o->boot_id) == 0;
    return true;
}

/* Whether what the record names can still be there. */
static bool may_live(const struct vmlock_owner *o)
{
    return !o->local || kill(o->pid, 0) == 0 || errno == EPERM;
}

/* --- Taking, asking ------------------------------------------------------- */

static int busy(int fd, const char *path, struct err *err)
{
    struct vmlock_owner o;
    struct tm tm;
    char when[32] = "";
    time_t since;

    if (!read_record(fd, &o) || !may_live(&o))
        return err_set(err, -EBUSY,
                       "'%s' is in use by another program, perhaps QEMU or one "
                       "of its tools: wait for its end, or end it",
                       path);
    since = (time_t)o.since;
    if (gmtime_r(&since, &tm))
        (void)strftime(when, sizeof(when), " since %Y-%m-%dT%H:%M:%SZ", &tm);
    if (o.local)
        return err_set(err, -EBUSY,
                       "'%s' is in use by 'husk %s', process %ld of this "
                       "host%s",
                       path, o.doing, (long)o.pid, when);
    return err_set(err, -EBUSY,
                   "'%s' is in use by 'husk %s', process %ld of host '%s'%s",
                   path, o.doing, (long)o.pid, o.host, when);
}

int vmlock_take(int fd, const char *path, const char *doing, struct err *err)
{
    struct vmlock_owner o;
    int rc = lock_all(fd);

    if (rc == -EAGAIN)
        return busy(fd, path, err);
    if (rc < 0 && !has_no_locks(rc)) {
        errno = -rc;
        return err_sys(err, "lock '%s'", path);
    }
    if (rc < 0) {
        /* All there is to go by: two that start at once may both get it. */
        if (read_record(fd, &o) && may_live(&o))
            return busy(fd, path, err);
        log_warn("vmfile",
                 "the file system of '%s' keeps no locks: nothing else may use "
                 "the VM now",
                 path);
    }
    this_process(&o, doing);
    write_record(fd, &o);
    return 0;
}

void vmlock_drop(int fd)
{
    write_record(fd, NULL);
    unlock_all(fd);
}

int vmlock_owner(int fd, struct vmlock_owner *owner)
{
    int rc = test_bytes(fd, RUN, 1, F_WRLCK);

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(qemu_conflicts); i++)
        rc = test_bytes(fd, qemu_conflicts[i], 1, F_WRLCK);
    if (rc < 0 && !has_no_locks(rc))
        return rc;
    *owner = (struct vmlock_owner){.pid = 0};
    if (rc == 0)
        return 0;
    if (read_record(fd, owner) && may_live(owner))
        return 1;
    *owner = (struct vmlock_owner){.pid = 0};
    return rc > 0;
}

int vmlock_settings_take(int fd, const char *path, struct err *err)
{
    const struct timespec pause = {.tv_nsec = SETTINGS_PAUSE_NS};
    int rc = lock_byte(fd, SETTINGS, F_WRLCK);

    for (int i = 0; is_conflict(rc) && i < SETTINGS_TRIES; i++) {
        (void)nanosleep(&pause, NULL);
        rc = lock_byte(fd, SETTINGS, F_WRLCK);
    }
    if (is_conflict(rc))
        return err_set(err, -EBUSY,
                       "change the settings of '%s': another process has been "
                       "changing them for 5 seconds",
                       path);
    if (rc == 0 || has_no_locks(rc))
        return 0;
    errno = -rc;
    return err_sys(err, "lock the settings of '%s'", path);
}

void vmlock_settings_drop(int fd)
{
    (void)lock_byte(fd, SETTINGS, F_UNLCK);
}

/* --- Snapshots ------------------------------------------------------------ */

static int pin(int fd, uint32_t id, short type)
{
    int rc = lock_byte(fd, SNAPSHOTS + id, type);

    if (is_conflict(rc))
        return -EBUSY;
    return has_no_locks(rc) ? 0 : rc;
}

int vmpin_hold(int fd, uint32_t id)
{
    return pin(fd, id, F_RDLCK);
}

int vmpin_take(int fd, uint32_t id)
{
    return pin(fd, id, F_WRLCK);
}

void vmpin_drop(int fd, uint32_t id)
{
    (void)lock_byte(fd, SNAPSHOTS + id, F_UNLCK);
}

bool vmpin_is_held(int fd, uint32_t id)
{
    return test_bytes(fd, SNAPSHOTS + id, 1, F_WRLCK) > 0;
}

bool vmpin_any_held(int fd)
{
    return test_bytes(fd, SNAPSHOTS, (int64_t)UINT32_MAX + 1, F_WRLCK) > 0;
}
