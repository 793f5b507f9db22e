#include "dev/acpi/aml.h"

#include <string.h>

#include "base/bits.h"

/* ACPI 6.4 §20.2 "AML Grammar Definition". */
#define ZERO_OP		  0x00
#define ONE_OP		  0x01
#define NAME_OP		  0x08
#define BYTE_PREFIX	  0x0a
#define WORD_PREFIX	  0x0b
#define DWORD_PREFIX	  0x0c
#define STRING_PREFIX	  0x0d
#define QWORD_PREFIX	  0x0e
#define SCOPE_OP	  0x10
#define BUFFER_OP	  0x11
#define PACKAGE_OP	  0x12
#define METHOD_OP	  0x14
#define DUAL_NAME_PREFIX  0x2e
#define MULTI_NAME_PREFIX 0x2f
#define EXT_PREFIX	  0x5b
#define EXT_REGION_OP	  0x80
#define EXT_FIELD_OP	  0x81
#define EXT_DEVICE_OP	  0x82
#define IF_OP		  0xa0
#define ELSE_OP		  0xa1
#define METHOD_SERIALIZED 0x08
#define REGION_SYSTEM_IO  1
#define FIELD_BYTE_ACCESS 1
#define NAME_SEGMENT	  4

/* §6.4 "Resource Data Types for ACPI". */
#define RES_IRQ		   0x22
#define RES_IO		   0x47
#define RES_END		   0x79
#define RES_MEMORY32_FIXED 0x86
#define RES_DWORD_SPACE	   0x87
#define RES_WORD_SPACE	   0x88
#define RES_QWORD_SPACE	   0x8a
#define SPACE_MEMORY	   0
#define SPACE_IO	   1
#define SPACE_BUS	   2
#define SPACE_FIXED	   0x0c /* minimum and maximum are fixed, positive decode, producer */
#define IO_ENTIRE_RANGE	   3
#define MEMORY_READ_WRITE  1
#define IO_DECODE16	   1

void aml_init(struct aml *aml, uint8_t *buf, size_t size)
{
	*aml = (struct aml){.buf = buf, .size = size};
}

static void put_bytes(struct aml *a, const void *bytes, size_t len)
{
	if (a->failed || len > a->size - a->len) {
		a->failed = true;
		return;
	}
	memcpy(a->buf + a->len, bytes, len);
	a->len += len;
}

static void put(struct aml *a, uint64_t value, unsigned size)
{
	uint8_t raw[8];

	le_store(raw, value, size);
	put_bytes(a, raw, size);
}

/* Opens an object whose PkgLength goes here: aml_end inserts it when the length is known. */
static void open_object(struct aml *a)
{
	if (a->depth == AML_MAX_DEPTH)
		a->failed = true;
	else
		a->open[a->depth++] = a->len;
}

/* PkgLength (§20.2.4) counts itself, unless `plain`, as in field lists. Returns its size. */
static unsigned encode_length(uint8_t out[4], size_t len, bool plain)
{
	unsigned n = 1;

	while (n < 4 && len + (plain ? 0 : n) >= (n == 1 ? 64u : 1u << (8 * n - 4)))
		n++;
	len += plain ? 0 : n;
	if (n == 1) {
		out[0] = (uint8_t)len;
		return 1;
	}
	out[0] = (uint8_t)((n - 1) << 6 | (len & 15));
	le_store(out + 1, len >> 4, n - 1);
	return n;
}

/* Moves the few bytes that were written last, from `tail` on, to `start`. */
static void insert_tail(struct aml *a, size_t start, size_t tail)
{
	uint8_t bytes[9];
	size_t n = a->len - tail;

	if (a->failed)
		return;
	memcpy(bytes, a->buf + tail, n);
	memmove(a->buf + start + n, a->buf + start, tail - start);
	memcpy(a->buf + start, bytes, n);
}

void aml_end(struct aml *a)
{
	uint8_t length[4];
	size_t start, tail = a->len;

	if (!a->depth)
		a->failed = true;
	if (a->failed)
		return;
	start = a->open[--a->depth];
	put_bytes(a, length, encode_length(length, tail - start, false));
	insert_tail(a, start, tail);
}

static unsigned count_segments(const char *path)
{
	unsigned n = *path != '\0';

	for (; *path; path++)
		n += *path == '.';
	return n;
}

static const char *put_segment(struct aml *a, const char *path)
{
	char seg[NAME_SEGMENT] = {'_', '_', '_', '_'};
	unsigned n = 0;

	while (*path && *path != '.') {
		if (n == NAME_SEGMENT) {
			a->failed = true;
			return path;
		}
		seg[n++] = *path++;
	}
	put_bytes(a, seg, NAME_SEGMENT);
	return *path == '.' ? path + 1 : path;
}

void aml_path(struct aml *a, const char *path)
{
	unsigned n;

	for (; *path == '\\' || *path == '^'; path++)
		put(a, (uint8_t)*path, 1);
	n = count_segments(path);
	if (n == 0)
		put(a, 0, 1); /* NullName */
	if (n == 2)
		put(a, DUAL_NAME_PREFIX, 1);
	if (n > 2)
		put(a, MULTI_NAME_PREFIX | n << 8, 2);
	while (*path && !a->failed)
		path = put_segment(a, path);
}

void aml_op(struct aml *a, enum aml_op op)
{
	put(a, op, 1);
}

void aml_int(struct aml *a, uint64_t value)
{
	if (value <= 1) {
		put(a, value ? ONE_OP : ZERO_OP, 1);
	} else if (value <= UINT8_MAX) {
		put(a, BYTE_PREFIX, 1);
		put(a, value, 1);
	} else if (value <= UINT16_MAX) {
		put(a, WORD_PREFIX, 1);
		put(a, value, 2);
	} else if (value <= UINT32_MAX) {
		put(a, DWORD_PREFIX, 1);
		put(a, value, 4);
	} else {
		put(a, QWORD_PREFIX, 1);
		put(a, value, 8);
	}
}

void aml_string(struct aml *a, const char *s)
{
	put(a, STRING_PREFIX, 1);
	put_bytes(a, s, strlen(s) + 1);
}

static unsigned hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	return (unsigned)((c | 0x20) - 'a' + 10);
}

/* §19.3.4: three letters in five bits each and four hex digits, most significant byte first. */
void aml_eisa_id(struct aml *a, const char *id)
{
	uint32_t v = 0;

	for (unsigned k = 0; k < 3; k++)
		v = v << 5 | (id[k] & 31);
	for (unsigned k = 3; k < 7; k++)
		v = v << 4 | hex_digit(id[k]);
	put(a, DWORD_PREFIX, 1);
	put(a, __builtin_bswap32(v), 4);
}

/* The first three groups are little endian (§19.6.142). */
void aml_uuid(struct aml *a, const char *uuid)
{
	static const uint8_t place[16] = {6,  4,  2,  0,  11, 9,  16, 14,
					  19, 21, 24, 26, 28, 30, 32, 34};

	put(a, BUFFER_OP, 1);
	open_object(a);
	aml_int(a, 16);
	for (unsigned k = 0; k < 16; k++)
		put(a, hex_digit(uuid[place[k]]) << 4 | hex_digit(uuid[place[k] + 1]), 1);
	aml_end(a);
}

void aml_name(struct aml *a, const char *path)
{
	put(a, NAME_OP, 1);
	aml_path(a, path);
}

void aml_name_int(struct aml *a, const char *path, uint64_t value)
{
	aml_name(a, path);
	aml_int(a, value);
}

void aml_name_eisa_id(struct aml *a, const char *path, const char *id)
{
	aml_name(a, path);
	aml_eisa_id(a, id);
}

void aml_name_string(struct aml *a, const char *path, const char *s)
{
	aml_name(a, path);
	aml_string(a, s);
}

void aml_scope(struct aml *a, const char *path)
{
	put(a, SCOPE_OP, 1);
	open_object(a);
	aml_path(a, path);
}

void aml_device(struct aml *a, const char *path)
{
	put(a, EXT_PREFIX | EXT_DEVICE_OP << 8, 2);
	open_object(a);
	aml_path(a, path);
}

void aml_method(struct aml *a, const char *path, unsigned args)
{
	put(a, METHOD_OP, 1);
	open_object(a);
	aml_path(a, path);
	put(a, args | METHOD_SERIALIZED, 1);
}

void aml_package(struct aml *a, uint8_t elements)
{
	put(a, PACKAGE_OP, 1);
	open_object(a);
	put(a, elements, 1);
}

void aml_if(struct aml *a)
{
	put(a, IF_OP, 1);
	open_object(a);
}

void aml_else(struct aml *a)
{
	put(a, ELSE_OP, 1);
	open_object(a);
}

void aml_io_byte(struct aml *a, const char *region, uint16_t port, const char *field)
{
	uint8_t width[4];

	put(a, EXT_PREFIX | EXT_REGION_OP << 8, 2);
	aml_path(a, region);
	put(a, REGION_SYSTEM_IO, 1);
	aml_int(a, port);
	aml_int(a, 1);
	put(a, EXT_PREFIX | EXT_FIELD_OP << 8, 2);
	open_object(a);
	aml_path(a, region);
	put(a, FIELD_BYTE_ACCESS, 1);
	aml_path(a, field);
	put_bytes(a, width, encode_length(width, 8, true));
	aml_end(a);
}

void aml_resources(struct aml *a)
{
	put(a, BUFFER_OP, 1);
	open_object(a);
}

/* The buffer's size stands before its bytes. */
void aml_resources_end(struct aml *a)
{
	size_t start, len;

	put(a, RES_END, 2); /* with a checksum of 0: not checked */
	if (a->failed || !a->depth)
		return;
	start = a->open[a->depth - 1];
	len = a->len - start;
	aml_int(a, len);
	insert_tail(a, start, start + len);
	aml_end(a);
}

void aml_res_io(struct aml *a, uint16_t base, uint8_t len)
{
	put(a, RES_IO | IO_DECODE16 << 8, 2);
	put(a, base, 2);
	put(a, base, 2);
	put(a, 1, 1);
	put(a, len, 1);
}

void aml_res_irq(struct aml *a, unsigned irq)
{
	put(a, RES_IRQ, 1);
	put(a, UINT64_C(1) << irq, 2);
}

void aml_res_memory32(struct aml *a, uint32_t base, uint32_t len)
{
	put(a, RES_MEMORY32_FIXED, 1);
	put(a, 9, 2);
	put(a, MEMORY_READ_WRITE, 1);
	put(a, base, 4);
	put(a, len, 4);
}

/* An address space descriptor with fields of `width` bytes (§6.4.3.5). */
static void put_space(struct aml *a, uint8_t tag, unsigned width, uint8_t type, uint8_t specific,
		      uint64_t first, uint64_t last)
{
	put(a, tag, 1);
	put(a, 3 + 5 * width, 2);
	put(a, type, 1);
	put(a, SPACE_FIXED, 1);
	put(a, specific, 1);
	put(a, 0, width); /* granularity */
	put(a, first, width);
	put(a, last, width);
	put(a, 0, width); /* translation */
	put(a, last - first + 1, width);
}

void aml_res_bus_range(struct aml *a, uint16_t first, uint16_t last)
{
	put_space(a, RES_WORD_SPACE, 2, SPACE_BUS, 0, first, last);
}

void aml_res_io_window(struct aml *a, uint16_t first, uint16_t last)
{
	put_space(a, RES_WORD_SPACE, 2, SPACE_IO, IO_ENTIRE_RANGE, first, last);
}

void aml_res_memory_window32(struct aml *a, uint32_t first, uint32_t last)
{
	put_space(a, RES_DWORD_SPACE, 4, SPACE_MEMORY, MEMORY_READ_WRITE, first, last);
}

void aml_res_memory_window64(struct aml *a, uint64_t first, uint64_t last)
{
	put_space(a, RES_QWORD_SPACE, 8, SPACE_MEMORY, MEMORY_READ_WRITE, first, last);
}
