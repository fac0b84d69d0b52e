#include "cpu/jit/jit.h"

#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu/jit/form.h"

/*
 * The code cache: one memfd mapped twice, writable here and executable there,
 * so that no address is ever both. Its bookkeeping tables are reserved at
 * their full size and cost only what is touched.
 */
enum {
    CODE_SIZE = 128 << 20,
    CODE_SIZE_LARGE = 256 << 20, /* for guests of 2 GiB and more */
    LARGE_GUEST_PAGES = (2u << 30) / GPAGE_SIZE,
    MAX_TBS = 1 << 20,
    MAX_LINKS = 4 << 20,
    MAX_MAPS = 16 << 20
};

static void *reserve(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static size_t index_size(const struct jit_engine *eng)
{
    return (eng->code_size >> JIT_INDEX_SHIFT) * sizeof(*eng->tb_index);
}

static int map_code(struct jit_engine *eng, struct err *err)
{
    int rc = 0;
    int fd = memfd_create("husk-code", MFD_CLOEXEC);

    if (fd < 0)
        return err_sys(err, "create the code cache");
    if (!eng->code_size)
        eng->code_size = eng->gmem->nr_pages >= LARGE_GUEST_PAGES
                             ? CODE_SIZE_LARGE
                             : CODE_SIZE;
    if (ftruncate(fd, eng->code_size) < 0) {
        rc = err_sys(err, "size the code cache to %u bytes", eng->code_size);
        goto close_fd;
    }
    void *rw =
        mmap(NULL, eng->code_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void *rx =
        mmap(NULL, eng->code_size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);

    eng->code_rw = rw == MAP_FAILED ? NULL : rw;
    eng->code_rx = rx == MAP_FAILED ? NULL : rx;
    if (!eng->code_rw || !eng->code_rx)
        rc = err_sys(err, "map the code cache (executable memory may be "
                          "forbidden here)");
close_fd:
    (void)close(fd);
    return rc;
}

int jit_cache_init(struct jit_engine *eng, struct err *err)
{
    int rc = map_code(eng, err);

    if (rc < 0)
        return rc;
    eng->max_tbs = MAX_TBS;
    eng->max_links = MAX_LINKS;
    eng->max_maps = MAX_MAPS;
    eng->tbs = reserve(MAX_TBS * sizeof(*eng->tbs));
    eng->tb_index = reserve(index_size(eng));
    eng->links = reserve(MAX_LINKS * sizeof(*eng->links));
    eng->maps = reserve(MAX_MAPS * sizeof(*eng->maps));
    eng->hash = reserve(JIT_HASH_SIZE * sizeof(*eng->hash));
    eng->kpages = reserve(JIT_KPAGES * sizeof(*eng->kpages));
    eng->pages = reserve(eng->gmem->nr_pages * sizeof(*eng->pages));
    eng->write_hints = reserve(eng->gmem->nr_pages * sizeof(uint64_t));
    eng->slots = reserve(SLOT_MAX * sizeof(*eng->slots));
    eng->slot_hash = reserve(SLOT_MAX * sizeof(*eng->slot_hash));
    eng->forms = form_cache_new(eng->model);
    if (!eng->forms || !eng->tb_index || !eng->slots || !eng->slot_hash ||
        !eng->tbs || !eng->links || !eng->maps || !eng->hash || !eng->kpages ||
        !eng->pages || !eng->write_hints)
        return err_set(err, -ENOMEM,
                       "reserve the translator's tables: out of memory");
    eng->nr_tbs = eng->nr_links = eng->nr_slots = 1;
    return 0;
}

static void release(void *p, size_t size)
{
    if (p)
        (void)munmap(p, size);
}

void jit_cache_fini(struct jit_engine *eng)
{
    form_cache_free(eng->forms);
    release(eng->code_rw, eng->code_size);
    release(eng->code_rx, eng->code_size);
    release(eng->slots, SLOT_MAX * sizeof(*eng->slots));
    release(eng->slot_hash, SLOT_MAX * sizeof(*eng->slot_hash));
    release(eng->tbs, MAX_TBS * sizeof(*eng->tbs));
    release(eng->tb_index, index_size(eng));
    release(eng->links, MAX_LINKS * sizeof(*eng->links));
    release(eng->maps, MAX_MAPS * sizeof(*eng->maps));
    release(eng->hash, JIT_HASH_SIZE * sizeof(*eng->hash));
    release(eng->kpages, JIT_KPAGES * sizeof(*eng->kpages));
    release(eng->pages, eng->gmem->nr_pages * sizeof(*eng->pages));
    release((void *)eng->write_hints, eng->gmem->nr_pages * sizeof(uint64_t));
}

/* Forget all translations. Nobody is in translated code, eng->lock is held. */
void jit_flush_code(struct jit_engine *eng)
{
    eng->code_used = 0;
    /* What cross-page links relied on: kpages reads as empty below. */
    eng->nr_kpages = 0;
    eng->has_cross = false;
    eng->nr_tbs = eng->nr_links = eng->nr_slots = 1;
    eng->nr_maps = 0;
    eng->nr_indexed = 0;
    (void)madvise(eng->slot_hash, SLOT_MAX * sizeof(*eng->slot_hash),
                  MADV_DONTNEED);
    (void)madvise(eng->hash, JIT_HASH_SIZE * sizeof(*eng->hash), MADV_DONTNEED);
    (void)madvise(eng->kpages, JIT_KPAGES * sizeof(*eng->kpages),
                  MADV_DONTNEED);
    (void)madvise(eng->pages, eng->gmem->nr_pages * sizeof(*eng->pages),
                  MADV_DONTNEED);
    (void)madvise(eng->tbs, MAX_TBS * sizeof(*eng->tbs), MADV_DONTNEED);
    (void)madvise(eng->links, MAX_LINKS * sizeof(*eng->links), MADV_DONTNEED);
}
