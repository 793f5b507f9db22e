/*
 * Real mode, for every engine and every KVM: arithmetic, stack, far calls, the interrupt vector table,
 * strings, and port accesses of each size, alone and repeated. No SSE.
 */
#include "guest.inc"

#define PORT 0x80 /* reads back as its number */

	.code16
main:
	/* arithmetic and flags */
	movl $0x12345678, %eax
	movl $0x9abcdef0, %ebx
	mull %ebx
	CHECK 1, %eax, 0x242d2080
	CHECK 1, %edx, 0x0b00ea4e
	divl %ebx
	CHECK 2, %eax, 0x12345678
	CHECK 2, %edx, 0
	movw $0x7fff, %ax
	addw $1, %ax
	jo 1f
	FAIL 3
1:	pushfw
	popw %bx
	andl $0x8d5, %ebx
	CHECK 3, %ebx, 0x894

	/* stack and far calls */
	movl %esp, %ecx
	pushl $0x11223344
	pushw $0x5566
	popl %eax
	popw %dx
	movzwl %dx, %edx
	CHECK 4, %eax, 0x33445566
	CHECK 4, %edx, 0x1122
	cmpl %ecx, %esp
	je 1f
	FAIL 5
1:	xorl %eax, %eax
	lcall $0x800, $(far_routine - 0x8000)
	CHECK 6, %eax, 0x800

	/* INT n and a division error, through the table */
	movw $int_handler, 4 * 0x40
	movw $0, 4 * 0x40 + 2
	movw $de_handler, 0
	movw $0, 2
	xorl %eax, %eax
	sti
	int $0x40
	CHECK 7, %eax, 0x40
	pushfw
	popw %bx
	andl $0x200, %ebx
	CHECK 8, %ebx, 0x200
	cli
	xorl %ecx, %ecx
	xorw %dx, %dx
	movw $1, %ax
	divw %cx
	CHECK 9, %ecx, 0xde

	/* strings */
	movw $0x5000, %di
	movw $0x6162, %ax
	movw $64, %cx
	cld
	rep stosw
	movw $0x5000, %si
	movw $0x5100, %di
	movw $32, %cx
	rep movsl
	movw $0x5000, %si
	movw $0x5100, %di
	movw $128, %cx
	repe cmpsb
	je 1f
	FAIL 10
1:	movzwl %cx, %ecx
	CHECK 10, %ecx, 0

	/* ports */
	xorl %eax, %eax
	inb $PORT, %al
	CHECK 20, %eax, PORT
	movw $0x1234, %dx
	inw %dx, %ax
	CHECK 21, %eax, 0x1234
	movl $-1, %eax
	inl %dx, %eax
	CHECK 22, %eax, 0x1234
	outb %al, $PORT
	outl %eax, %dx
	movw $0x5200, %di
	movw $5, %cx
	rep insw
	movzwl %di, %eax
	CHECK 23, %eax, 0x520a
	CHECK 23, 0x5204, 0x12341234
	movw $0x5200, %si
	movw $5, %cx
	rep outsw
	movzwl %si, %eax
	CHECK 24, %eax, 0x520a
	PASS

far_routine:
	movw %cs, %ax
	lret
int_handler:
	movl $0x40, %eax
	iretw
de_handler: /* the instruction is two bytes */
	movl $0xde, %ecx
	pushw %bp
	movw %sp, %bp
	addw $2, 2(%bp)
	popw %bp
	iretw
