/*
 * Descriptors and segment registers (SDM vol. 3A ch. 3.4, 3.5 and 5).
 */
#ifndef LM_ISA_X86_SEGMENT_H
#define LM_ISA_X86_SEGMENT_H

#include "isa/x86/access.h"
#include "isa/x86/fault.h"

/* System segment and gate types (SDM vol. 3A table 3-2); bit 3: 32-bit (long mode: 64-bit). */
enum x86_sys_type {
	SYS_TSS16 = 1, SYS_LDT = 2, SYS_TSS16_BUSY = 3, SYS_CALL_GATE16 = 4, SYS_TASK_GATE = 5,
	SYS_INT_GATE16 = 6, SYS_TRAP_GATE16 = 7, SYS_TSS = 9, SYS_TSS_BUSY = 11, SYS_CALL_GATE = 12,
	SYS_INT_GATE = 14, SYS_TRAP_GATE = 15,
};

#define SYS_TYPE_32   0x8u /* of TSS and gates: 32- or 64-bit, not 16-bit */
#define SYS_TYPE_BUSY 0x2u /* of TSS */

/* Selectors (SDM vol. 3A §3.4.2). */
#define SEL_TI            0x4u
#define SEL_RPL(sel)      ((sel) & 3u)
#define SEL_IS_NULL(sel)  (((sel) & ~3u) == 0)
#define SEL_WITH_RPL(sel, rpl) ((uint16_t)(((sel) & ~3u) | (rpl)))

/* Error codes (SDM vol. 3A §6.13). */
#define ERR_EXT           0x1u
#define ERR_IDT           0x2u
#define ERR_SEL(sel)      ((sel) & 0xfffcu)

/* A descriptor as read from the GDT or LDT, or a gate from the IDT. */
struct x86_desc {
	uint64_t raw;
	uint64_t upper; /* second half of a long-mode system descriptor or gate, else 0 */
	gva_t at;
};

/* struct x86_segment's attr. */
static inline uint16_t desc_attr(const struct x86_desc *d)
{
	return (uint16_t)((d->raw >> 40 & 0xff) | (d->raw >> 44 & 0xf00));
}

static inline unsigned desc_type(const struct x86_desc *d)
{
	return d->raw >> 40 & SEG_TYPE;
}

static inline unsigned desc_dpl(const struct x86_desc *d)
{
	return SEG_DPL(desc_attr(d));
}

static inline bool desc_present(const struct x86_desc *d)
{
	return desc_attr(d) & SEG_P;
}

static inline bool desc_is_system(const struct x86_desc *d)
{
	return !(desc_attr(d) & SEG_S);
}

static inline bool desc_is_code(const struct x86_desc *d)
{
	return (desc_attr(d) & (SEG_S | SEG_CODE)) == (SEG_S | SEG_CODE);
}

static inline bool desc_is_conforming(const struct x86_desc *d)
{
	return desc_is_code(d) && (desc_attr(d) & SEG_CONFORMING);
}

static inline bool desc_is_writable_data(const struct x86_desc *d)
{
	return (desc_attr(d) & (SEG_S | SEG_CODE | SEG_WRITABLE)) == (SEG_S | SEG_WRITABLE);
}

static inline uint64_t desc_base(const struct x86_desc *d)
{
	return (d->raw >> 16 & 0xffffff) | (d->raw >> 32 & 0xff000000) | d->upper << 32;
}

static inline uint32_t desc_limit(const struct x86_desc *d)
{
	uint32_t limit = (uint32_t)((d->raw & 0xffff) | (d->raw >> 32 & 0xf0000));

	return desc_attr(d) & SEG_G ? limit << 12 | 0xfff : limit;
}

static inline uint16_t gate_selector(const struct x86_desc *d)
{
	return (uint16_t)(d->raw >> 16);
}

static inline uint64_t gate_offset(const struct x86_desc *d)
{
	uint64_t low = (d->raw & 0xffff) | (d->raw >> 32 & 0xffff0000);

	return desc_type(d) & SYS_TYPE_32 ? low | d->upper << 32 : low & 0xffff;
}

/* Linear address of a byte in a system table: wraps at 4 GiB outside long mode. */
static inline gva_t table_gva(const struct x86_cpu *c, uint64_t base, uint64_t offset)
{
	uint64_t at = base + offset;

	return GVA(x86_long_mode(c) ? at : (uint32_t)at);
}

static inline struct x86_segment seg_flat(uint16_t selector, unsigned dpl, uint16_t attr)
{
	return (struct x86_segment){
		.selector = selector,
		.limit = 0xffffffff,
		.attr = (uint16_t)(attr | SEG_P | SEG_S | SEG_G | SEG_ACCESSED | dpl << SEG_DPL_SHIFT),
	};
}

/* CS and SS as SYSCALL, SYSENTER and their returns load them: no descriptor is read. */
static inline void seg_load_flat(struct x86_cpu *c, unsigned cs, unsigned ss, unsigned cpl,
				 bool to_64bit)
{
	c->s.seg[CS] = seg_flat(SEL_WITH_RPL(cs, cpl), cpl,
				SEG_CODE | SEG_READABLE | (to_64bit ? SEG_L : SEG_DB));
	c->s.seg[SS] = seg_flat(SEL_WITH_RPL(ss, cpl), cpl, SEG_WRITABLE | SEG_DB);
}

/* Reads the descriptor a selector names; false when it lies outside the GDT or LDT. */
bool desc_read(struct x86_cpu *c, uint16_t selector, struct x86_desc *d);
/* Long mode: reads the second half of a 16-byte system descriptor; false: outside, or malformed. */
bool desc_read_upper(struct x86_cpu *c, uint16_t selector, struct x86_desc *d);
/* Sets and clears type bits by a locked cycle, unless they are so already. */
void desc_change_type(struct x86_cpu *c, struct x86_desc *d, uint8_t set, uint8_t clear);

static inline void desc_mark_accessed(struct x86_cpu *c, struct x86_desc *d)
{
	desc_change_type(c, d, SEG_ACCESSED, 0);
}

/* The register contents a descriptor gives. */
struct x86_segment seg_from_desc(uint16_t selector, const struct x86_desc *d);
/* A null segment; dpl matters for SS only. */
struct x86_segment seg_null(uint16_t selector, unsigned dpl);

/*
 * Checks of a protected-mode load, before anything changes. They raise `vector` (#GP in
 * instructions, #TS in task and stack switches) with the selector and `ext`, or #NP, #SS.
 */
void seg_check_data(struct x86_cpu *c, uint16_t selector, unsigned cpl, enum x86_vector vector,
		    unsigned ext, struct x86_desc *d);
void seg_check_stack(struct x86_cpu *c, uint16_t selector, unsigned cpl, enum x86_vector vector,
		     unsigned ext, struct x86_desc *d);

/* Loads in the present mode by selector, with all checks (MOV, POP, LDS...). */
void seg_load(struct x86_cpu *c, unsigned sreg, uint16_t selector);
/* Real and virtual-8086 mode; any register including CS. No checks; mode not recomputed. */
void seg_load_real(struct x86_cpu *c, unsigned sreg, uint16_t selector);

/* LLDT and LTR. `vector` as above; the task switch loads LDTR with #TS. */
void seg_load_ldtr(struct x86_cpu *c, uint16_t selector, enum x86_vector vector, unsigned ext);
void seg_load_tr(struct x86_cpu *c, uint16_t selector);

/*
 * On a return to an outer level: data segments that the new CPL may not use become null (SDM
 * vol. 3A §5.8.6). Their bases stay, which 64-bit mode goes on using for FS and GS.
 */
void seg_drop_inner(struct x86_cpu *c, unsigned new_cpl);

#endif
