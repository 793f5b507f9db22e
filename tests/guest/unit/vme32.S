/*
 * Virtual-8086 mode extensions and protected-mode virtual interrupts (SDM vol. 3B §20.3, §20.4):
 * CLI, STI, PUSHF, POPF, IRET and INT n with CR4.VME, CLI and STI with CR4.PVI.
 */
#include "guest.inc"

#define VME    1
#define PVI    2
#define VM     0x20002 /* and the bit that is always set */
#define RF     0x10000
#define VIF    0x80000
#define VIP    0x100000
#define IOPL3  0x3000
#define IO_MAP 0x88 /* of the TSS: the redirection bitmap is at 0x68 */
#define BITMAP (TSS + IO_MAP - 32)

.macro SET_CR4 value
	movl $\value, %eax
	movl %eax, %cr4
.endm

/* Runs 8086 code with these flags until it raises the vector. */
.macro V86 n, flags, vector, code
	movl $-1, VECTOR
	movl %esp, KEEP_SP
	movl $9040f, RESUME
	pushl $0 /* GS, FS, DS, ES */
	pushl $0
	pushl $0
	pushl $0
	pushl $0x500 /* SS */
	pushl $0x100 /* SP */
	pushl $(\flags)
	pushl $0x800 /* CS */
	pushl $(\code - 0x8000)
	iretl
9040:
	CHECK \n, VECTOR, \vector
.endm

/* The same where #GP(0) must come, at `at` and with nothing popped or pushed. */
.macro V86_GP n, flags, code, at, sp
	V86 \n, (\flags), GP, \code
	CHECK \n, ERROR, 0
	CHECK \n, AT, (\at - 0x8000)
	CHECK \n, FLAGS, ((\flags) | RF)
	CHECK \n, (STACK0 - 24), \sp
.endm

	.code16
main:
	ENTER32
	INSTALL_IDT32
	movw $IO_MAP, TSS + 102
	movl $1, %eax
	cpuid
	andl $2, %edx
	CHECK 1, %edx, 2

	/* without VME the monitor is asked */
	V86_GP 2, VM, v86_pushf, v86_pushf, 0x100
	V86_GP 3, VM, v86_iret, v86_iret_at, 0xfa
	V86_GP 4, VM, v86_int, v86_int, 0x100

	SET_CR4 VME
	movl %cr4, %eax
	CHECK 5, %eax, VME

	/* CLI, STI and PUSHF: IF stays what it is */
	V86 10, (VM | 0x200), BP, v86_sti_cli
	CHECK 11, %eax, 0x3202
	CHECK 12, %ebx, 0x3002
	CHECK 13, FLAGS, (VM | 0x200)
	V86 14, VM, BP, v86_sti
	CHECK 15, FLAGS, (VM | VIF)
	V86_GP 16, (VM | VIP), v86_sti, v86_sti, 0x100
	V86 17, (VM | VIP), BP, v86_cli
	CHECK 18, FLAGS, (VM | VIP)
	V86 19, (VM | IOPL3), BP, v86_sti
	CHECK 20, FLAGS, (VM | IOPL3 | 0x200)
	V86_GP 21, VM, v86_pushfl, v86_pushfl, 0x100
	V86_GP 22, VM, v86_popfl, v86_popfl_at, 0xfc

	/* POPF */
	movl $0x7ed7, %eax
	V86 30, VM, BP, v86_popf
	CHECK 31, FLAGS, (VM | VIF | 0x4cd7)
	movl $0x0002, %eax
	V86 32, (VM | VIF | 0x200), BP, v86_popf
	CHECK 33, FLAGS, (VM | 0x200)
	movl $0x0102, %eax
	V86_GP 34, VM, v86_popf, v86_popf_at, 0xfe
	movl $0x0202, %eax
	V86_GP 35, (VM | VIP), v86_popf, v86_popf_at, 0xfe
	movl $0x0003, %eax
	V86 36, (VM | VIP), BP, v86_popf
	CHECK 37, FLAGS, (VM | VIP | 1)

	/* IRET */
	movl $0x7ed7, %eax
	V86 40, VM, BP, v86_iret
	CHECK 41, FLAGS, (VM | VIF | 0x4cd7)
	CHECK 42, AT, (v86_end - 0x8000)
	movl $0x0102, %eax
	V86_GP 43, VM, v86_iret, v86_iret_at, 0xfa
	movl $0x0202, %eax
	V86_GP 44, (VM | VIP), v86_iret, v86_iret_at, 0xfa
	V86_GP 45, VM, v86_iretl, v86_iretl_at, 0xf4

	/* INT n: to the program's own handler, by the bitmap */
	movl $(0x08000000 + v86_handler - 0x8000), 4 * 33
	V86 50, (VM | VIF), BP, v86_int
	CHECK 51, %ebx, 0x3202 /* the pushed flags */
	CHECK 52, %ecx, 0x800
	CHECK 53, %edx, (v86_int_end - 0x8000)
	CHECK 54, FLAGS, VM
	V86 55, (VM | IOPL3 | 0x300 | VIF), BP, v86_int
	CHECK 56, %ebx, 0x3302
	CHECK 57, FLAGS, (VM | IOPL3 | VIF)
	movl $(0x08000000 + v86_handler_iret - 0x8000), 4 * 33
	V86 58, (VM | VIF), BP, v86_int
	CHECK 59, AT, (v86_int_end + 1 - 0x8000)
	CHECK 60, FLAGS, (VM | VIF)
	movb $2, BITMAP + 4 /* vector 33 */
	V86_GP 61, VM, v86_int, v86_int, 0x100
	V86 62, (VM | IOPL3), 33, v86_int
	CHECK 63, FLAGS, (VM | IOPL3)
	movw $0xffff, TSS + 102 /* no bitmap */
	V86_GP 64, (VM | IOPL3), v86_int, v86_int, 0x100
	movw $IO_MAP, TSS + 102

	/* VIF and VIP: #GP before the first instruction */
	V86_GP 70, (VM | VIF | VIP), v86_cli, v86_cli, 0x100
	V86 71, (VM | VIF | VIP | IOPL3), BP, v86_cli
	USER32 72, (VIF | VIP | 2), BP, 0, nop

	/* protected mode */
	SET_CR4 VME
	USER32 80, 2, GP, 0, sti
	SET_CR4 PVI
	V86_GP 81, VM, v86_sti, v86_sti, 0x100
	USER32 82, 2, BP, 0, sti
	CHECK 83, FLAGS, (VIF | 2)
	USER32 84, (VIF | 0x202), BP, 0, cli
	CHECK 85, FLAGS, 0x202
	USER32 86, (VIP | 2), GP, 0, sti
	USER32 87, (IOPL3 | 2), BP, 0, sti
	CHECK 88, FLAGS, (IOPL3 | 0x202)
	USER32 89, (VIF | 2), BP, 0, jmp user_flags
	CHECK 90, %eax, (VIF | 2)
	CHECK 91, FLAGS, (VIF | 3)
	USER32 92, (VIF | VIP | 2), GP, 0, nop
	CHECK 93, FLAGS, (VIF | VIP | RF | 2)
	/* CPL 0 may have both; they count from the return on */
	movl $1f, RESUME
	pushl $(VIF | VIP | 2)
	pushl $CODE32
	pushl $2f
	iretl
2:	movl %esp, KEEP_SP
	pushl $UDATA
	pushl $STACK3
	pushl $UCODE32
	pushl $bad
	lretl
1:	CHECK 94, VECTOR, GP
	CHECK 95, AT, bad
	PASS

bad:
	FAIL 99

user_flags: /* PUSHF and POPF as ever */
	pushfl
	popl %eax
	pushl $0x203
	popfl
	int3

	.code16
v86_pushf:
	pushfw
v86_sti_cli:
	sti
	pushfw
	popw %ax
	cli
	pushfw
	popw %bx
	movzwl %ax, %eax
	movzwl %bx, %ebx
	int3
v86_sti:
	sti
	int3
v86_cli:
	cli
	int3
v86_pushfl:
	pushfl
v86_popfl:
	pushl $2
v86_popfl_at:
	popfl
v86_popf:
	pushw %ax
v86_popf_at:
	popfw
	int3
v86_iret:
	pushw %ax
	pushw %cs
	pushw $(v86_end - 1 - 0x8000)
v86_iret_at:
	iretw
	hlt
	int3
v86_end:
v86_iretl:
	pushl $2
	pushl $0x800
	pushl $0
v86_iretl_at:
	iretl
v86_int:
	int $33
v86_int_end:
	int3
v86_handler:
	popw %dx
	popw %cx
	popw %bx
	movzwl %dx, %edx
	movzwl %cx, %ecx
	movzwl %bx, %ebx
	int3
v86_handler_iret:
	iretw
