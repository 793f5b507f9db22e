#include "migration/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

#define HEAD_SIZE 8
#define LEVEL	  1

int pages_init(struct pages *p, struct lm_err *err)
{
	*p = (struct pages){ .data = malloc(PAGES_MAX * PAGE_SIZE) };
	p->pack = ZSTD_createCCtx();
	p->unpack = ZSTD_createDCtx();
	if (p->data && p->pack && p->unpack)
		return 0;
	pages_fini(p);
	return lm_err_set(err, -ENOMEM, "no memory for a batch of pages");
}

void pages_fini(struct pages *p)
{
	free(p->data);
	ZSTD_freeCCtx(p->pack);
	ZSTD_freeDCtx(p->unpack);
	*p = (struct pages){ .data = NULL };
}

void pages_clear(struct pages *p, uint32_t disk)
{
	p->count = p->full = 0;
	p->disk = disk;
}

/* The copy is looked at: the guest may write to the page meanwhile. */
static bool is_zero(const uint8_t *page)
{
	return !page[0] && !memcmp(page, page + 1, PAGE_SIZE - 1);
}

bool pages_add(struct pages *p, uint64_t number, const uint8_t *page)
{
	uint8_t *copy = p->data + p->full * PAGE_SIZE;
	bool zero;

	memcpy(copy, page, PAGE_SIZE);
	zero = is_zero(copy);
	p->full += !zero;
	p->entry[p->count++] = number << 1 | zero;
	return p->count == PAGES_MAX;
}

int pages_encode(struct pages *p, uint8_t *body, uint32_t *len, struct lm_err *err)
{
	uint8_t *at = body + HEAD_SIZE;
	size_t n = 0;

	le_store(body, p->count, 4);
	le_store(body + 4, p->disk, 4);
	for (uint32_t k = 0; k < p->count; k++, at += 8)
		le_store(at, p->entry[k], 8);
	if (p->full)
		n = ZSTD_compressCCtx(p->pack, at, (size_t)(body + PAGES_BODY_MAX - at), p->data,
				      p->full * PAGE_SIZE, LEVEL);
	if (ZSTD_isError(n))
		return lm_err_set(err, -EIO, "zstd: %s", ZSTD_getErrorName(n));
	*len = (uint32_t)((size_t)(at - body) + n);
	return 0;
}

static int bad(struct lm_err *err)
{
	return lm_err_set(err, -EPROTO, "damaged pages");
}

int pages_decode(struct pages *p, const uint8_t *body, uint32_t len, struct lm_err *err)
{
	uint32_t count = len >= HEAD_SIZE ? (uint32_t)le_load(body, 4) : 0;
	uint32_t at = HEAD_SIZE + count * 8;
	size_t n = 0;

	if (!count || count > PAGES_MAX || at > len)
		return bad(err);
	pages_clear(p, (uint32_t)le_load(body + 4, 4));
	for (uint32_t k = 0; k < count; k++) {
		p->entry[k] = le_load(body + HEAD_SIZE + 8 * k, 8);
		p->full += !(p->entry[k] & 1);
	}
	p->count = count;
	if (p->full)
		n = ZSTD_decompressDCtx(p->unpack, p->data, p->full * PAGE_SIZE, body + at, len - at);
	else if (at != len)
		return bad(err);
	return ZSTD_isError(n) || n != p->full * PAGE_SIZE ? bad(err) : 0;
}
