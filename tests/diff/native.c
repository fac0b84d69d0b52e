#include <asm/ldt.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#include <unistd.h>

#include "image.h"
#include "segment.h"
#include "shared.h"
#include "state.h"

/*
 * The real CPU. Each case ends in a signal; its handler reads the registers
 * from the signal frame, writes those of the next case there, and returns into
 * it. So the kernel's own code loads and saves the whole state, and nothing
 * of ours runs between the two.
 *
 * The handler runs with whatever the case left in the FS base and in AC, so
 * it repairs these first and touches no thread-local storage before.
 */

struct native {
    struct shared *sh;
    struct side_area *area;
    uint64_t fs_base;   /* of this process */
    uint32_t tick_case; /* what ran at the last timer tick */
    bool in_batch;
    struct image image;
    ucontext_t *home; /* registers to return to after a batch */
    greg_t home_gregs[NGREG];
    uint8_t home_fx[DIFF_XSAVE_SIZE];
};

/* A signal handler gets no argument of ours: this one page-aligned object is
 * all the mutable state, written before the handler is installed. */
static struct native *self;

/* The order of REG_* for our numbering of registers. */
static const uint8_t greg_of[16] = {
    REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static inline uint64_t get_fs_base(void)
{
    uint64_t v;

    __asm__ volatile("rdfsbase %0" : "=r"(v));
    return v;
}

static inline uint64_t get_gs_base(void)
{
    uint64_t v;

    __asm__ volatile("rdgsbase %0" : "=r"(v));
    return v;
}

#define GET_SEGMENT(reg)                                                       \
    __extension__({                                                            \
        uint32_t v_;                                                           \
        __asm__ volatile("movl %%" #reg ", %0" : "=r"(v_));                    \
        (uint64_t)(uint16_t) v_;                                               \
    })

/* What a case may leave set and the kernel would keep: AC, NT, ID. */
static inline void clear_flags(void)
{
    __asm__ volatile("subq $128, %%rsp\n\t"
                     "pushfq\n\t"
                     "andq $~0x244400, (%%rsp)\n\t"
                     "popfq\n\t"
                     "addq $128, %%rsp" ::
                         : "memory", "cc");
}

static void save_fx(uint8_t *dst, const struct _libc_fpstate *fp)
{
    memcpy(dst, fp, 512);
    memset(dst + 416, 0, 96); /* software area: the kernel's own */
    memcpy(dst + XSAVE_HEADER, (const uint8_t *)fp + XSAVE_HEADER,
           DIFF_XSAVE_SIZE - XSAVE_HEADER);
}

static void load_fx(struct _libc_fpstate *fp, const uint8_t *src)
{
    uint8_t *dst = (uint8_t *)fp;

    memcpy(dst, src, 416);
    memset(dst + XSAVE_HEADER, 0, 64);
    dst[XSAVE_HEADER] = DIFF_XSAVE_MASK;
    memcpy(dst + XSAVE_YMMH, src + XSAVE_YMMH, 256);
}

static void save_case(struct native *n, struct diff_result *r, int signo,
                      const ucontext_t *uc)
{
    const greg_t *g = uc->uc_mcontext.gregs;
    uint64_t segments = (uint64_t)g[REG_CSGSFS];

    r->status = signo == SIGVTALRM ? DIFF_TIMEOUT : DIFF_DONE;
    for (unsigned i = 0; i < 16; i++)
        r->out.gpr[i] = (uint64_t)g[greg_of[i]];
    r->out.rip = (uint64_t)g[REG_RIP];
    r->out.rflags = (uint64_t)g[REG_EFL];
    r->out.cs = segments & 0xffff;
    r->out.ss = segments >> 48;
    r->out.vector = (uint64_t)g[REG_TRAPNO];
    r->out.error = (uint64_t)g[REG_ERR];
    r->out.cr2 = (uint64_t)g[REG_CR2];
    save_fx(r->out.xsave, uc->uc_mcontext.fpregs);
    image_collect(&n->image, r);
}

static void load_case(struct native *n, const struct diff_case *c,
                      ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;

    for (unsigned i = 0; i < 16; i++)
        g[greg_of[i]] = (greg_t)c->in.gpr[i];
    g[REG_RIP] = (greg_t)c->in.rip;
    g[REG_EFL] = (greg_t)c->in.rflags;
    g[REG_CSGSFS] = (greg_t)(c->in.cs | c->in.ss << 48);
    load_fx(uc->uc_mcontext.fpregs, c->in.xsave);
    image_prepare(&n->image, c);
}

static void go_home(struct native *n, ucontext_t *uc)
{
    n->in_batch = false;
    memcpy(uc->uc_mcontext.gregs, n->home_gregs, sizeof(n->home_gregs));
    load_fx(uc->uc_mcontext.fpregs, n->home_fx);
}

static void enter_batch(struct native *n, const ucontext_t *uc)
{
    n->in_batch = true;
    memcpy(n->home_gregs, uc->uc_mcontext.gregs, sizeof(n->home_gregs));
    save_fx(n->home_fx, uc->uc_mcontext.fpregs);
}

static void load_segments(uint64_t ds, uint64_t es, uint64_t fs, uint64_t gs)
{
    __asm__ volatile("movl %k0, %%ds\n\t"
                     "movl %k1, %%es\n\t"
                     "movl %k2, %%fs\n\t"
                     "movl %k3, %%gs" ::"r"(ds),
                     "r"(es), "r"(fs), "r"(gs));
}

static void set_bases(uint64_t fs, uint64_t gs)
{
    __asm__ volatile("wrgsbase %1\n\t"
                     "wrfsbase %0" ::"r"(fs),
                     "r"(gs)
                     : "memory");
}

/* A timer tick: true if the case has not changed since the last one. */
static bool tick_is_late(struct native *n)
{
    uint32_t now = atomic_load(&n->area->running);
    bool late = n->in_batch && now == n->tick_case;

    n->tick_case = now;
    return late;
}

struct bases {
    uint64_t fs, gs, ds, es, fs_sel, gs_sel;
};

static struct bases bases_of(const struct diff_regs *in)
{
    return (struct bases){in->fs_base, in->gs_base, in->ds,
                          in->es,      in->fs,      in->gs};
}

/* *b: what the last case left; then what to load. */
static void next_case(struct native *n, int signo, ucontext_t *uc,
                      struct bases *b)
{
    uint32_t i = atomic_load(&n->area->running);

    if (n->in_batch) {
        struct diff_result *r = &n->area->result[i];

        save_case(n, r, signo, uc);
        r->out.fs_base = b->fs;
        r->out.gs_base = b->gs;
        r->out.ds = b->ds;
        r->out.es = b->es;
        r->out.fs = b->fs_sel;
        r->out.gs = b->gs_sel;
        i++;
    } else {
        enter_batch(n, uc);
        i = n->sh->first;
    }
    i = shared_next(n->sh, i);
    atomic_store(&n->area->running, i);
    if (i == DIFF_BATCH) {
        go_home(n, uc);
        *b = (struct bases){.fs = n->fs_base, .ds = DIFF_DS, .es = DIFF_DS};
        return;
    }
    load_case(n, &n->sh->c[i], uc);
    *b = bases_of(&n->sh->c[i].in);
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
    struct native *n = self;
    struct bases b = {get_fs_base(),   get_gs_base(),   GET_SEGMENT(ds),
                      GET_SEGMENT(es), GET_SEGMENT(fs), GET_SEGMENT(gs)};

    (void)info;
    clear_flags();
    if (signo == SIGVTALRM && !tick_is_late(n))
        return;
    load_segments(DIFF_DS, DIFF_DS, 0, 0);
    set_bases(n->fs_base, 0);
    next_case(n, signo, context, &b);
    load_segments(b.ds, b.es, b.fs_sel, b.gs_sel);
    set_bases(b.fs, b.gs);
}

static void fail(const char *what)
{
    (void)fprintf(stderr, "cpudiff: %s: %s\n", what, strerror(errno));
    _exit(3);
}

static void map_at(uint32_t addr, size_t size, int prot, int fd, off_t off)
{
    void *want = (void *)(uintptr_t)addr;

    if (mmap(want, size, prot, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE,
             fd, off) != want)
        fail("map a page of the test");
}

/* Pages of the image and the code: where cases see them, and writable. */
static uint8_t *map_pages(struct native *n)
{
    size_t size = DIFF_IMAGE_SIZE + DIFF_CODE_SIZE;
    int fd = memfd_create("cpudiff", MFD_CLOEXEC);
    uint8_t *alias;

    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        fail("make memory");
    alias = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                 fd, 0);
    if (alias == MAP_FAILED)
        fail("map memory");
    for (unsigned i = 0; i < DIFF_NR_PAGES; i++)
        map_at(DIFF_DATA + diff_page[i].off, DIFF_PAGE,
               diff_page[i].writable ? PROT_READ | PROT_WRITE : PROT_READ, fd,
               (off_t)i * DIFF_PAGE);
    map_at(DIFF_CODE, DIFF_CODE_SIZE, PROT_READ | PROT_EXEC, fd,
           DIFF_IMAGE_SIZE);
    (void)close(fd);
    for (unsigned i = 0; i < DIFF_NR_PAGES; i++)
        n->image.page[i] = alias + (size_t)i * DIFF_PAGE;
    image_init(&n->image);
    return alias + DIFF_IMAGE_SIZE;
}

static void make_ldt(void)
{
    for (unsigned i = 0; i < NR_SEGMENTS; i++) {
        struct segment s = segment_get(i);
        struct user_desc d = {.entry_number = i,
                              .base_addr = s.base,
                              .limit = s.limit,
                              .seg_32bit = s.big,
                              .contents = s.code          ? 2
                                          : s.expand_down ? 1
                                                          : 0,
                              .read_exec_only = s.read_only,
                              .limit_in_pages = s.by_pages,
                              .useable = 0};

        if (syscall(SYS_modify_ldt, 0x11, &d, sizeof(d)) != 0)
            fail("make a local descriptor table");
    }
}

static void install_handlers(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS,  SIGILL,
                                  SIGFPE,  SIGTRAP, SIGVTALRM};
    size_t size = 64 * 1024;
    stack_t ss = {.ss_size = size};
    struct sigaction sa = {.sa_sigaction = on_signal,
                           .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct itimerval tick = {{0, 20000}, {0, 20000}};

    ss.ss_sp = mmap(NULL, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (ss.ss_sp == MAP_FAILED || sigaltstack(&ss, NULL) < 0)
        fail("make a signal stack");
    (void)sigfillset(&sa.sa_mask);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (sigaction(signals[i], &sa, NULL) < 0)
            fail("install a signal handler");
    if (setitimer(ITIMER_VIRTUAL, &tick, NULL) < 0)
        fail("start a timer");
}

_Noreturn void native_main(struct shared *sh, enum side side,
                           const struct worker_fds *fds)
{
    uint8_t *code;
    char byte;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!(getauxval(AT_HWCAP2) & 2)) { /* HWCAP2_FSGSBASE */
        (void)fprintf(stderr, "cpudiff: this kernel has no FSGSBASE\n");
        _exit(3);
    }
    self = calloc(1, sizeof(*self));
    if (!self)
        fail("allocate");
    self->sh = sh;
    self->area = &sh->side[side];
    self->fs_base = get_fs_base();
    code = map_pages(self);
    install_handlers();
    make_ldt();
    load_segments(DIFF_DS, DIFF_DS, 0, 0);
    set_bases(self->fs_base, 0);
    while (read(fds->go, &byte, 1) == 1 || errno == EINTR) {
        if (errno == EINTR) {
            errno = 0;
            continue;
        }
        shared_code(sh, code);
        __asm__ volatile("int3" ::: "memory");
        if (write(fds->done, &byte, 1) != 1)
            break;
        errno = 0;
    }
    _exit(0);
}
