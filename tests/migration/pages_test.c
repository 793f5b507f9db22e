/* Batches of pages: there and back, and damaged ones. */
#include "migration/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/check.h"

static uint8_t page[PAGE_SIZE], body[PAGES_BODY_MAX];

static uint32_t make(struct pages *p, unsigned count)
{
	uint32_t len = 0;

	pages_clear(p, 3);
	for (unsigned k = 0; k < count; k++) {
		memset(page, k % 3 ? 0 : (int)(k | 1), sizeof(page));
		page[PAGE_SIZE - 1] = k % 3 == 2;
		CHECK_EQ(pages_add(p, 1000 + k, page), k == PAGES_MAX - 1);
	}
	CHECK_EQ(pages_encode(p, body, &len, NULL), 0);
	return len;
}

static void test_round_trip(void)
{
	struct pages p;
	uint32_t len, at = 0;

	CHECK_EQ(pages_init(&p, NULL), 0);
	len = make(&p, PAGES_MAX);
	CHECK(len < 16384);
	memset(p.data, 0xee, PAGES_MAX * PAGE_SIZE);
	CHECK_EQ(pages_decode(&p, body, len, NULL), 0);
	CHECK_EQ(p.count, PAGES_MAX);
	CHECK_EQ(p.disk, 3);
	for (uint32_t k = 0; k < p.count; k++) {
		CHECK_EQ(pages_number(&p, k), 1000 + k);
		CHECK_EQ(pages_is_zero(&p, k), k % 3 == 1);
		if (k % 3 == 1)
			continue;
		CHECK_EQ(p.data[at * PAGE_SIZE], k % 3 ? 0 : (uint8_t)(k | 1));
		CHECK_EQ(p.data[at * PAGE_SIZE + PAGE_SIZE - 1], k % 3 == 2);
		at++;
	}
	CHECK_EQ(at, p.full);
	pages_fini(&p);
}

static void test_damage(void)
{
	struct pages p;
	uint32_t len;

	CHECK_EQ(pages_init(&p, NULL), 0);
	len = make(&p, 10);
	for (uint32_t cut = 0; cut < len; cut++)
		CHECK_EQ(pages_decode(&p, body, cut, NULL), -EPROTO);
	body[8 + 8 * 1] ^= 1; /* page 1 has contents, it says */
	CHECK_EQ(pages_decode(&p, body, len, NULL), -EPROTO);
	body[8 + 8 * 1] ^= 1;
	body[8 + 8 * 0] ^= 1; /* page 0 has none, it says */
	CHECK_EQ(pages_decode(&p, body, len, NULL), -EPROTO);
	body[8 + 8 * 0] ^= 1;
	CHECK_EQ(pages_decode(&p, body, len, NULL), 0);
	body[1] = 2; /* more than there may be */
	CHECK_EQ(pages_decode(&p, body, len, NULL), -EPROTO);
	body[0] = body[1] = 0;
	CHECK_EQ(pages_decode(&p, body, len, NULL), -EPROTO);
	pages_fini(&p);
}

/* Zeros alone need no data. */
static void test_zeros(void)
{
	struct pages p;
	uint32_t len = 0;

	CHECK_EQ(pages_init(&p, NULL), 0);
	memset(page, 0, sizeof(page));
	pages_clear(&p, 0);
	pages_add(&p, 7, page);
	CHECK_EQ(pages_encode(&p, body, &len, NULL), 0);
	CHECK_EQ(len, 16);
	CHECK_EQ(pages_decode(&p, body, len, NULL), 0);
	CHECK(pages_is_zero(&p, 0) && pages_number(&p, 0) == 7 && p.full == 0);
	CHECK_EQ(pages_decode(&p, body, len + 1, NULL), -EPROTO);
	pages_fini(&p);
}

int main(void)
{
	test_round_trip();
	test_damage();
	test_zeros();
	return check_done();
}
