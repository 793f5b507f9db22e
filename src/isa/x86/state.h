/*
 * The canonical x86-64 CPU state: what snapshots hold and what every engine can be loaded with and
 * read into at an instruction boundary. Plain data, no pointers. Field names as in the Intel SDM.
 */
#ifndef LM_ISA_X86_STATE_H
#define LM_ISA_X86_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "isa/x86/fp/softfp.h"
#include "isa/x86/lapic_state.h"

/* General registers in encoding order (SDM vol. 2A table 3-1); RIP only as an address base. */
enum x86_gpr {
	RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15,
	BASE_RIP,
	REG_NONE = 0xff,
};

/* Segment registers in encoding order. */
enum x86_sreg { ES, CS, SS, DS, FS, GS };

/*
 * A segment register with its hidden part. `attr` is bits 8-15 and 20-23 of the descriptor's
 * upper half moved down: type 0-3, S 4, DPL 5-6, P 7, AVL 8, L 9, D/B 10, G 11, and bit 12 set
 * when the register is unusable (null). `limit` is in bytes (already scaled by G).
 */
struct x86_segment {
	uint16_t selector;
	uint16_t attr;
	uint32_t limit;
	uint64_t base;
};

#define SEG_TYPE       0x000f
#define SEG_ACCESSED   0x0001
#define SEG_WRITABLE   0x0002 /* data; code: readable */
#define SEG_READABLE   0x0002
#define SEG_EXPAND     0x0004 /* data: expand-down; code: conforming */
#define SEG_CONFORMING 0x0004
#define SEG_CODE       0x0008
#define SEG_S          0x0010 /* code or data, not system */
#define SEG_DPL_SHIFT  5
#define SEG_DPL(attr)  (((attr) >> SEG_DPL_SHIFT) & 3)
#define SEG_P          0x0080
#define SEG_AVL        0x0100
#define SEG_L          0x0200
#define SEG_DB         0x0400
#define SEG_G          0x0800
#define SEG_UNUSABLE   0x1000

struct x86_table_reg {
	uint64_t base;
	uint16_t limit;
};

/* RFLAGS (SDM vol. 1 §3.4.3). */
#define FLAG_CF        0x00000001u
#define FLAG_FIXED     0x00000002u
#define FLAG_PF        0x00000004u
#define FLAG_AF        0x00000010u
#define FLAG_ZF        0x00000040u
#define FLAG_SF        0x00000080u
#define FLAG_TF        0x00000100u
#define FLAG_IF        0x00000200u
#define FLAG_DF        0x00000400u
#define FLAG_OF        0x00000800u
#define FLAG_IOPL      0x00003000u
#define FLAG_NT        0x00004000u
#define FLAG_RF        0x00010000u
#define FLAG_VM        0x00020000u
#define FLAG_AC        0x00040000u
#define FLAG_VIF       0x00080000u
#define FLAG_VIP       0x00100000u
#define FLAG_ID        0x00200000u
#define FLAG_IOPL_SHIFT 12
#define FLAGS_ARITH    (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

/* CR0 (SDM vol. 3A §2.5). */
#define CR0_PE         UINT64_C(0x00000001)
#define CR0_MP         UINT64_C(0x00000002)
#define CR0_EM         UINT64_C(0x00000004)
#define CR0_TS         UINT64_C(0x00000008)
#define CR0_ET         UINT64_C(0x00000010)
#define CR0_NE         UINT64_C(0x00000020)
#define CR0_WP         UINT64_C(0x00010000)
#define CR0_AM         UINT64_C(0x00040000)
#define CR0_NW         UINT64_C(0x20000000)
#define CR0_CD         UINT64_C(0x40000000)
#define CR0_PG         UINT64_C(0x80000000)

#define CR3_PCID       UINT64_C(0xfff)      /* with CR4.PCIDE */
#define CR3_NOFLUSH    (UINT64_C(1) << 63) /* with CR4.PCIDE */

/* CR4. */
#define CR4_VME        UINT64_C(0x00000001)
#define CR4_PVI        UINT64_C(0x00000002)
#define CR4_TSD        UINT64_C(0x00000004)
#define CR4_DE         UINT64_C(0x00000008)
#define CR4_PSE        UINT64_C(0x00000010)
#define CR4_PAE        UINT64_C(0x00000020)
#define CR4_MCE        UINT64_C(0x00000040)
#define CR4_PGE        UINT64_C(0x00000080)
#define CR4_PCE        UINT64_C(0x00000100)
#define CR4_OSFXSR     UINT64_C(0x00000200)
#define CR4_OSXMMEXCPT UINT64_C(0x00000400)
#define CR4_UMIP       UINT64_C(0x00000800)
#define CR4_FSGSBASE   UINT64_C(0x00010000)
#define CR4_PCIDE      UINT64_C(0x00020000)
#define CR4_OSXSAVE    UINT64_C(0x00040000)
#define CR4_SMEP       UINT64_C(0x00100000)
#define CR4_SMAP       UINT64_C(0x00200000)

/* IA32_EFER. */
#define EFER_SCE       UINT64_C(0x001)
#define EFER_LME       UINT64_C(0x100)
#define EFER_LMA       UINT64_C(0x400)
#define EFER_NXE       UINT64_C(0x800)

/* IA32_MISC_ENABLE bits that take CPUID features away. */
#define MISC_ENABLE_LIMIT_CPUID UINT64_C(0x000400000)
#define MISC_ENABLE_XD_DISABLE  UINT64_C(0x400000000)

/* XCR0 and XSAVE components. */
#define XCR0_X87       UINT64_C(1)
#define XCR0_SSE       UINT64_C(2)
#define XCR0_AVX       UINT64_C(4)

/* Exception vectors (SDM vol. 3A table 6-1). */
enum x86_vector {
	VEC_DE = 0, VEC_DB = 1, VEC_NMI = 2, VEC_BP = 3, VEC_OF = 4, VEC_BR = 5, VEC_UD = 6,
	VEC_NM = 7, VEC_DF = 8, VEC_TS = 10, VEC_NP = 11, VEC_SS = 12, VEC_GP = 13, VEC_PF = 14,
	VEC_MF = 16, VEC_AC = 17, VEC_MC = 18, VEC_XM = 19,
};

/* A YMM register; an XMM register is its low half. Hosts are little-endian. */
union x86_vec {
	uint8_t b[32];
	uint16_t w[16];
	uint32_t d[8];
	uint64_t q[4];
	int8_t sb[32];
	int16_t sw[16];
	int32_t sd[8];
	int64_t sq[4];
};

/*
 * x87: `st` is indexed by physical register number (TOP is in fsw bits 11-13); `ftw` is abridged
 * as in FXSAVE: bit r set = physical register r is not empty. MMn is st[n].sig.
 */
struct x86_fpu {
	struct f80 st[8];
	uint16_t fcw, fsw;
	uint8_t ftw;
	uint16_t fop;           /* last opcode, 11 bits */
	uint16_t fcs, fds;      /* always 0 when saved (deprecated by CPUID.7.EBX[13]) */
	uint64_t fip, fdp;
};

#define FSW_ES         0x0080u /* an unmasked x87 exception is pending */

struct x86_mtrr {
	uint64_t def_type, fixed[11], phys_base[8], phys_mask[8];
};

enum x86_activity { CPU_ACTIVE, CPU_HALTED, CPU_SHUTDOWN, CPU_WAIT_FOR_SIPI };

struct x86_state {
	uint64_t gpr[16];
	uint64_t rip;
	uint64_t rflags;
	struct x86_segment seg[6], ldtr, tr;
	struct x86_table_reg gdtr, idtr;

	uint64_t cr0, cr2, cr3, cr4;
	uint64_t pdpte[4];      /* PAE: loaded by MOV to CR3 (SDM vol. 3A §4.4.1) */
	uint64_t dr[8];         /* 4 and 5 unused */
	uint64_t xcr0;

	struct x86_fpu fpu;
	uint32_t mxcsr;
	union x86_vec vec[16];

	/* MSRs, by their architectural names. */
	uint64_t efer, star, lstar, cstar, fmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, apic_base, misc_enable, tsc_aux, spec_ctrl, xss;
	uint64_t feature_control, microcode_rev;
	uint64_t mcg_status, smbase;
	struct x86_mtrr mtrr;
	uint64_t tsc_offset;    /* guest TSC = machine TSC + tsc_offset */
	uint64_t tsc_adjust;
	uint64_t tsc_deadline;
	struct {
		uint64_t system_time, wall_clock, async_pf_en, steal_time, pv_eoi, poll_control;
	} kvm;                  /* KVM paravirtual MSRs 0x4b564dxx */

	/* Event state between instructions. */
	enum x86_activity activity;
	bool interrupt_shadow;  /* after STI or MOV SS: no interrupt or NMI before the next instruction */
	bool debug_shadow;      /* after MOV SS: debug traps are held back as well */
	bool nmi_blocked;       /* from NMI delivery to IRET */
	/* Events that were raised and are not yet taken: adopted by x86_cpu_load, which clears them. */
	bool nmi_pending, second_nmi_pending, init_pending, sipi_pending, unhalt_pending;
	uint8_t sipi_vector;
	bool pv_unhalt;         /* KVM_HC_KICK_CPU came before the HLT it is meant for */
	uint64_t pending_debug; /* DR6 bits of debug traps not yet delivered */

	struct lapic_state lapic;
};

#endif
