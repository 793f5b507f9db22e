/* Moving all of it or failing: bytes to and from files, and small files as a whole. */
#ifndef LM_BASE_FILE_IO_H
#define LM_BASE_FILE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* 0 or a negative errno; -EIO where the file ends before. */
int read_exactly(int fd, void *to, size_t len, off_t offset);
int write_exactly(int fd, const void *from, size_t len, off_t offset);

/* The first `size` bytes and a NUL behind them, in *bytes, the heap's; NULL on failure. */
int read_whole(int fd, const char *name, size_t size, uint8_t **bytes, struct lm_err *err);

/*
 * At most `max` bytes (a multiple of KiB) of whatever can be read to its end: a file, a pipe. *text
 * is the heap's, with a NUL behind its *len bytes; errors speak of "it".
 */
int read_text(const char *path, size_t max, char **text, size_t *len, struct lm_err *err);

#endif
