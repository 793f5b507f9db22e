#include "dev/chipset/fw_cfg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "dev/chipset/layout.h"
#include "dev/chipset/map.h"

#define ID_TRADITIONAL 0x1
#define ID_DMA	       0x2
#define KEY_WRITE      0x4000 /* "write mode" bit of the selector, without effect */
#define FILE_ENTRY     64     /* bytes of a directory entry: size, key, reserved, name */

/* struct FWCfgDmaAccess: control, length (4 bytes each), address (8), big endian. */
#define DMA_ACCESS_SIZE 16
#define DMA_ERROR	0x01
#define DMA_READ	0x02
#define DMA_SKIP	0x04
#define DMA_SELECT	0x08
#define DMA_WRITE	0x10
#define DMA_ADDRESS_LOW 4 /* register offset */

/*
 * A read beyond an item's end gives zeros, of which nobody needs many. Reads of more are refused:
 * one write of the guest must not keep the device lock for gigabytes.
 */
#define DMA_MAX_ZEROS (64 * KIB)

static uint64_t be_load(const uint8_t *p, unsigned size)
{
	uint64_t v = 0;

	for (unsigned k = 0; k < size; k++)
		v = v << 8 | p[k];
	return v;
}

static void be_store(uint8_t *p, uint64_t v, unsigned size)
{
	for (unsigned k = 0; k < size; k++)
		p[k] = (uint8_t)(v >> (8 * (size - 1 - k)));
}

static struct fw_cfg_item *find(struct fw_cfg *fw, uint16_t key)
{
	for (unsigned k = 0; k < fw->count; k++)
		if (fw->item[k].key == key)
			return &fw->item[k];
	return NULL;
}

static void select_key(struct fw_cfg *fw, uint16_t key)
{
	fw->key = key & ~KEY_WRITE;
	fw->offset = 0;
}

/* The selected item's bytes from the offset on; none where there is no such item. */
static uint32_t remaining(struct fw_cfg *fw, const uint8_t **bytes)
{
	const struct fw_cfg_item *item = find(fw, fw->key);

	*bytes = NULL;
	if (!item || fw->offset >= item->size)
		return 0;
	*bytes = item->data + fw->offset;
	return item->size - fw->offset;
}

static uint8_t read_byte(struct fw_cfg *fw)
{
	const uint8_t *bytes;

	if (!remaining(fw, &bytes))
		return 0;
	fw->offset++;
	return *bytes;
}

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
	return offset == 1 ? read_byte(opaque) : 0;
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	if (offset == 0 && size == 2)
		select_key(opaque, (uint16_t)value);
}

static bool dma_read(struct fw_cfg *fw, gpa_t to, uint32_t length)
{
	static const uint8_t zeros[4096];
	const uint8_t *bytes;
	uint32_t have = remaining(fw, &bytes), take = LM_MIN(have, length), rest = length - take;

	if (rest > DMA_MAX_ZEROS || to.v + length < to.v)
		return false;
	if (take && !ram_write(fw->ram, to, bytes, take))
		return false;
	fw->offset += take;
	for (to.v += take; rest; rest -= take, to.v += take) {
		take = LM_MIN(rest, sizeof(zeros));
		if (!ram_write(fw->ram, to, zeros, take))
			return false;
	}
	return true;
}

/* control is the guest's command word, the result is what it finds there afterwards. */
static uint32_t dma_run(struct fw_cfg *fw, uint32_t control, uint32_t length, gpa_t address)
{
	const uint8_t *bytes;
	uint32_t have;

	if (control & DMA_SELECT)
		select_key(fw, (uint16_t)(control >> 16));
	if (control & DMA_READ)
		return dma_read(fw, address, length) ? 0 : DMA_ERROR;
	if (control & DMA_WRITE)
		return DMA_ERROR;
	if (control & DMA_SKIP) {
		have = remaining(fw, &bytes);
		fw->offset += LM_MIN(length, have);
	}
	return 0;
}

static void dma_start(struct fw_cfg *fw, gpa_t access)
{
	uint8_t raw[DMA_ACCESS_SIZE];
	uint32_t result;

	if (!ram_read(fw->ram, access, raw, sizeof(raw))) {
		log_guest_once("fw_cfg: DMA descriptor at 0x%llx is not in RAM",
			       (unsigned long long)access.v);
		return;
	}
	result = dma_run(fw, (uint32_t)be_load(raw, 4), (uint32_t)be_load(raw + 4, 4),
			 GPA(be_load(raw + 8, 8)));
	be_store(raw, result, 4);
	ram_write(fw->ram, access, raw, 4);
}

/* Reads give "QEMU CFG", by which the guest knows the interface. */
static uint64_t dma_reg_read(void *opaque, uint64_t offset, unsigned size)
{
	return le_load(&"QEMU CFG"[offset], size);
}

static void dma_reg_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct fw_cfg *fw = opaque;
	uint32_t half = __builtin_bswap32((uint32_t)value);
	uint64_t address;

	if (size != 4)
		return;
	if (offset < DMA_ADDRESS_LOW) {
		fw->dma_high = half;
		return;
	}
	address = (uint64_t)fw->dma_high << 32 | half;
	fw->dma_high = 0;
	dma_start(fw, GPA(address));
}

static const struct bus_ops ports_ops = {ports_read, ports_write, 2};
static const struct bus_ops dma_ops = {dma_reg_read, dma_reg_write, 4};

static int add_item(struct fw_cfg *fw, uint16_t key, const uint8_t *data, uint32_t size, bool copy,
		    struct lm_err *err)
{
	uint8_t *own = NULL;

	if (find(fw, key))
		return lm_err_set(err, -EEXIST, "fw_cfg: key 0x%x is taken", key);
	if (fw->count == FW_CFG_MAX_ITEMS)
		return lm_err_set(err, -ENOSPC, "fw_cfg: more than %d items", FW_CFG_MAX_ITEMS);
	if (copy && size) {
		own = malloc(size);
		if (!own)
			return lm_err_errno(err, -ENOMEM, "fw_cfg: item of %u bytes", size);
		memcpy(own, data, size);
	}
	fw->item[fw->count++] = (struct fw_cfg_item){key, own != NULL, size, own ? own : data};
	return 0;
}

int fw_cfg_add(struct fw_cfg *fw, uint16_t key, const void *data, uint32_t size, bool copy,
	       struct lm_err *err)
{
	if (key & KEY_WRITE)
		return lm_err_set(err, -EINVAL, "fw_cfg: key 0x%x cannot be selected", key);
	return add_item(fw, key, data, size, copy, err);
}

int fw_cfg_add_number(struct fw_cfg *fw, uint16_t key, uint64_t value, unsigned size,
		      struct lm_err *err)
{
	uint8_t raw[8];

	le_store(raw, value, size);
	return fw_cfg_add(fw, key, raw, size, true, err);
}

static uint8_t *directory_entry(struct fw_cfg *fw, unsigned k)
{
	return fw->directory + 4 + FILE_ENTRY * k;
}

static bool name_taken(struct fw_cfg *fw, const char *name)
{
	for (unsigned k = 0; k < fw->files; k++)
		if (!strcmp((const char *)directory_entry(fw, k) + 8, name))
			return true;
	return false;
}

int fw_cfg_add_file(struct fw_cfg *fw, const char *name, const void *data, uint32_t size, bool copy,
		    struct lm_err *err)
{
	size_t len = strlen(name);
	uint16_t key = FW_CFG_FILE_FIRST + fw->files;
	uint8_t *entry;
	int rc;

	if (!len || len >= FW_CFG_NAME)
		return lm_err_set(err, -EINVAL, "fw_cfg: file name '%.60s': 1 to 55 characters",
				  name);
	if (name_taken(fw, name))
		return lm_err_set(err, -EEXIST, "fw_cfg: file '%s' is there twice", name);
	if (fw->files == FW_CFG_MAX_FILES)
		return lm_err_set(err, -ENOSPC, "fw_cfg: more than %d files", FW_CFG_MAX_FILES);
	rc = fw_cfg_add(fw, key, data, size, copy, err);
	if (rc < 0)
		return rc;
	entry = directory_entry(fw, fw->files);
	be_store(entry, size, 4);
	be_store(entry + 4, key, 2);
	memcpy(entry + 8, name, len + 1);
	be_store(fw->directory, ++fw->files, 4);
	find(fw, FW_CFG_FILE_DIR)->size = 4 + FILE_ENTRY * fw->files;
	return 0;
}

void fw_cfg_reset(struct fw_cfg *fw)
{
	select_key(fw, 0);
	fw->dma_high = 0;
}

void fw_cfg_fini(struct fw_cfg *fw)
{
	for (unsigned k = 0; k < fw->count; k++)
		if (fw->item[k].owned)
			free((void *)fw->item[k].data);
	fw->count = fw->files = 0;
}

int fw_cfg_init(struct fw_cfg *fw, struct bus *port, struct ram *ram, struct lm_err *err)
{
	int rc;

	memset(fw, 0, sizeof(*fw));
	fw->ram = ram;
	fw->ports = (struct bus_region){"fw_cfg", PC_PORT_FW_CFG, 2, &ports_ops, fw, false};
	fw->dma = (struct bus_region){"fw_cfg-dma", PC_PORT_FW_CFG_DMA, 8, &dma_ops, fw, false};
	rc = fw_cfg_add(fw, FW_CFG_SIGNATURE, "QEMU", 4, false, err);
	if (rc == 0)
		rc = fw_cfg_add_number(fw, FW_CFG_ID, ID_TRADITIONAL | ID_DMA, 4, err);
	if (rc == 0)
		rc = fw_cfg_add(fw, FW_CFG_FILE_DIR, fw->directory, 4, false, err);
	if (rc == 0)
		rc = chipset_map(port, &fw->ports, err);
	if (rc == 0)
		rc = chipset_map(port, &fw->dma, err);
	if (rc < 0)
		fw_cfg_fini(fw);
	return rc;
}

/* ---- Saved state ---- */

static const struct field fw_cfg_fields[] = {
	FIELD(struct fw_cfg, key, NULL),
	FIELD(struct fw_cfg, offset, "bytes"),
	FIELD(struct fw_cfg, dma_high, NULL),
	FIELD_NOT_SAVED(struct fw_cfg, ram, "wiring"),
	FIELD_NOT_SAVED(struct fw_cfg, item, "configuration"),
	FIELD_NOT_SAVED(struct fw_cfg, count, "configuration"),
	FIELD_NOT_SAVED(struct fw_cfg, files, "configuration"),
	FIELD_NOT_SAVED(struct fw_cfg, directory, "configuration"),
	FIELD_NOT_SAVED(struct fw_cfg, ports, "wiring"),
	FIELD_NOT_SAVED(struct fw_cfg, dma, "wiring"),
	FIELD_END,
};

const struct fields_section fw_cfg_section = {
	.name = "fw_cfg",
	.version = 1,
	.table = fw_cfg_fields,
};
