#include "event/loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "event/waker.h"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

static void lock_init(struct event_loop *loop)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&loop->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	pthread_mutex_init(&loop->timers_lock, NULL);
}

int loop_init(struct event_loop *loop, bool virtual_clock, struct lm_err *err)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };

	memset(loop, 0, sizeof(*loop));
	clock_init(&loop->clock, virtual_clock);
	lock_init(loop);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->wake_fd = wake_fd_open(NULL);
	if (loop->epoll_fd < 0 || loop->wake_fd < 0)
		return lm_err_errno(err, -errno, "event loop: cannot create epoll and eventfd");
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &ev) < 0)
		return lm_err_errno(err, -errno, "event loop: epoll_ctl");
	return 0;
}

void loop_fini(struct event_loop *loop)
{
	close(loop->epoll_fd);
	close(loop->wake_fd);
	pthread_mutex_destroy(&loop->lock);
	pthread_mutex_destroy(&loop->timers_lock);
}

void loop_wake(struct event_loop *loop)
{
	wake_fd_signal(loop->wake_fd);
}

void loop_stop(struct event_loop *loop)
{
	__atomic_store_n(&loop->stopping, true, __ATOMIC_RELEASE);
	loop_wake(loop);
}

static struct timer *pop_due(struct event_loop *loop, int64_t now, int64_t *wait)
{
	struct timer *t;

	pthread_mutex_lock(&loop->timers_lock);
	t = loop->timers;
	if (t && t->deadline <= now) {
		loop->timers = t->next;
		t->armed = false;
	} else {
		*wait = t ? t->deadline - now : -1;
		t = NULL;
	}
	pthread_mutex_unlock(&loop->timers_lock);
	return t;
}

int64_t loop_run_timers(struct event_loop *loop)
{
	int64_t now = clock_now(&loop->clock);
	int64_t wait = -1;
	struct timer *t;

	while ((t = pop_due(loop, now, &wait)))
		t->fire(t->opaque);
	return wait;
}

static int wait_events(struct event_loop *loop, struct epoll_event *ev, int max, int64_t wait_ns)
{
	struct timespec ts = { wait_ns / NS_PER_S, wait_ns % NS_PER_S };
	int n = epoll_pwait2(loop->epoll_fd, ev, max, wait_ns < 0 ? NULL : &ts, NULL);

	if (n < 0 && errno == ENOSYS) /* before Linux 5.11: millisecond timeouts, rounded up */
		n = epoll_wait(loop->epoll_fd, ev, max,
			       wait_ns < 0 ? -1 : (int)((wait_ns + NS_PER_MS - 1) / NS_PER_MS));
	return n;
}

void loop_run(struct event_loop *loop)
{
	struct epoll_event ev[16];

	while (!__atomic_exchange_n(&loop->stopping, false, __ATOMIC_ACQ_REL)) {
		int64_t wait = -1;
		int n;

		if (!loop->clock.is_virtual && !loop->clock.stopped) {
			loop_lock(loop);
			wait = loop_run_timers(loop);
			loop_unlock(loop);
		}
		n = wait_events(loop, ev, 16, wait);
		loop_lock(loop);
		for (int k = 0; k < n; k++) {
			struct event_fd *e = ev[k].data.ptr;

			if (!e)
				wake_fd_clear(loop->wake_fd);
			else if (e->ready)
				e->ready(e->opaque, ev[k].events);
		}
		loop_unlock(loop);
	}
}

void timer_init(struct timer *t, struct event_loop *loop, void (*fire)(void *), void *opaque)
{
	*t = (struct timer){ .loop = loop, .fire = fire, .opaque = opaque };
}

static void unlink_timer(struct timer *t)
{
	struct timer **p = &t->loop->timers;

	while (*p && *p != t)
		p = &(*p)->next;
	if (*p)
		*p = t->next;
	t->armed = false;
}

void timer_arm(struct timer *t, int64_t deadline_ns)
{
	struct event_loop *loop = t->loop;
	struct timer **p;
	bool first;

	pthread_mutex_lock(&loop->timers_lock);
	if (t->armed)
		unlink_timer(t);
	t->deadline = deadline_ns;
	for (p = &loop->timers; *p && (*p)->deadline <= deadline_ns; p = &(*p)->next)
		;
	t->next = *p;
	*p = t;
	t->armed = true;
	first = loop->timers == t;
	pthread_mutex_unlock(&loop->timers_lock);
	if (first && !loop->clock.is_virtual)
		loop_wake(loop);
}

void timer_cancel(struct timer *t)
{
	pthread_mutex_lock(&t->loop->timers_lock);
	if (t->armed)
		unlink_timer(t);
	pthread_mutex_unlock(&t->loop->timers_lock);
}

int event_fd_init(struct event_fd *e, struct event_loop *loop, int fd, uint32_t epoll_events,
		  void (*ready)(void *, uint32_t), void *opaque, struct lm_err *err)
{
	struct epoll_event ev = { .events = epoll_events, .data.ptr = e };

	*e = (struct event_fd){ .loop = loop, .fd = fd, .ready = ready, .opaque = opaque };
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return lm_err_errno(err, -errno, "event loop: cannot watch descriptor %d", fd);
	return 0;
}

void event_fd_update(struct event_fd *e, uint32_t epoll_events)
{
	struct epoll_event ev = { .events = epoll_events, .data.ptr = e };

	epoll_ctl(e->loop->epoll_fd, EPOLL_CTL_MOD, e->fd, &ev);
}

void event_fd_fini(struct event_fd *e)
{
	if (!e->ready)
		return;
	epoll_ctl(e->loop->epoll_fd, EPOLL_CTL_DEL, e->fd, NULL);
	e->ready = NULL;
}
