#include "migration/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "backend/block.h"
#include "base/log.h"
#include "base/thread.h"
#include "machine/save.h"
#include "mem/ram_image.h"
#include "migration/disk_io.h"
#include "migration/fingerprint.h"
#include "migration/source_impl.h"
#include "snapshot/manifest.h"

#define NS_PER_S	INT64_C(1000000000)
#define STATE_US	8000 /* what saving, sending and loading state takes of the downtime */
#define ROUNDS_MIN	2
#define ROUNDS_MAX	60
#define THROTTLE_STEP	20 /* per cent */
#define THROTTLE_MAX	95
#define TAKE_BACK_TRIES 50 /* of 0.1 s: the target's process may need a moment to end */

int64_t source_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

/* ---- Meeting the event loop's thread ---- */

static int abandoned(struct lm_err *err)
{
	return lm_err_set(err, -ECANCELED, "the machine has ended");
}

/* A task: calls for the thread, which waits. */
static void on_task(struct machine *m, void *opaque)
{
	struct source *s = opaque;

	s->result = s->call(s, &s->err);
	pthread_mutex_lock(&s->lock);
	s->called = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static int call(struct source *s, int (*fn)(struct source *s, struct lm_err *err), bool light,
		struct lm_err *err)
{
	int rc;

	s->call = fn;
	s->called = false;
	s->task = (struct machine_task){ .run = on_task, .opaque = s, .light = light };
	machine_when_still(s->m, &s->task);
	pthread_mutex_lock(&s->lock);
	while (!s->called && !s->abandoned)
		pthread_cond_wait(&s->changed, &s->lock);
	rc = s->called ? s->result : abandoned(err);
	pthread_mutex_unlock(&s->lock);
	if (s->called && rc < 0)
		*err = s->err;
	return rc;
}

/* A task that lasts until the thread has its verdict. */
static void hold_still(struct machine *m, void *opaque)
{
	struct source *s = opaque;

	pthread_mutex_lock(&s->lock);
	s->held_ns = source_now_ns();
	s->called = true;
	pthread_cond_broadcast(&s->changed);
	while (s->verdict == VERDICT_NONE)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	if (s->verdict == VERDICT_PAUSE)
		machine_pause(m);
	if (s->verdict != VERDICT_GONE)
		return;
	machine_leave(m);
	s->ended(s->opaque);
}

static int stop_guest(struct source *s, struct lm_err *err)
{
	int rc = 0;

	s->called = false;
	s->task = (struct machine_task){ .run = hold_still, .opaque = s };
	machine_when_still(s->m, &s->task);
	pthread_mutex_lock(&s->lock);
	while (!s->called && !s->abandoned)
		pthread_cond_wait(&s->changed, &s->lock);
	if (!s->called)
		rc = abandoned(err);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static void decide(struct source *s, enum verdict verdict)
{
	pthread_mutex_lock(&s->lock);
	s->verdict = verdict;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* ---- Tracking ---- */

static void mark(uint64_t *words, uint64_t start, uint64_t end)
{
	for (uint64_t k = start; k < end; k++)
		words[k / 64] |= LM_BIT(k % 64);
}

/* What an ephemeral disk has of its own. Under the device lock. */
static void mark_changes(struct source_disk *d)
{
	uint64_t at = 0, start, len;

	while (at < d->dev->size && block_next_change(d->dev, at, &start, &len)) {
		at = start + len;
		mark(d->todo, start >> PAGE_SHIFT, (at + PAGE_SIZE - 1) >> PAGE_SHIFT);
	}
}

static int track_disk(struct source *s, unsigned k, struct lm_err *err)
{
	const struct disk_config *config = &machine_config(s->m)->disk[k];
	struct source_disk *d = &s->disk[k];
	int rc;

	d->dev = machine_disk(s->m, k);
	d->writes = machine_disk_writes(s->m, k);
	d->shared = !config->read_only && !config->ephemeral;
	if (!config->ephemeral)
		return 0;
	if (!d->writes)
		return lm_err_set(err, -ENOTSUP, "what the guest writes to disk %u cannot be followed: it "
						 "is no virtio disk", k);
	rc = dirty_start(d->writes, align_up(d->dev->size, PAGE_SIZE), err);
	if (rc < 0)
		return rc;
	d->todo = calloc(dirty_word_count(d->writes), sizeof(*d->todo));
	if (!d->todo)
		return lm_err_set(err, -ENOMEM, "no memory for a disk's map");
	mark_changes(d);
	return 0;
}

/* A task. All that memory and disks have is to be sent; from now on writes are noted. */
static int start_tracking(struct source *s, struct lm_err *err)
{
	const struct machine_config *config = machine_config(s->m);
	int rc = machine_dirty_start(s->m, err);

	if (rc < 0)
		return rc;
	s->tracking = true;
	s->words = (config->memory / PAGE_SIZE + 63) / 64;
	s->todo = calloc(s->words, sizeof(*s->todo));
	if (!s->todo)
		return lm_err_set(err, -ENOMEM, "no memory for a map of pages");
	rc = ram_data_pages(machine_ram(s->m), s->todo, err);
	loop_lock(machine_loop(s->m));
	for (s->disks = 0; s->disks < config->disk_count && !rc; s->disks++)
		rc = track_disk(s, s->disks, err);
	loop_unlock(machine_loop(s->m));
	return rc;
}

/* A light task. */
static int take_marks(struct source *s, struct lm_err *err)
{
	int rc = machine_dirty_take(s->m, s->todo, err);

	for (unsigned k = 0; k < s->disks; k++)
		if (s->disk[k].todo)
			dirty_take(s->disk[k].writes, s->disk[k].todo);
	return rc;
}

static int stop_tracking(struct source *s, struct lm_err *err)
{
	machine_dirty_stop(s->m);
	for (unsigned k = 0; k < s->disks; k++)
		if (s->disk[k].todo)
			dirty_stop(s->disk[k].writes);
	return 0;
}

/* ---- Copying while the guest runs ---- */

/* What the guest does to the pages that we send, and how long the rest would take. */
static void estimate(struct source *s, uint64_t pages, int64_t took_ns)
{
	struct migration_progress *p = &s->progress;
	uint64_t pending = source_pending(s) * PAGE_SIZE;
	double seconds = (double)LM_MAX(took_ns, 1) / (double)NS_PER_S;
	uint64_t rate = (uint64_t)((double)(pages * PAGE_SIZE) / seconds);

	if (pages) /* else the last rate is the best that is known */
		PROGRESS_SET(p, rate, LM_MAX(rate, 1));
	PROGRESS_SET(p, dirty_rate, (uint64_t)((double)pending / seconds));
	PROGRESS_SET(p, downtime_us,
		     STATE_US + (uint64_t)((double)pending / (double)LM_MAX(p->rate, 1) * 1e6));
}

/* Rounds that do not get shorter do not end: then vCPUs get less time, step by step. */
static void adapt_throttle(struct source *s, uint64_t before_us)
{
	struct migration_progress *p = &s->progress;

	if (p->round < ROUNDS_MIN || p->downtime_us < before_us / 10 * 7)
		return;
	PROGRESS_SET(p, throttle, LM_MIN(p->throttle + THROTTLE_STEP, THROTTLE_MAX));
	machine_throttle(s->m, p->throttle);
}

static int one_round(struct source *s, struct lm_err *err)
{
	uint64_t pages = source_pending(s);
	int64_t start = source_now_ns();
	int rc;

	PROGRESS_SET(&s->progress, round, s->progress.round + 1);
	rc = source_send_round(s, false, err);
	if (!rc)
		rc = source_end_round(s, err);
	if (!rc)
		rc = call(s, take_marks, true, err);
	if (!rc)
		estimate(s, pages, source_now_ns() - start);
	return rc;
}

static int copy(struct source *s, struct lm_err *err)
{
	struct migration_progress *p = &s->progress;
	int rc;

	do {
		uint64_t before = p->downtime_us;

		rc = one_round(s, err);
		if (!rc)
			adapt_throttle(s, before);
	} while (!rc && p->round < ROUNDS_MAX &&
		 (p->round < ROUNDS_MIN || p->downtime_us > s->options.downtime_ms * 1000u));
	return rc;
}

/* ---- The end, while the guest stands still ---- */

/* Nobody here has them open any more, so that the target may. */
static int let_disks_go(struct source *s, json_t *sums, struct lm_err *err)
{
	struct event_loop *loop = machine_loop(s->m);
	int rc = 0;

	for (unsigned k = 0; k < s->disks && !rc; k++) {
		struct source_disk *d = &s->disk[k];
		char sum[FINGERPRINT_SIZE] = "";

		if (d->shared)
			rc = disk_fingerprint(loop, d->dev, sum, err);
		json_array_append_new(sums, json_string(sum));
		if (rc || !d->shared)
			continue;
		loop_lock(loop);
		rc = block_detach(d->dev, err);
		d->detached = true;
		loop_unlock(loop);
	}
	return rc;
}

static int take_disks_back(struct source *s, struct lm_err *err)
{
	struct timespec moment = { .tv_nsec = NS_PER_S / 10 };
	struct event_loop *loop = machine_loop(s->m);
	int rc = 0;

	for (unsigned k = 0; k < s->disks; k++) {
		for (unsigned n = 0; s->disk[k].detached && n < TAKE_BACK_TRIES; n++) {
			if (n)
				nanosleep(&moment, NULL);
			loop_lock(loop);
			rc = block_attach(s->disk[k].dev, err);
			loop_unlock(loop);
			s->disk[k].detached = rc < 0;
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int send_state(struct source *s, struct lm_err *err)
{
	json_t *sums = json_array(), *state = NULL;
	int rc = let_disks_go(s, sums, err);

	if (!rc)
		rc = machine_save(s->m, &state, err);
	if (rc < 0) {
		json_decref(sums);
		return rc;
	}
	return frame_send_json(&s->wire, FRAME_STATE,
			       json_pack("{s:o, s:o}", "state", state, "disks", sums), err);
}

/* Everything up to where the target could run: a failure is none of the guest's business. */
static int send_rest(struct source *s, struct lm_err *err)
{
	int rc = take_marks(s, err);

	if (!rc)
		rc = source_send_round(s, true, err);
	if (!rc)
		rc = send_state(s, err);
	return rc ? rc : frame_expect(&s->wire, FRAME_LOADED, NULL, err);
}

/* From the first byte on the target may run. */
static int commit(struct source *s, struct lm_err *err)
{
	int64_t late = source_now_ns() - s->held_ns;
	int rc = frame_send_json(&s->wire, FRAME_COMMIT, json_pack("{s:I}", "late_ns", (json_int_t)late),
				 err);

	if (!rc)
		rc = frame_expect(&s->wire, FRAME_DONE, NULL, err);
	if (!rc)
		return 0;
	return lm_err_set(err, -EINPROGRESS, "the connection broke at the moment of handing over: the "
			  "machine is paused here, and may run there; if it does not, "
			  "`lamina resume` lets it go on here");
}

static bool was_cancelled(struct source *s)
{
	bool cancelled;

	pthread_mutex_lock(&s->lock);
	cancelled = s->cancelled;
	pthread_mutex_unlock(&s->lock);
	return cancelled;
}

static int hand_over(struct source *s, struct lm_err *err)
{
	struct lm_err back;
	int rc = stop_guest(s, err);

	if (rc < 0)
		return rc;
	PROGRESS_SET(&s->progress, phase, PHASE_STOP);
	rc = send_rest(s, err);
	if (!rc && was_cancelled(s))
		rc = lm_err_set(err, -ECANCELED, "cancelled");
	if (rc < 0) {
		frame_send_error(&s->wire, err);
		if (!take_disks_back(s, &back)) {
			decide(s, VERDICT_GO_ON);
			return rc;
		}
		lm_err_set(err, rc, "%.200s; and the machine is paused: %.200s", err->text, back.text);
		decide(s, VERDICT_PAUSE);
		return rc;
	}
	rc = commit(s, err);
	PROGRESS_SET(&s->progress, downtime_us, (uint64_t)(source_now_ns() - s->held_ns) / 1000);
	if (rc < 0)
		decide(s, VERDICT_PAUSE);
	return rc;
}

/* ---- The thread ---- */

/* A light task. */
static int describe(struct source *s, struct lm_err *err)
{
	const struct machine_config *config = machine_config(s->m);
	struct machine_part part[MACHINE_MAX_PARTS];
	int rc = machine_parts(s->m, part, err); /* fails now where machine_save would later */

	rc = rc < 0 ? rc : manifest_describe(s->m, &s->manifest, err);
	for (unsigned k = 0; k < config->disk_count && !rc; k++)
		json_object_set_new(json_array_get(json_object_get(s->manifest, "disks"), k), "bytes",
				    json_integer((json_int_t)machine_disk(s->m, k)->size));
	return rc;
}

static int say_hello(struct source *s, struct lm_err *err)
{
	int rc = call(s, describe, true, err);

	if (!rc)
		rc = manifest_add_samples(s->manifest, err);
	if (!rc)
		rc = frame_send_json(&s->wire, FRAME_HELLO, json_incref(s->manifest), err);
	return rc ? rc : frame_expect(&s->wire, FRAME_READY, NULL, err);
}

static int migrate(struct source *s, struct lm_err *err)
{
	int rc = wire_open(&s->wire, s->options.fd, false, &s->options.key, err);

	if (!rc)
		rc = frame_greet(&s->wire, err);
	if (!rc)
		rc = say_hello(s, err);
	if (!rc)
		rc = pages_init(&s->batch, err);
	if (!rc) {
		s->body = malloc(PAGES_BODY_MAX);
		rc = s->body ? 0 : lm_err_set(err, -ENOMEM, "no memory for a message");
	}
	PROGRESS_SET(&s->progress, phase, PHASE_COPY);
	if (!rc)
		rc = call(s, start_tracking, false, err);
	if (!rc)
		rc = copy(s, err);
	return rc ? rc : hand_over(s, err);
}

static void on_end(struct machine *m, void *opaque)
{
	struct source *s = opaque;

	s->ended(s->opaque);
}

static void *source_thread(void *opaque)
{
	struct source *s = opaque;
	struct lm_err err = { 0 }, ignored;
	int rc = migrate(s, &err);

	machine_throttle(s->m, 0);
	if (rc < 0 && s->wire.fd >= 0 && s->verdict == VERDICT_NONE)
		frame_send_error(&s->wire, &err);
	if (rc < 0 && s->tracking)
		call(s, stop_tracking, false, &ignored);
	pthread_mutex_lock(&s->lock);
	s->result = rc;
	s->err = err;
	PROGRESS_SET(&s->progress, phase, PHASE_DONE);
	if (rc < 0 && !s->abandoned) {
		s->task = (struct machine_task){ .run = on_end, .opaque = s };
		machine_when_still(s->m, &s->task);
	}
	pthread_mutex_unlock(&s->lock);
	if (!rc)
		decide(s, VERDICT_GONE);
	return NULL;
}

/* ---- Life ---- */

int source_start(struct source **out, struct machine *m, const struct source_options *options,
		 void (*ended)(void *opaque), void *opaque, struct lm_err *err)
{
	struct source *s = calloc(1, sizeof(*s));
	int rc;

	*out = NULL;
	if (!s) {
		close(options->fd);
		return lm_err_set(err, -ENOMEM, "no memory for a migration");
	}
	*s = (struct source){ .m = m, .options = *options, .ended = ended, .opaque = opaque };
	s->wire.fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	rc = thread_start_quiet(&s->thread, source_thread, s);
	if (rc < 0) {
		close(options->fd);
		free(s);
		return lm_err_errno(err, rc, "cannot start a thread");
	}
	*out = s;
	return 0;
}

void source_cancel(struct source *s)
{
	pthread_mutex_lock(&s->lock);
	s->cancelled = true;
	shutdown(s->options.fd, SHUT_RDWR);
	pthread_mutex_unlock(&s->lock);
}

static void free_source(struct source *s)
{
	wire_close(&s->wire);
	pages_fini(&s->batch);
	for (unsigned k = 0; k < s->disks; k++)
		free(s->disk[k].todo);
	free(s->todo);
	free(s->body);
	json_decref(s->manifest);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
	explicit_bzero(&s->options, sizeof(s->options));
	free(s);
}

void source_abandon(struct source *s)
{
	pthread_mutex_lock(&s->lock);
	s->abandoned = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	source_cancel(s);
	pthread_join(s->thread, NULL);
	free_source(s);
}

int source_finish(struct source *s, struct lm_err *err)
{
	int rc;

	pthread_join(s->thread, NULL);
	rc = s->result;
	if (rc < 0)
		*err = s->err;
	free_source(s);
	return rc;
}

const struct migration_progress *source_progress(const struct source *s)
{
	return &s->progress;
}
