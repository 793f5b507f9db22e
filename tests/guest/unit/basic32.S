/*
 * Protected mode with and without paging, for every engine and every KVM: exceptions with and without
 * error codes, CPL 3, the TSS's stack, page faults with CR2, accessed and dirty bits. No SSE.
 */
#include "guest.inc"

#define LINEAR 0x400000 /* the second 4 MiB: a table of its own */
#define PTE    (TABLES + 0x1000)

	.code16
main:
	ENTER32
	INSTALL_IDT32

	/* exceptions at CPL 0 */
	xorl %edx, %edx
	xorl %ecx, %ecx
	EXPECT32 1, DE, 0, divl %ecx
	EXPECT32 2, UD, 0, ud2
	movl $0x100, %eax
	EXPECT32 3, GP, 0x100, movw %ax, %ds
	EXPECT32 4, GP, (100*8+2), int $100 /* beyond what is installed: not present or no gate */

	/* CPL 3 */
	NOT_IN_EMULATED_KVM BY_INT3, paging
	movw $0xffff, TSS + 102 /* no I/O bitmap */
	movw $UDATA, %ax /* what has DPL 0 is null at CPL 3 */
	movw %ax, %fs
	USER32 10, 2, BP, 0, nop
	CHECK 9, FROM_CS, UCODE32
	USER32 11, 2, GP, 0, hlt
	USER32 12, 2, GP, 0, cli
	USER32 13, 2, GP, 0, outb %al, $0x80
	USER32 14, 0x3002, BP, 0, outb %al, $0x80
	USER32 15, 2, GP, 0, movl %cr0, %eax
	movl $0x1234, %eax
	USER32 16, 2, BP, 0, addl $0x1111, %eax
	CHECK 16, %eax, 0x2345

paging:
	NOT_IN_EMULATED_KVM BY_PAGING32, 1f
	/* 4 MiB one to one by a large page, then a table */
	movl $4096, %ecx
	movl $TABLES, %edi
	xorl %eax, %eax
	rep stosl
	movl $0x87, TABLES
	movl $(PTE + 7), TABLES + 4
	movl $(FREE + 7), PTE
	movl %cr4, %eax
	orl $0x10, %eax
	movl %eax, %cr4
	movl $TABLES, %eax
	movl %eax, %cr3
	movl %cr0, %eax
	orl $0x80010000, %eax
	movl %eax, %cr0
	movl $0x55667788, FREE
	CHECK 20, LINEAR, 0x55667788
	CHECK 20, PTE, (FREE + 0x27)
	movl $0x11223344, LINEAR
	CHECK 21, FREE, 0x11223344
	CHECK 21, PTE, (FREE + 0x67)
	EXPECT32 22, PF, 2, movl %eax, LINEAR + 0x1000
	movl %cr2, %eax
	CHECK 22, %eax, (LINEAR + 0x1000)
	movl $(FREE + 5), PTE
	invlpg LINEAR
	EXPECT32 23, PF, 3, movl %eax, %fs:LINEAR
	USER32 24, 2, PF, 7, movl %eax, %fs:LINEAR
	USER32 25, 2, BP, 0, movl %fs:LINEAR, %eax
	movl $(FREE + 3), PTE
	invlpg LINEAR
	USER32 26, 2, PF, 5, movl %fs:LINEAR, %eax

	/* the handler makes the page and the instruction goes on */
	movl $0, PTE
	invlpg LINEAR
	movl $fix_page, %eax
	movw %ax, IDT + 8 * PF
	shrl $16, %eax
	movw %ax, IDT + 8 * PF + 6
	xorl %ebx, %ebx
	movl LINEAR, %ecx
	CHECK 30, %ecx, 0x11223344
	CHECK 30, %ebx, 1
1:
	PASS

fix_page:
	addl $4, %esp
	incl %ebx
	movl $(FREE + 7), PTE
	iretl
