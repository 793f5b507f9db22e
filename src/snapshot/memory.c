#include "snapshot/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file_io.h"
#include "mem/ram_image.h"
#include "snapshot/file.h"

#define MAX_RUN (4 * MIB) /* bytes of one write */

static bool is_zero(const uint8_t *page)
{
	uint64_t first;

	memcpy(&first, page, sizeof(first));
	return !first && !memcmp(page, page + sizeof(first), PAGE_SIZE - sizeof(first));
}

static bool has_data(const struct ram *ram, const uint64_t *pages, uint64_t page)
{
	return pages[page / 64] >> (page % 64) & 1 && !is_zero(ram->base + page * PAGE_SIZE);
}

/* Runs of pages with data, each in one write. */
static int write_pages(const struct ram *ram, const uint64_t *pages, int fd, uint64_t *written)
{
	uint64_t count = ram->size / PAGE_SIZE, page = 0;

	while (page < count) {
		uint64_t end = page;
		int rc;

		while (end < count && (end - page) * PAGE_SIZE < MAX_RUN &&
		       has_data(ram, pages, end))
			end++;
		if (end == page) {
			page++;
			continue;
		}
		rc = write_exactly(fd, ram->base + page * PAGE_SIZE, (end - page) * PAGE_SIZE,
				    (off_t)(page * PAGE_SIZE));
		if (rc < 0)
			return rc;
		*written += (end - page) * PAGE_SIZE;
		page = end;
	}
	return 0;
}

int memory_write(const struct ram *ram, int fd, uint64_t *written, struct lm_err *err)
{
	uint64_t *pages = calloc(ram->size / PAGE_SIZE / 64 + 1, sizeof(*pages));
	int rc;

	*written = 0;
	if (!pages)
		return lm_err_set(err, -ENOMEM, "no memory for a map of guest memory");
	if (ftruncate(fd, (off_t)ram->size) < 0)
		rc = lm_err_errno(err, -errno, "cannot size the file of guest memory");
	else
		rc = ram_data_pages(ram, pages, err);
	if (!rc) {
		rc = write_pages(ram, pages, fd, written);
		if (rc < 0)
			lm_err_errno(err, rc, "cannot write guest memory");
	}
	free(pages);
	return rc;
}
