#include "snapshot/checksum.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"
#include "base/file_io.h"

#define READ_SIZE  (256 * KIB)
#define MIN_CHUNK  MIB
#define MAX_CHUNKS 1024u

uint64_t checksum_bytes(const void *bytes, size_t len)
{
	return XXH3_64bits(bytes, len);
}

struct checksum_text checksum_format(uint64_t sum)
{
	struct checksum_text text;

	snprintf(text.hex, sizeof(text.hex), "%016" PRIx64, sum);
	return text;
}

uint64_t checksum_chunk_size(uint64_t file_size)
{
	uint64_t chunk = MIN_CHUNK;

	while (file_size / chunk > MAX_CHUNKS)
		chunk *= 2;
	return chunk;
}

/* One stretch; -EIO where the file ends within it. */
static int sum_range(int fd, uint64_t offset, uint64_t len, uint8_t *buf, uint64_t *sum)
{
	XXH3_state_t state;

	XXH3_64bits_reset(&state);
	while (len) {
		size_t n = LM_MIN(len, READ_SIZE);
		int rc = read_exactly(fd, buf, n, (off_t)offset);

		if (rc < 0)
			return rc;
		XXH3_64bits_update(&state, buf, n);
		offset += n;
		len -= n;
	}
	*sum = XXH3_64bits_digest(&state);
	return 0;
}

int checksum_file(int fd, uint64_t *sum)
{
	uint8_t *buf = malloc(READ_SIZE);
	off_t size = lseek(fd, 0, SEEK_END);
	int rc;

	if (!buf || size < 0)
		rc = buf ? -errno : -ENOMEM;
	else
		rc = sum_range(fd, 0, (uint64_t)size, buf, sum);
	free(buf);
	return rc;
}

/* Whether the chunk lies in a hole. */
static bool is_hole(int fd, uint64_t offset, uint64_t len)
{
	off_t data = lseek(fd, (off_t)offset, SEEK_DATA);

	return data < 0 ? errno == ENXIO : (uint64_t)data >= offset + len;
}

int checksum_chunks(int fd, uint64_t size, json_t **out)
{
	uint64_t chunk = checksum_chunk_size(size), sum = 0;
	uint8_t *buf = malloc(READ_SIZE);
	int rc = buf ? 0 : -ENOMEM;

	*out = json_array();
	for (uint64_t at = 0; !rc && at < size; at += chunk) {
		uint64_t len = LM_MIN(chunk, size - at);
		bool hole = is_hole(fd, at, len);

		if (!hole)
			rc = sum_range(fd, at, len, buf, &sum);
		if (!rc && json_array_append_new(*out, hole ? json_null()
							: json_string(checksum_format(sum).hex)))
			rc = -ENOMEM;
	}
	free(buf);
	return rc;
}

/* A copy of the bundle may have lost holes: a null stands for zeros, not for a hole. */
static int verify_chunk(int fd, uint64_t at, uint64_t len, const json_t *wanted, uint64_t zeros,
			uint8_t *buf)
{
	const char *text = json_string_value(wanted);
	uint64_t sum = 0;
	int rc;

	if (!text && is_hole(fd, at, len))
		return 0;
	rc = sum_range(fd, at, len, buf, &sum);
	if (rc < 0)
		return rc;
	if (!text)
		return sum == zeros ? 0 : -EBADMSG;
	return strcmp(text, checksum_format(sum).hex) ? -EBADMSG : 0;
}

static int sum_of_zeros(uint64_t len, uint64_t *sum)
{
	void *zeros = calloc(1, len);

	if (!zeros)
		return -ENOMEM;
	*sum = checksum_bytes(zeros, len);
	free(zeros);
	return 0;
}

static int verify_all(int fd, uint64_t size, const json_t *sums, uint8_t *buf, uint64_t *bad,
		      const bool *stop)
{
	uint64_t chunk = checksum_chunk_size(size), zeros = 0;
	int rc = sum_of_zeros(LM_MIN(chunk, size), &zeros);

	for (uint64_t at = 0; !rc && at < size; at += chunk) {
		uint64_t len = LM_MIN(chunk, size - at);

		if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED))
			return -ECANCELED;
		if (len < chunk && at)
			rc = sum_of_zeros(len, &zeros);
		if (!rc)
			rc = verify_chunk(fd, at, len, json_array_get(sums, at / chunk), zeros, buf);
		*bad = at;
	}
	return rc;
}

int checksum_verify_chunks(int fd, uint64_t size, const json_t *sums, uint64_t *bad,
			   const bool *stop)
{
	uint64_t chunk = checksum_chunk_size(size);
	uint8_t *buf = malloc(READ_SIZE);
	int rc;

	*bad = 0;
	if (!buf)
		return -ENOMEM;
	if (json_array_size(sums) != (size + chunk - 1) / chunk)
		rc = -EBADMSG;
	else
		rc = verify_all(fd, size, sums, buf, bad, stop);
	free(buf);
	return rc;
}
