/*
 * A guest that computes while the engine under it changes: general registers, memory, stack, segment
 * bases, debug registers, x87 and (where the CPU has them) SSE and AVX registers are live all the time,
 * the APIC's timer ticks, and the time-stamp counter must not go back. The sum at the end is known.
 */
#include "guest.inc"

#define TICKS   0x6200
#define LAST    0x6208 /* TSC */
#define WORDS   0x400000 /* 64 KiB of data */
#define ROUNDS  24
#define HAS     0x6220 /* 1 SSE, 2 AVX */
#define LANES 0x6400

.macro SETMSR msr, high, low
	movl $\msr, %ecx
	movl $\low, %eax
	movl $\high, %edx
	wrmsr
.endm

	.code16
main:
	ENTER64
	INSTALL_IDT64
	movl $tick64, %eax
	movw %ax, IDT + 16 * 32
	shrl $16, %eax
	movw %ax, IDT + 16 * 32 + 6
	movl $0, TICKS
	movq $0, LAST

	/* what must stay as it is */
	SETMSR 0xc0000100, 0x1234, 0x5678000
	SETMSR 0xc0000102, 0xffff9999, 0x8765000
	SETMSR 0xc0000082, 0xffff8000, 0x1000
	SETMSR 0x277, 0x00070406, 0x00070106
	SETMSR 0x202, 0, 0x40000006
	movl $0xabcd, %eax
	movq %rax, %dr0
	movq $0x1111222233334444, %rax
	movq %rax, %cr2
	fninit
	fldpi
	fld1
	faddp
	call load_vectors

	/* a periodic tick by x2APIC */
	movl $0x1b, %ecx
	rdmsr
	orl $0x400, %eax
	wrmsr
	SETMSR 0x80f, 0, 0x1ff
	SETMSR 0x83e, 0, 0xb
	SETMSR 0x832, 0, 0x20020
	SETMSR 0x838, 0, 500000
	sti

	/* the work: a generator fills the words, a sum with multiplications and rotations reads them */
	xorl %ebp, %ebp /* the sum */
	movabsq $0x9e3779b97f4a7c15, %r12
	movl $ROUNDS, %r14d
round:	movl $WORDS, %edi
	movl $8192, %ecx
1:	imulq %r12, %r12
	addq $0x1357, %r12
	rorq $17, %r12
	movq %r12, (%rdi)
	addq $8, %rdi
	loop 1b
	movl $WORDS, %esi
	movl $8192, %ecx
2:	movq (%rsi), %rax
	pushq %rax
	mulq %r12
	xorq %rdx, %rbp
	rolq $7, %rbp
	addq %rax, %rbp
	popq %rax
	subq %rax, %rbp
	call mix
	addq $8, %rsi
	decl %ecx
	jnz 2b
	rdtsc /* does not go back */
	shlq $32, %rdx
	orq %rdx, %rax
	cmpq LAST, %rax
	ja 3f
	NOT_IN_EMULATED_KVM BY_TSC, 3f
	FAIL 1
3:	movq %rax, LAST
	decl %r14d
	jnz round

	/* ticks came, and still come */
	movl TICKS, %ebx
	incl %ebx
4:	pause
	cmpl %ebx, TICKS
	jb 4b
	cli

	movabsq $0x1ccabda6e33b779a, %rax
	cmpq %rax, %rbp
	je 5f
	movl $16, %ecx /* prints what it is */
6:	rolq $4, %rbp
	movl %ebp, %eax
	andl $15, %eax
	movb digits(%rax), %al
	outb %al, $0xe9
	loop 6b
	movb $10, %al
	outb %al, $0xe9
	FAIL 2
5:	movl $0xc0000100, %ecx
	rdmsr
	CHECK 10, %eax, 0x5678000
	CHECK 10, %edx, 0x1234
	movl $0xc0000102, %ecx
	rdmsr
	CHECK 11, %eax, 0x8765000
	CHECK 11, %edx, 0xffff9999
	movl $0xc0000082, %ecx
	rdmsr
	CHECK 12, %eax, 0x1000
	movl $0x277, %ecx
	rdmsr
	CHECK 13, %eax, 0x00070106
	movl $0x202, %ecx
	rdmsr
	CHECK 14, %eax, 0x40000006
	movq %dr0, %rax
	CHECK 15, %eax, 0xabcd
	movq %cr2, %rax
	CHECK 16, %eax, 0x33334444
	fldpi
	fld1
	faddp
	fcompp
	fnstsw %ax
	andl $0x4500, %eax
	CHECK 17, %eax, 0x4000 /* equal */
	call check_vectors
	PASS

mix:	movq %rbp, %rax
	shrq $29, %rax
	xorq %rax, %rbp
	leaq 5(%rbp,%rbp,4), %rbp
	bswapq %rbp
	ret

digits:	.ascii "0123456789abcdef"

tick64:
	pushq %rax
	pushq %rcx
	pushq %rdx
	incl TICKS
	SETMSR 0x80b, 0, 0
	popq %rdx
	popq %rcx
	popq %rax
	iretq

	/* SSSE3 stands for a CPU that executes vectors: emulated KVMs say SSE2 and stop at PXOR */
load_vectors:
	movl $0, HAS
	NOT_IN_EMULATED_KVM BY_CPUID, 1f
	movl $1, %eax
	cpuid
	btl $9, %ecx
	jnc 1f
	movl $1, HAS
	btl $28, %ecx
	jnc 2f
	btl $26, %ecx
	jnc 2f
	movl $3, HAS
2:	movq %cr4, %rax
	orl $0x200, %eax
	testl $2, HAS
	jz 3f
	orl $0x40000, %eax
3:	movq %rax, %cr4
	movl $LANES, %edi
	movl $32 * 16 / 4, %ecx
	movl $0x01020304, %eax
4:	movl %eax, (%rdi)
	imull $0x10dcd, %eax
	addl $4, %edi
	loop 4b
	testl $2, HAS
	jz 5f
	xorl %ecx, %ecx
	xgetbv
	orl $7, %eax
	xsetbv
	.set n, 0
	.irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	vmovdqu LANES + 32 * n, %ymm\r
	.set n, n + 1
	.endr
	jmp 1f
5:	.set n, 0
	.irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	movdqu LANES + 32 * n, %xmm\r
	.set n, n + 1
	.endr
1:	ret

check_vectors:
	testl $1, HAS
	jz 1f
	movl $FREE, %edi
	movl $LANES, %esi
	movl $16, %edx
	testl $2, HAS
	jz 5f
	movl $32, %edx
	.set n, 0
	.irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	vmovdqu %ymm\r, FREE + 32 * n
	.set n, n + 1
	.endr
	jmp 2f
5:	.set n, 0
	.irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	movdqu %xmm\r, FREE + 32 * n
	.set n, n + 1
	.endr
2:	movl $16, %ebx
3:	movl %edx, %ecx
	pushq %rsi
	pushq %rdi
	repe cmpsb
	popq %rdi
	popq %rsi
	je 4f
	FAIL 18
4:	addl $32, %esi
	addl $32, %edi
	decl %ebx
	jnz 3b
1:	ret
