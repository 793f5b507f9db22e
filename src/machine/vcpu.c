#include "machine/vcpu.h"

#include <errno.h>
#include <stdlib.h>

#include "base/thread.h"
#include "event/loop.h"
#include "isa/x86/event.h"

/* ---- Sleeping ---- */

void vcpu_wake(void *opaque, struct x86_cpu *c)
{
	struct vcpu *v = c->vcpu;

	/* Pairs with the fence in sleep_until_event: either we see it sleeping, or it our event. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&v->sleeping, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&v->lock);
	__atomic_store_n(&v->sleeping, false, __ATOMIC_RELAXED);
	pthread_cond_signal(&v->wake);
	pthread_mutex_unlock(&v->lock);
}

static void sleep_until_event(struct vcpu *v)
{
	while (!event_wakes(v->cpu)) {
		__atomic_store_n(&v->sleeping, true, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (event_wakes(v->cpu))
			break;
		pthread_mutex_lock(&v->lock);
		while (__atomic_load_n(&v->sleeping, __ATOMIC_RELAXED))
			pthread_cond_wait(&v->wake, &v->lock);
		pthread_mutex_unlock(&v->lock);
	}
	__atomic_store_n(&v->sleeping, false, __ATOMIC_RELAXED);
}

/* ---- Time of deterministic machines ---- */

#define SLICE_NS 100000 /* between two looks at timers when none is due earlier */

/* Fires what is due; how many instructions (of 1 ns each) may run until the next deadline. */
static uint64_t next_slice(struct event_loop *loop)
{
	int64_t wait;

	loop_lock(loop);
	wait = loop_run_timers(loop);
	loop_unlock(loop);
	return wait < 0 || wait > SLICE_NS ? SLICE_NS : (uint64_t)wait;
}

/* Nothing to execute: time jumps to the next timer. */
static void skip_to_next_timer(struct vcpu *v)
{
	struct event_loop *loop = v->group->sys->loop;

	while (!event_wakes(v->cpu)) {
		int64_t wait;

		loop_lock(loop);
		wait = loop_run_timers(loop);
		loop_unlock(loop);
		loop->clock.virtual_ns += wait < 0 ? SLICE_NS : wait;
	}
}

/* ---- Throttling ---- */

#define REST_STEP_NS 1000000
#define REST_MAX_NS  (50 * REST_STEP_NS)

static bool must_park(const struct vcpu_group *g)
{
	return __atomic_load_n(&g->park, __ATOMIC_ACQUIRE);
}

static bool must_quit(const struct vcpu_group *g)
{
	return __atomic_load_n(&g->quit, __ATOMIC_ACQUIRE);
}

static int64_t host_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * CLOCK_NS_PER_S + ts.tv_nsec;
}

/* In small steps: a vCPU that rests parks at once all the same. */
static void rest(struct vcpu *v)
{
	unsigned percent = __atomic_load_n(&v->group->throttle, __ATOMIC_RELAXED);
	const struct timespec step = { .tv_nsec = REST_STEP_NS };
	int64_t now, until;

	if (LM_LIKELY(!percent)) {
		v->rested_ns = 0;
		return;
	}
	now = host_now();
	if (!v->rested_ns)
		v->rested_ns = now;
	until = now + LM_MIN((now - v->rested_ns) * percent / (100 - percent), REST_MAX_NS);
	while (now < until && !must_park(v->group) && !must_quit(v->group)) {
		nanosleep(&step, NULL);
		now = host_now();
	}
	v->rested_ns = now;
}

/* ---- The thread ---- */

static void park_here(struct vcpu_group *g)
{
	pthread_mutex_lock(&g->lock);
	g->parked++;
	pthread_cond_broadcast(&g->parked_changed);
	while (g->park && !g->quit)
		pthread_cond_wait(&g->go, &g->lock);
	g->parked--;
	pthread_mutex_unlock(&g->lock);
}

static enum exit_reason run_once(struct vcpu *v)
{
	struct vcpu_group *g = v->group;

	if (g->sys->loop->clock.is_virtual)
		return g->engine->run(v->cpu, next_slice(g->sys->loop));
	return g->engine->run(v->cpu, ENGINE_NO_BUDGET);
}

static void idle(struct vcpu *v)
{
	v->cpu->count.hlts++;
	if (v->group->sys->loop->clock.is_virtual)
		skip_to_next_timer(v);
	else
		sleep_until_event(v);
}

static void fail(struct vcpu *v)
{
	struct vcpu_group *g = v->group;

	pthread_mutex_lock(&g->lock);
	g->failed(g->opaque, g->engine->failure(v->cpu));
	pthread_mutex_unlock(&g->lock);
}

static void *vcpu_thread(void *opaque)
{
	struct vcpu *v = opaque;
	struct vcpu_group *g = v->group;

	while (!must_quit(g)) {
		if (must_park(g)) {
			park_here(g);
			continue;
		}
		switch (run_once(v)) {
		case EXIT_HALTED:
			idle(v);
			break;
		case EXIT_SHUTDOWN:
			g->shutdown(g->opaque);
			park_here(g);
			break;
		case EXIT_FAILED:
			fail(v);
			park_here(g);
			break;
		case EXIT_KICKED:
			rest(v);
			break;
		case EXIT_BUDGET:
			break;
		}
	}
	return NULL;
}

/* ---- The group ---- */

static void kick_all(struct vcpu_group *g)
{
	for (unsigned k = 0; k < g->count; k++)
		g->engine->kick(g->vcpu[k].cpu);
}

static int vcpu_init(struct vcpu_group *g, unsigned index, struct lm_err *err)
{
	struct vcpu *v = &g->vcpu[index];

	v->group = g;
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->wake, NULL);
	v->cpu = x86_cpu_create(g->sys, index);
	if (!v->cpu)
		return lm_err_set(err, -ENOMEM, "no memory for vCPU %u", index);
	v->cpu->vcpu = v;
	g->count = index + 1;
	return g->engine->vcpu_create(v->cpu, err);
}

int vcpus_init(struct vcpu_group *g, const struct engine_ops *engine, struct x86_system *sys,
	       unsigned count, struct lm_err *err)
{
	g->engine = engine;
	g->sys = sys;
	g->park = true;
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->parked_changed, NULL);
	pthread_cond_init(&g->go, NULL);
	sys->cpu_count = count;
	g->vcpu = calloc(count, sizeof(*g->vcpu));
	if (!g->vcpu)
		return lm_err_set(err, -ENOMEM, "no memory for %u vCPUs", count);
	for (unsigned k = 0; k < count; k++) {
		int rc = vcpu_init(g, k, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

int vcpus_start(struct vcpu_group *g, struct lm_err *err)
{
	for (unsigned k = 0; k < g->count; k++) {
		int rc = thread_start(&g->vcpu[k].thread, vcpu_thread, &g->vcpu[k]);

		if (rc)
			return lm_err_errno(err, rc, "cannot start the thread of vCPU %u", k);
		g->vcpu[k].started = true;
	}
	return 0;
}

void vcpus_park(struct vcpu_group *g)
{
	__atomic_store_n(&g->park, true, __ATOMIC_RELEASE);
	kick_all(g);
	pthread_mutex_lock(&g->lock);
	while (g->parked < g->count)
		pthread_cond_wait(&g->parked_changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

void vcpus_throttle(struct vcpu_group *g, unsigned percent)
{
	__atomic_store_n(&g->throttle, percent, __ATOMIC_RELAXED);
	if (percent)
		kick_all(g);
}

void vcpus_resume(struct vcpu_group *g)
{
	pthread_mutex_lock(&g->lock);
	__atomic_store_n(&g->park, false, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&g->go);
	pthread_mutex_unlock(&g->lock);
}

static void vcpu_fini(struct vcpu *v)
{
	if (v->started)
		pthread_join(v->thread, NULL);
	if (v->cpu) {
		v->group->engine->vcpu_destroy(v->cpu);
		x86_cpu_destroy(v->cpu);
	}
	pthread_mutex_destroy(&v->lock);
	pthread_cond_destroy(&v->wake);
}

void vcpus_fini(struct vcpu_group *g)
{
	if (!g->vcpu)
		return;
	pthread_mutex_lock(&g->lock);
	__atomic_store_n(&g->quit, true, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&g->go);
	pthread_mutex_unlock(&g->lock);
	kick_all(g);
	for (unsigned k = 0; k < g->count; k++)
		vcpu_fini(&g->vcpu[k]);
	free(g->vcpu);
	g->vcpu = NULL;
}
