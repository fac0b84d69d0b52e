#include "cpu/engine.h"

#include <asm/prctl.h>
#include <assert.h>
#include <cpuid.h>
#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cpu/jit/gen.h"
#include "cpu/jit/jit.h"
#include "cpu/jit/kept.h"

/*
 * The translator as a CPU engine: creation, the loop around translated code,
 * and the gate that keeps all vCPUs out of it while the code cache is emptied.
 */
enum {
    SHADOW_SIZE = 256 << 10, /* guest calls that the host predicts */
    C_STACK_SIZE = 256 << 10
};

static void *map_anon(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* -- Engine --------------------------------------------------------------- */

static bool host_has_bmi2(void)
{
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 8);
}

static bool host_has_avx(void)
{
    return __builtin_cpu_supports("avx");
}

/*
 * For tests (docs/testing.md), in HUSK_JIT: "share" makes all 64-bit user code
 * shared code, "cache=N" makes the code cache N MiB large, 1 to 512. Read
 * before there are threads.
 */
static void read_tuning(struct jit_engine *eng)
{
    const char *words = getenv("HUSK_JIT"); /* NOLINT: before any thread */
    const char *cache = words ? strstr(words, "cache=") : NULL;
    unsigned long mib = cache ? strtoul(cache + 6, NULL, 10) : 0;

    eng->share_all = words && strstr(words, "share");
    if (mib >= 1 && mib <= 512)
        eng->code_size = (uint32_t)mib << 20;
}

/*
 * Addresses show other memory. Blocks are known by address and listed by RAM
 * page, so all go if memory moved; each CPU looks here before its next block.
 */
static void remapped(void *opaque, bool moved)
{
    struct jit_engine *eng = opaque;

    if (moved)
        atomic_store(&eng->flush_wanted, true);
    for (unsigned i = 0; i < eng->nr_vcpus; i++) {
        struct jit_vcpu *jv = eng->vcpu[i];

        if (!jv)
            continue;
        atomic_fetch_or(&jv->flush_request, JIT_REQ_ALL);
        atomic_fetch_or(&jv->pending, 1);
    }
}

static int create(void **out, const struct engine_config *cfg, struct err *err)
{
    struct jit_engine *eng;
    int rc;

    if (!host_has_avx())
        return err_set(err, -ENOTSUP,
                       "start the translator: this processor has no AVX");
    eng = calloc(1, sizeof(*eng));
    if (!eng)
        return err_set(err, -ENOMEM, "start the translator: out of memory");
    eng->model = cfg->model;
    eng->gmem = cfg->gmem;
    eng->nr_vcpus = cfg->nr_vcpus;
    eng->bmi2 = host_has_bmi2();
    eng->fast_pext =
        eng->bmi2 && !__builtin_cpu_is("znver1") && !__builtin_cpu_is("znver2");
    eng->fsgsbase = getauxval(AT_HWCAP2) & 2; /* HWCAP2_FSGSBASE */
    read_tuning(eng);
    rc = jit_cache_init(eng, err);
    if (rc < 0) {
        jit_cache_fini(eng);
        free(eng);
        return rc;
    }
    cfg->gmem->written = h_written;
    cfg->gmem->remapped = remapped;
    cfg->gmem->written_opaque = eng;
    jit_fault_init();
    *out = eng;
    return 0;
}

static void destroy(void *engine)
{
    struct jit_engine *eng = engine;

    eng->gmem->written = NULL;
    eng->gmem->remapped = NULL;
    jit_cache_fini(eng);
    free(eng);
}

/* -- vCPU ----------------------------------------------------------------- */

static size_t region_size(void)
{
    return JV_STATE_SIZE + sizeof(struct jit_tables);
}

/* The state area, at the start of each set's region. */
static int map_regions(struct jit_set *sets, struct err *err)
{
    int rc = 0;
    int fd = memfd_create("husk-vcpu", MFD_CLOEXEC);

    if (fd < 0)
        return err_sys(err, "create a vCPU's state");
    if (ftruncate(fd, JV_STATE_SIZE) < 0) {
        rc = err_sys(err, "size a vCPU's state");
        goto close_fd;
    }
    for (unsigned i = 0; i < JIT_NR_SETS; i++) {
        uint8_t *r = map_anon(region_size());

        if (!r || mmap(r, JV_STATE_SIZE, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
            rc = err_sys(err, "map a vCPU's state");
            goto close_fd;
        }
        sets[i].region = r;
        sets[i].tables = (struct jit_tables *)(void *)(r + JV_STATE_SIZE);
        sets[i].filled = map_anon(SLOT_MAX * sizeof(uint16_t));
        if (!sets[i].filled) {
            rc = err_sys(err, "map a vCPU's jump slots");
            goto close_fd;
        }
    }
close_fd:
    (void)close(fd);
    return rc;
}

static void set_glue(struct jit_vcpu *jv)
{
    static const char *const glue[GLUE_NR] = {
        [GLUE_SLOW] = glue_slow,
        [GLUE_COMMIT] = glue_commit,
        [GLUE_HELPER] = glue_helper,
        [GLUE_JMP + JIT_USER] = glue_jmp_user,
        [GLUE_JMP + JIT_SUPER] = glue_jmp_super,
        [GLUE_JMP + JIT_SUPER_AC] = glue_jmp_super_ac,
        [GLUE_RET_MISS + JIT_USER] = glue_jmp_user,
        [GLUE_RET_MISS + JIT_SUPER] = glue_jmp_super,
        [GLUE_RET_MISS + JIT_SUPER_AC] = glue_jmp_super_ac,
        [GLUE_LINK] = glue_link,
        [GLUE_PENDING] = glue_pending,
        [GLUE_DISPATCH] = glue_dispatch,
        [GLUE_GROUP] = glue_group,
        [GLUE_WINDOW + JIT_USER] = glue_window_user,
        [GLUE_WINDOW + JIT_SUPER] = glue_window_super,
        [GLUE_WINDOW + JIT_SUPER_AC] = glue_window_super_ac,
        [GLUE_JUMP + JIT_USER] = glue_jump_user,
        [GLUE_JUMP + JIT_SUPER] = glue_jump_super,
        [GLUE_JUMP + JIT_SUPER_AC] = glue_jump_super_ac,
    };

    for (unsigned i = 0; i < GLUE_NR; i++) {
        const char *p = glue[i];

        if (!jv->eng->bmi2 && i >= GLUE_JMP && i < GLUE_LINK)
            p = glue_jmp_slow;
        else if (!jv->eng->bmi2 && i >= GLUE_JUMP)
            p = glue_jump_slow;
        jv->glue[i] = (uint64_t)(uintptr_t)p;
    }
}

static void init_stacks(struct jit_vcpu *jv)
{
    uint64_t *top;

    jv->c_sp = jv->c_map + C_STACK_SIZE;
    top = (uint64_t *)(void *)(jv->shadow_map + SHADOW_SIZE - 64);
    *top = (uint64_t)(uintptr_t)glue_sentinel;
    jv->shadow_top = top;
    jv->shadow_sp = jv->shadow_top;
    (void)mprotect(jv->shadow_map, GPAGE_SIZE, PROT_NONE);
    (void)mprotect(jv->c_map, GPAGE_SIZE, PROT_NONE);
}

static void unmap(void *p, size_t size)
{
    if (p)
        (void)munmap(p, size);
}

static void free_parts(struct jit_vcpu *jv)
{
    struct jit_set *sets = jv->sets;

    unmap(jv->shadow_map, SHADOW_SIZE);
    unmap(jv->c_map, C_STACK_SIZE);
    unmap(jv->alt_stack, JIT_ALT_STACK);
    unmap(jv->nowhere, 2 * GPAGE_SIZE);
    free(jv->gen);
    kept_free(jv->kept);
    for (unsigned i = JIT_NR_SETS; i-- > 0;) {
        unmap(sets[i].filled, SLOT_MAX * sizeof(uint16_t));
        unmap(sets[i].region, region_size());
    }
    free(sets);
}

static void reset_sets(struct jit_vcpu *jv)
{
    for (unsigned i = 0; i < JIT_NR_SETS; i++) {
        jv->sets[i].valid = i == 0;
        jv->sets[i].pcid = 0;
        /* The others are cleared when they are first picked. */
        jv->sets[i].used = true;
        jv->sets[i].has_exec = true;
        jv->sets[i].nr_tlb = jv->sets[i].nr_jc = JIT_LIST;
        jv->sets[i].note_age++;
        jv->sets[i].nr_notes = 0;
        if (i == 0)
            h_tables_clear(&jv->sets[i]);
    }
    jv->set = &jv->sets[0];
    h_windows_clear(jv);
}

static int vcpu_create(void *engine, struct vcpu *v, struct err *err)
{
    struct jit_engine *eng = engine;
    struct jit_set *sets = calloc(JIT_NR_SETS, sizeof(*sets));
    struct jit_vcpu *jv;
    int rc;

    if (!sets)
        return err_set(err, -ENOMEM, "create vCPU %u: out of memory", v->index);
    rc = map_regions(sets, err);
    if (rc < 0) {
        for (unsigned i = 0; i < JIT_NR_SETS; i++)
            unmap(sets[i].region, region_size());
        free(sets);
        return rc;
    }
    jv = (struct jit_vcpu *)(void *)sets[0].region;
    assert(jv); /* all regions were mapped */
    jv->sets = sets;
    jv->self = jv;
    jv->eng = eng;
    jv->v = v;
    jv->shadow_map = map_anon(SHADOW_SIZE);
    jv->c_map = map_anon(C_STACK_SIZE);
    jv->alt_stack = map_anon(JIT_ALT_STACK);
    jv->nowhere = map_anon(2 * GPAGE_SIZE);
    jv->gen = calloc(1, sizeof(*jv->gen));
    jv->kept = kept_new(eng->model);
    if (!jv->shadow_map || !jv->c_map || !jv->alt_stack || !jv->nowhere ||
        !jv->gen || !jv->kept) {
        free_parts(jv);
        return err_set(err, -ENOMEM, "create vCPU %u: out of memory", v->index);
    }
    init_stacks(jv);
    set_glue(jv);
    reset_sets(jv);
    jv->xcr0_save = X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX;
    jv->jc_mask = JC_ENTRIES - 1;
    jv->tlb_mask = (uint64_t)(TLB_ENTRIES - 1) << GPAGE_SHIFT;
    jv->mxcsr_default = 0x1f80;
    jv->slot_mask = ~(uint64_t)0xff8;
    jv->slot_mask32 = ~(uint64_t)0xffc;
    jv->cpu.st = &jv->st;
    jv->cpu.model = eng->model;
    jv->cpu.ops = &h_system_ops;
    jv->cpu.gmem = eng->gmem;
    jv->cpu.apic_id = v->index;
    jv->cpu.opaque = jv;
    eng->vcpu[v->index] = jv;
    v->engine_vcpu = jv;
    x86_state_reset(&jv->st, v->index);
    h_mode_changed(jv);
    h_flags_in(jv);
    return 0;
}

static void log_stats(const struct jit_vcpu *jv)
{
    static const char *const names[JIT_NR_STATS] = {
        [JIT_STAT_LOOKUP] = "lookups",
        [JIT_STAT_LOOKUP_SLOW] = "slow lookups",
        [JIT_STAT_LINK] = "links",
        [JIT_STAT_TRANSLATE] = "translations",
        [JIT_STAT_SLOW] = "TLB misses",
        [JIT_STAT_BOUNCE] = "bounces",
        [JIT_STAT_CODE_STORE] = "stores to code pages",
        [JIT_STAT_INVALIDATE] = "invalidations",
        [JIT_STAT_FAULT] = "faults",
        [JIT_STAT_RARE] = "rare instructions",
        [JIT_STAT_FLUSH] = "flushes",
        [JIT_STAT_FLUSH_PAGE] = "page flushes",
        [JIT_STAT_CR3] = "CR3 loads",
    };

    for (unsigned i = 0; i < JIT_NR_STATS; i++)
        log_debug("jit", "vcpu%u: %llu %s", jv->v->index,
                  (unsigned long long)jv->stat[i], names[i]);
    log_debug("jit",
              "code cache: %u bytes, %u blocks, %u links, %u maps, %u slots",
              jv->eng->code_used, jv->eng->nr_tbs, jv->eng->nr_links,
              jv->eng->nr_maps, jv->eng->nr_slots);
}

static void vcpu_destroy(struct vcpu *v)
{
    struct jit_vcpu *jv = v->engine_vcpu;

    if (!jv)
        return;
    log_stats(jv);
    jv->eng->vcpu[v->index] = NULL;
    v->engine_vcpu = NULL;
    free_parts(jv);
}

static void set_gs(const struct jit_vcpu *jv)
{
    (void)syscall(SYS_arch_prctl, ARCH_SET_GS, jv->set->region);
}

static void vcpu_thread_start(struct vcpu *v)
{
    struct jit_vcpu *jv = v->engine_vcpu;

    set_gs(jv);
    jit_fault_thread(jv);
}

/* -- The gate ------------------------------------------------------------- */

static void futex_wait(_Atomic uint32_t *word, uint32_t val)
{
    (void)syscall(SYS_futex, word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, val, NULL,
                  NULL, 0);
}

static void gate_enter(struct jit_vcpu *jv)
{
    for (;;) {
        atomic_store(&jv->in_code, 1);
        if (!atomic_load(&jv->eng->exclusive))
            break;
        atomic_store(&jv->in_code, 0);
        futex_wait(&jv->eng->exclusive, 1);
    }
    h_requests(jv);
}

/* Empty the code cache with every other vCPU outside. */
static void flush_code(struct jit_vcpu *jv)
{
    struct jit_engine *eng = jv->eng;
    uint32_t open = 0;

    if (!atomic_compare_exchange_strong(&eng->exclusive, &open, 1))
        return; /* somebody else does it */
    for (unsigned i = 0; i < eng->nr_vcpus; i++) {
        struct jit_vcpu *o = eng->vcpu[i];

        if (!o || o == jv)
            continue;
        atomic_fetch_or(&o->pending, 1);
        for (unsigned n = 0; atomic_load(&o->in_code); n++)
            jit_spin(n);
    }
    jit_lock_take(&eng->lock);
    if (atomic_exchange(&eng->flush_wanted, false)) {
        jit_flush_code(eng);
        for (unsigned i = 0; i < eng->nr_vcpus; i++)
            if (eng->vcpu[i])
                atomic_fetch_or(&eng->vcpu[i]->flush_request, JIT_REQ_BLOCKS);
    }
    jit_lock_drop(&eng->lock);
    atomic_store(&eng->exclusive, 0);
    (void)syscall(SYS_futex, &eng->exclusive, FUTEX_WAKE | FUTEX_PRIVATE_FLAG,
                  INT32_MAX, NULL, NULL, 0);
}

/* -- Running -------------------------------------------------------------- */

/* Link the jump that led to a block that had to be translated first. */
static const void *linked_lookup(struct jit_vcpu *jv)
{
    uint32_t link = jv->link;

    return link ? h_link(jv, link) : h_lookup(jv);
}

static enum engine_exit run(struct vcpu *v)
{
    struct jit_vcpu *jv = v->engine_vcpu;

    if (jv->gs_stale) {
        jv->gs_stale = false;
        set_gs(jv);
    }
    if (jv->st.mp_state == X86_MP_HALTED) {
        if (!h_wakes(jv))
            return ENGINE_EXIT_HALT;
        jv->st.mp_state = X86_MP_RUNNING;
        jv->irq_wait = 1;
    }
    if (atomic_load(&jv->eng->flush_wanted))
        flush_code(jv);
    atomic_fetch_or(&jv->pending, 1); /* look at v->events once */
    jv->link = 0;
    for (;;) {
        const void *code;
        int rc = H_DISPATCH;

        gate_enter(jv);
        code = linked_lookup(jv);
        if (code) {
            jv->vec_live = 1;
            jit_enter(jv, code);
            jv->vec_live = 0;
        }
        atomic_store(&jv->in_code, 0);
        if (jv->exit == JIT_EXIT_TRANSLATE)
            rc = jit_translate(jv);
        else if (jv->exit == JIT_EXIT_ENGINE)
            rc = H_EXIT;
        if (rc == H_EXIT)
            return jv->exit == JIT_EXIT_ENGINE ? jv->exit_reason
                                               : ENGINE_EXIT_ERROR;
        if (atomic_load(&jv->eng->flush_wanted))
            flush_code(jv);
    }
}

static void kick(struct vcpu *v)
{
    struct jit_vcpu *jv = v->engine_vcpu;

    atomic_fetch_or(&jv->pending, 1);
}

static void get_state(struct vcpu *v, struct x86_state *st)
{
    struct jit_vcpu *jv = v->engine_vcpu;

    h_flags_out(jv);
    memcpy(st, &jv->st, sizeof(*st));
}

static void set_state(struct vcpu *v, const struct x86_state *st)
{
    struct jit_vcpu *jv = v->engine_vcpu;

    memcpy(&jv->st, st, sizeof(*st));
    reset_sets(jv);
    jv->set->cr3 = st->cr3 & ~(uint64_t)0xfff;
    jv->set->pcid = st->cr4 & X86_CR4_PCIDE ? st->cr3 & 0xfff : 0;
    h_shadow_reset(jv);
    h_mode_changed(jv);
    h_flags_in(jv);
    jv->irq_wait = 1;
    if (pthread_equal(pthread_self(), v->thread))
        set_gs(jv);
    else
        jv->gs_stale = true;
}

/* -- Debugger ------------------------------------------------------------- */

static void set_breakpoints(void *engine, const gva_t *gva, unsigned nr)
{
    struct jit_engine *eng = engine;

    if (nr > 64)
        nr = 64;
    if (nr == atomic_load(&eng->nr_breakpoints) &&
        memcmp(eng->breakpoints, gva, nr * sizeof(*gva)) == 0)
        return;
    for (unsigned i = 0; i < nr; i++)
        eng->breakpoints[i] = gva[i];
    atomic_store(&eng->nr_breakpoints, nr);
    /* They are part of the translations. */
    atomic_store(&eng->flush_wanted, true);
}

static void set_step(struct vcpu *v, bool on)
{
    struct jit_vcpu *jv = v->engine_vcpu;

    jv->step = on;
    h_flags_out(jv);
    h_mode_changed(jv);
}

/* How many of len bytes at gva lie on its page, and where that is in guest
 * physical memory; 0 if it is not mapped. */
static size_t debug_page(const struct jit_vcpu *jv, gva_t gva, size_t len,
                         gpa_t *gpa)
{
    size_t n = (size_t)(GPAGE_SIZE - (gva & GPAGE_MASK));
    struct x86_walk w;

    if (!h_canonical(jv, gva) || x86_probe(&jv->st, jv->eng->gmem, gva, &w) < 0)
        return 0;
    *gpa = w.gpa;
    return n < len ? n : len;
}

static int debug_read(struct vcpu *v, gva_t gva, void *dst, size_t len)
{
    const struct jit_vcpu *jv = v->engine_vcpu;
    uint8_t *p = dst;

    while (len) {
        gpa_t gpa = 0;
        size_t n = debug_page(jv, gva, len, &gpa);
        int rc = n ? gmem_read(jv->eng->gmem, gpa, p, n) : -EFAULT;

        if (rc < 0)
            return rc;
        gva += n;
        p += n;
        len -= n;
    }
    return 0;
}

static int debug_write(struct vcpu *v, gva_t gva, const void *src, size_t len)
{
    struct jit_vcpu *jv = v->engine_vcpu;
    const uint8_t *p = src;

    while (len) {
        gpa_t gpa = 0;
        size_t n = debug_page(jv, gva, len, &gpa);
        int rc = n ? gmem_write(jv->eng->gmem, gpa, p, n) : -EFAULT;

        if (rc < 0)
            return rc;
        gva += n;
        p += n;
        len -= n;
    }
    return 0;
}

const struct engine_ops jit_engine_ops = {
    .name = "jit",
    .create = create,
    .destroy = destroy,
    .vcpu_create = vcpu_create,
    .vcpu_destroy = vcpu_destroy,
    .vcpu_thread_start = vcpu_thread_start,
    .run = run,
    .kick = kick,
    .get_state = get_state,
    .set_state = set_state,
    .set_breakpoints = set_breakpoints,
    .set_step = set_step,
    .debug_read = debug_read,
    .debug_write = debug_write,
};
