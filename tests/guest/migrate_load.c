/*
 * migrate_load MIB_PER_S FILE: a guest's work that shows whether a migration lost anything. Until a line
 * comes on standard input it
 *	- writes to a page of a 64 MiB array 256 times for each MiB per second, and checks what it finds,
 *	- appends records with checksums to a file, with fdatasync, and reads old ones back from the disk,
 *	- looks at the clock all the time.
 * Each second it prints "tick N GAP_MS", GAP_MS the longest time since the last tick in which it did not
 * get to run; at the end "ok RECORDS PASSES", or what was wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAGE	 4096u
#define PAGES	 16384u /* 64 MiB */
#define RECORD	 4096u
#define RECORDS	 2048u	/* the file's size; then from its beginning again */
#define MS	 INT64_C(1000000)

static uint8_t *area;
static uint64_t written; /* page writes so far */
static uint64_t records;
static int file;

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

static uint64_t mix(uint64_t v)
{
	v ^= v >> 33;
	v *= UINT64_C(0xff51afd7ed558ccd);
	return v ^ v >> 29;
}

static void fail(const char *what, uint64_t where)
{
	printf("wrong: %s %llu\n", what, (unsigned long long)where);
	exit(1);
}

/* Write n goes to page n % PAGES, which holds what write n - PAGES left. */
static void write_page(void)
{
	uint64_t n = written++, page = n % PAGES;
	uint64_t *word = (uint64_t *)(void *)(area + page * PAGE + n / PAGES % 512 * 8);
	uint64_t *stamp = (uint64_t *)(void *)(area + page * PAGE);

	if (n >= PAGES && *stamp != mix(n - PAGES))
		fail("page", page);
	*word = n;
	*stamp = mix(n);
}

static void make_record(uint8_t *buf, uint64_t n)
{
	for (unsigned k = 0; k < RECORD / 8; k++) {
		uint64_t v = mix(n * (RECORD / 8) + k);

		memcpy(buf + 8 * k, &v, 8);
	}
}

static void write_record(void)
{
	static uint8_t buf[RECORD] __attribute__((aligned(4096))), want[RECORD];
	uint64_t n = records++, old = n < RECORDS ? n / 2 : n - mix(n) % RECORDS;

	make_record(buf, n);
	if (pwrite(file, buf, RECORD, (off_t)(n % RECORDS * RECORD)) != RECORD || fdatasync(file))
		fail("write", n);
	if (pread(file, buf, RECORD, (off_t)(old % RECORDS * RECORD)) != RECORD)
		fail("read", old);
	make_record(want, old);
	if (memcmp(buf, want, RECORD) != 0)
		fail("record", old);
}

static int told_to_stop(void)
{
	struct pollfd p = { .fd = 0, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

int main(int argc, char **argv)
{
	const struct timespec nap = { .tv_nsec = MS };
	uint64_t rate = argc > 2 ? strtoull(argv[1], NULL, 10) * 256 : 0, ticks = 0;
	int64_t start, last, gap = 0, tick;

	area = aligned_alloc(PAGE, (size_t)PAGES * PAGE);
	file = argc > 2 ? open(argv[2], O_CREAT | O_RDWR | O_DIRECT | O_CLOEXEC, 0600) : -1;
	if (!area || file < 0)
		return 2;
	memset(area, 1, (size_t)PAGES * PAGE);
	start = last = tick = now_ns();
	while (!told_to_stop()) {
		int64_t now = now_ns();
		uint64_t due = (uint64_t)((now - start) / MS) * rate / 1000;

		if (now - last > gap)
			gap = now - last;
		last = now;
		/* What was missed while it could not run is not made up for. */
		if (due > written + rate / 20) {
			start = now - (int64_t)(written * 1000 / (rate ? rate : 1)) * MS;
			due = written + 1;
		}
		while (written < due)
			write_page();
		if (records * 20 < (uint64_t)((now - start) / MS))
			write_record();
		if (now - tick >= 1000 * MS) {
			printf("tick %llu %.1f\n", (unsigned long long)ticks++, (double)gap / 1e6);
			fflush(stdout);
			gap = 0;
			tick = now;
		}
		nanosleep(&nap, NULL);
	}
	printf("ok %llu %llu\n", (unsigned long long)records, (unsigned long long)(written / PAGES));
	return 0;
}
