/* fw_cfg: ports, directory, DMA, and what hostile descriptors do. */
#include "dev/chipset/fw_cfg.h"

#include <string.h>

#include "check.h"

#define DESC   0x1000
#define BUFFER 0x2000

static struct bus port;
static struct ram ram;
static struct fw_cfg fw;

static void start(void)
{
	port = (struct bus){.name = "port"};
	CHECK_EQ(ram_init(&ram, 4 * MIB, NULL), 0);
	CHECK_EQ(fw_cfg_init(&fw, &port, &ram, NULL), 0);
}

static void finish(void)
{
	fw_cfg_fini(&fw);
	ram_fini(&ram);
}

static uint64_t read_item(uint16_t key, unsigned size)
{
	uint64_t v = 0;

	bus_write(&port, 0x510, key, 2);
	for (unsigned k = 0; k < size; k++)
		v |= bus_read(&port, 0x511, 1) << (8 * k);
	return v;
}

static uint32_t be32(uint32_t v)
{
	return __builtin_bswap32(v);
}

/* Runs one DMA operation; returns the control word afterwards. */
static uint32_t dma(uint32_t control, uint32_t length, uint64_t address)
{
	uint32_t desc[4] = {be32(control), be32(length), be32((uint32_t)(address >> 32)),
			    be32((uint32_t)address)};

	ram_write(&ram, GPA(DESC), desc, 16);
	bus_write(&port, 0x518, be32(DESC), 4);
	ram_read(&ram, GPA(DESC), desc, 4);
	return be32(desc[0]);
}

static void test_ports(void)
{
	start();
	CHECK_EQ(read_item(0, 4), 0x554d4551); /* "QEMU" */
	CHECK_EQ(read_item(1, 4), 3);
	CHECK_EQ(bus_read(&port, 0x514, 4), 0x554d4551);
	CHECK_EQ(bus_read(&port, 0x518, 4), 0x47464320); /* " CFG" */
	CHECK_EQ(fw_cfg_add_number(&fw, FW_CFG_NB_CPUS, 4, 2, NULL), 0);
	CHECK_EQ(read_item(FW_CFG_NB_CPUS, 4), 4); /* zeros beyond the end */
	CHECK_EQ(read_item(FW_CFG_NB_CPUS | 0x4000, 2), 4);
	bus_write(&port, 0x511, 0xff, 1);
	CHECK_EQ(read_item(FW_CFG_NB_CPUS, 2), 4);
	CHECK_EQ(read_item(0x7777, 8), 0);
	CHECK(fw_cfg_add_number(&fw, FW_CFG_NB_CPUS, 1, 2, NULL) < 0);
	finish();
}

static void test_directory(void)
{
	uint8_t entry[64];

	start();
	CHECK_EQ(fw_cfg_add_file(&fw, "etc/one", "1", 1, true, NULL), 0);
	CHECK_EQ(fw_cfg_add_file(&fw, "opt/two", "22", 2, false, NULL), 0);
	CHECK(fw_cfg_add_file(&fw, "opt/two", "22", 2, false, NULL) < 0);
	CHECK(fw_cfg_add_file(&fw, "", "", 0, false, NULL) < 0);
	CHECK(fw_cfg_add_file(&fw, "a name that is longer than the directory's fifty-five bytes",
			      "", 0, false, NULL) < 0);
	CHECK_EQ(read_item(FW_CFG_FILE_DIR, 4), be32(2));
	for (unsigned k = 0; k < 64; k++)
		bus_read(&port, 0x511, 1);
	for (unsigned k = 0; k < 64; k++)
		entry[k] = (uint8_t)bus_read(&port, 0x511, 1);
	CHECK_EQ(entry[3], 2);
	CHECK_EQ(entry[5], 0x21);
	CHECK_EQ(strcmp((char *)entry + 8, "opt/two"), 0);
	CHECK_EQ(bus_read(&port, 0x511, 1), 0);
	CHECK_EQ(read_item(0x21, 2), 0x3232);
	finish();
}

static void test_dma(void)
{
	uint8_t got[16];

	start();
	CHECK_EQ(fw_cfg_add_file(&fw, "data", "0123456789", 10, true, NULL), 0);
	memset(got, 0xee, sizeof(got));
	ram_write(&ram, GPA(BUFFER), got, 16);
	CHECK_EQ(dma(0x20u << 16 | 0x0a, 4, BUFFER), 0); /* select and read */
	CHECK_EQ(dma(0x04, 2, 0), 0);			 /* skip */
	CHECK_EQ(dma(0x02, 8, BUFFER + 4), 0);
	ram_read(&ram, GPA(BUFFER), got, 16);
	CHECK_EQ(memcmp(got, "01236789\0\0\0\0\xee", 13), 0);
	CHECK_EQ(dma(0x04, 0xffffffff, 0), 0);
	CHECK_EQ(dma(0x04, 0xffffffff, 0), 0);
	CHECK_EQ(bus_read(&port, 0x511, 1), 0);
	CHECK_EQ(dma(0x20u << 16 | 0x18, 4, BUFFER), 1); /* items are read-only */
	CHECK_EQ(bus_read(&port, 0x511, 1), '0');	 /* but the select took place */
	CHECK_EQ(dma(0x20u << 16 | 0x08, 0, 0), 0);
	CHECK_EQ(bus_read(&port, 0x511, 1), '0');
	finish();
}

static void test_hostile_dma(void)
{
	start();
	CHECK_EQ(fw_cfg_add_file(&fw, "data", "0123456789", 10, true, NULL), 0);
	CHECK_EQ(dma(0x20u << 16 | 0x0a, 10, 4 * MIB - 5), 1);
	CHECK_EQ(dma(0x20u << 16 | 0x0a, 10, UINT64_MAX - 5), 1);
	CHECK_EQ(dma(0x20u << 16 | 0x0a, 10, 0xa0000 - 5), 1);
	CHECK_EQ(dma(0x20u << 16 | 0x0a, 0xffffffff, BUFFER), 1);
	CHECK_EQ(dma(0x9999u << 16 | 0x0a, 0xffffffff, BUFFER), 1);
	CHECK_EQ(dma(0x9999u << 16 | 0x0a, 64 * KIB, BUFFER), 0);
	CHECK_EQ(dma(0x9999u << 16 | 0x0a, 64 * KIB + 1, BUFFER), 1); /* more zeros than needed */
	CHECK_EQ(dma(0x02, 0, UINT64_MAX), 0);
	bus_write(&port, 0x514, be32(0xffffffff), 4); /* descriptor outside of RAM */
	bus_write(&port, 0x518, be32(0xfffffff8), 4);
	bus_write(&port, 0x518, be32(0x3ffff8), 4);
	bus_write(&port, 0x518, 0xff, 1); /* not a dword: nothing */
	bus_write(&port, 0x514, be32(1), 4);
	fw_cfg_reset(&fw);
	CHECK_EQ(dma(0x20u << 16 | 0x0a, 4, BUFFER), 0); /* the upper half was forgotten */
	finish();
}

int main(void)
{
	test_ports();
	test_directory();
	test_dma();
	test_hostile_dma();
	return check_done();
}
