#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int trace_create(struct trace_writer *w, const char *path)
{
    memset(w, 0, sizeof(*w));
    w->out = fopen(path, "we");
    return w->out ? 0 : -1;
}

int trace_close(struct trace_writer *w)
{
    int bad = ferror(w->out);

    return fclose(w->out) || bad ? -1 : 0;
}

int trace_file(struct trace_writer *w, const char *name)
{
    size_t len = strlen(name);
    unsigned i;

    for (i = 0; i < w->nr_names; i++)
        if (!strcmp(w->names[i], name))
            return (int)i;
    if (i == TRACE_FILES || len >= sizeof(w->names[0]))
        return -1;
    memcpy(w->names[i], name, len + 1);
    w->nr_names++;
    trace_put(w, TRACE_NAME, (int)i, 0, len, name);
    return (int)i;
}

bool trace_is_marks(const struct trace_writer *w, int file)
{
    return !strcmp(w->names[file], "marks");
}

static bool has_data(unsigned kind)
{
    return kind == TRACE_NAME || kind == TRACE_WRITE || kind == TRACE_MARK;
}

void trace_put(struct trace_writer *w, enum trace_kind kind, int file,
               uint64_t off, uint64_t len, const void *data)
{
    struct trace_event ev = {.kind = (uint8_t)kind, .off = off, .len = len};

    if (trace_is_marks(w, file) && kind != TRACE_NAME) {
        if (kind != TRACE_WRITE)
            return;
        ev.kind = TRACE_MARK;
    }
    ev.file = (uint8_t)file;
    (void)fwrite(&ev, sizeof(ev), 1, w->out);
    if (has_data(ev.kind))
        (void)fwrite(data, 1, len, w->out);
}

int trace_open(struct trace *t, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *map;

    if (fd < 0)
        return -1;
    if (fstat(fd, &st) || !st.st_size) {
        (void)close(fd);
        errno = ENODATA;
        return -1;
    }
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    (void)close(fd);
    if (map == MAP_FAILED)
        return -1;
    t->bytes = map;
    t->size = (size_t)st.st_size;
    return 0;
}

void trace_unmap(struct trace *t)
{
    (void)munmap((void *)(uintptr_t)t->bytes, t->size);
}

bool trace_next(const struct trace *t, size_t *pos, struct trace_event *ev,
                const uint8_t **data)
{
    size_t left = t->size - *pos;

    if (left < sizeof(*ev))
        return false;
    memcpy(ev, t->bytes + *pos, sizeof(*ev));
    *data = t->bytes + *pos + sizeof(*ev);
    left -= sizeof(*ev);
    *pos += sizeof(*ev);
    if (!has_data(ev->kind))
        return true;
    if (left < ev->len)
        return false;
    *pos += ev->len;
    return true;
}
