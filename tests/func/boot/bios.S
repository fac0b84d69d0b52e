# A boot sector that tries what boot loaders rely on, under a BIOS: one line for
# each on the first serial port, "NAME ok" or "NAME bad", and then power-off.
	.code16
	.globl _start
_start:
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %ss
	movw	$0x7c00, %sp
	movw	$0xffff, %bx
	movw	%bx, %es
	cld

	# INT 15h closes the A20 gate: 1 MiB + 0x7500 is 0x7500.
	movw	$a20, %si
	movw	$0x2400, %ax
	int	$0x15
	movw	$0x1111, %es:0x7510
	movw	$0x2402, %ax
	int	$0x15
	cmpb	$0, %al
	jne	1f
	cmpw	$0x1111, 0x7500
	jne	1f
	movw	$0x2401, %ax		# and opens it
	int	$0x15
	movw	$0x2222, %es:0x7510
	cmpw	$0x1111, 0x7500
1:	call	tell

	# PAM: what 0xd0000 is for reads and for writes, in turn.
	movw	$0xd000, %bx
	movw	%bx, %es
	movw	$pam, %si
	movb	$3, %al			# RAM
	call	set_pam
	movw	$0x1111, %es:0
	movb	$2, %al			# ROM, writes reach the RAM behind it
	call	set_pam
	cmpw	$0xffff, %es:0
	jne	1f
	movw	$0x2222, %es:0
	cmpw	$0xffff, %es:0
	jne	1f
	movb	$1, %al			# RAM, writes are dropped
	call	set_pam
	cmpw	$0x2222, %es:0
	jne	1f
	movw	$0x3333, %es:0
	cmpw	$0x2222, %es:0
1:	call	tell

	# The refresh bit of port 0x61 flips.
	movw	$refresh, %si
	call	flip
	call	flip
	xorw	%ax, %ax
	call	tell

	# Counter 2 ends: 10 ms, seen in bit 5.
	movw	$counter, %si
	inb	$0x61, %al
	andb	$0xfc, %al
	orb	$1, %al			# gate on, speaker off
	outb	%al, $0x61
	movb	$0xb0, %al		# mode 0
	outb	%al, $0x43
	movw	$11932, %ax
	outb	%al, $0x42
	movb	%ah, %al
	outb	%al, $0x42
	inb	$0x61, %al
	testb	$0x20, %al
	jnz	2f
1:	inb	$0x61, %al
	testb	$0x20, %al
	jz	1b
	xorw	%ax, %ax
2:	call	tell

	# INT 15h, AH=86h waits for 10 ms.
	movw	$wait, %si
	movb	$0x86, %ah
	xorw	%cx, %cx
	movw	$10000, %dx
	int	$0x15
	sbbw	%ax, %ax		# carry: it did not
	call	tell

	# INT 16h has no key.
	movw	$keys, %si
	movb	$1, %ah
	int	$0x16
	call	tell

	movw	$0x604, %dx		# soft-off
	movw	$0x3400, %ax
	outw	%ax, %dx
	hlt

# Wait until bit 4 of port 0x61 is another.
flip:	inb	$0x61, %al
	movb	%al, %ah
1:	inb	$0x61, %al
	xorb	%ah, %al
	testb	$0x10, %al
	jz	1b
	ret

# Bits 1:0 of the PAM register's half for 0xd0000, at 0x5c.
set_pam:
	pushw	%ax
	movl	$0x8000005c, %eax
	movw	$0xcf8, %dx
	outl	%eax, %dx
	popw	%ax
	movw	$0xcfc, %dx
	outb	%al, %dx
	ret

# Name at si; the zero flag says whether it went well.
tell:	movw	$bad, %di
	jnz	1f
	movw	$ok, %di
1:	call	print
	movw	%di, %si
print:	lodsb
	testb	%al, %al
	jz	2f
	movw	$0x3f8, %dx
	outb	%al, %dx
	jmp	print
2:	ret

a20:	.asciz "a20"
pam:	.asciz "pam"
refresh: .asciz "refresh"
counter: .asciz "counter"
wait:	.asciz "wait"
keys:	.asciz "keys"
ok:	.asciz " ok\n"
bad:	.asciz " bad\n"
	.org	510
	.word	0xaa55
