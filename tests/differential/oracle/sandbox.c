/* The host's side of the sandbox. */
#include "sandbox.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "native.h"
#include "values.h"

struct sandbox sandbox;

static int reserve(struct lm_err *err)
{
	void *p = mmap((void *)(uintptr_t)BOX_BASE, BOX_BYTES, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != (void *)(uintptr_t)BOX_BASE)
		return lm_err_set(err, -errno, "cannot map the sandbox at 0x%x", BOX_BASE);
	return 0;
}

/* Replaces a piece of the reservation by shared memory; *alias gets a writable mapping. */
static int map_pages(uint64_t address, size_t bytes, int prot, uint8_t **alias, struct lm_err *err)
{
	int fd = memfd_create("lamina-oracle", MFD_CLOEXEC);
	void *fixed = MAP_FAILED, *writable = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, (off_t)bytes)) {
		writable = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
		fixed = mmap((void *)(uintptr_t)address, bytes, prot,
			     MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0);
	}
	if (fixed == MAP_FAILED || writable == MAP_FAILED)
		return lm_err_set(err, -errno, "cannot map pages at 0x%llx",
				  (unsigned long long)address);
	close(fd);
	*alias = writable;
	return 0;
}

/* jmp to the address at BOX_EXIT_POINTER, RIP-relative, for code that stands at BOX_EXIT_FAR. */
static void write_exit(uint8_t *page)
{
	uint64_t landed = (uintptr_t)native_landed;
	int32_t distance = BOX_EXIT_POINTER - (BOX_EXIT_FAR + 6);

	memcpy(page, &landed, sizeof(landed));
	page[16] = 0xff;
	page[17] = 0x25;
	memcpy(page + 18, &distance, sizeof(distance));
}

static void fill_pristine(uint64_t seed)
{
	struct rng r = rng_seed(seed, UINT64_MAX);

	for (unsigned at = 0; at < BOX_DATA_BYTES; at += 64)
		values_fill(&r, (enum element)rng_below(&r, EL_BCD + 1),
			    sandbox.pristine_data + at, 64);
	for (unsigned at = 0; at < BOX_CONST_BYTES; at += 64)
		values_fill(&r, (enum element)rng_below(&r, EL_BCD + 1),
			    sandbox.pristine_const + at, 64);
}

int sandbox_init(uint64_t seed, struct lm_err *err)
{
	uint8_t *constant, *exit_page, *alias;
	int r;

	fill_pristine(seed);
	r = reserve(err);
	if (!r)
		r = map_pages(BOX_CODE, BOX_CODE_BYTES, PROT_READ | PROT_EXEC, &sandbox.code, err);
	if (!r)
		r = map_pages(BOX_DATA, BOX_DATA_BYTES, PROT_READ | PROT_WRITE, &alias, err);
	if (!r)
		r = map_pages(BOX_CONST, BOX_CONST_BYTES, PROT_READ, &constant, err);
	if (!r)
		r = map_pages(BOX_EXIT, BOX_EXIT_BYTES, PROT_READ | PROT_EXEC, &exit_page, err);
	if (r)
		return r;
	sandbox.data = (uint8_t *)(uintptr_t)BOX_DATA;
	memset(sandbox.code, BOX_FILL, BOX_CODE_BYTES);
	memcpy(sandbox.data, sandbox.pristine_data, BOX_DATA_BYTES);
	memcpy(constant, sandbox.pristine_const, BOX_CONST_BYTES);
	write_exit(exit_page);
	return 0;
}

/* 64-bit: jmp [rip + to BOX_EXIT_POINTER]; else a far jump to 64-bit code. */
static void landing_jump(const struct oracle_case *c, uint8_t jump[LANDING_BYTES])
{
	uint32_t target = BOX_EXIT_FAR;
	int32_t distance = (int32_t)(BOX_EXIT_POINTER - (c->in.rip + c->length + 6));

	if (c->size == CODE_64) {
		memcpy(jump, "\xff\x25", 2);
		memcpy(jump + 2, &distance, 4);
		jump[6] = BOX_FILL;
		return;
	}
	jump[0] = 0xea;
	memcpy(jump + 1, &target, 4);
	memcpy(jump + 5, "\x33\x00", 2);
}

void sandbox_place(const struct oracle_case *c, uint8_t *code, uint8_t *data)
{
	uint8_t *at = code + (c->in.rip - BOX_CODE);
	uint8_t jump[LANDING_BYTES];

	memcpy(at, c->bytes, c->length);
	if (c->landing) {
		landing_jump(c, jump);
		memcpy(at + c->length, jump, LANDING_BYTES);
	}
	for (unsigned k = 0; k < c->patches; k++)
		memcpy(data + (c->patch[k].address - BOX_DATA), c->patch[k].bytes, c->patch[k].len);
}

void sandbox_clear(const struct oracle_case *c, uint8_t *code, uint8_t *data)
{
	memset(code + (c->in.rip - BOX_CODE), BOX_FILL,
	       c->length + (c->landing ? LANDING_BYTES : 0));
	memcpy(data, sandbox.pristine_data, BOX_DATA_BYTES);
}
