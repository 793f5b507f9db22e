/* Event delivery: IVT, IDT, stacks, error codes, double and triple faults, priorities, shadows. */
#include "x86_box.h"
#include "check.h"
#include "isa/x86/debug.h"

static struct x86_box box;
static struct x86_cpu *c;

static void start(void)
{
	box_init(&box, 1);
	c = box.sys.cpu[0];
}

static void test_reset(void)
{
	start();
	CHECK_EQ(c->s.seg[CS].base + c->s.rip, 0xfffffff0);
	CHECK_EQ(c->s.seg[CS].selector, 0xf000);
	CHECK_EQ(c->s.cr0, 0x60000010);
	CHECK_EQ(c->s.rflags, 2);
	CHECK_EQ(c->code_size, CODE_16);
	CHECK_EQ(c->stack_size, 2);
	CHECK(c->real_or_v86);
	CHECK_EQ(c->s.gpr[RDX] >> 8 & 0xf, 6);
	CHECK_EQ(c->s.activity, CPU_ACTIVE);
	c->s.xcr0 = 7;
	c->s.lstar = 0x1234;
	x86_cpu_reset(c, true);
	CHECK_EQ(c->s.xcr0, 7);
	CHECK_EQ(c->s.lstar, 0x1234);
	box_fini(&box);
}

static void real_mode(void)
{
	seg_load_real(c, CS, 0x1000);
	seg_load_real(c, SS, 0x2000);
	c->s.gpr[RSP] = 0xabcd0100;
	c->s.rip = 0x55;
	c->s.rflags = FLAG_FIXED | FLAG_IF | FLAG_TF | FLAG_CF;
	c->s.idtr = (struct x86_table_reg){ 0, 0x3ff };
	box_put(&box, 0x21 * 4, 0x30004444, 4);
	x86_mode_changed(c);
}

static void test_real_mode(void)
{
	start();
	real_mode();
	event_deliver(c, 0x21, EVENT_EXTERNAL, false, 0);
	CHECK_EQ(c->s.rip, 0x4444);
	CHECK_EQ(c->s.seg[CS].selector, 0x3000);
	CHECK_EQ(c->s.seg[CS].base, 0x30000);
	CHECK_EQ(c->s.gpr[RSP], 0xabcd00fa);
	CHECK_EQ(box_get(&box, 0x200fa, 2), 0x55);
	CHECK_EQ(box_get(&box, 0x200fc, 2), 0x1000);
	CHECK_EQ(box_get(&box, 0x200fe, 2), FLAG_FIXED | FLAG_IF | FLAG_TF | FLAG_CF);
	CHECK_EQ(c->s.rflags, FLAG_FIXED | FLAG_CF);
	box_fini(&box);
}

static void test_real_mode_stack_wraps(void)
{
	start();
	real_mode();
	c->s.gpr[RSP] = 2;
	event_deliver(c, 0x21, EVENT_EXTERNAL, false, 0);
	CHECK_EQ(c->s.gpr[RSP], 0xfffc);
	CHECK_EQ(box_get(&box, 0x2fffc, 2), 0x55);
	c->s.seg[SS].base = 0x20000;
	c->s.gpr[RSP] = 1; /* an element across the end does not fit */
	CHECK_EQ(BOX_FAULT(c, event_deliver(c, 0x21, EVENT_EXTERNAL, false, 0)), VEC_SS);
	CHECK_EQ(c->s.gpr[RSP], 1);
	c->s.idtr.limit = 0x83;
	CHECK_EQ(BOX_FAULT(c, event_deliver(c, 0x21, EVENT_EXTERNAL, false, 0)), VEC_GP);
	box_fini(&box);
}

static void test_protected_same_level(void)
{
	start();
	box_protected(&box, c);
	box_set_gate(&box, c, VEC_GP, 0x8000, 0x8e, 0);
	c->s.rflags = FLAG_FIXED | FLAG_IF;
	c->fault = (struct x86_fault){ .vector = VEC_GP, .has_error = true, .error = 0x1234 };
	event_deliver_fault(c);
	CHECK_EQ(c->s.rip, 0x8000);
	CHECK_EQ(c->s.gpr[RSP], 0x9000 - 16);
	CHECK_EQ(box_get(&box, 0x8ff0, 4), 0x1234);
	CHECK_EQ(box_get(&box, 0x8ff4, 4), 0x7000);
	CHECK_EQ(box_get(&box, 0x8ff8, 4), BOX_CODE0);
	CHECK_EQ(box_get(&box, 0x8ffc, 4), FLAG_FIXED | FLAG_IF | FLAG_RF);
	CHECK_EQ(c->s.rflags, FLAG_FIXED);
	box_fini(&box);
}

/* Between two iterations of a repeated string instruction the pushed RF is 1 (vol. 3B §17.3.1.1). */
static void test_repeat_pushes_rf(void)
{
	start();
	box_protected(&box, c);
	box_set_gate(&box, c, 0x40, 0x8000, 0x8e, 0);
	c->repeat = true;
	event_deliver(c, 0x40, EVENT_EXTERNAL, false, 0);
	CHECK_EQ(box_get(&box, 0x8ffc, 4), FLAG_FIXED | FLAG_RF);
	CHECK(!c->repeat);
	event_deliver(c, 0x40, EVENT_EXTERNAL, false, 0);
	CHECK_EQ(box_get(&box, 0x8ff0, 4), FLAG_FIXED);
	box_fini(&box);
}

static void to_user(void)
{
	box_load_segments(c, BOX_CODE3, BOX_DATA3);
	c->s.gpr[RSP] = 0x5000;
	c->s.rip = 0x4000;
	CHECK_EQ(c->cpl, 3);
}

static void test_protected_inner(void)
{
	start();
	box_protected(&box, c);
	box_set_gate(&box, c, 0x80, 0x8000, 0xef, 0); /* trap gate, DPL 3 */
	box_put(&box, BOX_TSS + 4, 0xa000, 4);
	box_put(&box, BOX_TSS + 8, BOX_DATA0, 4);
	to_user();
	c->s.rflags = FLAG_FIXED | FLAG_IF | FLAG_NT;
	c->next_rip = 0x4002;
	event_deliver(c, 0x80, EVENT_SOFTWARE_INT, false, 0);
	CHECK_EQ(c->cpl, 0);
	CHECK_EQ(c->s.seg[CS].selector, BOX_CODE0);
	CHECK_EQ(c->s.seg[SS].selector, BOX_DATA0);
	CHECK_EQ(c->s.gpr[RSP], 0xa000 - 20);
	CHECK_EQ(box_get(&box, 0xa000 - 20, 4), 0x4002);
	CHECK_EQ(box_get(&box, 0xa000 - 16, 4), BOX_CODE3);
	CHECK_EQ(box_get(&box, 0xa000 - 8, 4), 0x5000);
	CHECK_EQ(box_get(&box, 0xa000 - 4, 4), BOX_DATA3);
	CHECK_EQ(c->s.rflags, FLAG_FIXED | FLAG_IF);
	box_fini(&box);
}

static void test_gate_faults(void)
{
	start();
	box_protected(&box, c);
	box_set_gate(&box, c, 0x30, 0x8000, 0x8e, 0);
	box_set_gate(&box, c, 0x31, 0x8000, 0x0e, 0); /* not present */
	box_set_gate(&box, c, 0x32, 0x8000, 0x8c, 0); /* a call gate */
	to_user();
	CHECK_EQ(BOX_FAULT(c, event_deliver(c, 0x30, EVENT_SOFTWARE_INT, false, 0)), VEC_GP);
	CHECK_EQ(c->fault.error, 0x30 * 8 + 2);
	CHECK_EQ(c->s.rip, 0x4000);
	CHECK_EQ(BOX_FAULT(c, event_deliver(c, 0x31, EVENT_EXTERNAL, false, 0)), VEC_NP);
	CHECK_EQ(c->fault.error, 0x31 * 8 + 3);
	CHECK_EQ(BOX_FAULT(c, event_deliver(c, 0x32, EVENT_EXTERNAL, false, 0)), VEC_GP);
	box_put(&box, BOX_TSS + 8, BOX_DATA3, 4); /* a stack of the wrong level */
	CHECK_EQ(BOX_FAULT(c, event_deliver(c, 0x30, EVENT_EXTERNAL, false, 0)), VEC_TS);
	CHECK_EQ(c->fault.error, (BOX_DATA3 & ~3) + 1);
	c->s.tr.limit = 8;
	CHECK_EQ(BOX_FAULT(c, event_deliver(c, 0x30, EVENT_EXTERNAL, false, 0)), VEC_TS);
	CHECK_EQ(c->fault.error, BOX_TR + 1);
	box_fini(&box);
}

static void test_long_mode(void)
{
	start();
	box_long(&box, c);
	CHECK_EQ(c->code_size, CODE_64);
	box_set_gate(&box, c, 0x40, 0x8000, 0x8e, 0);
	box_set_gate(&box, c, 0x41, 0x8000, 0x8e, 2);
	box_put(&box, BOX_TSS + 4, 0xa008, 8);
	box_put(&box, BOX_TSS + 28 + 16, 0xb000, 8);
	c->s.gpr[RSP] = 0x8ffb;
	event_deliver(c, 0x40, EVENT_EXTERNAL, false, 0); /* same level: aligned */
	CHECK_EQ(c->s.gpr[RSP], 0x8ff0 - 40);
	CHECK_EQ(box_get(&box, 0x8ff0 - 16, 8), 0x8ffb);
	CHECK_EQ(c->s.seg[SS].selector, BOX_DATA0);

	to_user();
	event_deliver(c, 0x40, EVENT_EXTERNAL, false, 0); /* RSP0 */
	CHECK_EQ(c->s.gpr[RSP], 0xa000 - 40);
	CHECK_EQ(c->s.seg[SS].selector, 0);
	CHECK_EQ(c->cpl, 0);
	CHECK_EQ(box_get(&box, 0xa000 - 8, 8), BOX_DATA3);

	event_deliver(c, 0x41, EVENT_EXTERNAL, false, 0); /* IST2 at the same level */
	CHECK_EQ(c->s.gpr[RSP], 0xb000 - 40);
	CHECK_EQ(box_get(&box, 0xb000 - 16, 8), 0xa000 - 40);
	box_put(&box, BOX_TSS + 28 + 16, UINT64_C(0x800000000000), 8);
	CHECK_EQ(BOX_FAULT(c, event_deliver(c, 0x41, EVENT_EXTERNAL, false, 0)), VEC_SS);
	box_fini(&box);
}

static void test_page_fault_sets_cr2(void)
{
	start();
	box_long(&box, c);
	box_set_gate(&box, c, VEC_PF, 0x8000, 0x8e, 0);
	CHECK_EQ(BOX_FAULT(c, lin_read(c, GVA(0x80000000), 8)), VEC_PF);
	event_deliver_fault(c);
	CHECK_EQ(c->s.cr2, 0x80000000);
	CHECK_EQ(c->s.rip, 0x8000);
	CHECK_EQ(box_get(&box, 0x9000 - 48, 8), 0);
	box_fini(&box);
}

/* #GP whose gate is missing: #GP, then #DF; without a #DF gate: shutdown. */
static void test_double_and_triple_fault(void)
{
	start();
	box_long(&box, c);
	box_set_gate(&box, c, VEC_DF, 0x8800, 0x8e, 0);
	c->fault = (struct x86_fault){ .vector = VEC_GP, .has_error = true };
	event_deliver_fault(c);
	CHECK_EQ(c->s.rip, 0x8800);
	CHECK_EQ(box_get(&box, c->s.gpr[RSP], 8), 0);
	CHECK(!c->delivering);

	box_set_gate(&box, c, VEC_DF, 0, 0, 0);
	c->fault = (struct x86_fault){ .vector = VEC_PF, .has_error = true, .address = 0x123 };
	event_deliver_fault(c);
	CHECK_EQ(c->s.activity, CPU_SHUTDOWN);
	CHECK(x86_events(c) & EV_SHUTDOWN);
	CHECK(event_poll(c));
	box_fini(&box);
}

/* #UD is benign: a #GP while delivering it is served as #GP. */
static void test_benign_then_contributory(void)
{
	start();
	box_protected(&box, c);
	box_set_gate(&box, c, VEC_GP, 0x8100, 0x8e, 0);
	c->fault = (struct x86_fault){ .vector = VEC_UD };
	event_deliver_fault(c);
	CHECK_EQ(c->s.rip, 0x8100);
	CHECK_EQ(box_get(&box, c->s.gpr[RSP], 4), VEC_UD * 8 + 2 + 1);
	box_fini(&box);
}

static void test_single_step(void)
{
	start();
	box_protected(&box, c);
	box_set_gate(&box, c, VEC_DB, 0x8200, 0x8e, 0);
	c->s.rflags = FLAG_FIXED | FLAG_TF;
	event_flags_loaded(c);
	CHECK(!event_poll(c)); /* the instruction at 0x7000 may run ... */
	CHECK_EQ(c->s.rip, 0x7000);
	c->s.rip = 0x7002;
	CHECK(!event_poll(c)); /* ... and then traps */
	CHECK_EQ(c->s.rip, 0x8200);
	CHECK_EQ(c->s.dr[6], DR6_FIXED | DR6_BS);
	CHECK_EQ(box_get(&box, c->s.gpr[RSP], 4), 0x7002);
	CHECK_EQ(box_get(&box, c->s.gpr[RSP] + 8, 4), FLAG_FIXED | FLAG_TF);
	CHECK(!(x86_events(c) & EV_TRAP));
	box_fini(&box);
}

static void test_code_breakpoint(void)
{
	start();
	box_protected(&box, c);
	box_set_gate(&box, c, VEC_DB, 0x8200, 0x8e, 0);
	c->s.dr[1] = 0x7000;
	c->s.dr[7] = DR7_FIXED | 0x8;
	x86_event_set(c, EV_TRAP);
	CHECK(!event_poll(c));
	CHECK_EQ(c->s.rip, 0x8200);
	CHECK_EQ(c->s.dr[6], DR6_FIXED | DR6_B(1));
	c->s.rip = 0x7000;
	c->s.rflags |= FLAG_RF; /* resumes over it, once */
	CHECK(!event_poll(c));
	CHECK_EQ(c->s.rip, 0x7000);
	CHECK(!(c->s.rflags & FLAG_RF));
	box_fini(&box);
}

static void test_data_breakpoint(void)
{
	start();
	box_protected(&box, c);
	box_set_gate(&box, c, VEC_DB, 0x8200, 0x8e, 0);
	lin_write(c, GVA(0x6000), 1, 4); /* a TLB entry from before */
	c->s.dr[0] = 0x6002;
	c->s.dr[7] = DR7_FIXED | 1 | 0x50000; /* write, 2 bytes */
	x86_mode_changed(c);
	CHECK(c->access_checks);
	lin_read(c, GVA(0x6000), 4);
	CHECK_EQ(c->pending_db, 0);
	lin_write(c, GVA(0x6000), 2, 4);
	CHECK_EQ(c->pending_db, DR6_B(0));
	c->s.debug_shadow = true; /* after MOV SS: one instruction later */
	CHECK(!event_poll(c));
	CHECK_EQ(c->s.rip, 0x7000);
	CHECK(!event_poll(c));
	CHECK_EQ(c->s.rip, 0x8200);
	CHECK_EQ(c->s.dr[6], DR6_FIXED | DR6_B(0));
	box_fini(&box);
}

static void enable_apic(void)
{
	lapic_mmio_write(c, 0xf0, 0x1ff);
}

static void test_interrupt_shadow_and_priority(void)
{
	start();
	box_protected(&box, c);
	for (unsigned v = 0x40; v < 0x60; v++)
		box_set_gate(&box, c, v, 0x8000 + v, 0x8e, 0);
	box_set_gate(&box, c, VEC_NMI, 0x8300, 0x8e, 0);
	enable_apic();
	lapic_deliver(c, 0x41, DELIVERY_FIXED, false);
	lapic_deliver(c, 0x52, DELIVERY_FIXED, false);
	CHECK(!event_poll(c)); /* IF = 0 */
	CHECK_EQ(c->s.rip, 0x7000);
	c->s.rflags |= FLAG_IF;
	c->s.interrupt_shadow = true; /* as STI leaves it */
	event_flags_loaded(c);
	CHECK(!event_poll(c));
	CHECK_EQ(c->s.rip, 0x7000);
	CHECK(!event_poll(c));
	CHECK_EQ(c->s.rip, 0x8052);
	lapic_deliver(c, 0, DELIVERY_NMI, false);
	CHECK(!event_poll(c));
	CHECK_EQ(c->s.rip, 0x8300);
	CHECK(c->s.nmi_blocked);
	lapic_deliver(c, 0, DELIVERY_NMI, false);
	CHECK(!event_poll(c));
	CHECK_EQ(c->s.rip, 0x8300);
	c->s.nmi_blocked = false;
	c->s.rip = 0x7777;
	CHECK(!event_poll(c));
	CHECK_EQ(c->s.rip, 0x8300);
	box_fini(&box);
}

/* Two NMIs before the first is taken are two; a third, and any while one is latched, is lost. */
static void test_latched_nmi(void)
{
	start();
	box_protected(&box, c);
	box_set_gate(&box, c, VEC_NMI, 0x8300, 0x8e, 0);
	c->s.interrupt_shadow = true;
	x86_event_set(c, EV_TRAP);
	for (int k = 0; k < 3; k++)
		lapic_deliver(c, 0, DELIVERY_NMI, false);
	CHECK(!event_poll(c)); /* shadow of STI */
	CHECK_EQ(c->s.rip, 0x7000);
	for (int k = 0; k < 3; k++) {
		c->s.rip = 0x7000;
		CHECK(!event_poll(c));
		CHECK_EQ(c->s.rip, k < 2 ? 0x8300 : 0x7000);
		if (k == 0)
			lapic_deliver(c, 0, DELIVERY_NMI, false);
		c->s.rip = 0x8300;
		CHECK(!event_poll(c)); /* the handler is not interrupted */
		CHECK_EQ(c->s.rip, 0x8300);
		c->s.nmi_blocked = false;
	}
	box_fini(&box);
}

static void test_halt_and_wake(void)
{
	start();
	box_protected(&box, c);
	box_set_gate(&box, c, 0x41, 0x8041, 0x8e, 0);
	enable_apic();
	c->s.activity = CPU_HALTED;
	x86_event_set(c, EV_TRAP);
	CHECK(event_poll(c));
	CHECK(!event_wakes(c));
	lapic_deliver(c, 0x41, DELIVERY_FIXED, false);
	CHECK(!event_wakes(c)); /* IF = 0 */
	c->s.rflags |= FLAG_IF;
	event_flags_loaded(c);
	CHECK(event_wakes(c));
	CHECK(!event_poll(c));
	CHECK_EQ(c->s.rip, 0x8041);
	CHECK_EQ(c->s.activity, CPU_ACTIVE);
	CHECK(box.wakes > 0);
	x86_event_raise(c, EV_KICK);
	CHECK(event_poll(c));
	box_fini(&box);
}

static void test_extint(void)
{
	start();
	box_protected(&box, c);
	box_set_gate(&box, c, 0x30, 0x8030, 0x8e, 0);
	box.pic_vector = 0x30;
	c->s.rflags |= FLAG_IF;
	x86_extint_set(c, true);
	CHECK(!event_poll(c));
	CHECK_EQ(c->s.rip, 0x8030);
	x86_extint_set(c, false);
	box_fini(&box);
}

/* While IF is clear the waiting interrupt is out of the way; whoever sets IF brings it back. */
static void test_extint_waits(void)
{
	start();
	box_protected(&box, c);
	box_set_gate(&box, c, 0x30, 0x8030, 0x8e, 0);
	box.pic_vector = 0x30;
	c->s.rflags &= ~(uint64_t)FLAG_IF;
	x86_extint_set(c, true);
	event_poll(c);
	event_poll(c);
	CHECK_EQ(x86_events(c) & EV_EXTINT, 0);
	c->s.rflags |= FLAG_IF;
	event_flags_loaded(c);
	CHECK(!event_poll(c));
	CHECK_EQ(c->s.rip, 0x8030);
	x86_event_set(c, EV_EXTINT); /* left over, the line is low */
	x86_extint_set(c, false);
	c->s.rflags |= FLAG_IF;
	c->s.rip = 0x8040;
	x86_event_set(c, EV_EXTINT);
	CHECK(!event_poll(c));
	CHECK_EQ(c->s.rip, 0x8040);
	box_fini(&box);
}

int main(void)
{
	test_reset();
	test_real_mode();
	test_real_mode_stack_wraps();
	test_protected_same_level();
	test_repeat_pushes_rf();
	test_protected_inner();
	test_gate_faults();
	test_long_mode();
	test_page_fault_sets_cr2();
	test_double_and_triple_fault();
	test_benign_then_contributory();
	test_single_step();
	test_code_breakpoint();
	test_data_breakpoint();
	test_interrupt_shadow_and_priority();
	test_latched_nmi();
	test_halt_and_wake();
	test_extint();
	test_extint_waits();
	return check_done();
}
