/* A struct with one member of every kind that field tables know, for tests and the fuzzer. */
#ifndef LM_TESTS_FIELDS_SAMPLE_H
#define LM_TESTS_FIELDS_SAMPLE_H

#include <errno.h>

#include "base/fields.h"

struct pair {
	uint16_t left;
	int8_t right;
};

enum colour { RED, GREEN, BLUE };

struct sample {
	bool flag;
	uint8_t index;
	uint16_t word;
	uint32_t dword;
	uint64_t address;
	int64_t when;
	int32_t delta;
	enum colour colour;
	struct {
		uint64_t inner;
	} group;
	uint32_t table[3];
	uint8_t bytes[5];
	uint8_t fifo[8], fifo_count;
	struct pair pair, pairs[2], list[4];
	unsigned list_count;
	uint16_t lane[4];
	unsigned lanes; /* configuration: 2 */
	char name[8];
	uint32_t newer;
	void *wire;
	uint64_t derived; /* from index */
};

static const struct field pair_fields[] = {
	FIELD(struct pair, left, NULL),
	FIELD(struct pair, right, "mm"),
	FIELD_END,
};

static const struct field sample_fields[] = {
	FIELD(struct sample, flag, NULL),
	FIELD(struct sample, index, "", .max = 7),
	FIELD(struct sample, word, NULL),
	FIELD(struct sample, dword, ""),
	FIELD(struct sample, address, "gpa"),
	FIELD(struct sample, when, "ns"),
	FIELD(struct sample, delta, ""),
	FIELD(struct sample, colour, "", .max = BLUE),
	FIELD(struct sample, group.inner, "ticks"),
	FIELD_ARRAY(struct sample, table, NULL),
	FIELD_BYTES(struct sample, bytes),
	FIELD_BYTES(struct sample, fifo, FIELD_COUNTER(struct sample, fifo_count)),
	FIELD_STRUCT(struct sample, pair, pair_fields),
	FIELD_STRUCTS(struct sample, pairs, pair_fields),
	FIELD_STRUCTS(struct sample, list, pair_fields, FIELD_COUNTER(struct sample, list_count)),
	FIELD_ARRAY(struct sample, lane, "", FIELD_CONFIGURED(struct sample, lanes)),
	FIELD_NOT_SAVED(struct sample, lanes, "configuration"),
	FIELD_STRING(struct sample, name),
	FIELD(struct sample, newer, "", .since = 2),
	FIELD_NOT_SAVED(struct sample, wire, "wiring"),
	FIELD_NOT_SAVED(struct sample, derived, "from index"),
	FIELD_GONE("older", 2),
	FIELD_END,
};

static int sample_loaded(void *object, struct lm_err *err)
{
	struct sample *s = object;

	if (s->index == 6 && s->flag)
		return lm_err_set(err, -EINVAL, "index 6 has no flag");
	s->derived = UINT64_C(1) << s->index;
	return 0;
}

static const struct fields_section sample_section = {
	.name = "sample",
	.version = 2,
	.table = sample_fields,
	.post_load = sample_loaded,
};

#endif
