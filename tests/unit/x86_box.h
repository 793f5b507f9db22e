/*
 * A machine in miniature for tests of the x86 CPU: RAM, a virtual clock and a few vCPUs, no
 * devices. Tests set up tables by hand and call the CPU's functions directly.
 */
#ifndef LM_TESTS_X86_BOX_H
#define LM_TESTS_X86_BOX_H

#include "base/bug.h"
#include "isa/x86/access.h"
#include "isa/x86/event.h"
#include "isa/x86/fault.h"
#include "isa/x86/flags.h"
#include "isa/x86/segment.h"

#define BOX_TSC_HZ UINT64_C(2000000000)

struct x86_box {
	struct x86_system sys;
	struct event_loop loop;
	struct ram ram;
	struct mem_io io;
	unsigned wakes, eois;
	uint8_t eoi_vector;
	int pic_vector;
};

static inline void box_wake(void *opaque, struct x86_cpu *c)
{
	((struct x86_box *)opaque)->wakes++;
}

static inline void box_eoi(void *opaque, uint8_t vector)
{
	((struct x86_box *)opaque)->eois++;
	((struct x86_box *)opaque)->eoi_vector = vector;
}

static inline int box_pic_ack(void *opaque)
{
	return ((struct x86_box *)opaque)->pic_vector;
}

static inline uint64_t box_mmio_read(void *opaque, gpa_t gpa, unsigned size)
{
	return mask_bytes(size);
}

static inline void box_mmio_write(void *opaque, gpa_t gpa, uint64_t value, unsigned size)
{
}

static inline uint32_t box_port_read(void *opaque, uint16_t port, unsigned size)
{
	return port;
}

static inline void box_port_write(void *opaque, uint16_t port, uint32_t value, unsigned size)
{
}

static inline void box_init(struct x86_box *b, unsigned cpus)
{
	memset(b, 0, sizeof(*b));
	LM_BUG_ON(ram_init(&b->ram, 4 * MIB, NULL) || loop_init(&b->loop, true, NULL));
	b->io = (struct mem_io){ box_mmio_read, box_mmio_write, box_port_read, box_port_write, b };
	b->sys = (struct x86_system){
		.ram = &b->ram, .io = &b->io, .loop = &b->loop, .tsc_hz = BOX_TSC_HZ,
		.cpu_count = cpus, .pic_ack = box_pic_ack, .eoi = box_eoi, .wake = box_wake,
		.opaque = b,
	};
	pthread_mutex_init(&b->sys.split_lock, NULL);
	model_default(&b->sys.model, cpus, BOX_TSC_HZ);
	for (unsigned k = 0; k < cpus; k++)
		LM_BUG_ON(!x86_cpu_create(&b->sys, k));
}

static inline void box_fini(struct x86_box *b)
{
	for (unsigned k = 0; k < b->sys.cpu_count; k++)
		x86_cpu_destroy(b->sys.cpu[k]);
	pthread_mutex_destroy(&b->sys.split_lock);
	loop_fini(&b->loop);
	ram_fini(&b->ram);
}

static inline void box_put(struct x86_box *b, uint64_t gpa, uint64_t value, unsigned size)
{
	le_store(ram_ptr(&b->ram, GPA(gpa), size), value, size);
}

static inline uint64_t box_get(struct x86_box *b, uint64_t gpa, unsigned size)
{
	return le_load(ram_ptr(&b->ram, GPA(gpa), size), size);
}

/* Runs a statement; the vector it raises, or -1. The fault is in c->fault. */
#define BOX_FAULT(c, statement)                                                                    \
	__extension__({                                                                            \
		volatile int vector_ = -1;                                                         \
		if (!setjmp((c)->unwind)) {                                                        \
			statement;                                                                 \
		} else {                                                                           \
			vector_ = (c)->fault.vector;                                               \
		}                                                                                  \
		vector_;                                                                           \
	})

/* ---- Tables in guest memory ---- */

#define BOX_GDT 0x1000u
#define BOX_IDT 0x2000u
#define BOX_TSS 0x3000u
#define BOX_PML4 0x10000u

/* Descriptor: access byte, flags nibble (G 8, D/B 4, L 2), base and limit (in units of G). */
static inline uint64_t box_desc(uint32_t base, uint32_t limit, uint8_t access, uint8_t flags)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
	       (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)flags << 52 |
	       (uint64_t)(base >> 24) << 56;
}

static inline uint64_t box_gate(uint16_t selector, uint32_t offset, uint8_t access)
{
	return (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)access << 40 |
	       (uint64_t)(offset >> 16) << 48;
}

/* Selectors of the flat GDT that box_protected and box_long set up. */
enum { BOX_CODE0 = 0x08, BOX_DATA0 = 0x10, BOX_CODE3 = 0x18 | 3, BOX_DATA3 = 0x20 | 3, BOX_TR = 0x28 };

static inline void box_load_segments(struct x86_cpu *c, uint16_t cs, uint16_t ss)
{
	struct x86_desc d;

	LM_BUG_ON(!desc_read(c, cs, &d));
	c->s.seg[CS] = seg_from_desc(cs, &d);
	LM_BUG_ON(!desc_read(c, ss, &d));
	for (unsigned k = 0; k < 6; k++)
		if (k != CS)
			c->s.seg[k] = seg_from_desc(ss, &d);
	x86_mode_changed(c);
}

static inline void box_tables(struct x86_box *b, struct x86_cpu *c, bool wide)
{
	uint8_t code_flags = wide ? 0xa : 0xc;

	box_put(b, BOX_GDT + 0x08, box_desc(0, 0xfffff, 0x9b, code_flags), 8);
	box_put(b, BOX_GDT + 0x10, box_desc(0, 0xfffff, 0x93, 0xc), 8);
	box_put(b, BOX_GDT + 0x18, box_desc(0, 0xfffff, 0xfb, code_flags), 8);
	box_put(b, BOX_GDT + 0x20, box_desc(0, 0xfffff, 0xf3, 0xc), 8);
	box_put(b, BOX_GDT + 0x28, box_desc(BOX_TSS, 0x2067, 0x89, 0), 8);
	box_put(b, BOX_GDT + 0x30, 0, 8);
	c->s.gdtr = (struct x86_table_reg){ BOX_GDT, 0xfff };
	c->s.idtr = (struct x86_table_reg){ BOX_IDT, 0xfff };
}

/* 32-bit protected mode at CPL 0, paging off. */
static inline void box_protected(struct x86_box *b, struct x86_cpu *c)
{
	c->s.cr0 |= CR0_PE;
	x86_mode_changed(c);
	box_tables(b, c, false);
	box_load_segments(c, BOX_CODE0, BOX_DATA0);
	seg_load_tr(c, BOX_TR);
	c->s.gpr[RSP] = 0x9000;
	c->s.rip = 0x7000;
}

/* 64-bit mode at CPL 0, all RAM mapped one to one by user-accessible 2 MiB pages. */
static inline void box_long(struct x86_box *b, struct x86_cpu *c)
{
	box_put(b, BOX_PML4, (BOX_PML4 + 0x1000) | 7, 8);
	box_put(b, BOX_PML4 + 0x1000, (BOX_PML4 + 0x2000) | 7, 8);
	for (unsigned k = 0; k < 512; k++)
		box_put(b, BOX_PML4 + 0x2000 + 8 * k, (k << 21) | 0x87, 8);
	c->s.cr3 = BOX_PML4;
	c->s.cr4 |= CR4_PAE;
	c->s.efer |= EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
	c->s.cr0 |= CR0_PE | CR0_PG | CR0_WP;
	x86_cpu_load(c);
	box_tables(b, c, true);
	box_load_segments(c, BOX_CODE0, BOX_DATA0);
	seg_load_tr(c, BOX_TR);
	c->s.gpr[RSP] = 0x9000;
	c->s.rip = 0x7000;
}

/* A gate of the present mode. */
static inline void box_set_gate(struct x86_box *b, struct x86_cpu *c, unsigned vector, uint32_t offset,
				uint8_t access, unsigned ist)
{
	unsigned bytes = x86_long_mode(c) ? 16 : 8;

	box_put(b, BOX_IDT + vector * bytes,
		box_gate(BOX_CODE0, offset, access) | (uint64_t)ist << 32, 8);
	if (bytes == 16)
		box_put(b, BOX_IDT + vector * bytes + 8, 0, 8);
}

#endif
