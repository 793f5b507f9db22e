/* ACPI fixed hardware: power button and SCI, soft off, PM timer, GPE0, reset register. */
#include "dev/acpi/pm.h"
#include "check.h"

static struct event_loop loop;
static struct bus port;
static struct acpi_pm pm;
static bool sci;
static unsigned offs, resets;

static void note_sci(void *opaque, unsigned number, bool level)
{
	sci = level;
}

static void note_off(void *opaque)
{
	offs++;
}

static void note_reset(void *opaque)
{
	resets++;
}

static void start(void)
{
	CHECK_EQ(loop_init(&loop, true, NULL), 0);
	port = (struct bus){.name = "port"};
	sci = false;
	offs = resets = 0;
	CHECK_EQ(acpi_pm_init(&pm, &loop, &port, (struct irq_line){note_sci, NULL, 9},
			      (struct acpi_pm_ops){note_off, note_reset, NULL}, NULL),
		 0);
}

static void test_power_button(void)
{
	start();
	acpi_pm_power_button(&pm);
	CHECK(!sci);
	CHECK_EQ(bus_read(&port, 0x600, 2), 0x100);
	bus_write(&port, 0x602, 0xffff, 2);
	CHECK(sci);
	CHECK_EQ(bus_read(&port, 0x602, 2), 0x521);
	bus_write(&port, 0x600, 0xfe01, 2); /* clears what it names only */
	CHECK(sci);
	bus_write(&port, 0x601, 0x01, 1); /* write 1 to clear, by byte */
	CHECK(!sci);
	CHECK_EQ(bus_read(&port, 0x600, 4), 0x05210000);
	acpi_pm_power_button(&pm);
	acpi_pm_reset(&pm);
	CHECK(!sci);
	loop_fini(&loop);
}

static void test_soft_off(void)
{
	start();
	CHECK_EQ(bus_read(&port, 0x604, 2), 1); /* SCI_EN */
	bus_write(&port, 0x604, 5 << 10, 2);
	CHECK_EQ(offs, 0);
	CHECK_EQ(bus_read(&port, 0x604, 2), 5 << 10 | 1);
	bus_write(&port, 0x604, 1 << 10 | 0x2000, 2); /* S1: there is none */
	CHECK_EQ(offs, 0);
	bus_write(&port, 0x604, 5 << 10 | 0x2000, 2);
	CHECK_EQ(offs, 1);
	bus_write(&port, 0x605, 5 << 2 | 0x20, 1);
	CHECK_EQ(offs, 2);
	CHECK_EQ(bus_read(&port, 0x605, 1), 5 << 2);
	bus_write(&port, 0x604, 0x2000, 2); /* as firmware does it */
	CHECK_EQ(offs, 3);
	loop_fini(&loop);
}

static void test_timer(void)
{
	int64_t toggle = (INT64_C(1) << 31) * 1000000000 / PM_TIMER_HZ + 1;

	start();
	loop.clock.virtual_ns = 1000000000;
	CHECK_EQ(bus_read(&port, 0x608, 4), PM_TIMER_HZ);
	bus_write(&port, 0x608, 0, 4);
	CHECK_EQ(bus_read(&port, 0x608, 4), PM_TIMER_HZ);
	CHECK(!pm.timer.armed);
	bus_write(&port, 0x602, 1, 2);
	CHECK(pm.timer.armed);
	loop.clock.virtual_ns = toggle - 1000;
	loop_run_timers(&loop);
	CHECK(!sci);
	loop.clock.virtual_ns = toggle;
	loop_run_timers(&loop);
	CHECK(sci);
	CHECK_EQ(bus_read(&port, 0x60b, 1), 0x80);
	CHECK(!pm.timer.armed); /* until it is acknowledged */
	bus_write(&port, 0x600, 1, 2);
	CHECK(!sci);
	CHECK(pm.timer.armed);
	loop_fini(&loop);
}

static void test_gpe(void)
{
	start();
	bus_write(&port, 0x622, 0x20, 2);
	acpi_pm_raise_gpe(&pm, PM_GPE_VMGENID);
	CHECK(sci);
	CHECK_EQ(bus_read(&port, 0x620, 4), 0x200020);
	bus_write(&port, 0x620, 0x20, 1);
	CHECK(!sci);
	acpi_pm_raise_gpe(&pm, 9);
	CHECK(!sci);
	CHECK_EQ(bus_read(&port, 0x621, 1), 2);
	loop_fini(&loop);
}

static void test_reset_control(void)
{
	start();
	acpi_pm_reset_control(&pm, 0x02);
	CHECK_EQ(resets, 0);
	acpi_pm_reset_control(&pm, 0x06);
	CHECK_EQ(resets, 1);
	acpi_pm_reset_control(&pm, PM_RESET_VALUE);
	CHECK_EQ(resets, 2);
	loop_fini(&loop);
}

int main(void)
{
	test_power_button();
	test_soft_off();
	test_timer();
	test_gpe();
	test_reset_control();
	return check_done();
}
