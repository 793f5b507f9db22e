#include "dev/acpi/tables.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/bits.h"
#include "base/bug.h"
#include "dev/acpi/aml.h"
#include "dev/acpi/dsdt.h"
#include "dev/acpi/pm.h"
#include "dev/chipset/watchdog.h"
#include "dev/chipset/layout.h"
#include "dev/chipset/rtc.h"

#define PACKED __attribute__((packed))

/* Formats in the order of ACPI 6.4 §5.2; all hosts that we run on are little endian. */
struct PACKED rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum; /* of all */
	uint8_t reserved[3];
};

struct PACKED header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
};

/* Generic Address Structure (§5.2.3.2). */
struct PACKED gas {
	uint8_t space; /* 1: system I/O */
	uint8_t bits;
	uint8_t bit_offset;
	uint8_t access; /* 1 byte, 2 word, 3 dword */
	uint64_t address;
};

struct PACKED fadt {
	struct header header;
	uint32_t firmware_ctrl, dsdt;
	uint8_t reserved1;
	uint8_t preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len, gpe1_len, gpe1_base;
	uint8_t cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t boot_arch;
	uint8_t reserved2;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl, x_dsdt;
	struct gas x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_tmr;
	struct gas x_gpe0, x_gpe1, sleep_control, sleep_status;
	uint64_t hypervisor_vendor;
};

struct PACKED facs {
	char signature[4];
	uint32_t length, hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
};

struct PACKED madt {
	struct header header;
	uint32_t lapic_address;
	uint32_t flags;
};

struct PACKED madt_lapic { /* type 0 */
	uint8_t type, length, uid, apic_id;
	uint32_t flags;
};

struct PACKED madt_ioapic { /* type 1 */
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
};

struct PACKED madt_override { /* type 2 */
	uint8_t type, length, bus, source;
	uint32_t gsi;
	uint16_t flags;
};

struct PACKED madt_lapic_nmi { /* type 4 */
	uint8_t type, length, uid;
	uint16_t flags;
	uint8_t lint;
};

struct PACKED madt_x2apic { /* type 9 */
	uint8_t type, length;
	uint16_t reserved;
	uint32_t apic_id, flags, uid;
};

struct PACKED madt_x2apic_nmi { /* type 10 */
	uint8_t type, length;
	uint16_t flags;
	uint32_t uid;
	uint8_t lint, reserved[3];
};

struct PACKED mcfg {
	struct header header;
	uint64_t reserved1;
	uint64_t base;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint32_t reserved2;
};

/* The watchdog's specification, "WDAT": what can be done, and by which access to which register. */
struct PACKED wdat_entry {
	uint8_t action, instruction;
	uint16_t reserved;
	struct gas where;
	uint32_t value, mask;
};

struct PACKED wdat {
	struct header header;
	uint32_t watchdog_header_length;
	uint16_t pci_segment;
	uint8_t pci_bus, pci_device, pci_function, reserved1[3];
	uint32_t period_ms, max_count, min_count;
	uint8_t flags, reserved2[3];
	uint32_t entries;
	struct wdat_entry entry[];
};

_Static_assert(sizeof(struct wdat_entry) == 24, "WDAT, table 2");
_Static_assert(sizeof(struct wdat) == 68, "WDAT, table 1");
_Static_assert(sizeof(struct rsdp) == ACPI_RSDP_SIZE, "RSDP, ACPI 6.4 table 5.3");
_Static_assert(sizeof(struct fadt) == 276, "FADT, ACPI 6.4 table 5.9");
_Static_assert(sizeof(struct facs) == 64, "FACS, ACPI 6.4 table 5.14");

#define RSDP_V1_SIZE	       20
#define GAS_IO		       1
#define FADT_REVISION	       6
#define PM_PROFILE_UNSPECIFIED 0
#define NO_C2		       101 /* P_LVL2_LAT beyond 100 us: not supported */
#define NO_C3		       1001
#define BOOT_LEGACY_DEVICES    LM_BIT(0)
#define BOOT_8042	       LM_BIT(1)
#define BOOT_NO_VGA	       LM_BIT(2)
#define BOOT_NO_ASPM	       LM_BIT(4)
#define FADT_WBINVD	       LM_BIT(0)
#define FADT_PROC_C1	       LM_BIT(2)
#define FADT_SLEEP_BUTTON_NONE LM_BIT(5) /* no fixed sleep button */
#define FADT_RTC_WAKE_NONE     LM_BIT(6)
#define FADT_TIMER_32BIT       LM_BIT(8)
#define FADT_RESET_REG	       LM_BIT(10)
#define MADT_PC_COMPATIBLE     1 /* two 8259s are there */
#define MADT_ENABLED	       1
#define MADT_FIRST_X2APIC      255 /* 255 is the broadcast ID of xAPIC */
#define MADT_ALL_UIDS	       0xff
#define MADT_ALL_X2APIC_UIDS   0xffffffff
#define INTI_BUS_DEFAULT       0x0
#define INTI_ACTIVE_HIGH_LEVEL 0xd
#define IOAPIC_ID	       0
#define FACS_VERSION	       2
#define WDAT_ENABLED	       1
#define TABLE_MAX	       6

struct builder {
	const struct acpi_config *config;
	uint8_t *buf;
	size_t size, len;
	uint64_t gpa;
	bool full;
	uint64_t facs, dsdt;
	uint64_t table[TABLE_MAX]; /* what RSDT and XSDT list */
	unsigned tables;
	struct acpi_fixups *fixups;
};

static uint8_t byte_sum(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint8_t sum = 0;

	while (len--)
		sum += *p++;
	return sum;
}

/* len zero bytes at the next multiple of align; NULL where the buffer is full. */
static void *take(struct builder *b, size_t len, size_t align)
{
	size_t at = align_up(b->len, align);

	if (b->full || at > b->size || len > b->size - at) {
		b->full = true;
		return NULL;
	}
	memset(b->buf + b->len, 0, at + len - b->len);
	b->len = at + len;
	return b->buf + at;
}

static uint64_t gpa_of(const struct builder *b, const void *p)
{
	return b->gpa + (uint64_t)((const uint8_t *)p - b->buf);
}

static void note_checksum(struct builder *b, const void *at, const void *start, size_t length)
{
	struct acpi_fixups *f = b->fixups;

	LM_BUG_ON(f->checksums == ACPI_MAX_CHECKSUMS);
	f->checksum[f->checksums].at = (uint32_t)((const uint8_t *)at - b->buf);
	f->checksum[f->checksums].start = (uint32_t)((const uint8_t *)start - b->buf);
	f->checksum[f->checksums++].length = (uint32_t)length;
}

/* Stores an address of another table. */
static void point(struct builder *b, void *table, size_t offset, unsigned size, uint64_t gpa)
{
	struct acpi_fixups *f = b->fixups;
	uint8_t *field = (uint8_t *)table + offset;

	LM_BUG_ON(f->pointers == ACPI_MAX_POINTERS);
	le_store(field, gpa, size);
	f->pointer[f->pointers].at = (uint32_t)(field - b->buf);
	f->pointer[f->pointers++].size = (uint8_t)size;
}

/* The table that starts at h and ends where the buffer's contents end. */
static void finish(struct builder *b, struct header *h, const char *signature, uint8_t revision)
{
	if (b->full)
		return;
	memcpy(h->signature, signature, 4);
	h->length = (uint32_t)(b->buf + b->len - (uint8_t *)h);
	h->revision = revision;
	memcpy(h->oem_id, "LAMINA", 6);
	memcpy(h->oem_table_id, "LAMINAPC", 8);
	h->oem_revision = 1;
	memcpy(h->creator_id, "LMNA", 4);
	h->creator_revision = 1;
	h->checksum = (uint8_t)-byte_sum(h, h->length);
	note_checksum(b, &h->checksum, h, h->length);
}

static void list(struct builder *b, const void *table)
{
	if (table)
		b->table[b->tables++] = gpa_of(b, table);
}

static void build_facs(struct builder *b)
{
	struct facs *f = take(b, sizeof(*f), 64);

	if (!f)
		return;
	memcpy(f->signature, "FACS", 4);
	f->length = sizeof(*f);
	f->version = FACS_VERSION;
	b->facs = gpa_of(b, f);
}

static void build_dsdt(struct builder *b)
{
	struct header *h = take(b, sizeof(*h), 16);
	struct aml aml;

	if (!h)
		return;
	aml_init(&aml, b->buf + b->len, b->size - b->len);
	dsdt_write(&aml, b->config);
	b->full |= aml.failed || aml.depth;
	b->len += aml.len;
	finish(b, h, "DSDT", 2);
	b->dsdt = gpa_of(b, h);
}

static struct gas io_register(uint16_t port, unsigned bytes, uint8_t access)
{
	return (struct gas){GAS_IO, (uint8_t)(8 * bytes), 0, access, port};
}

static void build_fadt(struct builder *b)
{
	struct fadt *f = take(b, sizeof(*f), 16);

	if (!f)
		return;
	point(b, f, offsetof(struct fadt, firmware_ctrl), 4, b->facs);
	point(b, f, offsetof(struct fadt, dsdt), 4, b->dsdt);
	point(b, f, offsetof(struct fadt, x_dsdt), 8, b->dsdt);
	f->preferred_pm_profile = PM_PROFILE_UNSPECIFIED;
	f->sci_int = PC_IRQ_SCI;
	f->pm1a_evt = PC_PORT_PM + PM1A_EVENT;
	f->pm1a_cnt = PC_PORT_PM + PM1A_CONTROL;
	f->pm_tmr = PC_PORT_PM + PM_TIMER;
	f->gpe0 = PC_PORT_GPE0;
	f->pm1_evt_len = PM1A_EVENT_SIZE;
	f->pm1_cnt_len = PM1A_CONTROL_SIZE;
	f->pm_tmr_len = PM_TIMER_SIZE;
	f->gpe0_len = GPE0_SIZE;
	f->p_lvl2_lat = NO_C2;
	f->p_lvl3_lat = NO_C3;
	f->century = RTC_CENTURY;
	f->boot_arch = BOOT_LEGACY_DEVICES | BOOT_NO_VGA | BOOT_NO_ASPM |
		       (b->config->keyboard ? BOOT_8042 : 0);
	f->flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLEEP_BUTTON_NONE | FADT_RTC_WAKE_NONE |
		   FADT_TIMER_32BIT | FADT_RESET_REG;
	f->reset_reg = io_register(PC_PORT_RESET, 1, 1);
	f->reset_value = PM_RESET_VALUE;
	f->x_pm1a_evt = io_register(PC_PORT_PM + PM1A_EVENT, PM1A_EVENT_SIZE, 2);
	f->x_pm1a_cnt = io_register(PC_PORT_PM + PM1A_CONTROL, PM1A_CONTROL_SIZE, 2);
	f->x_pm_tmr = io_register(PC_PORT_PM + PM_TIMER, PM_TIMER_SIZE, 3);
	f->x_gpe0 = io_register(PC_PORT_GPE0, GPE0_SIZE, 1);
	finish(b, &f->header, "FACP", FADT_REVISION);
	list(b, f);
}

static void madt_cpu(struct builder *b, unsigned id)
{
	if (id < MADT_FIRST_X2APIC) {
		struct madt_lapic *e = take(b, sizeof(*e), 1);

		if (e)
			*e = (struct madt_lapic){0, sizeof(*e), (uint8_t)id, (uint8_t)id,
						 MADT_ENABLED};
	} else {
		struct madt_x2apic *e = take(b, sizeof(*e), 1);

		if (e)
			*e = (struct madt_x2apic){9, sizeof(*e), 0, id, MADT_ENABLED, id};
	}
}

static void madt_override(struct builder *b, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	struct madt_override *e = take(b, sizeof(*e), 1);

	if (e)
		*e = (struct madt_override){2, sizeof(*e), 0, irq, gsi, flags};
}

/* NMI arrives at LINT1 of every local APIC. */
static void madt_nmi(struct builder *b)
{
	struct madt_lapic_nmi *e = take(b, sizeof(*e), 1);
	struct madt_x2apic_nmi *x;

	if (e)
		*e = (struct madt_lapic_nmi){4, sizeof(*e), MADT_ALL_UIDS, INTI_BUS_DEFAULT, 1};
	if (b->config->cpus <= MADT_FIRST_X2APIC)
		return;
	x = take(b, sizeof(*x), 1);
	if (x)
		*x = (struct madt_x2apic_nmi){
		    10, sizeof(*x), INTI_BUS_DEFAULT, MADT_ALL_X2APIC_UIDS, 1, {0}};
}

static void build_madt(struct builder *b)
{
	struct madt *m = take(b, sizeof(*m), 16);
	struct madt_ioapic *io;

	if (!m)
		return;
	m->lapic_address = (uint32_t)PC_LAPIC_BASE;
	m->flags = MADT_PC_COMPATIBLE;
	for (unsigned id = 0; id < b->config->cpus; id++)
		madt_cpu(b, id);
	io = take(b, sizeof(*io), 1);
	if (io)
		*io =
		    (struct madt_ioapic){1, sizeof(*io), IOAPIC_ID, 0, (uint32_t)PC_IOAPIC_BASE, 0};
	madt_override(b, PC_IRQ_PIT, PC_GSI_PIT, INTI_BUS_DEFAULT);
	madt_override(b, PC_IRQ_SCI, PC_IRQ_SCI, INTI_ACTIVE_HIGH_LEVEL);
	madt_nmi(b);
	finish(b, &m->header, "APIC", 4);
	list(b, m);
}

static void build_mcfg(struct builder *b)
{
	struct mcfg *m = take(b, sizeof(*m), 16);

	if (!m)
		return;
	m->base = b->config->ecam_base;
	m->last_bus = 255;
	finish(b, &m->header, "MCFG", 1);
	list(b, m);
}

/* ---- WDAT ---- */

enum wdat_action {
	WDAT_RESTART = 1,
	WDAT_GET_CURRENT = 4,
	WDAT_GET_COUNT = 5,
	WDAT_SET_COUNT = 6,
	WDAT_IS_RUNNING = 8,
	WDAT_RUN = 9,
	WDAT_IS_STOPPED = 10,
	WDAT_STOP = 11,
	WDAT_GET_STATUS = 32,
	WDAT_SET_STATUS = 33,
};

enum wdat_instruction { WDAT_READ_VALUE, WDAT_READ_COUNT, WDAT_WRITE_VALUE, WDAT_WRITE_COUNT };

static const struct {
	uint8_t action, instruction, port, bytes;
	uint32_t value, mask;
} wdat_actions[] = {
    {WDAT_RESTART, WDAT_WRITE_VALUE, WATCHDOG_RESTART, 1, 1, 1},
    {WDAT_GET_CURRENT, WDAT_READ_COUNT, WATCHDOG_CURRENT, 4, 0, WATCHDOG_MAX_COUNT},
    {WDAT_GET_COUNT, WDAT_READ_COUNT, WATCHDOG_COUNT, 4, 0, WATCHDOG_MAX_COUNT},
    {WDAT_SET_COUNT, WDAT_WRITE_COUNT, WATCHDOG_COUNT, 4, 0, WATCHDOG_MAX_COUNT},
    {WDAT_IS_RUNNING, WDAT_READ_VALUE, WATCHDOG_CONTROL, 1, 1, 1},
    {WDAT_RUN, WDAT_WRITE_VALUE, WATCHDOG_CONTROL, 1, 1, 1},
    {WDAT_IS_STOPPED, WDAT_READ_VALUE, WATCHDOG_CONTROL, 1, 0, 1},
    {WDAT_STOP, WDAT_WRITE_VALUE, WATCHDOG_CONTROL, 1, 0, 1},
    {WDAT_GET_STATUS, WDAT_READ_VALUE, WATCHDOG_STATUS, 1, 1, 1},
    {WDAT_SET_STATUS, WDAT_WRITE_VALUE, WATCHDOG_STATUS, 1, 1, 1},
};

static void build_wdat(struct builder *b)
{
	size_t count = LM_ARRAY_SIZE(wdat_actions);
	struct wdat *w = take(b, sizeof(*w) + count * sizeof(w->entry[0]), 16);

	if (!w)
		return;
	w->watchdog_header_length = sizeof(*w) - sizeof(w->header);
	w->pci_segment = 0xff; /* no PCI device */
	w->pci_bus = w->pci_device = w->pci_function = 0xff;
	w->period_ms = WATCHDOG_PERIOD_MS;
	w->max_count = WATCHDOG_MAX_COUNT;
	w->min_count = WATCHDOG_MIN_COUNT;
	w->flags = WDAT_ENABLED;
	w->entries = (uint32_t)count;
	for (size_t k = 0; k < count; k++)
		w->entry[k] = (struct wdat_entry){
		    .action = wdat_actions[k].action,
		    .instruction = wdat_actions[k].instruction,
		    .where = io_register((uint16_t)(PC_PORT_WATCHDOG + wdat_actions[k].port),
					 wdat_actions[k].bytes, wdat_actions[k].bytes == 4 ? 3 : 1),
		    .value = wdat_actions[k].value,
		    .mask = wdat_actions[k].mask,
		};
	finish(b, &w->header, "WDAT", 1);
	list(b, w);
}

/* RSDT (4-byte pointers) or XSDT (8-byte pointers); returns its address. */
static uint64_t build_root(struct builder *b, const char *signature, unsigned pointer)
{
	struct header *h = take(b, sizeof(*h) + b->tables * pointer, 16);

	if (!h)
		return 0;
	for (unsigned k = 0; k < b->tables; k++)
		point(b, h, sizeof(*h) + k * pointer, pointer, b->table[k]);
	finish(b, h, signature, 1);
	return gpa_of(b, h);
}

static void build_rsdp(struct builder *b, struct rsdp *r, uint64_t rsdt, uint64_t xsdt)
{
	memcpy(r->signature, "RSD PTR ", 8);
	memcpy(r->oem_id, "LAMINA", 6);
	r->revision = 2;
	point(b, r, offsetof(struct rsdp, rsdt), 4, rsdt);
	r->length = sizeof(*r);
	point(b, r, offsetof(struct rsdp, xsdt), 8, xsdt);
	r->checksum = (uint8_t)-byte_sum(r, RSDP_V1_SIZE);
	note_checksum(b, &r->checksum, r, RSDP_V1_SIZE);
	r->extended_checksum = (uint8_t)-byte_sum(r, sizeof(*r));
	note_checksum(b, &r->extended_checksum, r, sizeof(*r));
}

static int check_config(const struct acpi_config *c, uint64_t gpa, struct lm_err *err)
{
	if (!c->cpus || c->cpus > ACPI_MAX_CPUS)
		return lm_err_set(err, -EINVAL, "ACPI: %u processors: 1 to %d", c->cpus,
				  ACPI_MAX_CPUS);
	if (c->uarts > 4)
		return lm_err_set(err, -EINVAL, "ACPI: %u serial ports: at most 4", c->uarts);
	if (gpa % 64 || gpa > UINT32_MAX || c->ecam_base > UINT32_MAX ||
	    c->pci32_end > UINT64_C(1) << 32)
		return lm_err_set(err, -EINVAL, "ACPI: tables, ECAM or PCI window not below 4 GiB");
	return 0;
}

static int build(const struct acpi_config *config, uint64_t gpa, uint8_t *buf, size_t size,
		 struct acpi_fixups *fixups, struct lm_err *err)
{
	struct builder b = {
	    .config = config, .buf = buf, .size = size, .gpa = gpa, .fixups = fixups,
	};
	int rc = check_config(config, gpa, err);
	struct rsdp *rsdp;
	uint64_t rsdt, xsdt;

	fixups->pointers = fixups->checksums = 0;
	if (rc < 0)
		return rc;
	rsdp = take(&b, sizeof(*rsdp), 16);
	build_facs(&b);
	build_dsdt(&b);
	build_fadt(&b);
	build_madt(&b);
	build_mcfg(&b);
	if (config->watchdog)
		build_wdat(&b);
	rsdt = build_root(&b, "RSDT", 4);
	xsdt = build_root(&b, "XSDT", 8);
	if (b.full || b.len > INT32_MAX)
		return lm_err_set(err, -ENOSPC, "ACPI: the tables need more than %zu bytes", size);
	build_rsdp(&b, rsdp, rsdt, xsdt);
	return (int)b.len;
}

int acpi_build(const struct acpi_config *config, uint64_t gpa, uint8_t *buf, size_t size,
	       struct lm_err *err)
{
	struct acpi_fixups fixups;

	return build(config, gpa, buf, size, &fixups, err);
}

int acpi_build_movable(const struct acpi_config *config, uint8_t *buf, size_t size,
		       struct acpi_fixups *fixups, struct lm_err *err)
{
	return build(config, 0, buf, size, fixups, err);
}
