#include "control/migrate.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/log.h"
#include "migration/source.h"

#define DOWNTIME_MS  50 /* aimed at, if nothing is said */
#define DOWNTIME_MAX 60000
#define TELL_NS	     200000000

struct migrate {
	struct source *source;
	int timer_fd; /* the host's time: the guest's may stand still */
	struct event_fd timer;
};

static const char *const phases[] = {
	[PHASE_CONNECT] = "connect", [PHASE_COPY] = "copy", [PHASE_STOP] = "stop", [PHASE_DONE] = "done",
};

static json_t *progress_json(const struct migration_progress *p)
{
	return json_pack("{s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:f}",
			 "phase", phases[PROGRESS_GET(p, phase)],
			 "round", (int)PROGRESS_GET(p, round),
			 "throttle", (int)PROGRESS_GET(p, throttle),
			 "round_pages", (json_int_t)PROGRESS_GET(p, total),
			 "round_done", (json_int_t)PROGRESS_GET(p, done),
			 "pages", (json_int_t)PROGRESS_GET(p, pages),
			 "bytes", (json_int_t)PROGRESS_GET(p, bytes),
			 "rate", (json_int_t)PROGRESS_GET(p, rate),
			 "dirty_rate", (json_int_t)PROGRESS_GET(p, dirty_rate),
			 "downtime_ms", (double)PROGRESS_GET(p, downtime_us) / 1000);
}

static void on_timer(void *opaque, uint32_t events)
{
	struct control_request *r = opaque;
	struct migrate *g = r->data;
	uint64_t count;
	ssize_t n = read(g->timer_fd, &count, sizeof(count));

	(void)n;
	control_progress(r, progress_json(source_progress(g->source)));
}

static void free_migrate(struct migrate *g)
{
	event_fd_fini(&g->timer);
	if (g->timer_fd >= 0)
		close(g->timer_fd);
	free(g);
}

/* The answer to a failure that concerns the machine is worth a line of its own as well. */
static void on_end(void *opaque)
{
	struct control_request *r = opaque;
	struct migrate *g = r->data;
	json_t *report = progress_json(source_progress(g->source));
	struct lm_err err;
	int rc = source_finish(g->source, &err);

	free_migrate(g);
	if (rc == 0) {
		control_finish(r, report);
		return;
	}
	json_decref(report);
	if (rc == -EINPROGRESS)
		log_line(LOG_WARN, "migration: %s", err.text);
	control_fail(r, &err);
}

static int start_timer(struct migrate *g, struct control_request *r, struct lm_err *err)
{
	struct itimerspec every = { { .tv_nsec = TELL_NS }, { .tv_nsec = TELL_NS } };

	g->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (g->timer_fd < 0 || timerfd_settime(g->timer_fd, 0, &every, NULL))
		return lm_err_errno(err, -errno, "cannot make a timer");
	return event_fd_init(&g->timer, machine_loop(r->machine), g->timer_fd, EPOLLIN, on_timer, r, err);
}

static int start(struct control_request *r, struct source_options *o, struct lm_err *err)
{
	struct migrate *g = calloc(1, sizeof(*g));
	int rc;

	if (!g)
		return lm_err_set(err, -ENOMEM, "no memory for a migration");
	r->data = g;
	rc = start_timer(g, r, err);
	if (!rc) {
		o->fd = r->fd[0];
		r->fd[0] = -1;
		rc = source_start(&g->source, r->machine, o, on_end, r, err);
	}
	if (rc < 0)
		free_migrate(g);
	return rc < 0 ? rc : CONTROL_LATER;
}

int control_migrate(struct control_request *r, json_t *args, json_t *result, struct lm_err *err)
{
	struct source_options o = { .downtime_ms = DOWNTIME_MS };
	int downtime = DOWNTIME_MS, rc;
	const char *key = NULL;

	rc = control_unpack(args, err, "{s?s, s?i}", "key", &key, "downtime", &downtime);
	if (!rc && r->fds != 1)
		rc = lm_err_set(err, -EINVAL, "the connection must come along");
	if (!rc && (downtime < 1 || downtime > DOWNTIME_MAX))
		rc = lm_err_set(err, -EINVAL, "downtime: 1 to %d ms", DOWNTIME_MAX);
	if (!rc && key)
		rc = wire_parse_key(&o.key, key, err);
	o.downtime_ms = (unsigned)downtime;
	if (!rc)
		rc = start(r, &o, err);
	explicit_bzero(&o, sizeof(o));
	return rc;
}

void control_migrate_cancel(struct control_request *r)
{
	source_cancel(((struct migrate *)r->data)->source);
}

void control_migrate_abandon(struct control_request *r)
{
	struct migrate *g = r->data;

	source_abandon(g->source);
	free_migrate(g);
}
