/*
 * ACPI tables through fw_cfg: a firmware in small reads the files by DMA, as SeaBIOS does, and runs
 * the script. What it places must be what the machine places without firmware.
 */
#include "dev/acpi/loader.h"

#include <string.h>

#include "base/bits.h"
#include "dev/chipset/layout.h"
#include "check.h"

#define DESC 0x1000 /* guest addresses */
#define DIR  0x2000
#define HIGH UINT64_C(0x200000) /* where our firmware puts tables */

static const struct acpi_config config = {
    .cpus = 4,
    .pci32_start = PC_PCI32_BASE,
    .pci32_end = PC_PCI32_END,
    .pci64_start = UINT64_C(0x200000000),
    .pci64_end = UINT64_C(0x8000000000),
    .ecam_base = PC_ECAM_BASE,
    .uarts = 2,
    .keyboard = true,
    .pvpanic = true,
    .fw_cfg = true,
};

static struct bus port;
static struct ram ram;
static struct fw_cfg fw;

/* ---- The firmware ---- */

struct file {
	char name[FW_CFG_NAME];
	uint8_t *data; /* in guest memory */
	uint64_t gpa;
	uint32_t size;
};

static struct file files[2]; /* placed */
static unsigned placed;

static void dma(uint16_t key, uint32_t length, uint64_t gpa)
{
	uint32_t desc[4] = {__builtin_bswap32((uint32_t)key << 16 | 0x0a), __builtin_bswap32(length),
			    __builtin_bswap32((uint32_t)(gpa >> 32)), __builtin_bswap32((uint32_t)gpa)};

	ram_write(&ram, GPA(DESC), desc, sizeof(desc));
	bus_write(&port, 0x518, __builtin_bswap32(DESC), 4);
	ram_read(&ram, GPA(DESC), desc, 4);
	CHECK_EQ(desc[0], 0);
}

static uint32_t be(const uint8_t *p, unsigned size)
{
	uint32_t v = 0;

	while (size--)
		v = v << 8 | *p++;
	return v;
}

/* Reads a file to `gpa`; its size, or 0 where there is none. */
static uint32_t fetch(const char *name, uint64_t gpa)
{
	const uint8_t *dir = ram_ptr(&ram, GPA(DIR), 4 + 64 * FW_CFG_MAX_FILES);

	dma(FW_CFG_FILE_DIR, 4 + 64 * FW_CFG_MAX_FILES, DIR);
	for (const uint8_t *e = dir + 4; e < dir + 4 + 64 * be(dir, 4); e += 64) {
		if (strcmp((const char *)e + 8, name))
			continue;
		dma((uint16_t)be(e + 4, 2), be(e, 4), gpa);
		return be(e, 4);
	}
	return 0;
}

static struct file *file(const uint8_t *name)
{
	for (unsigned k = 0; k < placed; k++)
		if (!strcmp(files[k].name, (const char *)name))
			return &files[k];
	CHECK(!"a file that was allocated");
	return NULL;
}

static void run_allocate(const uint8_t *e)
{
	struct file *f = &files[placed++];
	uint32_t align = (uint32_t)le_load(e + 60, 4);

	CHECK(placed <= 2 && is_pow2(align));
	CHECK(e[64] == ACPI_LOADER_HIGH || e[64] == ACPI_LOADER_FSEG);
	strcpy(f->name, (const char *)e + 4);
	f->gpa = e[64] == ACPI_LOADER_FSEG ? PC_ACPI_BASE : HIGH;
	CHECK_EQ(f->gpa % align, 0);
	f->size = fetch(f->name, f->gpa);
	CHECK(f->size);
	f->data = ram_ptr(&ram, GPA(f->gpa), f->size);
}

static void run_add_pointer(const uint8_t *e)
{
	const struct file *from = file(e + 4), *to = file(e + 60);
	uint32_t offset = (uint32_t)le_load(e + 116, 4);
	uint8_t size = e[120];
	uint64_t value;

	if (!from || !to)
		return;
	CHECK(size == 4 || size == 8);
	CHECK(offset + size <= from->size);
	value = le_load(from->data + offset, size);
	CHECK(value < to->size);
	le_store(from->data + offset, value + to->gpa, size);
}

static uint8_t sum(const uint8_t *p, uint32_t len)
{
	uint8_t s = 0;

	while (len--)
		s += *p++;
	return s;
}

static void run_add_checksum(const uint8_t *e)
{
	struct file *f = file(e + 4);
	uint32_t at = (uint32_t)le_load(e + 60, 4), start = (uint32_t)le_load(e + 64, 4);
	uint32_t length = (uint32_t)le_load(e + 68, 4);

	if (!f)
		return;
	CHECK(start <= at && at < start + length && start + length <= f->size);
	CHECK_EQ(f->data[at], 0); /* OVMF sums what is there as well */
	f->data[at] -= sum(f->data + start, length);
}

static void run_script(void)
{
	static uint8_t script[4096];
	uint32_t size = fetch(ACPI_FILE_LOADER, HIGH);

	CHECK(size && size % ACPI_LOADER_ENTRY == 0 && size <= sizeof(script));
	ram_read(&ram, GPA(HIGH), script, size);
	for (const uint8_t *e = script; e < script + size; e += ACPI_LOADER_ENTRY) {
		switch (le_load(e, 4)) {
		case ACPI_LOADER_ALLOCATE:
			run_allocate(e);
			break;
		case ACPI_LOADER_ADD_POINTER:
			run_add_pointer(e);
			break;
		case ACPI_LOADER_ADD_CHECKSUM:
			run_add_checksum(e);
			break;
		default:
			CHECK(!"a known command");
		}
	}
}

static void start(void)
{
	port = (struct bus){.name = "port"};
	placed = 0;
	CHECK_EQ(ram_init(&ram, 4 * MIB, NULL), 0);
	CHECK_EQ(fw_cfg_init(&fw, &port, &ram, NULL), 0);
}

static void finish(void)
{
	fw_cfg_fini(&fw);
	ram_fini(&ram);
}

/* ---- Tests ---- */

/*
 * The tables lie at HIGH, so they are those that are built for the address at which the RSDP would
 * come right before them; the RSDP differs by its own address only, which no table holds.
 */
static void test_same_tables(void)
{
	static uint8_t direct[PC_ACPI_END - PC_ACPI_BASE];
	int size = acpi_build(&config, HIGH - ACPI_FIRST_TABLE, direct, sizeof(direct), NULL);

	start();
	CHECK_EQ(acpi_loader_add(&fw, &config, NULL), 0);
	run_script();
	CHECK_EQ(placed, 2);
	CHECK_EQ(files[0].size + ACPI_FIRST_TABLE, size);
	CHECK_EQ(files[1].size, ACPI_RSDP_SIZE);
	CHECK_EQ(memcmp(files[0].data, direct + ACPI_FIRST_TABLE, files[0].size), 0);
	CHECK_EQ(memcmp(files[1].data, direct, ACPI_RSDP_SIZE), 0);
	finish();
}

static void test_bad_config(void)
{
	struct acpi_config none = config;

	none.cpus = 0;
	start();
	CHECK(acpi_loader_add(&fw, &none, NULL) < 0);
	CHECK_EQ(fetch(ACPI_FILE_LOADER, HIGH), 0);
	finish();
}

static void test_most_cpus(void)
{
	struct acpi_config many = config;

	many.cpus = ACPI_MAX_CPUS;
	start();
	CHECK_EQ(acpi_loader_add(&fw, &many, NULL), 0);
	run_script();
	CHECK_EQ(sum(files[1].data, ACPI_RSDP_SIZE), 0);
	finish();
}

int main(void)
{
	test_same_tables();
	test_bad_config();
	test_most_cpus();
	return check_done();
}
