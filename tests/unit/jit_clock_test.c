/* Readings of the translator's clock lie between two of the clock that it stands for, and never go back. */
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "engine/jit/jit.h"

#define SLACK_NS  INT64_C(20000)     /* what the kernel may correct in a millisecond, and more */
#define FOR_NS    INT64_C(120000000) /* long enough to see it calibrated */
#define TICKS_MIN 1000

static int64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * CLOCK_NS_PER_S + t.tv_nsec;
}

static void follow(struct jit_clock *k, uint64_t *by_tsc, uint64_t *wrong, uint64_t *back)
{
	int64_t start = clock_ns(), last = 0, before = start;

	while (before - start < FOR_NS) {
		int64_t read_before = k->ns, now, after;

		before = clock_ns();
		now = jit_clock_ns(k);
		after = clock_ns();
		*by_tsc += k->window && k->ns == read_before;
		*wrong += now < before - SLACK_NS || now > after + SLACK_NS;
		*back += now < last;
		last = now;
	}
}

int main(void)
{
	uint64_t by_tsc = 0, wrong = 0, back = 0;
	struct jit_clock k;

	jit_clock_init(&k);
	if (!k.usable)
		printf("no invariant TSC here: the clock itself is read each time\n");
	follow(&k, &by_tsc, &wrong, &back);
	CHECK_EQ(wrong, 0);
	CHECK_EQ(back, 0);
	CHECK(!k.usable || by_tsc > TICKS_MIN);
	/* Ticks that are not what they were: believed no longer than one reading. */
	k.ns_per_tick *= 2;
	jit_clock_ns(&k);
	k.last = 0;
	k.tsc -= 2 * k.window;
	jit_clock_ns(&k);
	CHECK_EQ(k.window, 0);
	wrong = 0;
	follow(&k, &by_tsc, &wrong, &back);
	CHECK_EQ(wrong, 0);
	return check_done();
}
