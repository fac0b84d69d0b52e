/*
 * An expansion ROM that boots a kernel under a BIOS (BIOS Boot Specification
 * 1.01, "BEV"): the firmware starts it as one of the things to boot from. It
 * has the configuration device (QEMU: docs/specs/fw_cfg.rst) put the kernel's
 * parts where the descriptors say, and enters its real-mode code (Linux:
 * Documentation/arch/x86/boot.rst). fw_kernel.c fills in descriptors and sums.
 */
	.section .rodata
	.code16
	.globl	kernel_rom, kernel_rom_pnp, kernel_rom_parts, kernel_rom_end
	.set	PARTS, 4
	.set	SCRATCH, 0x7c00		/* the descriptors, where DMA may write */
	.set	DMA_HIGH, 0x514
	.set	DMA_LOW, 0x518
	.set	SETUP, 0x1000		/* segment of the real-mode code */
	.set	STACK, 0xe000

kernel_rom:
	.word	0xaa55
	.byte	1			/* unit of 512 bytes */
	jmp	init
	.org	kernel_rom + 0x1a
	.word	kernel_rom_pnp - kernel_rom
	.balign	16
kernel_rom_pnp:
	.ascii	"$PnP"
	.byte	1, 2			/* version; units of 16 bytes */
	.word	0
	.byte	0, 0			/* its sum */
	.long	0
	.word	maker - kernel_rom, product - kernel_rom
	.byte	1, 0x80, 0		/* mass storage, another */
	.byte	0x14			/* needed if it is booted from */
	.word	0, 0, boot - kernel_rom, 0, 0

init:	movw	$0x20, %ax		/* there is something to boot from */
	lretw

boot:	cli
	cld
	xorw	%ax, %ax
	movw	%ax, %es
	movw	%cs, %ax
	movw	%ax, %ds
	movw	$(kernel_rom_parts - kernel_rom), %si
	movw	$SCRATCH, %di
	movw	$(PARTS * 8), %cx
	rep movsw
	xorl	%eax, %eax
	movw	$DMA_HIGH, %dx
	outl	%eax, %dx
	movw	$DMA_LOW, %dx
	movw	$SCRATCH, %si
	movw	$PARTS, %cx
1:	cmpl	$0, %es:4(%si)		/* no bytes */
	je	2f
	movzwl	%si, %eax
	bswapl	%eax
	outl	%eax, %dx
	cmpl	$0, %es:(%si)
	jne	failed
2:	addw	$16, %si
	loop	1b
	movw	$SETUP, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %fs
	movw	%ax, %gs
	movw	%ax, %ss
	movl	$STACK, %esp
	ljmpw	$(SETUP + 0x20), $0
failed:	int	$0x18			/* try the next */

maker:	.asciz	"husk"
product: .asciz	"kernel"
	.balign	4
kernel_rom_parts:
	.fill	PARTS * 16, 1, 0
	.org	kernel_rom + 512
kernel_rom_end:
	.section .note.GNU-stack, "", @progbits
