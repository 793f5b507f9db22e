/* Parsers of option values. Each error says what is wrong and what is right. */
#ifndef LM_CMD_VALUES_H
#define LM_CMD_VALUES_H

#include <stdint.h>

#include "base/err.h"

/* Decimal within [min, max]; `unit` names what is counted ("seconds"). */
int value_number(const char *text, uint64_t min, uint64_t max, const char *unit, uint64_t *out,
		 struct lm_err *err);

/* A number of bytes: digits and K, M, G, T or nothing; powers of 1024. */
int value_size(const char *text, uint64_t *out, struct lm_err *err);

/* An existing regular file or block device that we may open for reading, and for writing. */
int value_file(const char *path, struct lm_err *err);
int value_file_writable(const char *path, struct lm_err *err);

/* Bytes as "512M", "1.5G": at most one decimal. */
struct size_text {
	char text[24];
};
struct size_text size_format(uint64_t bytes);

#endif
