#include "guest.h"

/* Every privileged instruction raises #GP(0) at CPL 3 (SDM vol. 3, 5.9). */

#define USER_CODE TEST_VA
#define USER_DATA (TEST_VA + 0x2000)

CODE(i_hlt, "hlt");
CODE(i_cli, "cli");
CODE(i_sti, "sti");
CODE(i_clts, "clts");
CODE(i_in, "inb $0x40, %al");
CODE(i_out, "outb %al, $0x80");
CODE(i_in_dx, "inl %dx, %eax");
CODE(i_ins, "insb");
CODE(i_outs, "outsb");
CODE(i_rdcr0, "movq %cr0, %rax");
CODE(i_rdcr8, "movq %cr8, %rax");
CODE(i_wrcr3, "movq %rax, %cr3");
CODE(i_wrcr4, "movq %rax, %cr4");
CODE(i_rddr, "movq %dr7, %rax");
CODE(i_wrdr, "movq %rax, %dr0");
CODE(i_lgdt, "lgdt (%rdi)");
CODE(i_lidt, "lidt (%rdi)");
CODE(i_lldt, "lldt %ax");
CODE(i_ltr, "ltr %ax");
CODE(i_lmsw, "lmsw %ax");
CODE(i_invlpg, "invlpg (%rdi)");
CODE(i_invd, "invd");
CODE(i_wbinvd, "wbinvd");
CODE(i_rdmsr, "rdmsr");
CODE(i_wrmsr, "wrmsr");
CODE(i_swapgs, "swapgs");
CODE(i_sysret, "sysretq");
CODE(i_sysexit, "sysexitl");
CODE(i_xsetbv, "xsetbv");
CODE(i_int, "int $0x21");

#define INSN(name)                                                             \
    {                                                                          \
#        name, i_##name, i_##name##_end                                        \
    }

static const struct {
    const char *name;
    const uint8_t *start, *end;
} insns[] = {
    INSN(hlt),    INSN(cli),    INSN(sti),     INSN(clts),   INSN(in),
    INSN(out),    INSN(in_dx),  INSN(ins),     INSN(outs),   INSN(rdcr0),
    INSN(rdcr8),  INSN(wrcr3),  INSN(wrcr4),   INSN(rddr),   INSN(wrdr),
    INSN(lgdt),   INSN(lidt),   INSN(lldt),    INSN(ltr),    INSN(lmsw),
    INSN(invlpg), INSN(invd),   INSN(wbinvd),  INSN(rdmsr),  INSN(wrmsr),
    INSN(swapgs), INSN(sysret), INSN(sysexit), INSN(xsetbv),
};

static struct fault run(const void *start, const void *end, uint64_t flags)
{
    struct frame f = {.rip = USER_CODE,
                      .cs = SEL_USER_CODE64,
                      .rflags = 2 | flags,
                      .rsp = USER_DATA + 0x800,
                      .ss = SEL_USER_DATA};
    uint8_t code[32];
    size_t len = (size_t)((const uint8_t *)end - (const uint8_t *)start);

    memcpy(code, start, len);
    code[len] = 0xcd;
    code[len + 1] = VECTOR_DONE;
    map_code(USER_CODE, code, code + len + 2, PTE_P | PTE_U);
    f.gpr[RDI] = USER_DATA;
    f.gpr[RSI] = USER_DATA;
    f.gpr[RDX] = 0x40;
    return enter(&f);
}

static void test_all(void)
{
    for (unsigned i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
        struct fault f = run(insns[i].start, insns[i].end, 0);

        if (insns[i].start == i_sysexit && f.f.vector == 6)
            continue; /* AMD: not in long mode (APM vol. 3, SYSEXIT) */
        if (f.f.vector != 13 || f.f.error || f.f.rip != USER_CODE) {
            print(insns[i].name);
            print(": vector ");
            print_hex(f.f.vector);
            print(" error ");
            print_hex(f.f.error);
            print("\n");
            CHECK(false);
        }
    }
    CHECK_EQ(run(i_int, i_int_end, 0).f.error, 0x21 * 8 + 2);
}

/* IOPL 3 lets user code switch interrupts and use ports. */
static void test_iopl(void)
{
    struct fault f = run(i_cli, i_cli_end, 0x3200);

    CHECK_EQ(f.f.vector, VECTOR_DONE);
    CHECK_EQ(f.f.rflags & 0x200, 0);
    f = run(i_sti, i_sti_end, 0x3000);
    CHECK_EQ(f.f.vector, VECTOR_DONE);
    CHECK_EQ(f.f.rflags & 0x200, 0x200);
    CHECK_EQ(run(i_in, i_in_end, 0x3000).f.vector, VECTOR_DONE);
    CHECK_EQ(run(i_in, i_in_end, 0x2000).f.vector, 13);
    CHECK_EQ(run(i_hlt, i_hlt_end, 0x3000).f.vector, 13);
}

/* POPF at CPL 3 changes neither IOPL nor, with IOPL 0, IF; no fault. */
CODE(i_popf, "pushq $0x3002\n popfq");
CODE(i_popf_if, "pushq $0x2\n popfq");
CODE(i_popf_id, "pushq $0x200cd7\n popfq"); /* ID, flags */

static void test_popf(void)
{
    struct fault f = run(i_popf, i_popf_end, 0x200);

    CHECK_EQ(f.f.vector, VECTOR_DONE);
    CHECK_EQ(f.f.rflags & 0x3200, 0x200);
    f = run(i_popf_if, i_popf_if_end, 0x200);
    CHECK_EQ(f.f.rflags & 0x200, 0x200);
    f = run(i_popf_if, i_popf_if_end, 0x3200);
    CHECK_EQ(f.f.rflags & 0x3200, 0x3000);
    f = run(i_popf_id, i_popf_id_end, 0x200);
    CHECK_EQ(f.f.rflags & 0x200cd5, 0x200cd5);
}

/* The I/O permission bitmap (SDM vol. 1, 19.5.2). */
static void test_bitmap(void)
{
    uint8_t *map = tss() + 104;

    map_page(USER_DATA, page_alloc(), PTE_P | PTE_U | PTE_W);
    set_tss_limit(104 + 8192);
    CHECK_EQ(run(i_in, i_in_end, 0).f.vector, 13);
    map[0x40 / 8] = (uint8_t)~1;
    CHECK_EQ(run(i_in, i_in_end, 0).f.vector, VECTOR_DONE);
    CHECK_EQ(run(i_in_dx, i_in_dx_end, 0).f.vector, 13); /* four ports */
    map[0x40 / 8] = (uint8_t)~15;
    CHECK_EQ(run(i_in_dx, i_in_dx_end, 0).f.vector, VECTOR_DONE);
    CHECK_EQ(run(i_ins, i_ins_end, 0).f.vector, VECTOR_DONE);
    CHECK_EQ(run(i_out, i_out_end, 0).f.vector, 13);
    set_tss_limit(104 + 0x40 / 8); /* the second byte is beyond the limit */
    CHECK_EQ(run(i_in, i_in_end, 0).f.vector, 13);
    set_tss_limit(103);
    CHECK_EQ(run(i_in, i_in_end, 0).f.vector, 13);
}

CODE(i_sgdt, "sgdt (%rdi)");
CODE(i_sidt, "sidt (%rdi)");
CODE(i_sldt, "sldt %rax");
CODE(i_str, "str %rax");
CODE(i_smsw, "smsw %rax");

static void test_umip(void)
{
    static const struct {
        const uint8_t *start, *end;
    } umip[] = {{i_sgdt, i_sgdt_end},
                {i_sidt, i_sidt_end},
                {i_sldt, i_sldt_end},
                {i_str, i_str_end},
                {i_smsw, i_smsw_end}};

    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(run(umip[i].start, umip[i].end, 0).f.vector, VECTOR_DONE);
    CHECK_EQ(run(i_str, i_str_end, 0).f.gpr[RAX], SEL_TSS);
    CHECK_EQ(run(i_smsw, i_smsw_end, 0).f.gpr[RAX] & 0xffff,
             READ_CR(0) & 0xffff);
    if (!has_umip())
        return;
    WRITE_CR(4, READ_CR(4) | 0x800);
    for (unsigned i = 0; i < 5; i++) {
        struct fault f = run(umip[i].start, umip[i].end, 0);

        CHECK_EQ(f.f.vector, 13);
        CHECK_EQ(f.f.error, 0);
    }
    WRITE_CR(4, READ_CR(4) & ~0x800ull);
}

int main(void)
{
    map_page(USER_DATA, page_alloc(), PTE_P | PTE_U | PTE_W);
    test_all();
    test_iopl();
    test_popf();
    test_bitmap();
    test_umip();
    return 0;
}
