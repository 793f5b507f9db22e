/*
 * crash_writer SEED DISK...: writes records to random places of the disks, flushes, and then says on
 * standard output what is safe, until it is killed. crash_test.py knows the format.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK  4096
#define WORDS  (BLOCK / 8)
#define BLOCKS 12288 /* of a disk that are used: 48 MiB */
#define BATCH  24
#define MAGIC  UINT64_C(0x6c616d696e612121)

static uint64_t state;

/* xorshift64* */
static uint64_t next(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * UINT64_C(0x2545f4914f6cdd1d);
}

/* Magic, sequence number, place, and words that follow from them. */
static void fill(uint64_t *record, uint64_t sequence, uint64_t block)
{
	record[0] = MAGIC;
	record[1] = sequence;
	record[2] = block;
	for (unsigned k = 3; k < WORDS; k++)
		record[k] = (sequence * 1000003 + block) * 31 + k;
}

static void write_batch(int fd, unsigned disk, uint64_t *sequence)
{
	static uint64_t record[WORDS] __attribute__((aligned(BLOCK)));
	uint64_t block[BATCH], first = *sequence;
	unsigned count = 1 + (unsigned)(next() % BATCH);

	for (unsigned k = 0; k < count; k++) {
		block[k] = next() % BLOCKS;
		fill(record, (*sequence)++, block[k]);
		if (pwrite(fd, record, BLOCK, (off_t)(block[k] * BLOCK)) != BLOCK)
			exit(3);
	}
	if (fsync(fd))
		exit(4);
	for (unsigned k = 0; k < count; k++)
		printf("%u %llu %llu\n", disk, (unsigned long long)(first + k),
		       (unsigned long long)block[k]);
	puts("safe");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	uint64_t sequence;
	int fd[8];

	if (argc < 3 || argc > 10)
		return 2;
	state = strtoull(argv[1], NULL, 0) | 1;
	sequence = strtoull(argv[1], NULL, 0) << 24; /* grows from run to run */
	for (int k = 2; k < argc; k++) {
		fd[k - 2] = open(argv[k], O_RDWR | (k % 2 ? O_DIRECT : 0));
		if (fd[k - 2] < 0)
			return 5;
	}
	for (unsigned k = 0;; k = (k + 1) % (unsigned)(argc - 2))
		write_batch(fd[k], k, &sequence);
}
