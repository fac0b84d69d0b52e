#include "guest.h"

/*
 * Random mappings, rights and control bits against a model: what may be
 * accessed, by which error code it fails, which memory it reaches, and that A
 * and D are set. Two address spaces; flushed as the SDM asks, no more.
 */

enum { PAGES = 6, FRAMES = 4, ROUNDS = 60000 };
enum access { READ, WRITE, FETCH };
enum { P = 1, W = 2, U = 4, I = 16 };

#define VA(i)   (TEST_VA + 4096ull * (i))
#define CODE_VA (TEST_VA + 0x100000)
#define WP      0x10000ull
#define SMEP    0x100000ull
#define SMAP    0x200000ull

static uint64_t state = 88172645463325252ull;
static uint64_t frame[FRAMES], roots[2];
static uint64_t entry[2][PAGES]; /* the model of the page tables */
static unsigned space;
static bool smap_on, smep_on, wp_on = true, have_smap, have_smep;
static bool pcid_on;

static unsigned random_below(unsigned n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)((state >> 20) % n);
}

CODE(user_read, "movq (%rdi), %rax\n int $0x81");
CODE(user_write, "movq %rsi, (%rdi)\n int $0x81");
CODE(user_fetch, "jmp *%rdi");

static void read_it(uint64_t va)
{
    (void)mem_read64(va);
}

static void write_it(uint64_t va)
{
    mem_write64(va, va * 3);
}

static void read_ac(uint64_t va)
{
    __asm__ volatile("stac\n movq (%0), %%rax\n clac" ::"r"(va) : "rax");
}

static void write_ac(uint64_t va)
{
    __asm__ volatile("stac\n movq %1, (%0)\n clac" ::"r"(va), "r"(va * 3)
                     : "memory");
}

static void fetch_it(uint64_t va)
{
    ((void (*)(void))va)();
}

/* The error code of an access to one page, or -1. */
static int model_page(unsigned i, enum access a, bool user, bool ac)
{
    uint64_t e = i < PAGES ? entry[space][i] : 0;
    int error = (a == WRITE ? W : 0) | (user ? U : 0) | (a == FETCH ? I : 0);
    bool bad;

    if (!(e & PTE_P))
        return error;
    bad = user && !(e & PTE_U);
    bad |= a == WRITE && !(e & PTE_W) && (user || wp_on);
    bad |= a == FETCH && e & PTE_NX;
    if (!user && e & PTE_U)
        bad |= a == FETCH ? smep_on : smap_on && !ac;
    return bad ? error | P : -1;
}

static struct fault do_access(uint64_t va, enum access a, bool user, bool ac)
{
    static const uint8_t *const code[3][2] = {{user_read, user_read_end},
                                              {user_write, user_write_end},
                                              {user_fetch, user_fetch_end}};
    struct frame f = {.rip = CODE_VA + 64u * a,
                      .cs = SEL_USER_CODE64,
                      .rflags = 2,
                      .ss = SEL_USER_DATA};

    (void)code;
    if (user) {
        f.gpr[RDI] = va;
        f.gpr[RSI] = va * 3;
        return enter(&f);
    }
    if (a == READ)
        return guarded(ac ? read_ac : read_it, va);
    if (a == WRITE)
        return guarded(ac ? write_ac : write_it, va);
    return guarded(fetch_it, va);
}

static uint64_t host_of(uint64_t va)
{
    unsigned i = (unsigned)((va - TEST_VA) >> 12);

    return (entry[space][i] & PTE_ADDR) + (va & 0xfff);
}

static void expect_dirty(unsigned i, enum access a)
{
    uint64_t e = *pte(VA(i), 1), want = a == WRITE ? PTE_A | PTE_D : PTE_A;

    CHECK_EQ(e & want, want);
}

static void check_access(void)
{
    unsigned i = random_below(PAGES);
    enum access a = (enum access)random_below(3);
    bool user = random_below(3) == 0;
    bool ac = have_smap && !user && a != FETCH && random_below(2);
    uint64_t off = a == FETCH        ? 2048
                   : random_below(4) ? 8 * random_below(250)
                                     : 4089 + random_below(7);
    bool cross = off > 4088;
    uint64_t va = VA(i) + off, cr2 = va;
    int error = model_page(i, a, user, ac);
    struct fault f;

    if (error < 0 && cross) {
        error = model_page(i + 1, a, user, ac);
        cr2 = VA(i + 1);
    }
    f = do_access(va, a, user, ac);
    if (error >= 0) {
        CHECK_EQ(f.f.vector, 14);
        CHECK_EQ(f.f.error, (unsigned)error);
        CHECK_EQ(f.cr2, cr2);
        return;
    }
    CHECK_EQ(f.f.vector, user ? VECTOR_DONE : NO_FAULT);
    expect_dirty(i, a);
    if (cross)
        expect_dirty(i + 1, a);
    else if (a == WRITE)
        CHECK_EQ(mem_read64(host_of(va)), va * 3);
    else if (a == READ && user)
        CHECK_EQ(f.f.gpr[RAX], mem_read64(host_of(va)));
}

/* Flush only where a stale entry would be wrong: not when the old entry was
 * not present. */
static void change_page(void)
{
    unsigned i = random_below(PAGES);
    uint64_t e = 0, old = entry[space][i];

    if (random_below(5)) {
        e = frame[random_below(FRAMES)] | PTE_P;
        e |= random_below(2) ? PTE_W : 0;
        e |= random_below(2) ? PTE_U : 0;
        e |= random_below(4) ? 0 : PTE_NX;
    }
    entry[space][i] = e;
    *(volatile uint64_t *)pte(VA(i), 1) = e;
    if (!(old & PTE_P))
        return;
    if (random_below(4))
        invlpg(VA(i) + random_below(4096));
    else
        WRITE_CR(3, READ_CR(3));
}

static void change_control(void)
{
    switch (random_below(4)) {
    case 0:
        wp_on = !wp_on;
        WRITE_CR(0, wp_on ? READ_CR(0) | WP : READ_CR(0) & ~WP);
        break;
    case 1:
        smap_on = have_smap && !smap_on;
        WRITE_CR(4, smap_on ? READ_CR(4) | SMAP : READ_CR(4) & ~SMAP);
        break;
    case 2:
        smep_on = have_smep && !smep_on;
        WRITE_CR(4, smep_on ? READ_CR(4) | SMEP : READ_CR(4) & ~SMEP);
        break;
    default:
        space ^= 1;
        WRITE_CR(3, pcid_on ? roots[space] | (space + 1) | 1ull << 63
                            : roots[space]);
        break;
    }
}

static void set_up(void)
{
    static const uint8_t ret[1] = {0xc3}, done[2] = {0xcd, VECTOR_DONE};
    uint64_t page;

    for (unsigned i = 0; i < FRAMES; i++) {
        frame[i] = page_alloc();
        /* Fetches go to the middle: "ret" for ring 0. For ring 3 it would
         * need a stack, so there the code ends by INT. */
        memcpy((void *)(frame[i] + 2048), done, 2);
        (void)ret;
    }
    map_code(CODE_VA, user_read, user_read_end, PTE_P | PTE_U);
    page = *pte(CODE_VA, 1) & PTE_ADDR;
    memcpy((void *)(page + 64), user_write,
           (size_t)(user_write_end - user_write));
    memcpy((void *)(page + 128), user_fetch,
           (size_t)(user_fetch_end - user_fetch));
    roots[0] = READ_CR(3) & PTE_ADDR;
    roots[1] = page_alloc();
    memcpy((void *)roots[1], (void *)roots[0], 4096);
    *(uint64_t *)(roots[1] + 8 * (TEST_VA >> 39 & 511)) = 0;
    WRITE_CR(3, roots[1]); /* its own tables below */
    map_page(CODE_VA, page, PTE_P | PTE_U);
    map_page(TEST_VA, 0, 0);
    WRITE_CR(3, roots[0]);
    map_page(TEST_VA, 0, 0);
}

/* In ring 0 the code at 2048 is an INT as well. */
static void on_done(struct frame *f)
{
    uint64_t *sp = (uint64_t *)f->rsp;

    if (f->cs != SEL_CODE64)
        return;
    f->rip = *sp; /* as RET would */
    f->rsp += 8;
}

static void run(void)
{
    for (unsigned n = 0; n < ROUNDS; n++) {
        unsigned what = random_below(10);

        if (what < 3)
            change_page();
        else if (what < 4)
            change_control();
        else
            check_access();
    }
}

static void on_user_done(struct frame *f);

int main(void)
{
    have_smap = has_smap();
    have_smep = has_smep();
    set_up();
    set_handler(VECTOR_DONE, on_user_done);
    run();
    if (has_pcid()) {
        WRITE_CR(3, roots[0]);
        space = 0;
        WRITE_CR(4, READ_CR(4) | 0x20000);
        pcid_on = true;
        WRITE_CR(3, roots[0] | 1);
        WRITE_CR(3, roots[1] | 2);
        WRITE_CR(3, roots[0] | 1);
        run();
    }
    return 0;
}

/* From ring 3 it ends the guard, as if there were no handler. */
static void on_user_done(struct frame *f)
{
    if (f->cs == SEL_CODE64) {
        on_done(f);
        return;
    }
    guard_end(f);
}
