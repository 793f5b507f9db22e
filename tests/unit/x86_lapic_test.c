/* The local APIC: priorities, timer modes with a virtual clock, routing among three vCPUs. */
#include "x86_box.h"
#include "check.h"
#include "isa/x86/msr.h"

#define R_ID     0x020
#define R_TPR    0x080
#define R_PPR    0x0a0
#define R_EOI    0x0b0
#define R_LDR    0x0d0
#define R_DFR    0x0e0
#define R_SVR    0x0f0
#define R_ISR    0x100
#define R_IRR    0x200
#define R_ESR    0x280
#define R_ICR    0x300
#define R_ICR_HI 0x310
#define R_TIMER  0x320
#define R_LINT0  0x350
#define R_ERROR  0x370
#define R_INIT   0x380
#define R_COUNT  0x390
#define R_DIVIDE 0x3e0
#define DIVIDE_1 0xb

#define MSR_TSC          0x10
#define MSR_APIC_BASE    0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define X2(reg)          (0x800 + (reg) / 16)

static struct x86_box box;
static struct x86_cpu *c;

static void start(unsigned cpus)
{
	box_init(&box, cpus);
	for (unsigned k = 0; k < cpus; k++)
		lapic_mmio_write(box.sys.cpu[k], R_SVR, 0x1ff);
	c = box.sys.cpu[0];
}

static bool requested(struct x86_cpu *cpu, unsigned vector)
{
	return cpu->s.lapic.irr[vector / 32] >> vector % 32 & 1;
}

/* Which of the vCPUs got the vector, as a bit mask; takes it away again. */
static unsigned receivers(unsigned vector)
{
	unsigned mask = 0;

	for (unsigned k = 0; k < box.sys.cpu_count; k++) {
		struct x86_cpu *cpu = box.sys.cpu[k];

		mask |= (unsigned)requested(cpu, vector) << k;
		cpu->s.lapic.irr[vector / 32] &= ~(1u << vector % 32);
	}
	return mask;
}

static void test_priorities(void)
{
	start(1);
	CHECK_EQ(lapic_pending(c), -1);
	lapic_deliver(c, 0x51, DELIVERY_FIXED, false);
	lapic_deliver(c, 0x62, DELIVERY_FIXED, false);
	lapic_deliver(c, 0x65, DELIVERY_FIXED, false);
	CHECK_EQ(lapic_acknowledge(c), 0x65);
	CHECK_EQ(lapic_pending(c), -1); /* 0x62 is of the same class */
	CHECK_EQ(lapic_mmio_read(c, R_PPR), 0x60);
	lapic_deliver(c, 0x70, DELIVERY_FIXED, false);
	CHECK_EQ(lapic_acknowledge(c), 0x70);
	lapic_mmio_write(c, R_EOI, 0);
	CHECK_EQ(lapic_mmio_read(c, R_PPR), 0x60);
	lapic_mmio_write(c, R_EOI, 0);
	CHECK_EQ(lapic_pending(c), 0x62);
	lapic_set_cr8(c, 6);
	CHECK_EQ(lapic_mmio_read(c, R_TPR), 0x60);
	CHECK_EQ(lapic_pending(c), -1);
	x86_event_clear(c, EV_INTERRUPT);
	lapic_set_cr8(c, 5);
	CHECK(x86_events(c) & EV_INTERRUPT);
	CHECK_EQ(lapic_pending(c), 0x62);
	lapic_acknowledge(c);
	CHECK_EQ(lapic_acknowledge(c), 0xff); /* spurious */
	box_fini(&box);
}

static void test_level_eoi(void)
{
	start(1);
	lapic_deliver(c, 0x51, DELIVERY_FIXED, true);
	lapic_acknowledge(c);
	lapic_mmio_write(c, R_EOI, 0);
	CHECK_EQ(box.eois, 1);
	CHECK_EQ(box.eoi_vector, 0x51);
	lapic_deliver(c, 0x51, DELIVERY_FIXED, false);
	lapic_acknowledge(c);
	lapic_mmio_write(c, R_EOI, 0);
	CHECK_EQ(box.eois, 1);
	box_fini(&box);
}

static void test_software_disable(void)
{
	start(1);
	lapic_mmio_write(c, R_TIMER, 0x31);
	lapic_mmio_write(c, R_SVR, 0xff);
	CHECK_EQ(lapic_mmio_read(c, R_TIMER), 0x10031);
	lapic_mmio_write(c, R_TIMER, 0x31);
	CHECK_EQ(lapic_mmio_read(c, R_TIMER), 0x10031);
	lapic_deliver(c, 0x51, DELIVERY_FIXED, false);
	CHECK(!requested(c, 0x51));
	box_fini(&box);
}

static void test_errors(void)
{
	start(1);
	lapic_mmio_write(c, R_ERROR, 0x99);
	lapic_mmio_write(c, R_ICR, 0x05); /* vector 5 */
	CHECK_EQ(lapic_mmio_read(c, R_ESR), 0);
	lapic_mmio_write(c, R_ESR, 0);
	CHECK_EQ(lapic_mmio_read(c, R_ESR), 0x20);
	CHECK(requested(c, 0x99));
	lapic_mmio_write(c, 0x3d0, 0); /* no such register */
	lapic_mmio_write(c, R_ESR, 0);
	CHECK_EQ(lapic_mmio_read(c, R_ESR), 0x80);
	box_fini(&box);
}

static void advance_to(int64_t ns)
{
	box.loop.clock.virtual_ns = ns;
	loop_run_timers(&box.loop);
}

static void test_timer_one_shot(void)
{
	start(1);
	advance_to(1000);
	lapic_mmio_write(c, R_TIMER, 0x31);
	lapic_mmio_write(c, R_DIVIDE, 0); /* by 2 */
	lapic_mmio_write(c, R_INIT, 50000);
	CHECK_EQ(lapic_mmio_read(c, R_COUNT), 50000);
	advance_to(51000);
	CHECK_EQ(lapic_mmio_read(c, R_COUNT), 25000);
	advance_to(100999);
	CHECK(!requested(c, 0x31));
	advance_to(101000);
	CHECK_EQ(receivers(0x31), 1);
	CHECK_EQ(lapic_mmio_read(c, R_COUNT), 0);
	advance_to(1000000);
	CHECK_EQ(receivers(0x31), 0);
	lapic_mmio_write(c, R_INIT, 50000);
	lapic_mmio_write(c, R_INIT, 0); /* stops */
	advance_to(2000000);
	CHECK_EQ(receivers(0x31), 0);
	box_fini(&box);
}

static void test_timer_periodic(void)
{
	start(1);
	lapic_mmio_write(c, R_TIMER, 0x20031);
	lapic_mmio_write(c, R_DIVIDE, DIVIDE_1);
	lapic_mmio_write(c, R_INIT, 100000);
	for (int k = 1; k <= 3; k++) {
		advance_to(100000 * k - 1);
		CHECK_EQ(receivers(0x31), 0);
		advance_to(100000 * k);
		CHECK_EQ(receivers(0x31), 1);
	}
	lapic_mmio_write(c, R_TIMER, 0x30031); /* masked: goes on silently */
	advance_to(450000);
	CHECK_EQ(receivers(0x31), 0);
	CHECK_EQ(lapic_mmio_read(c, R_COUNT), 50000);
	lapic_mmio_write(c, R_TIMER, 0x20031);
	advance_to(500000);
	CHECK_EQ(receivers(0x31), 1);
	lapic_mmio_write(c, R_INIT, 1); /* a period far too short is stretched, not served */
	advance_to(500019);
	CHECK_EQ(receivers(0x31), 0);
	box_fini(&box);
}

/* Between one-shot and periodic the count goes on from where it is (SDM vol. 3A §11.5.4). */
static void test_timer_change_of_mode(void)
{
	start(1);
	lapic_mmio_write(c, R_TIMER, 0x31);
	lapic_mmio_write(c, R_DIVIDE, DIVIDE_1);
	lapic_mmio_write(c, R_INIT, 100000);
	advance_to(60000);
	lapic_mmio_write(c, R_TIMER, 0x20031);
	CHECK_EQ(lapic_mmio_read(c, R_COUNT), 40000);
	advance_to(100000);
	advance_to(230000);
	CHECK_EQ(receivers(0x31), 1);
	lapic_mmio_write(c, R_TIMER, 0x31); /* within the third period */
	CHECK_EQ(lapic_mmio_read(c, R_COUNT), 70000);
	advance_to(299999);
	CHECK_EQ(receivers(0x31), 0);
	advance_to(300000);
	CHECK_EQ(receivers(0x31), 1);
	lapic_mmio_write(c, R_TIMER, 0x20031); /* nothing is left to count */
	advance_to(350000);
	CHECK_EQ(lapic_mmio_read(c, R_COUNT), 0);
	advance_to(700000);
	CHECK_EQ(receivers(0x31), 0);
	lapic_mmio_write(c, R_INIT, 100000);
	advance_to(800000);
	CHECK_EQ(receivers(0x31), 1);
	box_fini(&box);
}

static void test_timer_tsc_deadline(void)
{
	uint64_t value;

	start(1);
	lapic_mmio_write(c, R_TIMER, 0x40031);
	CHECK(msr_write(c, MSR_TSC_DEADLINE, 400001)); /* 2 GHz: 200000.5 ns, rounded up */
	advance_to(200000);
	CHECK_EQ(receivers(0x31), 0);
	advance_to(200001);
	CHECK_EQ(receivers(0x31), 1);
	CHECK(msr_read(c, MSR_TSC_DEADLINE, &value));
	CHECK_EQ(value, 0);
	CHECK(msr_write(c, MSR_TSC_DEADLINE, 600000));
	CHECK(msr_write(c, MSR_TSC_DEADLINE, 0));
	advance_to(400000);
	CHECK_EQ(receivers(0x31), 0);
	CHECK(msr_write(c, MSR_TSC_DEADLINE, 5)); /* long past: at once, on this thread */
	CHECK_EQ(receivers(0x31), 1);
	CHECK(msr_read(c, MSR_TSC_DEADLINE, &value));
	CHECK_EQ(value, 0);
	CHECK(msr_write(c, MSR_TSC, 1000000000)); /* deadlines that the machine's TSC never had */
	CHECK(msr_write(c, MSR_TSC_DEADLINE, 5));
	CHECK_EQ(receivers(0x31), 1);
	lapic_mmio_write(c, R_TIMER, 0x50031); /* masked: passes silently */
	CHECK(msr_write(c, MSR_TSC_DEADLINE, 5));
	advance_to(400000);
	CHECK_EQ(receivers(0x31), 0);
	lapic_mmio_write(c, R_TIMER, 0x31);
	CHECK(msr_write(c, MSR_TSC_DEADLINE, 2000000)); /* ignored in another mode */
	advance_to(2000000);
	CHECK_EQ(receivers(0x31), 0);
	box_fini(&box);
}

static void ipi(uint32_t dest, uint32_t low)
{
	lapic_mmio_write(c, R_ICR_HI, dest << 24);
	lapic_mmio_write(c, R_ICR, low);
}

static void test_xapic_routing(void)
{
	start(3);
	ipi(2, 0x40);
	CHECK_EQ(receivers(0x40), 4);
	ipi(0xff, 0x40);
	CHECK_EQ(receivers(0x40), 7);
	ipi(7, 0x40);
	CHECK_EQ(receivers(0x40), 0);
	ipi(0, 0x40 | 1 << 18);
	CHECK_EQ(receivers(0x40), 1);
	ipi(0, 0x40 | 2 << 18);
	CHECK_EQ(receivers(0x40), 7);
	ipi(0, 0x40 | 3 << 18);
	CHECK_EQ(receivers(0x40), 6);
	for (unsigned k = 0; k < 3; k++)
		lapic_mmio_write(box.sys.cpu[k], R_LDR, 1u << (24 + k));
	ipi(0x5, 0x840); /* logical, flat */
	CHECK_EQ(receivers(0x40), 5);
	lapic_mmio_write(box.sys.cpu[0], R_TPR, 0x20);
	ipi(0x7, 0x940); /* lowest priority */
	CHECK_EQ(receivers(0x40), 2);
	for (unsigned k = 0; k < 3; k++) {
		lapic_mmio_write(box.sys.cpu[k], R_DFR, 0);
		lapic_mmio_write(box.sys.cpu[k], R_LDR, (k == 2 ? 0x22u : 0x10u | 1u << k) << 24);
	}
	ipi(0x13, 0x840); /* cluster 1, members 0 and 1 */
	CHECK_EQ(receivers(0x40), 3);
	ipi(0x22, 0x840);
	CHECK_EQ(receivers(0x40), 4);
	box_fini(&box);
}

static void test_x2apic(void)
{
	uint64_t value;

	start(3);
	CHECK(!msr_read(c, X2(R_ID), &value)); /* still in xAPIC mode */
	for (unsigned k = 0; k < 3; k++) {
		struct x86_cpu *cpu = box.sys.cpu[k];

		CHECK(msr_write(cpu, MSR_APIC_BASE, cpu->s.apic_base | APIC_BASE_X2APIC));
	}
	CHECK(!lapic_owns(c, GPA(LAPIC_DEFAULT_BASE)));
	CHECK(msr_read(box.sys.cpu[2], X2(R_LDR), &value));
	CHECK_EQ(value, 4);
	CHECK(msr_write(c, X2(R_ICR), UINT64_C(2) << 32 | 0x40));
	CHECK_EQ(receivers(0x40), 4);
	CHECK(msr_write(c, X2(R_ICR), UINT64_C(6) << 32 | 0x840));
	CHECK_EQ(receivers(0x40), 6);
	CHECK(msr_write(c, X2(R_ICR), UINT64_C(0xffffffff) << 32 | 0x40));
	CHECK_EQ(receivers(0x40), 7);
	CHECK(msr_write(c, 0x83f, 0x44)); /* self-IPI */
	CHECK_EQ(receivers(0x44), 1);
	CHECK(!msr_write(c, 0x83f, 0x144));
	CHECK_EQ(receivers(0x44), 0);
	CHECK(!msr_write(c, X2(R_EOI), 1));
	CHECK(!msr_write(c, X2(R_ID), 0));
	CHECK(!msr_read(c, X2(R_ICR_HI), &value));
	CHECK(!msr_write(c, MSR_APIC_BASE, c->s.apic_base & ~APIC_BASE_X2APIC));
	CHECK(msr_write(c, MSR_APIC_BASE, LAPIC_DEFAULT_BASE | APIC_BASE_BSP));
	CHECK(!msr_write(c, MSR_APIC_BASE, c->s.apic_base | APIC_BASE_ENABLE | APIC_BASE_X2APIC));
	box_fini(&box);
}

static void test_msi(void)
{
	start(3);
	lapic_message(&box.sys, 0xfee01000, 0x4055); /* physical, APIC 1 */
	CHECK_EQ(receivers(0x55), 2);
	lapic_message(&box.sys, 0xfeeff000, 0x55);
	CHECK_EQ(receivers(0x55), 7);
	lapic_message(&box.sys, 0xfee02000, 0xc055); /* level */
	CHECK_EQ(box.sys.cpu[2]->s.lapic.tmr[2], 1u << (0x55 - 0x40));
	box_fini(&box);
}

/* INIT, then SIPI: real mode at the vector's page; the boot CPU runs on by itself. */
static void test_startup(void)
{
	struct x86_cpu *ap;

	start(2);
	ap = box.sys.cpu[1];
	CHECK_EQ(ap->s.activity, CPU_WAIT_FOR_SIPI);
	CHECK(event_poll(ap));
	CHECK(!event_wakes(ap));
	ipi(1, 0x4500);
	ipi(1, 0x4699);
	CHECK(event_wakes(ap));
	CHECK(!event_poll(ap)); /* both had come before it looked */
	CHECK_EQ(ap->s.activity, CPU_ACTIVE);
	CHECK_EQ(ap->s.seg[CS].base + ap->s.rip, 0x99000);
	CHECK_EQ(ap->s.seg[CS].selector, 0x9900);
	ipi(1, 0x4612); /* the second SIPI is ignored */
	CHECK(!event_poll(ap));
	CHECK_EQ(ap->s.seg[CS].selector, 0x9900);
	ipi(1, 0x4500);
	CHECK(event_poll(ap));
	CHECK_EQ(ap->s.activity, CPU_WAIT_FOR_SIPI);
	ipi(0, 0x4500);
	CHECK(!event_poll(c));
	CHECK_EQ(c->s.activity, CPU_ACTIVE);
	CHECK_EQ(c->s.seg[CS].base + c->s.rip, 0xfffffff0);
	box_fini(&box);
}

static void test_extint_gate(void)
{
	start(2);
	CHECK(lapic_accepts_extint(c)); /* as after reset: virtual wire */
	lapic_mmio_write(c, R_LINT0, 0x700);
	CHECK(lapic_accepts_extint(c));
	lapic_mmio_write(c, R_LINT0, 0x10700);
	CHECK(!lapic_accepts_extint(c));
	CHECK(!lapic_accepts_extint(box.sys.cpu[1]));
	box_fini(&box);
}

int main(void)
{
	test_priorities();
	test_level_eoi();
	test_software_disable();
	test_errors();
	test_timer_one_shot();
	test_timer_periodic();
	test_timer_change_of_mode();
	test_timer_tsc_deadline();
	test_xapic_routing();
	test_x2apic();
	test_msi();
	test_startup();
	test_extint_gate();
	return check_done();
}
