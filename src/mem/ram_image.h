/*
 * RAM and files that hold its contents (snapshots): byte k of the file is byte k of the RAM
 * (ram.base + k).
 */
#ifndef LM_MEM_RAM_IMAGE_H
#define LM_MEM_RAM_IMAGE_H

#include "mem/ram.h"

/*
 * RAM becomes a private copy of the file, which must have its size: pages are read when they are
 * touched, and what the guest writes stays in this process. Host addresses remain as they are. The
 * file must not be truncated while the machine lives (SIGBUS). fd stays the caller's. Before the
 * first vCPU runs.
 */
int ram_map_image(struct ram *ram, int fd, struct lm_err *err);

/*
 * Sets a bit in `pages` (ram.size / PAGE_SIZE bits, in words of 64) for each page that may hold other
 * than zeros. Pages that were never touched stay untouched. vCPUs parked.
 */
int ram_data_pages(const struct ram *ram, uint64_t *pages, struct lm_err *err);

/* For mapped images: the pages that were written since. -ENOTSUP for other RAM. */
int ram_written_pages(const struct ram *ram, uint64_t *pages, struct lm_err *err);

#endif
