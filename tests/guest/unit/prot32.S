/*
 * 32-bit protected mode: segment checks, call gates with parameters, virtual-8086 mode, hardware
 * tasks.
 */
#include "guest.inc"

#define MON_STACK 0x5400

.macro DESC selector, base, limit, access, flags
	movl $(((\base) & 0xffff) << 16 | ((\limit) & 0xffff)), GDT + (\selector)
	movl $(((\base) & 0xff000000) | ((\base) >> 16 & 0xff) | (\access) << 8 | ((\limit) & 0xf0000) | (\flags) << 20), GDT + (\selector) + 4
.endm

.macro GATE selector, target, offset, access, count
	movl $(\offset), %eax
	movw %ax, GDT + (\selector)
	movw $(\target), GDT + (\selector) + 2
	movb $(\count), GDT + (\selector) + 4
	movb $(\access), GDT + (\selector) + 5
	shrl $16, %eax
	movw %ax, GDT + (\selector) + 6
.endm

	.code16
main:
	ENTER32
	INSTALL_IDT32

	/* segment loads */
	xorl %eax, %eax
	EXPECT32 1, GP, 0, movw %ax, %ss
	movl $CODE32, %eax
	EXPECT32 2, GP, CODE32, movw %ax, %ss
	movl $0x1000, %eax
	EXPECT32 3, GP, 0x1000, movw %ax, %es
	DESC SPARE, 0x200000, 0xff, 0x12, 4 /* data, not present */
	movl $SPARE, %eax
	EXPECT32 4, NP, SPARE, movw %ax, %es
	EXPECT32 5, SS_, SPARE, movw %ax, %ss
	DESC SPARE, 0x200000, 0xff, 0x92, 4
	movw %ax, %es
	CHECK 6, (GDT+SPARE+4), 0x00409320 /* accessed */
	movl %es:0xfc, %ebx
	EXPECT32 7, GP, 0, movl %es:0xfd, %ebx
	movl $SPARE, %eax
	movw %ax, %es
	movb $0x90, GDT + SPARE + 5 /* read-only */
	movw %ax, %es
	EXPECT32 8, GP, 0, movl %ebx, %es:0
	DESC SPARE, 0x200000, 0xff, 0x96, 4 /* expand-down */
	movl $SPARE, %eax
	movw %ax, %es
	movl %es:0x100, %ebx
	EXPECT32 9, GP, 0, movl %es:0xff, %ebx
	xorl %eax, %eax
	movw %ax, %es
	EXPECT32 10, GP, 0, movl %es:0, %ebx
	movl $DATA, %eax
	USER32 11, 2, GP, DATA, movw %ax, %fs
	lar %eax, %ebx
	jnz bad
	CHECK 12, %ebx, 0x00c09300
	lsl %eax, %ebx
	CHECK 13, %ebx, -1
	verw %ax
	jnz bad
	movl $CODE32, %eax
	verw %ax
	jz bad
	movl $TSS_SEL, %eax
	EXPECT32 14, GP, TSS_SEL, ltr %ax /* busy */
	EXPECT32 15, GP, TSS_SEL, lldt %ax
	EXPECT32 16, GP, DATA, ljmp $DATA, $0
	EXPECT32 17, GP, (UCODE32&~3), ljmp $UCODE32, $0
	EXPECT32 18, GP, 0, ljmp $0, $0

	/* a call gate with two parameters, from CPL 3 */
	GATE SPARE, CODE32, gate_target, 0xec, 2
	movl %esp, KEEP_SP
	movl $1f, RESUME
	pushl $UDATA
	pushl $STACK3
	pushl $2
	pushl $UCODE32
	pushl $user_gate
	iretl
user_gate:
	pushl $0x1111
	pushl $0x2222
	lcall $(SPARE+3), $0
	cmpl $STACK3, %esp
	jne 2f
	movw %fs, %ax /* the gate's code left a CPL 0 segment there */
	testw %ax, %ax
	jnz 2f
	int3
2:	ud2
1:	CHECK 20, VECTOR, BP
	CHECK 21, %edi, 0x2222
	CHECK 22, %esi, 0x1111
	CHECK 23, %ebp, (STACK0-24)
	movb $0x8c, GDT + SPARE + 5 /* DPL 0 */
	USER32 24, 2, GP, SPARE, lcall $(SPARE+3), $0
	movb $0xec, GDT + SPARE + 5
	/* virtual-8086 mode: enter by IRET, #GP on CLI at IOPL 0, INT through the IDT at IOPL 3 */
	movl %esp, KEEP_SP
	movl $1f, RESUME
	pushl $0x11 /* GS */
	pushl $0x22
	pushl $0x33
	pushl $0x44
	pushl $0x500 /* SS */
	pushl $0x100 /* SP */
	pushl $0x20002
	pushl $0x800 /* CS */
	pushl $(v86_code - 0x8000)
	iretl
1:	CHECK 30, VECTOR, GP
	CHECK 31, ERROR, 0
	CHECK 32, FROM_CS, 0x800
	CHECK 33, AT, (v86_cli-0x8000)
	CHECK 34, (STACK0-4), 0x11 /* GS */
	CHECK 35, (STACK0-16), 0x44 /* ES */
	CHECK 36, (STACK0-20), 0x500
	CHECK 37, 0x50fc, 0x12340044 /* what it pushed: ES */
	movl $0, %eax
	movw %fs, %ax
	CHECK 38, %eax, 0
	movl %esp, KEEP_SP
	movl $1f, RESUME
	pushl $0
	pushl $0
	pushl $0
	pushl $0
	pushl $0x500
	pushl $0x100
	pushl $0x23002 /* IOPL 3 */
	pushl $0x800
	pushl $(v86_int - 0x8000)
	iretl
1:	CHECK 39, VECTOR, 33
	CHECK 40, FLAGS, 0x23002

	/* hardware tasks: CALL, IRET back, JMP, a task gate, and the checks */
	DESC SPARE, TSS2, 0x67, 0x89, 0
	movl $STACK0, TSS2 + 4
	movl $task_entry, TSS2 + 0x20
	movl $2, TSS2 + 0x24
	movl $0x7777, TSS2 + 0x28 /* EAX */
	movl $0x6800, TSS2 + 0x38 /* ESP */
	movl $DATA, TSS2 + 0x48
	movl $CODE32, TSS2 + 0x4c
	movl $DATA, TSS2 + 0x50
	movl $DATA, TSS2 + 0x54
	movl $DATA, TSS2 + 0x58
	movl $0, TSS2 + 0x5c
	movl $0, TSS2 + 0x60
	movw $0, TSS2 + 0x64
	clts
	movl $0x1234, %ebx
	lcall $SPARE, $0
after_task:
	CHECK 50, %ebx, 0x1234
	CHECK 51, SCRATCH, 0x7777
	CHECK 52, (SCRATCH+4), SPARE /* TR in the task */
	CHECK 53, (SCRATCH+8), 0x4002 /* NT */
	CHECK 54, (SCRATCH+12), TSS_SEL /* back link */
	CHECK 55, (TSS+0x20), after_task
	movl %cr0, %eax
	andl $8, %eax
	CHECK 56, %eax, 8 /* TS */
	str %ax
	movzwl %ax, %eax
	CHECK 57, %eax, TSS_SEL
	movb GDT + SPARE + 5, %al
	cmpb $0x89, %al /* not busy again */
	jne bad
	pushfl
	popl %eax
	andl $0x4000, %eax
	CHECK 58, %eax, 0
	/* the task resumes after its IRET and goes back by JMP */
	ljmp $SPARE, $0
	CHECK 59, SCRATCH, 0x8888
	/* through a task gate in the IDT, with an error code for #GP */
	movl $task_event, TSS2 + 0x20
	movl $2, TSS2 + 0x24
	movb $0x89, GDT + SPARE + 5
	movl $0x6800, TSS2 + 0x38
	movl $(SPARE << 16), IDT + 8 * GP
	movl $0x8500, IDT + 8 * GP + 4
	movl $0x3f8, %eax
	movw %ax, %fs /* beyond nothing: a null-typed descriptor */
	CHECK 60, SCRATCH, 0x3f8
	/* a limit too small */
	movb $0x66, GDT + SPARE
	EXPECT32 61, TS, SPARE, ljmp $SPARE, $0
	movb $0x67, GDT + SPARE
	PASS

bad:
	FAIL 99

gate_target:
	movl %esp, %ebp
	movl 8(%esp), %edi
	movl 12(%esp), %esi
	movl $DATA, %eax
	movw %ax, %fs
	lret $8

task_entry:
	movl %eax, SCRATCH
	str %ax
	movzwl %ax, %eax
	movl %eax, SCRATCH + 4
	pushfl
	popl %eax
	movl %eax, SCRATCH + 8
	movl TSS2, %eax
	movl %eax, SCRATCH + 12
	iretl
	movl $0x8888, SCRATCH
	ljmp $TSS_SEL, $0
task_event:
	popl SCRATCH
	addl $2, TSS + 0x20 /* over the faulting instruction */
	iretl

	.code16
v86_code:
	movw $0x1234, %ax
	pushw %ax
	pushw %es
v86_cli:
	cli
v86_int:
	int $33
