/* The code cache: memory for translated code, blocks by address, chaining and invalidation. */
#include "engine/jit/jit.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem/code_map.h"

#define CACHE_BYTES (UINT64_C(128) * MIB)
#define ARENA_BYTES (UINT64_C(128) * MIB)
#define SMALL_BYTES (UINT64_C(32) * MIB) /* of either, where address space is scarce */
#define ARENA_START UINT64_C(64) /* nothing is at 0 */
#define ARENA_SLACK (UINT64_C(64) * KIB) /* more than any block takes */

/* The one place that knows about W^X: a memfd mapped once to write and once to execute. */
static int map_code(struct jit_cache *cache, size_t size, struct lm_err *err)
{
	int fd = memfd_create("lamina-jit-code", MFD_CLOEXEC);

	cache->size = size;
	cache->cold = size / 2;
	if (fd < 0 || ftruncate(fd, (off_t)cache->size) < 0)
		return lm_err_errno(err, -errno, "cannot create the code cache");
	cache->writable = mmap(NULL, cache->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cache->exec = mmap(NULL, cache->size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	close(fd);
	if (cache->writable == MAP_FAILED || cache->exec == MAP_FAILED)
		return lm_err_errno(err, -errno, "cannot map the code cache");
	return 0;
}

/* Blocks are forgotten all together, so their memory is a stretch that grows. */
static int map_arena(struct jit_cache *cache, size_t size, struct lm_err *err)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

	cache->arena_size = size;
	/* Code names its exits: addresses below 2 GiB make it shorter, but there is no room for many vCPUs. */
	cache->arena = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_32BIT, -1, 0);
	if (cache->arena == MAP_FAILED)
		cache->arena = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	cache->arena_used = ARENA_START;
	if (cache->arena != MAP_FAILED)
		return 0;
	cache->arena = NULL;
	return lm_err_errno(err, -errno, "no memory for translated blocks");
}

int cache_init(struct jit *j, struct lm_err *err)
{
	bool space = j->host->space;
	int rc = map_code(&j->cache, space ? CACHE_BYTES : SMALL_BYTES, err);

	return rc < 0 ? rc : map_arena(&j->cache, space ? ARENA_BYTES : SMALL_BYTES, err);
}

void cache_fini(struct jit *j)
{
	if (j->cache.arena)
		munmap(j->cache.arena, j->cache.arena_size);
	free(j->cache.by_address);
	if (j->cache.writable)
		munmap(j->cache.writable, j->cache.size);
	if (j->cache.exec)
		munmap(j->cache.exec, j->cache.size);
}

static unsigned hash_of(uint64_t gpa, uint32_t mode)
{
	uint64_t h = (gpa ^ (uint64_t)mode << 40) * UINT64_C(0x9e3779b97f4a7c15);

	return (unsigned)(h >> 40) % JIT_HASH;
}

static struct jit_page_link **page_list(struct jit *j, uint64_t gpa)
{
	return &j->cache.page[(gpa >> PAGE_SHIFT) % JIT_PAGES];
}

struct jit_block *cache_find(struct jit *j, uint64_t gpa, uint32_t mode)
{
	struct jit_block *b = j->cache.hash[hash_of(gpa, mode)];

	while (b && (b->gpa != gpa || b->mode != mode))
		b = b->next_hash;
	return b;
}

static void link_to_page(struct jit *j, struct jit_block *b, struct jit_page_link *link,
			 uint64_t gpa)
{
	struct jit_page_link **list = page_list(j, gpa);

	link->block = b;
	link->next = *list;
	*list = link;
}

static struct jit_slot *slot_of(struct jit *j, uint64_t gpa, uint32_t mode)
{
	return &j->cache.slot[hash_of(gpa, mode) % JIT_SLOTS];
}

const uint8_t *cache_find_code(struct jit *j, uint64_t gpa, uint32_t mode)
{
	struct jit_slot *slot = slot_of(j, gpa, mode);
	const struct jit_block *b;

	if (slot->block && slot->gpa == gpa && slot->mode == mode)
		return slot->code;
	b = cache_find(j, gpa, mode);
	if (!b || jit_crosses(b))
		return NULL;
	*slot = (struct jit_slot){ gpa, mode, b->code, b };
	return b->code;
}

struct jit_block *cache_room(struct jit *j, size_t bytes)
{
	struct jit_cache *cache = &j->cache;

	if (bytes + ARENA_SLACK > cache->arena_size - cache->arena_used)
		return NULL;
	return (struct jit_block *)(cache->arena + cache->arena_used);
}

void cache_add(struct jit *j, struct jit_block *b, size_t bytes)
{
	struct jit_cache *cache = &j->cache;
	struct jit_block **slot = &cache->hash[hash_of(b->gpa, b->mode)];

	if (cache->blocks == cache->blocks_room) {
		cache->blocks_room = cache->blocks_room ? 2 * cache->blocks_room : 4096;
		cache->by_address = realloc(cache->by_address,
					    cache->blocks_room * sizeof(*cache->by_address));
	}
	cache->by_address[cache->blocks++] = b;
	cache->arena_used += (bytes + 15) & ~(size_t)15;
	b->next_hash = *slot;
	*slot = b;
	link_to_page(j, b, &b->link[0], b->gpa);
	if (jit_crosses(b))
		link_to_page(j, b, &b->link[1], b->second_page);
}

/* The block whose code contains a host address, dead ones included. */
struct jit_block *cache_at(struct jit *j, const uint8_t *host)
{
	size_t lo = 0, hi = j->cache.blocks;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (j->cache.by_address[mid]->code <= host)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && host < j->cache.by_address[lo - 1]->code_end ? j->cache.by_address[lo - 1]
								  : NULL;
}

/* ---- Chaining ---- */

void cache_set_target(struct jit *j, struct jit_exit *x, const uint8_t *target)
{
	const uint8_t *next = j->cache.exec + x->patch + 4;

	__atomic_store_n((int32_t *)(j->cache.writable + x->patch), (int32_t)(target - next), __ATOMIC_RELEASE);
}

void cache_chain(struct jit *j, struct jit_exit *x, struct jit_block *to)
{
	bool parked = x->flags_parked && (to->starts_parked || !x->flags_here);

	if (x->is_link)
		cache_set_target(j, x, to->code);
	else
		cache_set_target(j, x, parked ? to->chained_parked : to->chained);
	x->to = jit_ref_to(j, to);
	x->next_in = to->incoming;
	to->incoming = jit_ref_to(j, x);
}

static void unchain_incoming(struct jit *j, struct jit_block *b)
{
	struct jit_exit *x;

	for (jit_ref ref = b->incoming; ref; ref = x->next_in) {
		x = jit_at(j, ref);
		cache_set_target(j, x, j->cache.exec + x->stub);
		x->to = 0;
	}
	b->incoming = 0;
}

/* Out of the list of its target. */
static void forget_chained(struct jit *j, struct jit_exit *x)
{
	struct jit_block *to = jit_at(j, x->to);
	jit_ref self = jit_ref_to(j, x), *p = &to->incoming;

	while (*p && *p != self)
		p = &((struct jit_exit *)jit_at(j, *p))->next_in;
	if (*p)
		*p = x->next_in;
	x->to = 0;
}

static void unchain_outgoing(struct jit *j, struct jit_block *b)
{
	for (unsigned k = 0; k < b->exits; k++)
		if (b->exit[k].to)
			forget_chained(j, &b->exit[k]);
}

/* ---- Invalidation ---- */

static void unhash(struct jit *j, struct jit_block *b)
{
	struct jit_block **p = &j->cache.hash[hash_of(b->gpa, b->mode)];

	while (*p && *p != b)
		p = &(*p)->next_hash;
	if (*p)
		*p = b->next_hash;
	if (slot_of(j, b->gpa, b->mode)->block == b)
		slot_of(j, b->gpa, b->mode)->block = NULL;
}

/* Whoever still knows its address is sent on as if it did not: `code` has the target in r10, flags parked. */
static void divert(struct jit *j, const struct jit_block *b)
{
	uint8_t *p = j->cache.writable + (b->code - j->cache.exec);
	int32_t rel = (int32_t)(j->jump_dead - (b->code + 5));

	p[0] = 0xe9; /* jmp rel32 */
	memcpy(p + 1, &rel, sizeof(rel));
}

/* The code stays until the cache is flushed. */
static void kill_block(struct jit *j, struct jit_block *b)
{
	unchain_incoming(j, b);
	unchain_outgoing(j, b);
	unhash(j, b);
	divert(j, b);
	b->dead = true;
	j->count.invalidated++;
}

static bool comes_from(const struct jit_block *b, uint64_t gpa)
{
	uint64_t frame = gpa >> PAGE_SHIFT;

	return b->gpa >> PAGE_SHIFT == frame || b->second_page >> PAGE_SHIFT == frame;
}

/* A block of two pages stays in the other page's list, dead, until that is dropped. */
void cache_drop_page(struct jit *j, uint64_t gpa)
{
	struct jit_page_link **p = page_list(j, gpa);

	while (*p) {
		struct jit_block *b = (*p)->block;

		if (!comes_from(b, gpa)) {
			p = &(*p)->next;
			continue;
		}
		*p = (*p)->next;
		if (!b->dead)
			kill_block(j, b);
	}
}

void cache_flush(struct jit *j)
{
	struct jit_cache *cache = &j->cache;

	/* With what a block that did not fit has left behind. */
	madvise(cache->arena, LM_MIN(cache->arena_used + ARENA_SLACK, cache->arena_size), MADV_DONTNEED);
	cache->arena_used = ARENA_START;
	cache->blocks = 0;
	memset(cache->hash, 0, sizeof(cache->hash));
	memset(cache->page, 0, sizeof(cache->page));
	for (unsigned k = 0; k < JIT_SLOTS; k++)
		cache->slot[k].block = NULL;
	cache->used = (size_t)(cache->common_end - cache->exec);
	cache->cold = cache->size / 2;
	cache->links = 0;
	tables_flush(j);
	j->last_exit = NULL;
	j->count.cache_flushes++;
}
