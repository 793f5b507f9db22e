/*
 * The way into the sandbox and out of it. All state goes through the global native_frame, reached
 * RIP-relative, because no register is free on either way.
 */
#include "native_frame.h"

#define F(field) native_frame + NF_##field(%rip)

	.text

/* void native_enter(void): runs what native_frame describes; returns by native_landed or native_leave. */
	.globl native_enter
	.type native_enter, @function
native_enter:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, F(HOST_RSP)
	mov F(IMAGE_IN), %rdi
	mov $XSTATE_ALL, %eax
	xor %edx, %edx
	xrstor64 (%rdi)
	mov F(DATA_SEGS), %eax
	mov %eax, %ds
	mov %eax, %es
	mov F(FS_BASE), %rax
	wrfsbase %rax
	mov F(GS_BASE), %rax
	wrgsbase %rax
	mov F(GPR + 0), %rax
	mov F(GPR + 8), %rcx
	mov F(GPR + 16), %rdx
	mov F(GPR + 24), %rbx
	mov F(GPR + 40), %rbp
	mov F(GPR + 48), %rsi
	mov F(GPR + 56), %rdi
	mov F(GPR + 64), %r8
	mov F(GPR + 72), %r9
	mov F(GPR + 80), %r10
	mov F(GPR + 88), %r11
	mov F(GPR + 96), %r12
	mov F(GPR + 104), %r13
	mov F(GPR + 112), %r14
	mov F(GPR + 120), %r15
	lea F(IRET), %rsp
	iretq	/* serializes; with TF the trap comes after the first instruction there */
	.size native_enter, . - native_enter

/* The instruction fell through to its landing jump. */
	.globl native_landed
	.type native_landed, @function
native_landed:
	mov %rax, F(OUT_GPR + 0)
	mov %rcx, F(OUT_GPR + 8)
	mov %rdx, F(OUT_GPR + 16)
	mov %rbx, F(OUT_GPR + 24)
	mov %rsp, F(OUT_GPR + 32)
	mov %rbp, F(OUT_GPR + 40)
	mov %rsi, F(OUT_GPR + 48)
	mov %rdi, F(OUT_GPR + 56)
	mov %r8, F(OUT_GPR + 64)
	mov %r9, F(OUT_GPR + 72)
	mov %r10, F(OUT_GPR + 80)
	mov %r11, F(OUT_GPR + 88)
	mov %r12, F(OUT_GPR + 96)
	mov %r13, F(OUT_GPR + 104)
	mov %r14, F(OUT_GPR + 112)
	mov %r15, F(OUT_GPR + 120)
	lea F(STACK_TOP), %rsp
	pushfq
	pop F(OUT_FLAGS)
	push $2	/* AC, DF and NT off */
	popfq
	call native_segments
	mov F(IMAGE_OUT), %rdi
	mov $XSTATE_ALL, %eax
	xor %edx, %edx
	xsave64 (%rdi)
	fninit
	ldmxcsr native_mxcsr(%rip)
	vzeroupper
	/* fall through */

/* Back to the caller of native_enter, from wherever we are. */
	.globl native_leave
	.type native_leave, @function
native_leave:
	mov F(HOST_RSP), %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
	.size native_leave, . - native_leave

/* Notes segment registers and bases, gives the host its own back. Changes rax only. */
	.type native_segments, @function
native_segments:
	mov %ds, F(OUT_DS + 0)
	mov %es, F(OUT_DS + 2)
	mov %fs, F(OUT_DS + 4)
	mov %gs, F(OUT_DS + 6)
	mov %ss, F(OUT_DS + 8)
	rdfsbase %rax
	mov %rax, F(OUT_FS)
	rdgsbase %rax
	mov %rax, F(OUT_GS)
	cmpl $0, F(OUT_DS + 4)	/* fs and gs */
	je 1f
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
1:	mov F(HOST_FS), %rax
	wrfsbase %rax
	ret
	.size native_segments, . - native_segments

/*
 * The signal handler. EFLAGS.AC and the segment state are still the sandbox's: put them right before
 * any C code runs. When native_signal returns, the interrupted code goes on with its own FS base.
 */
	.globl native_signal_entry
	.type native_signal_entry, @function
native_signal_entry:
	push $2
	popfq
	push %rbx
	rdfsbase %rbx
	call native_segments
	call native_signal
	wrfsbase %rbx
	pop %rbx
	ret
	.size native_signal_entry, . - native_signal_entry

	.section .rodata
	.balign 4
native_mxcsr:
	.long 0x1f80

	.section .note.GNU-stack, "", @progbits
