/* 64-bit paging: rights, reserved bits, A and D, WP, NX, SMEP, SMAP, INVLPG, PCID, INVPCID. */
#include "guest.inc"

#define PD(mib)  (TABLES + 0x2000 + (mib) / 2 * 8)
#define PT       (TABLES + 0x3000)
#define LINEAR   0x10000000 /* mapped by 4 KiB pages through PT */

	.code16
main:
	ENTER64
	INSTALL_IDT64
	movl $(PT + 7), PD(256)
	movl $0, PD(256) + 4

	/* not present; error codes of read, write and user accesses */
	EXPECT 1, PF, 0, movl LINEAR, %eax
	movq %cr2, %rax
	CHECK 2, %eax, LINEAR
	EXPECT 3, PF, 2, movl %eax, LINEAR + 4
	movq %cr2, %rax
	CHECK 4, %eax, LINEAR + 4
	USER 5, PF, 4, movl LINEAR, %eax
	USER 6, PF, 6, movl %eax, LINEAR

	/* A on a read, D on the first write; not-present entries are not cached */
	movl $(FREE + 7), PT
	movl LINEAR, %eax
	movl PT, %eax
	CHECK 7, %eax, FREE + 0x27
	movl %eax, LINEAR
	movl PT, %eax
	CHECK 8, %eax, FREE + 0x67

	/* supervisor page, read-only page */
	movl $(FREE + 3), PT
	invlpg LINEAR
	USER 9, PF, 5, movl LINEAR, %eax
	movl $(FREE + 5), PT
	invlpg LINEAR
	USER 10, PF, 7, movl %eax, LINEAR
	EXPECT 11, PF, 3, movl %eax, LINEAR /* CR0.WP */
	movq %cr0, %rax
	andl $~0x10000, %eax
	movq %rax, %cr0
	movl %eax, LINEAR
	movq %cr0, %rax
	orl $0x10000, %eax
	movq %rax, %cr0
	EXPECT 12, PF, 3, movl %eax, LINEAR

	/* a stale translation survives until INVLPG or a load of CR3 */
	movl $(FREE + 7), PT
	invlpg LINEAR
	movl $0x1111, FREE
	movl $0x2222, FREE + 0x1000
	movl LINEAR, %eax
	CHECK 13, %eax, 0x1111
	movl $(FREE + 0x1007), PT
	invlpg LINEAR
	movl LINEAR, %eax
	CHECK 14, %eax, 0x2222
	movl $(FREE + 7), PT
	movq %cr3, %rax
	movq %rax, %cr3
	movl LINEAR, %eax
	CHECK 15, %eax, 0x1111

	/* reserved bits: bit 51 with 46 physical bits; in a 2 MiB leaf bit 13 */
	movl $0x80000, PT + 4
	invlpg LINEAR
	EXPECT 16, PF, 9, movl LINEAR, %eax
	USER 17, PF, 0xd, movl LINEAR, %eax
	movl $0, PT + 4
	movl $(FREE + 0x2087), PD(258)
	EXPECT 18, PF, 9, movl LINEAR + 0x200000, %eax

	/* NX */
	movb $0xc3, FREE /* ret */
	movl $0x80000000, PT + 4
	invlpg LINEAR
	movl LINEAR, %eax
	EXPECT 19, PF, 0x11, call LINEAR
	movq $STACK, %rsp
	movl $0, PT + 4
	invlpg LINEAR
	call LINEAR

	/* a page-crossing write changes nothing when the second page faults */
	movl $0x5555, LINEAR + 0xffc
	movl $0, PT + 8
	invlpg LINEAR + 0x1000
	EXPECT 20, PF, 2, movq $0, LINEAR + 0xffc
	movq %cr2, %rax
	CHECK 21, %eax, LINEAR + 0x1000
	movl LINEAR + 0xffc, %eax
	CHECK 22, %eax, 0x5555

	/* SMEP and SMAP; the code itself must then be on a supervisor page */
	movb $0x83, PD(0)
	movq %cr3, %rax
	movq %rax, %cr3
	movq %cr4, %rax
	orl $0x300000, %eax
	movq %rax, %cr4
	movl $(FREE + 7), PT
	EXPECT 30, PF, 0x11, call LINEAR
	EXPECT 31, PF, 1, movl LINEAR, %eax
	EXPECT 32, PF, 3, movl %eax, LINEAR
	stac
	movl LINEAR, %eax
	movl %eax, LINEAR
	clac
	EXPECT 33, PF, 1, movl LINEAR, %eax
	pushfq /* AC set by POPF counts as well */
	orl $0x40000, (%rsp)
	popfq
	movl LINEAR, %eax
	clac
	movq %cr4, %rax
	andl $~0x300000, %eax
	movq %rax, %cr4
	movb $0x87, PD(0)
	movq %cr3, %rax
	movq %rax, %cr3

	/* non-canonical: #GP, through the stack #SS */
	movabsq $0x800000000000, %rbx
	EXPECT 40, GP, 0, movl (%rbx), %eax
	movq %rbx, %rbp
	EXPECT 41, SS_, 0, movl (%rbp), %eax
	EXPECT 42, GP, 0, jmp *%rbx

	/* PCID: needs CR3[11:0] = 0; bit 63 keeps; INVPCID's checks */
	movq %cr4, %rax
	orl $0x20000, %eax
	movq %rax, %cr4
	movl $TABLES + 5, %eax
	movq %rax, %cr3
	movl LINEAR, %eax
	btsq $63, %rax
	movl $TABLES, %eax
	btsq $63, %rax
	movq %rax, %cr3
	movq %cr3, %rax
	shrq $63, %rax
	CHECK 43, %eax, 0
	movq $5, SCRATCH
	movq $LINEAR, SCRATCH + 8
	movl $0, %ecx
	invpcid SCRATCH, %rcx
	movl $4, %ecx
	EXPECT 44, GP, 0, invpcid SCRATCH, %rcx
	movq $0x1000, SCRATCH
	movl $1, %ecx
	EXPECT 45, GP, 0, invpcid SCRATCH, %rcx
	movq $0, SCRATCH
	movabsq $0x800000000000, %rax
	movq %rax, SCRATCH + 8
	movl $0, %ecx
	EXPECT 46, GP, 0, invpcid SCRATCH, %rcx
	USER 47, GP, 0, invpcid SCRATCH, %rcx
	movl $3, %ecx
	invpcid SCRATCH, %rcx
	movq %cr0, %rax
	btrq $31, %rax
	EXPECT 48, GP, 0, movq %rax, %cr0
	movl $TABLES + 5, %eax
	movq %rax, %cr3
	movq %cr4, %rax
	andl $~0x20000, %eax
	movq %rax, %cr4
	movl $TABLES, %eax
	movq %rax, %cr3
	movq %cr4, %rax
	orl $0x20000, %eax
	movl $TABLES + 5, %ebx
	movq %rbx, %cr3
	EXPECT 49, GP, 0, movq %rax, %cr4
	PASS
