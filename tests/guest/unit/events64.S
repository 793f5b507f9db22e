/*
 * 64-bit mode: system calls, IRETQ, call gates, debug traps, shadows, timer interrupts, privileged
 * instructions.
 */
#include "guest.inc"

#define MSR_STAR   0xc0000081
#define MSR_LSTAR  0xc0000082
#define MSR_FMASK  0xc0000084
#define APIC       0xfee00000

.macro SETMSR msr, high, low
	movl $\msr, %ecx
	movl $\low, %eax
	movl $\high, %edx
	wrmsr
.endm

/* Runs `insn` and wants the #DB trap after it, with these DR6 bits, at the label 9050. */
.macro EXPECT_DB n, bits
	CHECK \n, VECTOR, DB
	movq %dr6, %rax
	andl $0xe00f, %eax
	CHECK \n, %eax, \bits
	movl $0xffff0ff0, %eax
	movq %rax, %dr6
.endm

	.code16
main:
	ENTER64
	INSTALL_IDT64

	/* privileged and undefined instructions */
	USER 1, GP, 0, hlt
	USER 2, GP, 0, cli
	movl $0x22, %eax /* PAE, PVI: CLI and STI act on VIF */
	movq %rax, %cr4
	USER 2, BP, 0, sti
	CHECK 2, FLAGS, 0x80002
	USER_FLAGS 2, 0x80202, BP, 0, cli
	CHECK 2, FLAGS, 0x202
	movl $0x20, %eax
	movq %rax, %cr4
	USER 3, GP, 0, movq %cr0, %rax
	USER 4, GP, 0, movq %rax, %dr7
	USER 5, GP, 0, rdmsr
	USER 6, GP, 0, lgdt gdt_ptr
	USER 7, GP, 0, invlpg 0
	USER 8, GP, 0, swapgs
	movb $2, TSS + 0x68 + 0x80 / 8 /* I/O bitmap: port 0x81 is denied */
	USER 9, BP, 0, inb $0x80, %al
	USER 9, GP, 0, inb $0x81, %al
	USER 9, GP, 0, inw $0x80, %ax
	movw $0xffff, TSS + 102
	USER 9, GP, 0, inb $0x80, %al
	USER_FLAGS 10, 0x3002, BP, 0, inb $0x80, %al /* IOPL 3 */
	USER 11, UD, 0, ud2
	EXPECT 12, UD, 0, rdfsbase %rax
	USER 13, GP, 0, wbinvd
	USER 14, UD, 0, stac
	EXPECT 15, UD, 0, rsm
	EXPECT 16, UD, 0, movq %rax, %cr5
	EXPECT 17, GP, 0, movq %rax, %cr8
	USER 18, GP, (32*8+2), int $32 /* gate of DPL 0 */
	USER 19, OF, 0, int $4
	EXPECT 20, GP, (200*8+2), int $200 /* beyond the IDT's limit */
	movq %cr4, %rax
	orl $0x10800, %eax /* FSGSBASE, UMIP */
	movq %rax, %cr4
	USER 21, GP, 0, sidt SCRATCH
	USER 22, GP, 0, smsw %ax
	USER 23, GP, 0, str %ax
	sidt SCRATCH
	CHECK 24, (SCRATCH+2), IDT
	movabsq $0xffff800000001234, %rax
	wrgsbase %rax
	movl $0x5678, %eax
	swapgs
	wrgsbase %rax
	swapgs
	rdgsbase %rbx
	CHECK 25, %ebx, 0x1234
	movl $0xc0000102, %ecx
	rdmsr
	CHECK 26, %eax, 0x5678
	btsq $62, %rax
	EXPECT 27, GP, 0, wrfsbase %rax

	/* a return to CPL 3 makes a selector of DPL 0 null; the base stays */
	movl $DATA, %eax
	movl %eax, %gs
	movl $0x12345678, %eax
	wrgsbase %rax
	USER 28, BP, 0, rdgsbase %rdi
	CHECK 28, %edi, 0x12345678
	movl %gs, %eax
	CHECK 29, %eax, 0

	/* SYSCALL and SYSRET */
	SETMSR MSR_STAR, (UCODE32 << 16 | CODE32), 0
	movl $MSR_LSTAR, %ecx
	movl $0x8000, %edx
	EXPECT 30, GP, 0, wrmsr
	/* STAR's SYSCALL base: CS = 0x08, forced flat and 64-bit; SS = 0x10 */
	SETMSR MSR_LSTAR, 0, syscall_entry
	SETMSR MSR_FMASK, 0, 0x700
	movq %rsp, KEEP_SP
	pushq $UDATA
	pushq $STACK3
	pushq $0x203
	pushq $UCODE64
	pushq $user_syscall
	iretq
user_syscall:
	syscall
user_after:
	pushfq
	popq %rdi
	movl %cs, %eax
	CHECK 31, %eax, UCODE64
	movl %ss, %eax
	CHECK 32, %eax, UDATA
	CHECK 33, %edi, 0x203
	int3
syscall_entry:
	cmpl $user_after, %ecx
	jne 1f
	cmpl $0x203, %r11d
	jne 1f
	movl %cs, %eax
	cmpl $CODE32, %eax
	jne 1f
	movl %ss, %eax
	cmpl $DATA, %eax
	jne 1f
	pushfq /* on the user's stack: CPL 0 may */
	popq %rax
	testl $0x200, %eax
	jnz 1f
	movq $after_int3, RESUME
	sysretq
1:	FAIL 34
after_int3:
	CHECK 35, VECTOR, BP
	movabsq $0x800000000000, %rcx
	EXPECT 36, GP, 0, sysretq
	CHECK 36, FROM_CS, CODE64 /* the fault comes before the change of privilege */
	USER 37, GP, 0, sysretq

	/* IRETQ: null SS at CPL 0, bad CS, non-canonical RIP, NT */
	movq %rsp, %rbx
	pushq $0
	pushq %rbx
	pushq $2
	pushq $CODE64
	pushq $1f
	iretq
1:	movl %ss, %eax
	CHECK 40, %eax, 0
	movl $DATA, %eax
	movl %eax, %ss
	pushq $DATA
	pushq %rbx
	pushq $2
	pushq $DATA
	pushq $1b
	EXPECT 41, GP, DATA, iretq
	movq %rbx, %rsp
	pushq $UDATA
	pushq %rbx
	pushq $2
	pushq $CODE64
	pushq $1b
	EXPECT 42, GP, (UDATA&~3), iretq
	movq %rbx, %rsp
	movabsq $0x800000000000, %rax
	pushq $DATA
	pushq %rbx
	pushq $2
	pushq $CODE64
	pushq %rax
	EXPECT 43, GP, 0, iretq
	movq %rbx, %rsp
	pushq $0x4002
	popfq
	EXPECT 44, GP, 0, iretq
	pushq $2
	popfq

	/* at CPL 3 and IOPL 0, IRETQ and POPFQ leave IF and IOPL alone */
	movq %rbx, %rsp
	movq %rsp, KEEP_SP
	movq $2f, RESUME
	pushq $UDATA
	pushq $STACK3
	pushq $2
	pushq $UCODE64
	pushq $1f
	iretq
1:	pushq $UDATA
	pushq $STACK3
	pushq $0x3203
	pushq $UCODE64
	pushq $1f
	iretq
1:	pushq $0x3203
	popfq
	int3
2:	CHECK 45, VECTOR, BP
	CHECK 46, FLAGS, 3

	/* a call gate from CPL 3 takes RSP0; RETFQ goes back */
	movl $gate_target, %eax
	movw %ax, GDT + SPARE
	movw $CODE64, GDT + SPARE + 2
	movw $0xec00, GDT + SPARE + 4
	shrl $16, %eax
	movw %ax, GDT + SPARE + 6
	movq $0, GDT + SPARE + 8
	movl $0, SCRATCH
	movl $SPARE + 3, SCRATCH + 4
	USER 50, BP, 0, lcall *SCRATCH
	CHECK 51, %edi, 0x77
	CHECK 52, %esi, (STACK0-32)
	movb $0x8c, GDT + SPARE + 5 /* DPL 0 */
	USER 53, GP, SPARE, lcall *SCRATCH
	movb $0x6c, GDT + SPARE + 5 /* not present */
	USER 54, NP, SPARE, lcall *SCRATCH
	movb $0xec, GDT + SPARE + 5
	movl $0x8000, GDT + SPARE + 8 + 2 /* target offset bits 63-48: non-canonical */
	movl $0x80000000, GDT + SPARE + 8
	USER 55, GP, 0, lcall *SCRATCH
	/* hardware tasks do not exist */
	movl $TSS_SEL, SCRATCH + 4
	EXPECT 56, GP, TSS_SEL, lcall *SCRATCH

	/* single step, also through INT and MOV SS */
	movq %rsp, KEEP_SP
	movq $1f, RESUME
	pushq $0x102
	popfq
	nop
0:	nop
	FAIL 60
1:	EXPECT_DB 60, 0x4000
	CHECK 61, AT, 0b
	CHECK 62, FLAGS, 0x102
	movq $1f, RESUME
	movl $DATA, %ebx
	pushq $0x102
	popfq
	movl %ebx, %ss /* no trap before the next instruction is over */
	nop
0:	nop
1:	EXPECT_DB 63, 0x4000
	CHECK 64, AT, 0b
	movq $1f, RESUME
	pushq $0x102
	popfq
	int $33 /* TF is cleared: #33 arrives, no #DB */
1:	CHECK 65, VECTOR, 33
	CHECK 66, FLAGS, 0x102

	/* instruction breakpoint: before; data breakpoint: after; RF steps over */
	movl $bp_here, %eax
	movq %rax, %dr0
	movl $SCRATCH + 0x12, %eax
	movq %rax, %dr1
	movl $0x00500405, %eax /* L0: execute; L1: writes of 2 bytes */
	movq %rax, %dr7
	movq $1f, RESUME
	nop
bp_here:
	nop
	FAIL 70
1:	EXPECT_DB 70, 1
	CHECK 71, AT, bp_here
	movq %rsp, %rbx
	pushq $DATA
	pushq %rbx
	pushq $0x10002 /* RF */
	pushq $CODE64
	pushq $bp_here2
	movl $bp_here2, %eax
	movq %rax, %dr0
	iretq
bp_here2:
	nop
	movq $1f, RESUME
	movl SCRATCH + 0x10, %eax /* reads do not match */
	movb $1, SCRATCH + 0x11
	movl $5, SCRATCH + 0x10
0:	FAIL 72
1:	EXPECT_DB 72, 2
	CHECK 73, AT, 0b
	movl SCRATCH + 0x10, %eax
	CHECK 74, %eax, 5
	movl $DATA, SCRATCH + 0x20 /* what MOV SS holds back, INT1's #DB reports */
	movl $SCRATCH + 0x20, %eax
	movq %rax, %dr1
	movl $0x00f00404, %eax /* L1: reads and writes of 4 bytes */
	movq %rax, %dr7
	movl $0, COUNT
	movq $1f, RESUME
	movw SCRATCH + 0x20, %ss
	.byte 0xf1
0:	FAIL 90
1:	EXPECT_DB 90, 2
	CHECK 91, AT, 0b
	nop
	CHECK 92, COUNT, 1
	movl $0x2400, %eax /* general detect */
	movq %rax, %dr7
	movq $1f, RESUME
0:	movq %dr6, %rax
	FAIL 75
1:	EXPECT_DB 75, 0x2000
	CHECK 76, AT, 0b
	movq %dr7, %rax
	CHECK 77, %eax, 0x400
	movq %cr4, %rax
	orl $8, %eax
	movq %rax, %cr4
	EXPECT 78, UD, 0, movq %dr4, %rax
	btsq $32, %rax
	EXPECT 79, GP, 0, movq %rax, %dr7

	/* the APIC timer ends HLT; the instruction after STI comes first */
	movl $(TABLES + 0x4007), TABLES + 0x1000 + 3 * 8
	movl $(APIC + 0x93), TABLES + 0x4000 + (APIC >> 21 & 0x1ff) * 8
	movl $APIC, %r15d
	movl $0x1ff, 0xf0(%r15)
	movl $0x20, 0x320(%r15)
	movl $0xb, 0x3e0(%r15)
	movl $100000, 0x380(%r15)
	movq $1f, RESUME
	movl $0, %ebx
	sti
	hlt
	incl %ebx
1:	CHECK 80, VECTOR, 32
	CHECK 81, %ebx, 0
	movl 0x110(%r15), %eax
	CHECK 82, %eax, 1
	movl $0, 0xb0(%r15)
	movl $0x40020, 0x300(%r15) /* to itself */
	movq $1f, RESUME
	sti
	incl %ebx
0:	incl %ebx
1:	CHECK 83, %ebx, 1
	CHECK 84, AT, 0b
	movl $0, 0xb0(%r15)
	movl $3, %eax
	movq %rax, %cr8
	movl $0x40020, 0x300(%r15)
	movl $0, VECTOR
	sti
	nop
	nop
	cli
	CHECK 85, VECTOR, 0
	movq $1f, RESUME
	xorl %eax, %eax
	sti
	movq %rax, %cr8
	nop
	FAIL 86
1:	CHECK 86, VECTOR, 32
	PASS

gate_target:
	movl %esp, %esi
	movl $0x77, %edi
	lretq
