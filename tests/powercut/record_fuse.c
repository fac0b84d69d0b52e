#define FUSE_USE_VERSION 35

#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * The recording file system: one flat folder, passed through. Files are opened
 * with direct_io, so that each write of the program is one write here, at once.
 */
struct rec {
    struct trace_writer *w;
    int dir; /* of what is below */
    struct fuse *fuse;
};

static struct rec *rec_get(void)
{
    return fuse_get_context()->private_data;
}

/* "/" is "."; names below have no folder. */
static const char *below(const char *path)
{
    return path[1] ? path + 1 : ".";
}

static int ret(long rc)
{
    return rc < 0 ? -errno : (int)rc;
}

static int rec_getattr(const char *path, struct stat *st,
                       struct fuse_file_info *fi)
{
    if (fi)
        return ret(fstat((int)fi->fh, st));
    return ret(fstatat(rec_get()->dir, below(path), st, AT_SYMLINK_NOFOLLOW));
}

static int rec_readdir(const char *path, void *buf, fuse_fill_dir_t fill,
                       off_t off, struct fuse_file_info *fi,
                       enum fuse_readdir_flags flags)
{
    (void)path;
    (void)off;
    (void)fi;
    (void)flags;
    fill(buf, ".", NULL, 0, 0);
    return 0;
}

/*
 * The kernel hands over O_APPEND and O_DIRECT; writes come with offsets, and
 * what lies below need not have the alignment of the program's buffers.
 */
static int open_below(const char *path, struct fuse_file_info *fi, int extra,
                      mode_t mode)
{
    int flags = (fi->flags | extra) & ~(O_APPEND | O_DIRECT);
    int fd;

    if ((flags & O_ACCMODE) == O_WRONLY)
        flags = (flags & ~O_ACCMODE) | O_RDWR;
    fd = openat(rec_get()->dir, below(path), flags | O_CLOEXEC, mode);
    if (fd < 0)
        return -errno;
    if (trace_file(rec_get()->w, below(path)) < 0) {
        (void)close(fd);
        return -ENFILE;
    }
    if (flags & O_TRUNC)
        trace_put(rec_get()->w, TRACE_SIZE,
                  trace_file(rec_get()->w, below(path)), 0, 0, NULL);
    fi->fh = (uint64_t)fd;
    fi->direct_io = 1;
    return 0;
}

static int rec_open(const char *path, struct fuse_file_info *fi)
{
    return open_below(path, fi, 0, 0);
}

static int rec_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    return open_below(path, fi, O_CREAT, mode);
}

static int rec_release(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    return ret(close((int)fi->fh));
}

static int rec_read(const char *path, char *buf, size_t len, off_t off,
                    struct fuse_file_info *fi)
{
    (void)path;
    return ret(pread((int)fi->fh, buf, len, off));
}

static void note(const char *path, enum trace_kind kind, uint64_t off,
                 uint64_t len, const void *data)
{
    struct trace_writer *w = rec_get()->w;

    trace_put(w, kind, trace_file(w, below(path)), off, len, data);
}

static int rec_write(const char *path, const char *buf, size_t len, off_t off,
                     struct fuse_file_info *fi)
{
    ssize_t n = pwrite((int)fi->fh, buf, len, off);

    if (n > 0) {
        note(path, TRACE_WRITE, (uint64_t)off, (uint64_t)n, buf);
        /* RWF_DSYNC, too, comes as a flag of the request. */
        if (fi->flags & O_DSYNC)
            note(path, TRACE_SYNC, (uint64_t)off, (uint64_t)n, NULL);
    }
    return ret(n);
}

static int rec_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    int fd = fi ? (int)fi->fh
                : openat(rec_get()->dir, below(path), O_RDWR | O_CLOEXEC);
    int rc = fd < 0 ? -errno : ret(ftruncate(fd, size));

    if (!fi && fd >= 0)
        (void)close(fd);
    if (!rc && trace_file(rec_get()->w, below(path)) >= 0)
        note(path, TRACE_SIZE, (uint64_t)size, 0, NULL);
    return rc;
}

static int rec_fallocate(const char *path, int mode, off_t off, off_t len,
                         struct fuse_file_info *fi)
{
    struct stat st;
    int rc;

    if (mode &
        ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        return -EOPNOTSUPP;
    rc = ret(fallocate((int)fi->fh, mode, off, len));
    if (rc)
        return rc;
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        note(path, TRACE_ZERO, (uint64_t)off, (uint64_t)len, NULL);
    if (!(mode & FALLOC_FL_KEEP_SIZE) && !fstat((int)fi->fh, &st))
        note(path, TRACE_SIZE, (uint64_t)st.st_size, 0, NULL);
    return 0;
}

static int rec_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
    (void)datasync;
    (void)fi;
    note(path, TRACE_SYNC, 0, 0, NULL);
    return 0;
}

static off_t rec_lseek(const char *path, off_t off, int whence,
                       struct fuse_file_info *fi)
{
    off_t at = lseek((int)fi->fh, off, whence);

    (void)path;
    return at < 0 ? -errno : at;
}

static int rec_unlink(const char *path)
{
    return ret(unlinkat(rec_get()->dir, below(path), 0));
}

static int rec_rename(const char *from, const char *to, unsigned flags)
{
    int dir = rec_get()->dir;

    return ret(renameat2(dir, below(from), dir, below(to), flags));
}

static int rec_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    (void)fi;
    return ret(fchmodat(rec_get()->dir, below(path), mode, 0));
}

static int rec_utimens(const char *path, const struct timespec ts[2],
                       struct fuse_file_info *fi)
{
    (void)fi;
    return ret(utimensat(rec_get()->dir, below(path), ts, 0));
}

static void *rec_init(struct fuse_conn_info *conn, struct fuse_config *cfg)
{
    (void)conn;
    cfg->direct_io = 1;
    cfg->use_ino = 1;
    cfg->entry_timeout = cfg->attr_timeout = 0;
    return fuse_get_context()->private_data;
}

static const struct fuse_operations rec_ops = {.init = rec_init,
                                               .getattr = rec_getattr,
                                               .readdir = rec_readdir,
                                               .open = rec_open,
                                               .create = rec_create,
                                               .release = rec_release,
                                               .read = rec_read,
                                               .write = rec_write,
                                               .truncate = rec_truncate,
                                               .fallocate = rec_fallocate,
                                               .fsync = rec_fsync,
                                               .lseek = rec_lseek,
                                               .unlink = rec_unlink,
                                               .rename = rec_rename,
                                               .chmod = rec_chmod,
                                               .utimens = rec_utimens};

/* The watcher ends the file system when the program has ended. */
static pid_t start_program(const char *mnt, char **argv, int ready)
{
    pid_t pid = fork();
    char c;

    if (pid)
        return pid;
    if (read(ready, &c, 1) != 1 || chdir(mnt))
        _exit(127);
    (void)close(ready);
    execvp(argv[0], argv);
    _exit(127);
}

static pid_t start_watcher(const char *mnt, char **argv, int ready, int result)
{
    pid_t pid = fork(), program;
    int status;

    if (pid)
        return pid;
    (void)setpgid(0, 0);
    program = start_program(mnt, argv, ready);
    if (program < 0 || waitpid(program, &status, 0) != program)
        status = -1;
    (void)!write(result, &status, sizeof(status));
    /* The signal handler of libfuse ends the loop. */
    (void)kill(getppid(), SIGTERM);
    _exit(0);
}

/* Serves the file system until the watcher has sent its result. */
static int serve(struct rec *rec, const char *mnt, char **argv)
{
    int ready[2], result[2], status = -1;
    struct fuse_session *se = fuse_get_session(rec->fuse);
    pid_t watcher;

    if (pipe2(ready, O_CLOEXEC) || pipe2(result, O_CLOEXEC))
        return -1;
    watcher = start_watcher(mnt, argv, ready[0], result[1]);
    (void)close(ready[0]);
    (void)close(result[1]);
    if (watcher < 0 || fuse_set_signal_handlers(se))
        return -1;
    (void)!write(ready[1], "g", 1);
    (void)fuse_loop(rec->fuse);
    fuse_remove_signal_handlers(se);
    /* Somebody else's signal may have ended the loop. */
    (void)fcntl(result[0], F_SETFL, O_NONBLOCK);
    if (read(result[0], &status, sizeof(status)) != sizeof(status)) {
        status = -1;
        (void)kill(-watcher, SIGKILL);
    }
    (void)waitpid(watcher, NULL, 0);
    (void)close(ready[1]);
    (void)close(result[0]);
    return status;
}

static int exit_status(int status)
{
    if (status == -1)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int record_fuse(struct trace_writer *w, const char *dir, char **argv)
{
    char name[] = "record", opt[] = "-o", val[] = "default_permissions";
    char *fuse_argv[] = {name, opt, val, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, fuse_argv);
    char mnt[] = "/tmp/powercut-XXXXXX";
    struct rec rec = {.w = w};
    int status = -1;

    rec.dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rec.dir < 0 || !mkdtemp(mnt))
        return -1;
    rec.fuse = fuse_new(&args, &rec_ops, sizeof(rec_ops), &rec);
    if (rec.fuse) {
        if (!fuse_mount(rec.fuse, mnt)) {
            status = serve(&rec, mnt, argv);
            fuse_unmount(rec.fuse);
        }
        fuse_destroy(rec.fuse);
    }
    (void)rmdir(mnt);
    (void)close(rec.dir);
    fuse_opt_free_args(&args);
    return exit_status(status);
}
