#include "migration/fingerprint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bits.h"
#include "migration/disk_io.h"
#include "snapshot/checksum.h"

#define SAMPLES	    64u
#define SAMPLE_SIZE (16 * KIB)

/* Evenly spread, the first and the last bytes among them. */
static int read_samples(struct event_loop *loop, struct blockdev *dev, uint8_t *buf)
{
	uint64_t size = LM_MIN(dev->size, SAMPLE_SIZE), last = dev->size - size;
	int rc = 0;

	for (unsigned k = 0; k < SAMPLES && !rc; k++) {
		uint64_t at = align_down(last / (SAMPLES - 1) * k, BLOCK_SECTOR_SIZE);

		rc = disk_io(loop, dev, BLOCK_READ, k == SAMPLES - 1 ? last : at,
			     buf + k * SAMPLE_SIZE, size, true);
	}
	return rc;
}

int disk_fingerprint(struct event_loop *loop, struct blockdev *dev, char sum[FINGERPRINT_SIZE],
		     struct lm_err *err)
{
	uint8_t *buf = calloc(SAMPLES, SAMPLE_SIZE);
	int rc = buf ? read_samples(loop, dev, buf) : -ENOMEM;

	if (!rc)
		snprintf(sum, FINGERPRINT_SIZE, "%016llx",
			 (unsigned long long)checksum_bytes(buf, SAMPLES * SAMPLE_SIZE));
	free(buf);
	return rc < 0 ? lm_err_errno(err, rc, "reading a disk") : 0;
}
