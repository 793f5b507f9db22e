/*
 * The event loop of a machine: file descriptors and timers, one thread.
 *
 * Callbacks run on the loop's thread with the loop's lock held. That lock is the machine's device
 * lock: vCPU threads take it (loop_lock) around device accesses, so a device's state is only ever
 * touched by one thread at a time and devices need no locks of their own.
 */
#ifndef LM_EVENT_LOOP_H
#define LM_EVENT_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "event/clock.h"

struct event_loop;

struct timer {
	struct event_loop *loop;
	void (*fire)(void *opaque);
	void *opaque;
	int64_t deadline;   /* clock ns; meaningful while armed */
	struct timer *next; /* in the loop's list, sorted by deadline */
	bool armed;
};

struct event_fd {
	struct event_loop *loop;
	int fd;
	void (*ready)(void *opaque, uint32_t epoll_events);
	void *opaque;
};

struct event_loop {
	struct lm_clock clock;
	pthread_mutex_t lock; /* recursive: a device may raise a line that re-enters another */
	pthread_mutex_t timers_lock; /* leaf lock: timers may be armed without the device lock */
	struct timer *timers;
	int epoll_fd;
	int wake_fd;
	bool stopping;
};

int loop_init(struct event_loop *loop, bool virtual_clock, struct lm_err *err);
void loop_fini(struct event_loop *loop);

/*
 * Serves events until loop_stop. With a virtual clock timers are left to loop_run_timers; with a
 * stopped one there are none.
 */
void loop_run(struct event_loop *loop);
/* Makes loop_run return, now or as soon as it is called. Any thread, signal handlers too. */
void loop_stop(struct event_loop *loop);
void loop_wake(struct event_loop *loop);

static inline void loop_lock(struct event_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
}

/* Whether it was free, or ours already. */
static inline bool loop_trylock(struct event_loop *loop)
{
	return !pthread_mutex_trylock(&loop->lock);
}

static inline void loop_unlock(struct event_loop *loop)
{
	pthread_mutex_unlock(&loop->lock);
}

/* Timers. Any thread may arm and cancel; a timer fires once, after which it may be re-armed. */
void timer_init(struct timer *t, struct event_loop *loop, void (*fire)(void *), void *opaque);
void timer_arm(struct timer *t, int64_t deadline_ns);
void timer_cancel(struct timer *t);

/*
 * Fires what is due at clock_now; returns the ns until the next deadline, or -1 for none. The
 * loop's thread calls it itself, or the vCPU thread when the clock is virtual.
 */
int64_t loop_run_timers(struct event_loop *loop);

/*
 * Watches fd (not owned) for epoll events such as EPOLLIN; the struct must live until
 * event_fd_fini. event_fd_update changes the mask (0 pauses).
 */
int event_fd_init(struct event_fd *e, struct event_loop *loop, int fd, uint32_t epoll_events,
		  void (*ready)(void *, uint32_t), void *opaque, struct lm_err *err);
void event_fd_update(struct event_fd *e, uint32_t epoll_events);
void event_fd_fini(struct event_fd *e);

#endif
