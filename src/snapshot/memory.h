/* Guest memory to and from the bundle's file. */
#ifndef LM_SNAPSHOT_MEMORY_H
#define LM_SNAPSHOT_MEMORY_H

#include <stdint.h>

#include "mem/ram.h"

/*
 * Writes all pages that are not zero to the empty file, which gets RAM's size; the others are holes.
 * *written is the bytes of data. vCPUs parked.
 */
int memory_write(const struct ram *ram, int fd, uint64_t *written, struct lm_err *err);

#endif
