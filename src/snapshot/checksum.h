/*
 * Checksums of a bundle's files: XXH3 with 64 bits, against damage and mistakes. They are no proof of
 * where a bundle comes from: who can change a file can change its checksum.
 */
#ifndef LM_SNAPSHOT_CHECKSUM_H
#define LM_SNAPSHOT_CHECKSUM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct checksum_text {
	char hex[17];
};

uint64_t checksum_bytes(const void *bytes, size_t len);
struct checksum_text checksum_format(uint64_t sum);

/* Of the whole file, holes as zeros. */
int checksum_file(int fd, uint64_t *sum);

/*
 * A large sparse file in chunks, the last one maybe shorter: an array of hexadecimal strings, with
 * null for a chunk of zeros only.
 */
uint64_t checksum_chunk_size(uint64_t file_size);
int checksum_chunks(int fd, uint64_t size, json_t **out);

/*
 * Compares chunk by chunk; *bad is the offset of the first that differs. 0, -EBADMSG for a difference,
 * or another negative errno. Stops with -ECANCELED when *stop (atomic; may be NULL) is set.
 */
int checksum_verify_chunks(int fd, uint64_t size, const json_t *sums, uint64_t *bad,
			   const bool *stop);

#endif
