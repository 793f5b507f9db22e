#include "mem/ram_image.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int ram_map_image(struct ram *ram, int fd, struct lm_err *err)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	struct stat st;

	if (own < 0 || fstat(own, &st) < 0) {
		int rc = -errno;

		if (own >= 0)
			close(own);
		return lm_err_errno(err, rc, "cannot look at the file of guest memory");
	}
	ram->image_fd = own;
	if ((uint64_t)st.st_size != ram->size)
		return lm_err_set(err, -EINVAL,
				  "the file of guest memory has %lld bytes, %llu expected",
				  (long long)st.st_size, (unsigned long long)ram->size);
	if (mmap(ram->base, ram->size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, own, 0) == MAP_FAILED)
		return lm_err_errno(err, -errno, "cannot map the file of guest memory");
	if (ram->fd >= 0)
		close(ram->fd);
	ram->fd = -1;
	return 0;
}

/* ---- Which pages this process has written (Documentation/admin-guide/mm/pagemap.rst) ---- */

#define PAGEMAP_BATCH   512
#define PAGEMAP_PRESENT LM_BIT(63)
#define PAGEMAP_SWAPPED LM_BIT(62)
#define PAGEMAP_FILE    LM_BIT(61) /* or shared memory: not a copy of our own */

static bool is_own_copy(uint64_t entry)
{
	return entry & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED) && !(entry & PAGEMAP_FILE);
}

static int scan_pages(int pagemap, const struct ram *ram, uint64_t *dirty)
{
	uint64_t entry[PAGEMAP_BATCH], pages = ram->size / PAGE_SIZE;
	uint64_t first = (uint64_t)(uintptr_t)ram->base / PAGE_SIZE;

	for (uint64_t at = 0; at < pages;) {
		size_t want = LM_MIN(pages - at, (uint64_t)PAGEMAP_BATCH) * sizeof(entry[0]);
		ssize_t got = pread(pagemap, entry, want, (off_t)((first + at) * sizeof(entry[0])));

		if (got < (ssize_t)sizeof(entry[0]))
			return got < 0 ? -errno : -EIO;
		for (size_t k = 0; k < (size_t)got / sizeof(entry[0]); k++, at++)
			if (is_own_copy(entry[k]))
				dirty[at / 64] |= LM_BIT(at % 64);
	}
	return 0;
}

int ram_written_pages(const struct ram *ram, uint64_t *pages, struct lm_err *err)
{
	int fd, rc;

	if (ram->image_fd < 0)
		return lm_err_set(err, -ENOTSUP, "guest memory does not come from a snapshot");
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return lm_err_errno(err, -errno, "cannot open /proc/self/pagemap");
	rc = scan_pages(fd, ram, pages);
	close(fd);
	return rc < 0 ? lm_err_errno(err, rc, "cannot read /proc/self/pagemap") : 0;
}

/* ---- Which pages may hold data ---- */

static void set_pages(uint64_t *pages, uint64_t start, uint64_t end)
{
	for (uint64_t k = start / PAGE_SIZE; k < (end + PAGE_SIZE - 1) / PAGE_SIZE; k++)
		pages[k / 64] |= LM_BIT(k % 64);
}

/* What is not in a hole of the file; all where the file system does not know. */
static void add_file_data(int fd, uint64_t size, uint64_t *pages)
{
	off_t end = 0;

	while ((uint64_t)end < size) {
		off_t start = lseek(fd, end, SEEK_DATA);

		if (start < 0 && errno == ENXIO)
			return;
		if (start < 0)
			start = end;
		end = lseek(fd, start, SEEK_HOLE);
		if (end <= start || (uint64_t)end > size)
			end = (off_t)size;
		set_pages(pages, (uint64_t)start, (uint64_t)end);
	}
}

int ram_data_pages(const struct ram *ram, uint64_t *pages, struct lm_err *err)
{
	if (ram->fd < 0 && ram->image_fd < 0) {
		set_pages(pages, 0, ram->size);
		return 0;
	}
	add_file_data(ram->fd >= 0 ? ram->fd : ram->image_fd, ram->size, pages);
	return ram->fd >= 0 ? 0 : ram_written_pages(ram, pages, err);
}
