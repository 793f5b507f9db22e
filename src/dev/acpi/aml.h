/*
 * Writing AML, the byte code of ACPI's DSDT (ACPI 6.4 §20), in the order in which ASL is read.
 *
 * Objects with a length are opened by their own call and closed by aml_end, as braces in ASL. A
 * value, a name or an operator is one call each, operators before their operands. Writing beyond
 * the buffer or wrong nesting sets `failed`; nothing else happens, so callers check once at the
 * end.
 */
#ifndef LM_DEV_ACPI_AML_H
#define LM_DEV_ACPI_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AML_MAX_DEPTH 16

struct aml {
	uint8_t *buf; /* not owned */
	size_t size, len;
	bool failed;
	size_t open[AML_MAX_DEPTH]; /* where the contents of open objects begin */
	unsigned depth;
};

/* Operators and operands of one byte (§20.3 "AML Byte Stream Byte Values"). */
enum aml_op {
	AML_LOCAL0 = 0x60,
	AML_ARG0 = 0x68,
	AML_ARG1 = 0x69,
	AML_ARG2 = 0x6a,
	AML_ARG3 = 0x6b,
	AML_STORE = 0x70,	       /* source, target */
	AML_AND = 0x7b,		       /* a, b, target */
	AML_OR = 0x7d,		       /* a, b, target */
	AML_NOTIFY = 0x86,	       /* object, value */
	AML_CREATE_DWORD_FIELD = 0x8a, /* buffer, byte index, name */
	AML_LNOT = 0x92,
	AML_LEQUAL = 0x93,
	AML_RETURN = 0xa4,
};

void aml_init(struct aml *aml, uint8_t *buf, size_t size);

/* Paths are as in ASL: "\\_SB.PCI0", "COM1"; segments shorter than four letters are padded. */
void aml_path(struct aml *aml, const char *path);
void aml_op(struct aml *aml, enum aml_op op);
void aml_int(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *s);
/* EISAID("PNP0A08"). */
void aml_eisa_id(struct aml *aml, const char *id);
/* ToUUID("33db4d5b-1ff7-401c-9657-7441c03dd766"). */
void aml_uuid(struct aml *aml, const char *uuid);

/* Name (path, …): the object follows. The second and third write it too. */
void aml_name(struct aml *aml, const char *path);
void aml_name_int(struct aml *aml, const char *path, uint64_t value);
void aml_name_eisa_id(struct aml *aml, const char *path, const char *id);
void aml_name_string(struct aml *aml, const char *path, const char *s);

/* Closed by aml_end. */
void aml_scope(struct aml *aml, const char *path);
void aml_device(struct aml *aml, const char *path);
void aml_method(struct aml *aml, const char *path, unsigned args); /* serialized */
void aml_package(struct aml *aml, uint8_t elements);
void aml_if(struct aml *aml); /* the condition follows */
void aml_else(struct aml *aml);
void aml_end(struct aml *aml);

/* OperationRegion (name, SystemIO, port, size) with one byte-wide Field of one 8-bit unit. */
void aml_io_byte(struct aml *aml, const char *region, uint16_t port, const char *field);

/* ResourceTemplate (); closed by aml_resources_end. Descriptors: §6.4. Ends are inclusive. */
void aml_resources(struct aml *aml);
void aml_res_io(struct aml *aml, uint16_t base, uint8_t len);
void aml_res_irq(struct aml *aml, unsigned irq);
void aml_res_memory32(struct aml *aml, uint32_t base, uint32_t len);
void aml_res_bus_range(struct aml *aml, uint16_t first, uint16_t last);
void aml_res_io_window(struct aml *aml, uint16_t first, uint16_t last);
void aml_res_memory_window32(struct aml *aml, uint32_t first, uint32_t last);
void aml_res_memory_window64(struct aml *aml, uint64_t first, uint64_t last);
void aml_resources_end(struct aml *aml);

#endif
