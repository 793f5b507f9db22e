/* What a source sends: frames and batches of pages, damaged in every way. */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/bug.h"
#include "fuzz.h"
#include "migration/frame.h"
#include "migration/pages.h"

static uint8_t body[PAGES_BODY_MAX], page[PAGE_SIZE];

static void make_page(struct fuzz_input *in)
{
	unsigned what = (unsigned)fuzz_take(in, 1);

	memset(page, what % 3 ? (int)what : 0, sizeof(page));
	if (what & 1)
		page[fuzz_take(in, 2) % PAGE_SIZE] = (uint8_t)fuzz_take(in, 1);
}

static void check_pages(const struct pages *p)
{
	uint32_t full = 0;

	LM_BUG_ON(!p->count || p->count > PAGES_MAX);
	for (uint32_t k = 0; k < p->count; k++)
		full += !pages_is_zero(p, k);
	LM_BUG_ON(full != p->full);
}

static void fuzz_pages(struct fuzz_input *in)
{
	unsigned count = (unsigned)fuzz_take(in, 1) % 40 + 1;
	struct pages p;
	uint32_t len;

	LM_BUG_ON(pages_init(&p, NULL));
	pages_clear(&p, (uint32_t)fuzz_take(in, 4));
	for (unsigned k = 0; k < count; k++) {
		make_page(in);
		pages_add(&p, fuzz_take(in, 4), page);
	}
	LM_BUG_ON(pages_encode(&p, body, &len, NULL));
	for (unsigned n = (unsigned)fuzz_take(in, 1) % 8; n; n--)
		body[fuzz_take(in, 2) % len] ^= (uint8_t)fuzz_take(in, 1);
	if (fuzz_take(in, 1) % 4 == 0)
		len = (uint32_t)fuzz_take(in, 2) % (len + 1);
	if (!pages_decode(&p, body, len, NULL))
		check_pages(&p);
	pages_fini(&p);
}

static void send_frames(struct fuzz_input *in, int fd)
{
	static const char *const texts[] = { "{}", "{\"text\": \"x\"}", "[]", "{", "\"\\u0000\"", "{\"a\":1}" };
	uint8_t head[8];

	for (unsigned n = (unsigned)fuzz_take(in, 1) % 6; n; n--) {
		const char *text = texts[fuzz_take(in, 1) % LM_ARRAY_SIZE(texts)];
		unsigned twist = (unsigned)fuzz_take(in, 1);

		le_store(head, twist % 16 ? twist % FRAME_TYPES : fuzz_take(in, 4), 4);
		le_store(head + 4, twist % 5 ? strlen(text) : fuzz_take(in, 4), 4);
		if (send(fd, head, sizeof(head), MSG_DONTWAIT) < 0 ||
		    send(fd, text, strlen(text), MSG_DONTWAIT) < 0)
			return;
	}
}

static void fuzz_frames(struct fuzz_input *in)
{
	struct wire_key none = { .size = 0 };
	struct wire w;
	int fd[2];

	LM_BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd));
	LM_BUG_ON(wire_open(&w, fd[0], true, &none, NULL));
	send_frames(in, fd[1]);
	close(fd[1]);
	for (;;) {
		struct lm_err err = { 0 };
		json_t *json = NULL;
		struct frame f;

		if (frame_next(&w, &f, &err) || frame_json(&w, &f, &json, &err)) {
			LM_BUG_ON(!err.text[0]);
			break;
		}
		json_decref(json);
	}
	wire_close(&w);
}

static void fuzz_one(struct fuzz_input *in)
{
	if (fuzz_take(in, 1) & 1)
		fuzz_pages(in);
	else
		fuzz_frames(in);
}
