/*
 * 64-bit mode, for every engine and every KVM: exceptions, SYSCALL, MSRs that the processor, the kernel
 * and the monitor keep, CPUID, MMIO of each size and across a page, HLT with the APIC's timer in its
 * modes, self-IPIs in both APIC modes, time-stamp counter. No SSE.
 *
 * At 0xd0000000 the runner has 16 bytes of device memory.
 */
#include "guest.inc"

#define DEVICE        0xd0000000
#define APIC          0xfee00000

#define TICKS         0x6200

.macro SETMSR msr, high, low
	movl $\msr, %ecx
	movl $\low, %eax
	movl $\high, %edx
	wrmsr
.endm

.macro CHECK_MSR n, msr, high, low
	movl $\msr, %ecx
	rdmsr
	CHECK \n, %eax, \low
	CHECK \n, %edx, \high
.endm

/*
 * Waits for the next tick, asleep. A processor takes no interrupt between STI and HLT; QEMU's SVM now
 * and then does, so this is for ticks that come again.
 */
.macro SLEEP
	movl TICKS, %ebx
	incl %ebx
9060:	sti
	hlt
	cli
	cmpl %ebx, TICKS
	jl 9060b
.endm

/* The same, awake. */
.macro TICK
	movl TICKS, %ebx
	incl %ebx
9061:	sti
	pause
	cli
	cmpl %ebx, TICKS
	jl 9061b
.endm

	.code16
main:
	ENTER64
	INSTALL_IDT64
	movl $TABLES, %edi /* devices, 0xc0000000 to 4 GiB, by one 1 GiB page's worth of 2 MiB pages */
	movl $(TABLES + 0x3007), TABLES + 0x1018
	movl $(TABLES + 0x3000), %edi
	movl $0xc000009f, %eax
1:	movl %eax, (%rdi)
	movl $0, 4(%rdi)
	addl $0x200000, %eax
	addl $8, %edi
	cmpl $(TABLES + 0x4000), %edi
	jb 1b

	/* exceptions */
	xorl %edx, %edx
	xorl %ecx, %ecx
	EXPECT 1, DE, 0, divq %rcx
	EXPECT 2, UD, 0, ud2
	movabsq $0x1234567800000000, %rax
	EXPECT 3, GP, 0, movq (%rax), %rbx
	movl $0x80000000, %eax
	EXPECT 4, PF, 2, movl %ebx, (%rax)
	movq %cr2, %rax
	CHECK 4, %eax, 0x80000000
	USER 5, GP, 0, hlt
	NOT_IN_EMULATED_KVM BY_INT3, 1f
	USER 6, BP, 0, nop
	CHECK 7, FROM_CS, UCODE64
1:

	/* SYSCALL and SYSRET; swapgs */
	SETMSR 0xc0000081, (UCODE32 << 16 | CODE32), 0
	SETMSR 0xc0000082, 0, syscall_entry
	SETMSR 0xc0000084, 0, 0x700
	SETMSR 0xc0000101, 0, 0x1111000
	SETMSR 0xc0000102, 0xffff8000, 0x2222000
	movw $CODE64, GDT + CODE32 + 4 - 4
	movw $0xffff, GDT + CODE32
	swapgs
	CHECK_MSR 10, 0xc0000101, 0xffff8000, 0x2222000
	swapgs
	CHECK_MSR 11, 0xc0000102, 0xffff8000, 0x2222000
	NOT_IN_EMULATED_KVM BY_SYSRET, 2f
	movq $user_side, %rcx
	movl $0x202, %r11d
	movq %rsp, KEEP_SP
	movq $1f, RESUME
	movl $STACK3, %esp
	sysretq
1:	CHECK 12, VECTOR, BP
	CHECK 12, %r13d, 0x5ca11
	CHECK 12, %r14d, 0x600d
2:

	/* MSRs that the monitor keeps, one that nobody has, and a value that is not allowed */
	SETMSR 0x277, 0x00070406, 0x00070106
	CHECK_MSR 20, 0x277, 0x00070406, 0x00070106
	SETMSR 0x200, 0, 0x80000006
	CHECK_MSR 21, 0x200, 0, 0x80000006
	SETMSR 0x174, 0, 0x33
	CHECK_MSR 22, 0x174, 0, 0x33
	movl $0x12345, %ecx
	EXPECT 23, GP, 0, rdmsr
	EXPECT 23, GP, 0, wrmsr
	movl $0xc0000080, %ecx
	movl $0x80000000, %eax
	xorl %edx, %edx
	EXPECT 24, GP, 0, wrmsr
	movl $0x200, %ecx
	movl $2, %eax /* no memory type */
	EXPECT 25, GP, 0, wrmsr

	/* CPUID: the hypervisor's leaf, and the vendor is the same everywhere */
	movl $0x40000000, %eax
	cpuid
	CHECK 30, %ebx, 0x4b4d564b
	CHECK 30, %ecx, 0x564b4d56
	CHECK 30, %edx, 0x4d
	xorl %eax, %eax
	cpuid
	CHECK 31, %ebx, 0x756e6547
	movl $1, %eax
	cpuid
	CHECK 31, %eax, 0x000f06f0

	/* MMIO */
	movl $DEVICE, %edi
	movabsq $0x1122334455667788, %rax
	movq %rax, (%rdi)
	xorl %ebx, %ebx
	movb (%rdi), %bl
	CHECK 40, %ebx, 0x88
	movw 2(%rdi), %bx
	CHECK 41, %ebx, 0x5566
	movl 4(%rdi), %ebx
	CHECK 42, %ebx, 0x11223344
	movb $0xaa, 1(%rdi)
	movw $0xbbcc, 2(%rdi)
	movl $0xddeeff00, 4(%rdi)
	movq (%rdi), %rax
	CHECK 43, %eax, 0xbbccaa88
	shrq $32, %rax
	CHECK 44, %eax, 0xddeeff00
	movl $0x01020304, 8(%rdi)
	addl $0x01010101, 8(%rdi) /* read, modify, write */
	CHECK 45, 8(%rdi), 0x02030405
	movl $FREE, %esi
	movl $0x0a0b0c0d, (%rsi)
	movl $0x0e0f1011, 4(%rsi)
	movl $2, %ecx
	rep movsl /* from RAM to the device */
	movl $DEVICE, %esi
	movl $(FREE + 16), %edi
	movl $2, %ecx
	rep movsl /* and back */
	CHECK 46, FREE + 16, 0x0a0b0c0d
	CHECK 46, FREE + 20, 0x0e0f1011
	movl $(DEVICE + 0xffe), %esi /* no device: ones, across a page */
	movl (%rsi), %eax
	CHECK 47, %eax, -1

	/* the local APIC by its page; vector 32 counts ticks */
	movl $tick64, %eax
	movw %ax, IDT + 16 * 32
	shrl $16, %eax
	movw %ax, IDT + 16 * 32 + 6
	movl $0, TICKS
	movl $APIC, %r15d
	movl $0x1ff, 0xf0(%r15)
	movl $0xb, 0x3e0(%r15) /* divide by 1 */
	movl $32, 0x320(%r15)  /* one-shot */
	movl $200000, 0x380(%r15)
	TICK
	CHECK 50, 0x390(%r15), 0 /* the count has run down */
	movl $0x20020, 0x320(%r15) /* periodic */
	movl $300000, 0x380(%r15)
	SLEEP
	SLEEP
	movl $0x10020, 0x320(%r15)
	movl $0, 0x380(%r15)
	sti
	nop
	nop
	cli /* whatever was left over has come */
	movl $0x40020, 0x320(%r15) /* TSC deadline */
	rdtsc
	addl $400000, %eax
	adcl $0, %edx
	movl $0x6e0, %ecx
	wrmsr
	TICK
	CHECK_MSR 52, 0x6e0, 0, 0
	movl $0x40020, 0x300(%r15) /* self-IPI */
	TICK
	CHECK 54, 0x110(%r15), 0 /* in service: nothing */

	/* x2APIC */
	movl $0x1b, %ecx
	rdmsr
	orl $0x400, %eax
	wrmsr
	CHECK_MSR 60, 0x802, 0, 0
	SETMSR 0x83f, 0, 32
	TICK
	SETMSR 0x832, 0, 0x20
	SETMSR 0x838, 0, 100000
	TICK
	movl $0x80f, %ecx
	xorl %edx, %edx
	decl %edx
	EXPECT 63, GP, 0, wrmsr /* reserved bits */

	/* time goes on, and stays where it was put */
	rdtsc
	movl %eax, %ebx
	movl %edx, %esi
	rdtsc
	subl %ebx, %eax
	sbbl %esi, %edx
	CHECK 70, %edx, 0
	NOT_IN_EMULATED_KVM BY_TSC, 1f
	SETMSR 0x10, 0x7654, 0
	rdtsc
	CHECK 71, %edx, 0x7654
	SETMSR 0x3b, 0, 0 /* takes back what that was */
	CHECK_MSR 72, 0x3b, 0, 0
	rdtsc
	cmpl $0x7654, %edx
	jb 1f
	FAIL 73
1:	PASS

syscall_entry:
	movl $0x5ca11, %r13d
	sysretq
user_side:
	syscall
	movl $0x600d, %r14d
	int3

tick64:
	incl TICKS
	pushq %rax
	pushq %rcx
	pushq %rdx
	movl $0x1b, %ecx
	rdmsr
	testl $0x400, %eax
	jnz 1f
	movl $0, 0xb0(%r15)
	jmp 2f
1:	SETMSR 0x80b, 0, 0
2:	popq %rdx
	popq %rcx
	popq %rax
	iretq
