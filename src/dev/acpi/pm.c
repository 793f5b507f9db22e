#include "dev/acpi/pm.h"

#include <errno.h>

#include "base/bits.h"
#include "base/log.h"
#include "dev/chipset/layout.h"
#include "dev/chipset/map.h"
#include "dev/chipset/ticks.h"

/* PM1 status and enable (ACPI 6.4 §4.8.4.1): bits of the same meaning stand at the same place. */
#define PM1_TIMER	 0x0001
#define PM1_GLOBAL	 0x0020
#define PM1_POWER_BUTTON 0x0100
#define PM1_RTC		 0x0400 /* never set: there is no sleep to wake from, but Linux enables it */
#define PM1_ENABLES	 (PM1_TIMER | PM1_GLOBAL | PM1_POWER_BUTTON | PM1_RTC)

/* PM1 control (§4.8.4.2). */
#define CONTROL_SCI_EN	  0x0001
#define CONTROL_BM_RLD	  0x0002
#define CONTROL_SLP_SHIFT 10
#define CONTROL_SLP_TYP	  (7 << CONTROL_SLP_SHIFT)
#define CONTROL_SLP_EN	  0x2000
#define CONTROL_WRITABLE  (CONTROL_BM_RLD | CONTROL_SLP_TYP)

/* TMR_STS is set when the top bit of the 32-bit timer changes (§4.8.4.1.1). */
#define TIMER_TOGGLE_SHIFT 31

/* Port 0xcf9: the 0 to 1 transition of RST_CPU resets; it always reads as 0 afterwards. */
#define RESET_RST_CPU 0x04

static uint64_t now_ticks(const struct acpi_pm *pm)
{
	return ticks_at(clock_now(&pm->loop->clock), PM_TIMER_HZ);
}

static void update_sci(struct acpi_pm *pm)
{
	irq_set(&pm->sci, pm->pm1_status & pm->pm1_enable || pm->gpe_status & pm->gpe_enable);
}

static void catch_up(struct acpi_pm *pm)
{
	uint64_t now = now_ticks(pm);

	if (now >> TIMER_TOGGLE_SHIFT != pm->timer_seen >> TIMER_TOGGLE_SHIFT)
		pm->pm1_status |= PM1_TIMER;
	pm->timer_seen = now;
}

static void arm_timer(struct acpi_pm *pm)
{
	uint64_t toggle = ((pm->timer_seen >> TIMER_TOGGLE_SHIFT) + 1) << TIMER_TOGGLE_SHIFT;

	if (pm->pm1_enable & PM1_TIMER && !(pm->pm1_status & PM1_TIMER))
		timer_arm(&pm->timer, ticks_to_ns(toggle, PM_TIMER_HZ));
	else
		timer_cancel(&pm->timer);
}

static void toggled(void *opaque)
{
	struct acpi_pm *pm = opaque;

	catch_up(pm);
	arm_timer(pm);
	update_sci(pm);
}

static void sleep_now(struct acpi_pm *pm)
{
	unsigned type = (pm->pm1_control & CONTROL_SLP_TYP) >> CONTROL_SLP_SHIFT;

	if (type != PM_SLP_TYP_S5 && type != PM_SLP_TYP_FIRMWARE)
		log_guest_once("acpi: ignored a request for sleep type %u", type);
	else if (pm->ops.power_off)
		pm->ops.power_off(pm->ops.opaque);
}

/* The registers take accesses of any width, so they are read and written as bytes. */
static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = opaque;
	uint8_t image[PM_PORTS + 8] = {0};

	catch_up(pm);
	le_store(image + PM1A_EVENT, pm->pm1_status, 2);
	le_store(image + PM1A_EVENT + 2, pm->pm1_enable, 2);
	le_store(image + PM1A_CONTROL, pm->pm1_control | CONTROL_SCI_EN, 2);
	le_store(image + PM_TIMER, pm->timer_seen, 4);
	return le_load(image + offset, size);
}

static uint16_t replace_byte(uint16_t old, unsigned byte, uint8_t v)
{
	return byte ? (uint16_t)((old & 0x00ff) | v << 8) : (uint16_t)((old & 0xff00) | v);
}

static void write_byte(struct acpi_pm *pm, unsigned offset, uint8_t v)
{
	unsigned byte = offset & 1;
	uint16_t control;

	switch (offset & ~1u) {
	case PM1A_EVENT:
		pm->pm1_status &= (uint16_t) ~(v << (8 * byte));
		break;
	case PM1A_EVENT + 2:
		pm->pm1_enable = replace_byte(pm->pm1_enable, byte, v) & PM1_ENABLES;
		break;
	case PM1A_CONTROL:
		control = replace_byte(pm->pm1_control, byte, v);
		pm->pm1_control = control & CONTROL_WRITABLE;
		if (control & CONTROL_SLP_EN)
			sleep_now(pm);
		break;
	default: /* the timer is read-only */
		break;
	}
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct acpi_pm *pm = opaque;

	catch_up(pm);
	for (unsigned k = 0; k < size; k++)
		write_byte(pm, (unsigned)offset + k, (uint8_t)(value >> (8 * k)));
	arm_timer(pm);
	update_sci(pm);
}

static uint64_t gpe_read(void *opaque, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = opaque;
	uint8_t image[GPE0_SIZE];

	le_store(image, pm->gpe_status, 2);
	le_store(image + 2, pm->gpe_enable, 2);
	return image[offset];
}

static void gpe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct acpi_pm *pm = opaque;
	uint8_t v = (uint8_t)value;

	if (offset < 2)
		pm->gpe_status &= (uint16_t) ~(v << (8 * offset));
	else
		pm->gpe_enable = replace_byte(pm->gpe_enable, offset & 1, v);
	update_sci(pm);
}

static const struct bus_ops ports_ops = {ports_read, ports_write, 4};
static const struct bus_ops gpe_ops = {gpe_read, gpe_write, 1};

void acpi_pm_power_button(struct acpi_pm *pm)
{
	pm->pm1_status |= PM1_POWER_BUTTON;
	update_sci(pm);
}

void acpi_pm_raise_gpe(struct acpi_pm *pm, unsigned event)
{
	pm->gpe_status |= (uint16_t)(1u << (event & 15));
	update_sci(pm);
}

void acpi_pm_reset_control(void *opaque, uint8_t value)
{
	struct acpi_pm *pm = opaque;

	if (value & RESET_RST_CPU && pm->ops.reset)
		pm->ops.reset(pm->ops.opaque);
}

void acpi_pm_reset(struct acpi_pm *pm)
{
	pm->pm1_status = pm->pm1_enable = pm->pm1_control = 0;
	pm->gpe_status = pm->gpe_enable = 0;
	pm->timer_seen = now_ticks(pm);
	timer_cancel(&pm->timer);
	update_sci(pm);
}

int acpi_pm_init(struct acpi_pm *pm, struct event_loop *loop, struct bus *port, struct irq_line sci,
		 struct acpi_pm_ops ops, struct lm_err *err)
{
	int rc;

	*pm = (struct acpi_pm){.loop = loop, .sci = sci, .ops = ops};
	timer_init(&pm->timer, loop, toggled, pm);
	acpi_pm_reset(pm);
	pm->ports = (struct bus_region){"acpi-pm", PC_PORT_PM, PM_PORTS, &ports_ops, pm, false};
	pm->gpe = (struct bus_region){"acpi-gpe0", PC_PORT_GPE0, GPE0_SIZE, &gpe_ops, pm, false};
	rc = chipset_map(port, &pm->ports, err);
	return rc ? rc : chipset_map(port, &pm->gpe, err);
}

/* ---- Saved state ---- */

static const struct field pm_fields[] = {
	FIELD(struct acpi_pm, pm1_status, NULL),
	FIELD(struct acpi_pm, pm1_enable, NULL, .max = PM1_ENABLES),
	FIELD(struct acpi_pm, pm1_control, NULL, .max = CONTROL_WRITABLE),
	FIELD(struct acpi_pm, gpe_status, NULL),
	FIELD(struct acpi_pm, gpe_enable, NULL),
	FIELD(struct acpi_pm, timer_seen, "ticks"),
	FIELD_NOT_SAVED(struct acpi_pm, loop, "wiring"),
	FIELD_NOT_SAVED(struct acpi_pm, timer, "from the registers"),
	FIELD_NOT_SAVED(struct acpi_pm, sci, "wiring"),
	FIELD_NOT_SAVED(struct acpi_pm, ops, "wiring"),
	FIELD_NOT_SAVED(struct acpi_pm, ports, "wiring"),
	FIELD_NOT_SAVED(struct acpi_pm, gpe, "wiring"),
	FIELD_END,
};

static int pm_loaded(void *object, struct lm_err *err)
{
	struct acpi_pm *pm = object;

	if (pm->timer_seen > now_ticks(pm))
		return lm_err_set(err, -EINVAL, "timer_seen is not in the past");
	arm_timer(pm);
	return 0;
}

const struct fields_section acpi_pm_section = {
	.name = "acpi-pm",
	.version = 1,
	.table = pm_fields,
	.post_load = pm_loaded,
};
