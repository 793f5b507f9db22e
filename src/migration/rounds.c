#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/disk_io.h"
#include "migration/source_impl.h"

#define PIECE	   PAGE_SIZE
#define READ_BYTES (PAGES_MAX * PIECE)

static uint64_t count_marks(const uint64_t *words, uint64_t count)
{
	uint64_t marks = 0;

	for (uint64_t k = 0; k < count; k++)
		marks += (uint64_t)__builtin_popcountll(words[k]);
	return marks;
}

static uint64_t disk_words(const struct source_disk *d)
{
	return (d->dev->size + 64 * PIECE - 1) / (64 * PIECE);
}

uint64_t source_pending(const struct source *s)
{
	uint64_t pending = count_marks(s->todo, s->words);

	for (unsigned k = 0; k < s->disks; k++)
		if (s->disk[k].todo)
			pending += count_marks(s->disk[k].todo, disk_words(&s->disk[k]));
	return pending;
}

/* ---- Batches ---- */

static int flush(struct source *s, enum frame_type type, struct lm_err *err)
{
	struct migration_progress *p = &s->progress;
	uint32_t len, disk = s->batch.disk;
	int rc;

	if (!s->batch.count)
		return 0;
	rc = pages_encode(&s->batch, s->body, &len, err);
	if (!rc)
		rc = frame_send(&s->wire, type, s->body, len, err);
	PROGRESS_SET(p, done, p->done + s->batch.count);
	PROGRESS_SET(p, pages, p->pages + s->batch.count);
	PROGRESS_SET(p, bytes, s->wire.sent);
	pages_clear(&s->batch, disk);
	machine_throttle(s->m, p->throttle);
	return rc;
}

static int send_word(struct source *s, uint64_t word, struct lm_err *err)
{
	const struct ram *ram = machine_ram(s->m);
	uint64_t marks = s->todo[word];
	int rc = 0;

	s->todo[word] = 0;
	for (; marks && !rc; marks &= marks - 1) {
		uint64_t page = word * 64 + (uint64_t)__builtin_ctzll(marks);

		if (pages_add(&s->batch, page, ram->base + (page << PAGE_SHIFT)))
			rc = flush(s, FRAME_PAGES, err);
	}
	return rc;
}

static int send_memory(struct source *s, struct lm_err *err)
{
	int rc = 0;

	pages_clear(&s->batch, 0);
	for (uint64_t word = 0; word < s->words && !rc; word++)
		if (s->todo[word])
			rc = send_word(s, word, err);
	return rc ? rc : flush(s, FRAME_PAGES, err);
}

/* ---- Disks ---- */

static bool is_marked(const struct source_disk *d, uint64_t piece)
{
	return d->todo[piece / 64] >> piece % 64 & 1;
}

/* A stretch of pieces that follow each other, at most a batch; clears their marks. */
static int send_stretch(struct source *s, struct source_disk *d, uint64_t first, uint64_t count,
			bool still, uint8_t *buf, struct lm_err *err)
{
	uint64_t offset = first * PIECE, len = LM_MIN(count * PIECE, d->dev->size - offset);
	int rc;

	for (uint64_t k = first; k < first + count; k++)
		d->todo[k / 64] &= ~LM_BIT(k % 64);
	memset(buf + len, 0, count * PIECE - len);
	rc = disk_io(machine_loop(s->m), d->dev, BLOCK_READ, offset, buf, len, still);
	if (rc < 0)
		return lm_err_errno(err, rc, "reading disk %td", d - s->disk);
	for (uint64_t k = 0; k < count && !rc; k++)
		if (pages_add(&s->batch, first + k, buf + k * PIECE))
			rc = flush(s, FRAME_BLOCKS, err);
	return rc;
}

static int send_disk(struct source *s, struct source_disk *d, bool still, uint8_t *buf,
		     struct lm_err *err)
{
	uint64_t pieces = (d->dev->size + PIECE - 1) / PIECE, count;
	int rc = 0;

	pages_clear(&s->batch, (uint32_t)(d - s->disk));
	for (uint64_t at = 0; at < pieces && !rc; at += count) {
		count = 1;
		if (!d->todo[at / 64]) {
			count = 64 - at % 64;
			continue;
		}
		if (!is_marked(d, at))
			continue;
		while (count < PAGES_MAX && at + count < pieces && is_marked(d, at + count))
			count++;
		rc = send_stretch(s, d, at, count, still, buf, err);
	}
	return rc ? rc : flush(s, FRAME_BLOCKS, err);
}

static int send_disks(struct source *s, bool still, struct lm_err *err)
{
	uint8_t *buf = aligned_alloc(PAGE_SIZE, READ_BYTES);
	int rc = buf ? 0 : lm_err_set(err, -ENOMEM, "no memory for a disk's data");

	for (unsigned k = 0; k < s->disks && !rc; k++)
		if (s->disk[k].todo)
			rc = send_disk(s, &s->disk[k], still, buf, err);
	free(buf);
	return rc;
}

/* ---- Rounds ---- */

int source_send_round(struct source *s, bool still, struct lm_err *err)
{
	int rc;

	PROGRESS_SET(&s->progress, done, 0);
	PROGRESS_SET(&s->progress, total, source_pending(s));
	rc = send_disks(s, still, err);
	return rc ? rc : send_memory(s, err);
}

int source_end_round(struct source *s, struct lm_err *err)
{
	int rc = frame_send_json(&s->wire, FRAME_ROUND, json_object(), err);

	return rc ? rc : frame_expect(&s->wire, FRAME_READY, NULL, err);
}
