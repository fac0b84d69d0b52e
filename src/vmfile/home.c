#include "vmfile/home.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmfile/names.h"

/* --- The folder ------------------------------------------------------------
 */

static int too_long(struct err *err)
{
    return err_set(err, -ENAMETOOLONG,
                   "the path of the home folder is too "
                   "long: use --home with a shorter one");
}

/* base (or "") and tail in dst. */
static int join(char dst[PATH_MAX], const char *base, const char *tail,
                struct err *err)
{
    int n = snprintf(dst, PATH_MAX, "%s%s%s", base, *base && *tail ? "/" : "",
                     tail);

    return n < 0 || n >= PATH_MAX ? too_long(err) : 0;
}

static const char *env_path(const char *name)
{
    const char *v = getenv(name); /* NOLINT(concurrency-mt-unsafe) */

    return v && *v ? v : NULL;
}

int home_init(struct home *h, const char *dir, struct err *err)
{
    char cwd[PATH_MAX];
    const char *base = "", *tail = dir;

    if (!tail || !*tail)
        tail = env_path("HUSK_HOME");
    if (!tail) {
        base = env_path("XDG_DATA_HOME");
        tail = "husk";
    }
    if (!base) {
        base = env_path("HOME");
        tail = ".local/share/husk";
    }
    if (!base)
        return err_set(err, -EINVAL,
                       "there is no home folder: set HUSK_HOME or use --home");
    if (!*base && *tail != '/') {
        if (!getcwd(cwd, sizeof(cwd)))
            return err_sys(err, "find the home folder '%s'", tail);
        base = cwd;
    }
    return join(h->dir, base, tail, err);
}

/* Create path and what is missing above it. path is changed and put back. */
static int make_folders(char *path, struct err *err)
{
    for (char *p = path + 1;; p++) {
        char kept = *p;
        int rc;

        if (kept && kept != '/')
            continue;
        *p = '\0';
        rc = mkdir(path, 0700) < 0 && errno != EEXIST
                 ? err_sys(err, "create the folder '%s'", path)
                 : 0;
        *p = kept;
        if (rc < 0 || !kept)
            return rc;
    }
}

int home_create(const struct home *h, struct err *err)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s", h->dir);
    return make_folders(path, err);
}

/* --- Names and paths --------------------------------------------------------
 */

/* The length of the file's name without an ending that VMs have. */
static size_t stem_length(const char *file)
{
    static const char *const endings[] = {".husk", ".qcow2"};
    size_t len = strlen(file);

    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        size_t n = strlen(endings[i]);

        if (len > n && strcmp(file + len - n, endings[i]) == 0)
            return len - n;
    }
    return len;
}

bool home_is_path(const char *word)
{
    return strchr(word, '/') || stem_length(word) < strlen(word);
}

int home_check_name(const char *name, struct err *err)
{
    size_t len = strlen(name);
    bool ok = len >= 1 && len <= HOME_NAME_MAX &&
              isalnum((unsigned char)name[0]) && stem_length(name) == len;

    for (size_t i = 0; ok && i < len; i++)
        ok = isalnum((unsigned char)name[i]) || strchr("._-", name[i]);
    if (ok)
        return 0;
    return err_set(err, -EINVAL,
                   "'%.80s' cannot be the name of a VM: use 1 to %d letters, "
                   "digits and . _ -, with a letter or digit first",
                   name, HOME_NAME_MAX);
}

int home_path(const struct home *h, const char *word, char path[PATH_MAX],
              struct err *err)
{
    char file[NAME_MAX + 1];
    int rc;

    if (home_is_path(word))
        return join(path, "", word, err);
    rc = home_check_name(word, err);
    if (rc < 0)
        return rc;
    (void)snprintf(file, sizeof(file), "%s.husk", word);
    return join(path, h->dir, file, err);
}

void home_name(const char *path, char name[NAME_MAX + 1])
{
    const char *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path;
    size_t len = stem_length(file);

    len = len <= NAME_MAX ? len : NAME_MAX;
    memcpy(name, file, len);
    name[len] = '\0';
}

static bool is_vm(const char *file)
{
    const char *dot = strrchr(file, '.');

    return file[0] != '.' && dot && strcmp(dot, ".husk") == 0;
}

int home_each(const struct home *h, home_each_fn *f, void *opaque,
              struct err *err)
{
    struct names files;
    char path[PATH_MAX], name[NAME_MAX + 1];
    int rc = names_read(&files, h->dir, is_vm, err);

    for (size_t i = 0; rc == 0 && i < files.nr; i++) {
        home_name(files.names[i], name);
        rc = join(path, h->dir, files.names[i], err);
        if (rc == 0)
            rc = f(opaque, path, name);
    }
    names_free(&files);
    return rc;
}

/* --- Renaming ---------------------------------------------------------------
 */

static int flush_folder_of(const char *path, struct err *err)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    int fd, rc = 0;

    if (len == 0)
        (void)snprintf(dir, sizeof(dir), "%s", slash ? "/" : ".");
    else
        (void)snprintf(dir, sizeof(dir), "%.*s", (int)len, path);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL))
        rc = err_sys(err, "flush the folder '%s'", dir);
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

/* rename(2) that replaces nothing, also where the file system cannot: then by
 * a second name, which a crash leaves beside the first. */
static int rename_once(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (link(from, to) < 0)
        return -errno;
    return unlink(from) < 0 ? -errno : 0;
}

int home_rename(const char *from, const char *to, struct err *err)
{
    int rc = rename_once(from, to);

    if (rc == -EEXIST)
        return err_set(err, rc, "rename '%s': '%s' is there already", from, to);
    if (rc == -EXDEV)
        return err_set(err, rc,
                       "rename '%s' to '%s': that is on another file system",
                       from, to);
    if (rc < 0) {
        errno = -rc;
        return err_sys(err, "rename '%s' to '%s'", from, to);
    }
    rc = flush_folder_of(to, err);
    return rc < 0 ? rc : flush_folder_of(from, err);
}
