/* Loads and stores: dependent, in bulk, single bytes, atomic. */
#include <string.h>
#include <sys/mman.h>

#include "micro.h"

#define LINE		64u
#define CHASE_STEPS	1024u
#define COPY_BYTES	(1u << 20)
#define LOOP_BYTES	4096u
#define ATOMICS		64u

/* One cache line of a ring through all lines in random order. */
struct node {
	struct node *next;
	uint64_t position; /* in the ring */
	uint8_t pad[LINE - 16];
};

static struct node *ring;
static uint64_t ring_size;

/* Sattolo's shuffle makes one cycle of all. */
static void make_ring(size_t bytes)
{
	uint64_t seed = 99991;

	ring_size = bytes / sizeof *ring;
	ring = pages(bytes, PROT_READ | PROT_WRITE);
	for (uint64_t i = 0; i < ring_size; i++)
		ring[i].next = &ring[i];
	for (uint64_t i = ring_size - 1; i; i--) {
		uint64_t k = next_random(&seed) % i;
		struct node *next = ring[i].next;
		ring[i].next = ring[k].next;
		ring[k].next = next;
	}
	struct node *at = ring;
	for (uint64_t i = 0; i < ring_size; i++, at = at->next)
		at->position = i;
	if (at != ring)
		wrong("ring");
}

static const char *chase_64k_setup(void)
{
	make_ring(64u << 10);
	return NULL;
}

static const char *chase_64m_setup(void)
{
	make_ring(64u << 20);
	return NULL;
}

static void chase_run(uint64_t n)
{
	static uint64_t position;
	static struct node *at;

	if (!at)
		at = ring;
	for (uint64_t i = 0; i < n * CHASE_STEPS; i++)
		at = at->next;
	position = (position + n * CHASE_STEPS) % ring_size;
	if (at->position != position)
		wrong("position in the ring");
}

static uint8_t *from, *to;

static const char *copy_setup(void)
{
	from = pages(COPY_BYTES, PROT_READ | PROT_WRITE);
	to = pages(COPY_BYTES, PROT_READ | PROT_WRITE);
	for (size_t i = 0; i < COPY_BYTES; i++)
		from[i] = (uint8_t)(i * 13);
	return NULL;
}

/* Changes a byte before each copy and looks for it behind. */
static void memcpy_run(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		size_t at = i * 4099 % COPY_BYTES;
		from[at] ^= 0x5a;
		memcpy(to, from, COPY_BYTES);
		__asm__ volatile("" : : "r"(to) : "memory");
		if (to[at] != from[at] || to[COPY_BYTES - 1] != from[COPY_BYTES - 1])
			wrong("copy");
	}
}

static void movsb_run(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		size_t at = i * 67 % LOOP_BYTES, count = LOOP_BYTES;
		void *source = from, *target = to;
		from[at]++;
		__asm__ volatile("rep movsb" : "+S"(source), "+D"(target), "+c"(count) : : "memory");
		if (to[at] != from[at] || count)
			wrong("copy");
	}
}

static void bytes_run(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		const uint8_t *source = from;
		uint8_t *target = to, key = (uint8_t)i;
		for (size_t k = 0; k < LOOP_BYTES; k++)
			target[k] = source[k] ^ key;
		if ((to[i % LOOP_BYTES] ^ from[i % LOOP_BYTES]) != key)
			wrong("bytes");
	}
}

static void atomic_run(uint64_t n)
{
	static uint64_t counter;
	uint64_t first = counter;

	for (uint64_t i = 0; i < n * ATOMICS; i++)
		__atomic_fetch_add(&counter, 3, __ATOMIC_SEQ_CST);
	if (counter != first + n * ATOMICS * 3)
		wrong("counter");
}

const struct bench memory_benches[] = {
	{"chase-64k", chase_64k_setup, chase_run, CHASE_STEPS, "load that depends on the last, 64 KiB"},
	{"chase-64m", chase_64m_setup, chase_run, CHASE_STEPS, "load that depends on the last, 64 MiB"},
	{"memcpy", copy_setup, memcpy_run, 0, "the C library's memcpy of 1 MiB"},
	{"movsb", copy_setup, movsb_run, 0, "rep movsb of 4 KiB"},
	{"bytes", copy_setup, bytes_run, LOOP_BYTES, "load, xor and store of one byte"},
	{"atomic", NULL, atomic_run, ATOMICS, "atomic add"},
	{0},
};
