#include "migration/target.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/block.h"
#include "machine/save.h"
#include "migration/disk_io.h"
#include "migration/fingerprint.h"
#include "migration/frame.h"
#include "migration/pages.h"
#include "snapshot/manifest.h"

#define LATE_MAX_NS INT64_C(60000000000) /* longer takes no handover that does not fail */

/* ---- What is to come ---- */

/* Disks that the guest writes to are the source's until it lets them go. */
static int detach_disks(struct target *t, bool write_disks, struct lm_err *err)
{
	for (unsigned k = 0; k < t->config.disk_count; k++) {
		struct disk_config *d = &t->config.disk[k];
		const json_t *disk = json_array_get(json_object_get(t->manifest, "disks"), k);
		const json_t *size = json_object_get(disk, "bytes");

		if (d->read_only || d->ephemeral)
			continue;
		if (!write_disks)
			return lm_err_set(err, -EPERM, "its guest writes to disk %.200s: --write-disks "
					  "allows that", d->path);
		d->size = (uint64_t)json_integer_value(size);
		d->detached = true;
		if (!d->size || d->size % BLOCK_SECTOR_SIZE || d->size > INT64_MAX)
			return lm_err_set(err, -EINVAL, "disk %u has no size", k);
	}
	return 0;
}

/* Those that nobody writes to must be what they are at the source; the others are looked at later. */
static int check_other_disks(struct target *t, struct lm_err *err)
{
	json_t *disks = json_array(), *others = json_pack("{s:O}", "disks", disks);
	int rc;

	for (unsigned k = 0; k < t->config.disk_count; k++)
		if (!t->config.disk[k].detached)
			json_array_append(disks,
					  json_array_get(json_object_get(t->manifest, "disks"), k));
	rc = manifest_check_disks(others, true, err);
	json_decref(others);
	json_decref(disks);
	return rc;
}

static int check_manifest(struct target *t, bool write_disks, struct lm_err *err)
{
	int rc = manifest_config(t->manifest, &t->config, err);

	t->command = t->config.command;
	if (!rc)
		rc = detach_disks(t, write_disks, err);
	return rc ? rc : check_other_disks(t, err);
}

int target_open(struct target *t, int fd, const struct wire_key *key, bool write_disks,
		struct lm_err *err)
{
	int rc;

	*t = (struct target){ .manifest = NULL };
	rc = wire_open(&t->wire, fd, true, key, err);
	if (!rc)
		rc = frame_greet(&t->wire, err);
	if (rc < 0)
		return rc;
	rc = frame_expect(&t->wire, FRAME_HELLO, &t->manifest, err);
	return rc ? rc : check_manifest(t, write_disks, err);
}

void target_refuse(struct target *t, const struct lm_err *why)
{
	if (t->wire.fd >= 0)
		frame_send_error(&t->wire, why);
}

void target_close(struct target *t)
{
	wire_close(&t->wire);
	json_decref(t->manifest);
	free((void *)(uintptr_t)t->command);
	*t = (struct target){ .wire.fd = -1 };
}

/* ---- Receiving ---- */

struct receiver {
	struct target *t;
	struct machine *m;
	struct pages batch;
	uint8_t *body, *piece;
};

/* The next page of the batch, or NULL for zeros; *data moves behind it. */
static const uint8_t *page_data(const struct pages *p, uint32_t k, const uint8_t **data)
{
	const uint8_t *page = *data;

	if (pages_is_zero(p, k))
		return NULL;
	*data += PAGE_SIZE;
	return page;
}

static int store_pages(struct receiver *r, struct lm_err *err)
{
	const struct ram *ram = machine_ram(r->m);
	const uint8_t *data = r->batch.data;

	for (uint32_t k = 0; k < r->batch.count; k++) {
		uint64_t number = pages_number(&r->batch, k);
		const uint8_t *from = page_data(&r->batch, k, &data);
		uint8_t *to;

		if (number >= ram->size >> PAGE_SHIFT)
			return lm_err_set(err, -EPROTO, "a page outside of memory");
		to = ram->base + (number << PAGE_SHIFT);
		if (from)
			memcpy(to, from, PAGE_SIZE);
		else
			memset(to, 0, PAGE_SIZE);
	}
	return 0;
}

static int store_piece(struct receiver *r, struct blockdev *dev, uint64_t number, const uint8_t *from,
		       struct lm_err *err)
{
	uint64_t offset = number << PAGE_SHIFT, len;
	int rc;

	if (number >= align_up(dev->size, PAGE_SIZE) >> PAGE_SHIFT)
		return lm_err_set(err, -EPROTO, "a piece outside of its disk");
	len = LM_MIN(PAGE_SIZE, dev->size - offset);
	if (from)
		memcpy(r->piece, from, PAGE_SIZE);
	else
		memset(r->piece, 0, PAGE_SIZE);
	rc = disk_io(machine_loop(r->m), dev, BLOCK_WRITE, offset, r->piece, len, true);
	return rc < 0 ? lm_err_errno(err, rc, "writing a disk") : 0;
}

/* Only into overlays of our own. */
static int store_pieces(struct receiver *r, struct lm_err *err)
{
	const struct machine_config *config = machine_config(r->m);
	const uint8_t *data = r->batch.data;
	uint32_t disk = r->batch.disk;
	int rc = 0;

	if (disk >= config->disk_count || !config->disk[disk].ephemeral)
		return lm_err_set(err, -EPROTO, "data for a disk that takes none");
	for (uint32_t k = 0; k < r->batch.count && !rc; k++)
		rc = store_piece(r, machine_disk(r->m, disk), pages_number(&r->batch, k),
				 page_data(&r->batch, k, &data), err);
	return rc;
}

static int take_batch(struct receiver *r, const struct frame *f, struct lm_err *err)
{
	int rc;

	if (f->len > PAGES_BODY_MAX)
		return lm_err_set(err, -EPROTO, "damaged pages");
	rc = wire_read(&r->t->wire, r->body, f->len, err);
	if (!rc)
		rc = pages_decode(&r->batch, r->body, f->len, err);
	if (rc < 0)
		return rc;
	return f->type == FRAME_PAGES ? store_pages(r, err) : store_pieces(r, err);
}

static int end_round(struct receiver *r, const struct frame *f, struct lm_err *err)
{
	json_t *json;
	int rc = frame_json(&r->t->wire, f, &json, err);

	json_decref(json);
	return rc ? rc : frame_send_json(&r->t->wire, FRAME_READY, json_object(), err);
}

/* Rounds, until the state comes. */
static int receive_data(struct receiver *r, json_t **state, struct lm_err *err)
{
	for (;;) {
		struct frame f;
		int rc = frame_next(&r->t->wire, &f, err);

		if (rc < 0)
			return rc;
		if (f.type == FRAME_STATE)
			return frame_json(&r->t->wire, &f, state, err);
		if (f.type == FRAME_PAGES || f.type == FRAME_BLOCKS)
			rc = take_batch(r, &f, err);
		else if (f.type == FRAME_ROUND)
			rc = end_round(r, &f, err);
		else
			rc = lm_err_set(err, -EPROTO, "a message at the wrong time");
		if (rc < 0)
			return rc;
	}
}

/* ---- Taking over ---- */

static int check_disk(struct receiver *r, unsigned k, const json_t *sums, struct lm_err *err)
{
	const char *sum = json_string_value(json_array_get(sums, k));
	struct event_loop *loop = machine_loop(r->m);
	struct blockdev *dev = machine_disk(r->m, k);
	char mine[FINGERPRINT_SIZE];
	int rc;

	loop_lock(loop);
	rc = block_attach(dev, err);
	loop_unlock(loop);
	if (!rc)
		rc = disk_fingerprint(loop, dev, mine, err);
	if (!rc && (!sum || strcmp(sum, mine) != 0))
		rc = lm_err_set(err, -ESTALE, "disk %.200s is another one here: its contents differ",
				machine_config(r->m)->disk[k].path);
	return rc;
}

static int load_state(struct receiver *r, const json_t *message, struct lm_err *err)
{
	const struct machine_config *config = machine_config(r->m);
	const json_t *sums = json_object_get(message, "disks");
	int rc = 0;

	for (unsigned k = 0; k < config->disk_count && !rc; k++)
		if (config->disk[k].detached)
			rc = check_disk(r, k, sums, err);
	return rc ? rc : machine_load(r->m, json_object_get(message, "state"), err);
}

/* The guest's clock has missed what the source says, and no more than that. */
static int take_commit(struct receiver *r, struct lm_err *err)
{
	json_t *json, *late;
	int rc = frame_expect(&r->t->wire, FRAME_COMMIT, &json, err);
	json_int_t ns;

	if (rc < 0)
		return rc;
	late = json_object_get(json, "late_ns");
	ns = json_integer_value(late);
	json_decref(json);
	if (ns > 0 && ns < LATE_MAX_NS && !machine_loop(r->m)->clock.is_virtual)
		clock_advance(&machine_loop(r->m)->clock, ns);
	/* It is ours now, whether the source hears of it or not. */
	frame_send_json(&r->t->wire, FRAME_DONE, json_object(), NULL);
	return 0;
}

static int receive(struct receiver *r, struct lm_err *err)
{
	json_t *message = NULL;
	int rc = frame_send_json(&r->t->wire, FRAME_READY, json_object(), err);

	if (!rc)
		rc = receive_data(r, &message, err);
	if (!rc)
		rc = load_state(r, message, err);
	json_decref(message);
	if (!rc)
		rc = frame_send_json(&r->t->wire, FRAME_LOADED, json_object(), err);
	return rc ? rc : take_commit(r, err);
}

static int receive_into(struct target *t, struct machine *m, struct lm_err *err)
{
	struct receiver r = {
		.t = t,
		.m = m,
		.body = malloc(PAGES_BODY_MAX),
		.piece = aligned_alloc(PAGE_SIZE, PAGE_SIZE),
	};
	int rc = r.body && r.piece ? pages_init(&r.batch, err)
				   : lm_err_set(err, -ENOMEM, "no memory for messages");

	if (!rc)
		rc = receive(&r, err);
	pages_fini(&r.batch);
	free(r.body);
	free(r.piece);
	return rc;
}

int target_receive(struct target *t, struct machine **out, struct lm_err *err)
{
	int rc = machine_create(out, &t->config, err);

	if (!rc)
		rc = manifest_check_cpu(t->manifest, machine_model(*out), err);
	if (!rc)
		rc = receive_into(t, *out, err);
	if (!rc)
		return 0;
	machine_destroy(*out); /* first, so that the source gets its disks back */
	*out = NULL;
	target_refuse(t, err);
	return rc;
}
