/*
 * Field tables: the saved state of a device or vCPU, described as data.
 *
 * One const table per struct says, for each member, its name, type, unit and place, or why it is not
 * saved. The table serves snapshots, their inspection and tests. A saved section is a JSON object
 *
 *     { "version": 1, "fields": { "irr": "0x10", "step": 0, "chip": [ { ... }, { ... } ] } }
 *
 * Loading expects hostile input: an unknown, missing, ill-typed or too large field is an error that
 * names the field. What one field's `max` cannot say (a ring position that must be below another
 * field) is for the section's post_load.
 *
 * Versions: a section's version is raised when its table changes. A new field has `.since` (the
 * version that brought it) and keeps its reset value when an older section is loaded; a dropped one
 * stays as FIELD_GONE. A section newer than the program is refused.
 */
#ifndef LM_BASE_FIELDS_H
#define LM_BASE_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <jansson.h>

#include "base/bits.h"
#include "base/err.h"

enum field_type {
	FIELD_TYPE_BOOL, FIELD_TYPE_U8, FIELD_TYPE_U16, FIELD_TYPE_U32, FIELD_TYPE_U64,
	FIELD_TYPE_I8, FIELD_TYPE_I16, FIELD_TYPE_I32, FIELD_TYPE_I64,
	FIELD_TYPE_BYTES,  /* written as hexadecimal digits */
	FIELD_TYPE_STRING, /* a char array with its NUL; UTF-8 */
	FIELD_TYPE_STRUCT, /* has a table of its own */
	FIELD_TYPE_NOT_SAVED,
	FIELD_TYPE_GONE,
};

struct field {
	const char *name;    /* NULL ends a table */
	/*
	 * "ns", "bytes", "gpa", ... Values without a unit are bits and registers. Those, and
	 * addresses ("gpa"), are written as hexadecimal strings, all others as decimal numbers.
	 */
	const char *unit;
	enum field_type type;
	uint32_t offset;     /* in the struct */
	uint32_t size;       /* bytes of one element */
	uint32_t count;      /* elements; more than one, or `array`: a JSON array */
	bool array;
	const struct field *table; /* of FIELD_TYPE_STRUCT */
	uint32_t counter_size;     /* not 0: only the first elements are in use, and how many ... */
	uint32_t counter;          /* ... says the unsigned member at this offset */
	bool configured;           /* the counter is not loaded but must be what it is */
	uint64_t max;        /* unsigned values, the largest allowed; 0: whatever the type holds */
	unsigned since;      /* the section's version that brought it; 0: was always there */
	unsigned until;      /* FIELD_TYPE_GONE: the first version without it */
};

/*
 * The last arguments may be designated initializers: FIELD(struct rtc, index, NULL, .max = 127).
 * The type is taken from the member; one that no field can be does not compile.
 */
#define FIELD(t, m, u, ...)                                                                        \
	{ .name = #m, .unit = (u), .type = FIELD_TYPE_OF(((t *)0)->m), .offset = offsetof(t, m),   \
	  .size = sizeof(((t *)0)->m), .count = 1, __VA_ARGS__ }
#define FIELD_ARRAY(t, m, u, ...)                                                                  \
	{ .name = #m, .unit = (u), .type = FIELD_TYPE_OF(((t *)0)->m[0]),                          \
	  .offset = offsetof(t, m), .size = sizeof(((t *)0)->m[0]),                                \
	  .count = LM_ARRAY_SIZE(((t *)0)->m), .array = true, __VA_ARGS__ }
#define FIELD_BYTES(t, m, ...)                                                                     \
	{ .name = #m, .type = FIELD_TYPE_BYTES, .offset = offsetof(t, m),                          \
	  .size = sizeof(((t *)0)->m), .count = 1, __VA_ARGS__ }
#define FIELD_STRING(t, m, ...)                                                                    \
	{ .name = #m, .type = FIELD_TYPE_STRING, .offset = offsetof(t, m),                         \
	  .size = sizeof(((t *)0)->m), .count = 1, __VA_ARGS__ }
#define FIELD_STRUCT(t, m, fields, ...)                                                            \
	{ .name = #m, .type = FIELD_TYPE_STRUCT, .offset = offsetof(t, m),                         \
	  .size = sizeof(((t *)0)->m), .count = 1, .table = (fields), __VA_ARGS__ }
#define FIELD_STRUCTS(t, m, fields, ...)                                                           \
	{ .name = #m, .type = FIELD_TYPE_STRUCT, .offset = offsetof(t, m),                         \
	  .size = sizeof(((t *)0)->m[0]), .count = LM_ARRAY_SIZE(((t *)0)->m), .array = true,      \
	  .table = (fields), __VA_ARGS__ }
/* For an array or bytes of which the first `n` (an unsigned member) are in use; n needs no entry. */
#define FIELD_COUNTER(t, n) .counter = offsetof(t, n), .counter_size = sizeof(((t *)0)->n)
/* The same where n is configuration, with an entry of its own. */
#define FIELD_CONFIGURED(t, n) FIELD_COUNTER(t, n), .configured = true
/* Wiring, configuration and what is derived; `why` is for readers. */
#define FIELD_NOT_SAVED(t, m, why)                                                                 \
	{ .name = #m, .unit = (why), .type = FIELD_TYPE_NOT_SAVED, .offset = offsetof(t, m),       \
	  .size = sizeof(((t *)0)->m), .count = 1 }
/* Was in sections before version `v`, and is not used any more. */
#define FIELD_GONE(n, v) { .name = (n), .type = FIELD_TYPE_GONE, .until = (v) }
#define FIELD_END { .name = NULL }

#define FIELD_TYPE_OF(x)                                                                           \
	_Generic((x), bool: FIELD_TYPE_BOOL, uint8_t: FIELD_TYPE_U8, uint16_t: FIELD_TYPE_U16,     \
		 uint32_t: FIELD_TYPE_U32, uint64_t: FIELD_TYPE_U64,                               \
		 unsigned long long: FIELD_TYPE_U64, int8_t: FIELD_TYPE_I8,                        \
		 int16_t: FIELD_TYPE_I16, int32_t: FIELD_TYPE_I32, int64_t: FIELD_TYPE_I64)

struct fields_section {
	const char *name;
	unsigned version; /* from 1 */
	const struct field *table;
	/* Before the fields are read: folds into them what stands elsewhere. May be NULL. */
	void (*pre_save)(void *object);
	/*
	 * All fields were loaded: checks what they are together and rebuilds what is derived from
	 * them. May be NULL. The object may be left half-changed on failure; whoever loads throws
	 * the whole machine away then.
	 */
	int (*post_load)(void *object, struct lm_err *err);
	/*
	 * The whole machine was loaded: tells backends what they must know, takes their input. Only
	 * here may it interrupt the guest. May be NULL.
	 */
	void (*restored)(void *object);
};

/* *out is a new reference. */
int fields_save(const struct fields_section *section, void *object, json_t **out,
		struct lm_err *err);
int fields_load(const struct fields_section *section, void *object, const json_t *in,
		struct lm_err *err);

/* A saved section as lines "prefix.name  value  unit", fields in the order of the table. */
void fields_print(const struct fields_section *section, const json_t *saved, const char *prefix,
		  FILE *out);

/*
 * For tests: sets map[k] for each byte k of the struct that the table speaks of, as saved or not.
 */
void fields_coverage(const struct field *table, uint8_t *map);

#endif
