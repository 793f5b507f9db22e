#include "dev/chipset/pflash.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "dev/chipset/map.h"

#define STATUS_READY	   0x80
#define STATUS_CLEARED	   0x00 /* not ready either: by this OVMF knows flash, as QEMU's */
#define STATUS_ERASE_ERROR 0x20
#define STATUS_PROG_ERROR  0x10

#define CONFIRM 0xd0
#define ERASED	0xff

#define ID_MAKER  0x89 /* Intel */
#define ID_DEVICE 0x18

/* What a first command byte leads to. */
static const struct {
	uint8_t command;
	uint8_t mode;
} commands[] = {
	{ 0x10, PFLASH_PROGRAM },      { 0x40, PFLASH_PROGRAM }, { 0x20, PFLASH_ERASE },
	{ 0x50, PFLASH_ARRAY },	       { 0x60, PFLASH_LOCK },	 { 0x70, PFLASH_STATUS },
	{ 0x90, PFLASH_ID },	       { 0x98, PFLASH_CFI },	 { 0xe8, PFLASH_BUFFER_COUNT },
	{ 0xff, PFLASH_ARRAY },
};

#define CLEAR_STATUS 0x50

static void command(struct pflash *f, uint8_t v)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(commands); k++) {
		if (commands[k].command != v)
			continue;
		f->mode = commands[k].mode;
		if (f->mode == PFLASH_BUFFER_COUNT)
			f->status |= STATUS_READY; /* the buffer is free */
		if (v == CLEAR_STATUS)
			f->status = STATUS_CLEARED;
		return;
	}
	log_guest_once("flash: ignored command 0x%02x", v);
	f->mode = PFLASH_ARRAY;
}

/* The operation is done at once. */
static void ready(struct pflash *f)
{
	f->mode = PFLASH_STATUS;
	f->status |= STATUS_READY;
}

static void erase(struct pflash *f, uint32_t offset, uint8_t v)
{
	ready(f);
	if (v == CONFIRM)
		memset(f->data + align_down(offset, PFLASH_BLOCK), ERASED, PFLASH_BLOCK);
	else
		f->status |= STATUS_ERASE_ERROR | STATUS_PROG_ERROR;
}

static void buffer_count(struct pflash *f, uint32_t offset, uint8_t v)
{
	f->buffer_block = (uint32_t)align_down(offset, PFLASH_BLOCK);
	f->buffer_left = v + 1u;
	f->buffer_used = 0;
	f->mode = PFLASH_BUFFER_DATA;
}

static void buffer_byte(struct pflash *f, uint32_t offset, uint8_t v)
{
	f->buffer_offset[f->buffer_used] = (uint16_t)(offset % PFLASH_BLOCK);
	f->buffer[f->buffer_used++] = v;
	if (align_down(offset, PFLASH_BLOCK) != f->buffer_block)
		f->status |= STATUS_PROG_ERROR;
	if (!--f->buffer_left)
		f->mode = PFLASH_BUFFER_CONFIRM;
}

static void buffer_program(struct pflash *f, uint8_t v)
{
	ready(f);
	if (v != CONFIRM || f->status & STATUS_PROG_ERROR) {
		f->status |= STATUS_PROG_ERROR;
		return;
	}
	for (uint32_t k = 0; k < f->buffer_used; k++)
		f->data[f->buffer_block + f->buffer_offset[k]] &= f->buffer[k];
}

/* Programming takes ones away; erasing alone brings them back. */
static void write_byte(struct pflash *f, uint32_t offset, uint8_t v)
{
	switch (f->mode) {
	case PFLASH_PROGRAM:
		f->data[offset] &= v;
		ready(f);
		break;
	case PFLASH_ERASE:
		erase(f, offset, v);
		break;
	case PFLASH_LOCK:
		ready(f);
		break;
	case PFLASH_BUFFER_COUNT:
		buffer_count(f, offset, v);
		break;
	case PFLASH_BUFFER_DATA:
		buffer_byte(f, offset, v);
		break;
	case PFLASH_BUFFER_CONFIRM:
		buffer_program(f, v);
		break;
	default:
		command(f, v);
		break;
	}
}

static uint8_t read_id(uint32_t offset)
{
	static const uint8_t id[] = { ID_MAKER, ID_DEVICE };

	offset &= 0xff;
	return offset < sizeof(id) ? id[offset] : 0; /* the rest: blocks that are not locked */
}

/* JESD68.01 table 1 and what follows: one region of blocks of 4 KiB. */
static uint8_t read_cfi(const struct pflash *f, uint32_t offset)
{
	uint32_t blocks = f->size / PFLASH_BLOCK - 1;
	const uint8_t cfi[] = {
		'Q', 'R', 'Y', 0x01, 0x00, 0x31, 0x00, 0, 0, 0, 0, /* Intel's command set */
		0x45, 0x55, 0, 0, 0x07, 0x07, 0x0a, 0, 0x04, 0x04, 0x04, 0, /* voltages, times */
		(uint8_t)(31 - __builtin_clz(f->size)), 0x00, 0x00, 8, 0, /* sizes: chip and buffer */
		1, (uint8_t)blocks, (uint8_t)(blocks >> 8), PFLASH_BLOCK >> 8 & 0xff,
		PFLASH_BLOCK >> 16,
	};

	offset &= 0xff;
	return offset >= 0x10 && offset - 0x10 < sizeof(cfi) ? cfi[offset - 0x10] : 0;
}

static uint8_t read_byte(const struct pflash *f, uint32_t offset)
{
	switch (f->mode) {
	case PFLASH_ARRAY:
		return f->data[offset];
	case PFLASH_ID:
		return read_id(offset);
	case PFLASH_CFI:
		return read_cfi(f, offset);
	default:
		return f->status;
	}
}

static uint64_t flash_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct pflash *f = opaque;
	uint64_t v = 0;

	for (unsigned k = 0; k < size; k++)
		v |= (uint64_t)read_byte(f, (uint32_t)offset + k) << (8 * k);
	return v;
}

static void flash_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	for (unsigned k = 0; k < size; k++)
		write_byte(opaque, (uint32_t)offset + k, (uint8_t)(value >> (8 * k)));
}

static const struct bus_ops flash_ops = { flash_read, flash_write, 8 };

static const struct field pflash_fields[] = {
	FIELD(struct pflash, mode, "", .max = PFLASH_BUFFER_CONFIRM),
	FIELD(struct pflash, status, NULL),
	FIELD(struct pflash, buffer_block, "bytes"),
	FIELD(struct pflash, buffer_left, "", .max = PFLASH_BUFFER),
	FIELD(struct pflash, buffer_used, "", .max = PFLASH_BUFFER),
	FIELD_ARRAY(struct pflash, buffer_offset, "bytes", .max = PFLASH_BLOCK - 1),
	FIELD_BYTES(struct pflash, buffer),
	FIELD_NOT_SAVED(struct pflash, data, "the board's"),
	FIELD_NOT_SAVED(struct pflash, size, "configuration"),
	FIELD_NOT_SAVED(struct pflash, region, "wiring"),
	FIELD_END,
};

static int pflash_loaded(void *object, struct lm_err *err)
{
	const struct pflash *f = object;
	bool fits = f->buffer_block % PFLASH_BLOCK == 0 && f->buffer_block < f->size &&
		    f->buffer_left + f->buffer_used <= PFLASH_BUFFER;

	if (!fits || (f->mode == PFLASH_BUFFER_DATA && !f->buffer_left))
		return lm_err_set(err, -EINVAL, "its buffered program is not one");
	return 0;
}

const struct fields_section pflash_section = {
	.name = "pflash",
	.version = 1,
	.table = pflash_fields,
	.post_load = pflash_loaded,
};

void pflash_reset(struct pflash *f)
{
	f->mode = PFLASH_ARRAY;
	f->status = STATUS_READY;
	f->buffer_left = f->buffer_used = 0;
}

int pflash_init(struct pflash *f, struct bus *mmio, uint64_t gpa, uint8_t *data, uint32_t size,
		struct lm_err *err)
{
	if (!size || size > PFLASH_MAX || size % PFLASH_BLOCK)
		return lm_err_set(err, -EINVAL,
				  "flash of %u bytes: a multiple of 4 KiB, at most 16 MiB", size);
	*f = (struct pflash){ .data = data, .size = size };
	f->region = (struct bus_region){ "flash", gpa, size, &flash_ops, f, false };
	pflash_reset(f);
	return chipset_map(mmio, &f->region, err);
}
