/*
 * ACPI tables: found and walked as an operating system does, checksums, AML encodings; and, where
 * iasl is installed, disassembled and compiled again without an error.
 */
#include "dev/acpi/tables.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bits.h"
#include "dev/acpi/aml.h"
#include "dev/chipset/layout.h"
#include "check.h"

static uint8_t area[PC_ACPI_END - PC_ACPI_BASE];

static const struct acpi_config typical = {
    .cpus = 4,
    .pci32_start = PC_PCI32_BASE,
    .pci32_end = PC_PCI32_END,
    .pci64_start = UINT64_C(0x200000000),
    .pci64_end = UINT64_C(0x8000000000),
    .ecam_base = PC_ECAM_BASE,
    .uarts = 2,
    .keyboard = true,
    .pvpanic = true,
    .watchdog = true,
    .fw_cfg = true,
};

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s += *p++;
	return s;
}

static uint8_t *at(uint64_t gpa)
{
	CHECK(gpa >= PC_ACPI_BASE && gpa < PC_ACPI_END);
	return area + (gpa - PC_ACPI_BASE);
}

/* By the XSDT, which must agree with the RSDT. */
static uint8_t *find(const char *signature)
{
	uint8_t *rsdt = at(le_load(area + 16, 4)), *xsdt = at(le_load(area + 24, 8));
	uint64_t count = (le_load(xsdt + 4, 4) - 36) / 8;

	CHECK_EQ((le_load(rsdt + 4, 4) - 36) / 4, count);
	for (uint64_t k = 0; k < count; k++) {
		uint64_t gpa = le_load(xsdt + 36 + 8 * k, 8);

		CHECK_EQ(le_load(rsdt + 36 + 4 * k, 4), gpa);
		if (!memcmp(at(gpa), signature, 4))
			return at(gpa);
	}
	return NULL;
}

static void check_table(const uint8_t *table, const char *signature)
{
	CHECK(table && !memcmp(table, signature, 4));
	if (table)
		CHECK_EQ(sum(table, le_load(table + 4, 4)), 0);
}

static void test_structure(void)
{
	int len = acpi_build(&typical, PC_ACPI_BASE, area, sizeof(area), NULL);
	uint8_t *fadt;

	CHECK(len > 0);
	CHECK_EQ(memcmp(area, "RSD PTR ", 8), 0);
	CHECK_EQ(area[15], 2);
	CHECK_EQ(sum(area, 20), 0);
	CHECK_EQ(sum(area, 36), 0);
	check_table(at(le_load(area + 16, 4)), "RSDT");
	check_table(at(le_load(area + 24, 8)), "XSDT");
	check_table(find("APIC"), "APIC");
	check_table(find("MCFG"), "MCFG");
	check_table(find("WDAT"), "WDAT");
	fadt = find("FACP");
	check_table(fadt, "FACP");
	CHECK_EQ(le_load(fadt + 4, 4), 276);
	CHECK_EQ(le_load(fadt + 46, 2), 9);	 /* SCI */
	CHECK_EQ(le_load(fadt + 48, 4), 0);	 /* no SMI command port */
	CHECK_EQ(le_load(fadt + 56, 4), 0x600);	 /* PM1a event */
	CHECK_EQ(le_load(fadt + 76, 4), 0x608);	 /* PM timer */
	CHECK_EQ(le_load(fadt + 109, 2), 0x17);	 /* 8042, no VGA */
	CHECK_EQ(le_load(fadt + 120, 8), 0xcf9); /* reset register */
	check_table(at(le_load(fadt + 40, 4)), "DSDT");
	CHECK_EQ(le_load(fadt + 40, 4), le_load(fadt + 140, 8));
	CHECK_EQ(memcmp(at(le_load(fadt + 36, 4)), "FACS", 4), 0);
	CHECK_EQ(le_load(fadt + 36, 4) % 64, 0);
}

/* Counts the MADT's entries of a type. */
static unsigned madt_entries(const uint8_t *madt, uint8_t type)
{
	const uint8_t *end = madt + le_load(madt + 4, 4);
	unsigned n = 0;

	for (const uint8_t *p = madt + 44; p < end; p += p[1]) {
		n += p[0] == type;
		if (p[1] < 2)
			return ~0u;
	}
	return n;
}

static void test_madt(void)
{
	struct acpi_config big = typical;
	uint8_t *madt;

	acpi_build(&typical, PC_ACPI_BASE, area, sizeof(area), NULL);
	madt = find("APIC");
	CHECK_EQ(madt_entries(madt, 0), 4);
	CHECK_EQ(madt_entries(madt, 1), 1);
	CHECK_EQ(madt_entries(madt, 2), 2);
	CHECK_EQ(madt_entries(madt, 4), 1);
	CHECK_EQ(madt_entries(madt, 9), 0);
	big.cpus = 300;
	CHECK(acpi_build(&big, PC_ACPI_BASE, area, sizeof(area), NULL) > 0);
	madt = find("APIC");
	CHECK_EQ(madt_entries(madt, 0), 255);
	CHECK_EQ(madt_entries(madt, 9), 45);
	CHECK_EQ(madt_entries(madt, 10), 1);
	check_table(madt, "APIC");
}

static void test_refusals(void)
{
	struct acpi_config c = typical;
	struct lm_err err = {0};

	int len = acpi_build(&typical, PC_ACPI_BASE, area, sizeof(area), NULL);

	/* At every size that is too small, nothing is written beyond it. */
	for (size_t size = 0; size < (size_t)len; size += 7) {
		memset(area, 0xa5, sizeof(area));
		CHECK_EQ(acpi_build(&typical, PC_ACPI_BASE, area, size, &err), -28);
		CHECK_EQ(area[size], 0xa5);
	}
	CHECK(err.text[0] != 0);
	c.cpus = 0;
	CHECK(acpi_build(&c, PC_ACPI_BASE, area, sizeof(area), NULL) < 0);
	c.cpus = ACPI_MAX_CPUS;
	CHECK(acpi_build(&c, PC_ACPI_BASE, area, sizeof(area), NULL) > 0);
	CHECK(acpi_build(&c, PC_ACPI_BASE + 8, area, sizeof(area), NULL) < 0);
	c.uarts = 5;
	CHECK(acpi_build(&c, PC_ACPI_BASE, area, sizeof(area), NULL) < 0);
}

static void test_encodings(void)
{
	static const uint8_t eisa[] = {0x0c, 0x41, 0xd0, 0x0a, 0x08};
	static const uint8_t uuid[] = {0x11, 0x13, 0x0a, 0x10, 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f,
				       0x1c, 0x40, 0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};
	static const uint8_t path[] = {'\\', 0x2e, '_', 'S', 'B', '_', 'R', 'T', 'C', '_'};
	static const uint8_t longer[] = {0x2f, 3, 'A', '_', '_', '_', 'B', '_', '_', '_', 'C', '_'};
	static uint8_t buf[0x200000];
	struct aml a;

	aml_init(&a, buf, sizeof(buf));
	aml_eisa_id(&a, "PNP0A08");
	CHECK_EQ(memcmp(buf, eisa, sizeof(eisa)), 0);
	aml_init(&a, buf, sizeof(buf));
	aml_uuid(&a, "33DB4D5B-1ff7-401c-9657-7441c03dd766");
	CHECK_EQ(memcmp(buf, uuid, sizeof(uuid)), 0);
	aml_init(&a, buf, sizeof(buf));
	aml_path(&a, "\\_SB.RTC");
	CHECK_EQ(a.len, sizeof(path));
	CHECK_EQ(memcmp(buf, path, sizeof(path)), 0);
	aml_init(&a, buf, sizeof(buf));
	aml_path(&a, "A.B.C");
	CHECK_EQ(memcmp(buf, longer, sizeof(longer)), 0);
	/* PkgLength counts itself: 62 + 1, 63 + 2, 4093 + 2, 4094 + 3, 1048572 + 3, … + 4. */
	static const struct {
		size_t body, total;
		uint32_t encoded;
	} row[] = {
	    {62, 63, 0x3f},
	    {63, 65, 0x0441},
	    {4093, 4095, 0xff4f},
	    {4094, 4097, 0x010081},
	    {1048572, 1048575, 0xffff8f},
	    {1048573, 1048577, 0x010000c1},
	};
	for (unsigned k = 0; k < LM_ARRAY_SIZE(row); k++) {
		aml_init(&a, buf, sizeof(buf));
		aml_if(&a);
		for (size_t n = 0; n < row[k].body; n++)
			aml_int(&a, 0);
		aml_end(&a);
		CHECK_EQ(a.len, 1 + row[k].total);
		CHECK_EQ(le_load(buf + 1, (unsigned)(row[k].total - row[k].body)), row[k].encoded);
	}
	aml_end(&a); /* nothing is open */
	CHECK(a.failed);
	aml_init(&a, buf, 8);
	aml_string(&a, "longer than the buffer");
	CHECK(a.failed);
	aml_init(&a, buf, sizeof(buf));
	aml_path(&a, "TOOLONG");
	CHECK(a.failed);
}

static void save(const char *dir, const char *name, const uint8_t *table)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.dat", dir, name);
	f = fopen(path, "wb");
	CHECK(f && fwrite(table, le_load(table + 4, 4), 1, f) == 1);
	if (f)
		fclose(f);
}

/* -oa: no optimization, so that what comes out can be compared with what went in. */
static int run_iasl(const char *dir, const char *name, const char *options)
{
	char command[640];

	snprintf(command, sizeof(command),
		 "cd %s && { iasl -d %s.dat && iasl -oa %s -p %s-again %s.dsl; } >%s.log 2>&1 && "
		 "grep -q ' 0 Errors, 0 Warnings' %s.log || "
		 "{ cat %s.log >&2; false; }",
		 dir, name, options, name, name, name, name, name);
	return system(command);
}

/* The compiled DSDT says the same as ours, so iasl understood what we meant. */
static void check_same_aml(const char *dir)
{
	char path[128];
	uint8_t *dsdt = at(le_load(find("FACP") + 40, 4));
	static uint8_t again[65536];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/dsdt-again.aml", dir);
	f = fopen(path, "rb");
	CHECK(f != NULL);
	if (!f)
		return;
	n = fread(again, 1, sizeof(again), f);
	fclose(f);
	CHECK_EQ(n, le_load(dsdt + 4, 4));
	CHECK_EQ(memcmp(again + 36, dsdt + 36, n - 36), 0);
}

static void test_iasl(void)
{
	static const char *const names[] = {"dsdt", "facp", "apic", "mcfg", "wdat"};
	char dir[] = "/tmp/lamina-acpi-XXXXXX", command[128];
	struct acpi_config c = typical;

	if (system("command -v iasl >/dev/null 2>&1") != 0) {
		printf("skipped: no iasl to check the tables with (Debian: acpica-tools)\n");
		return;
	}
	CHECK(mkdtemp(dir) != NULL);
	CHECK(acpi_build(&typical, PC_ACPI_BASE, area, sizeof(area), NULL) > 0);
	save(dir, "dsdt", at(le_load(find("FACP") + 40, 4)));
	save(dir, "facp", find("FACP"));
	save(dir, "apic", find("APIC"));
	save(dir, "mcfg", find("MCFG"));
	save(dir, "wdat", find("WDAT"));
	for (unsigned k = 0; k < LM_ARRAY_SIZE(names); k++)
		CHECK_EQ(run_iasl(dir, names[k], ""), 0);
	check_same_aml(dir);
	/* The identifiers of VMGenID are not what iasl (6035) holds for well-formed, but
	 * established. */
	c.vmgenid = 0xe8000;
	c.cpus = 300;
	CHECK(acpi_build(&c, PC_ACPI_BASE, area, sizeof(area), NULL) > 0);
	save(dir, "dsdt", at(le_load(find("FACP") + 40, 4)));
	save(dir, "apic", find("APIC"));
	CHECK_EQ(run_iasl(dir, "dsdt", "-vw 6035"), 0);
	CHECK_EQ(run_iasl(dir, "apic", ""), 0);
	check_same_aml(dir);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	CHECK_EQ(system(command), 0);
}

int main(void)
{
	test_structure();
	test_madt();
	test_refusals();
	test_encodings();
	test_iasl();
	return check_done();
}
