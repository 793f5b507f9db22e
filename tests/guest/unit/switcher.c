/*
 * Runs one freestanding guest image with an engine that changes under it (box.h).
 *
 *     unit-switcher [--with ENGINE] IMAGE ENGINE...
 *
 * For each ordered pair of the engines, also of one with itself (--with: of that engine with
 * each of the others only): the guest starts under the first,
 * its canonical state goes to a new vCPU of the second, back, and so on until it ends. Engines that do
 * not run here are left out, with the reason.
 */
#include <stdio.h>
#include <time.h>

#include "box.h"

#define ENGINES_MAX 8
#define SLICE       60000u /* instructions ... */
#define SLICE_US    400u   /* ... or microseconds, between two changes */
#define LIMIT_S     900 /* hosts may stand still for long */

static int run_pair(const struct engine_ops *const pair[2], const char *path)
{
	static struct guest_box g;
	const struct x86_state *from = NULL;
	time_t end = time(NULL) + LIMIT_S;
	struct x86_state s;
	unsigned changes = 0;
	int status = 0;

	if (!box_init(&g, path, true))
		return 2;
	box_expect(&g, pair[0]);
	box_expect(&g, pair[1]);
	while (!status && g.result < 0) {
		box_attach(&g, pair[changes++ % 2], from);
		status = box_run(&g, SLICE, SLICE_US);
		if (!status && g.result < 0 && time(NULL) > end)
			status = box_report(&g, "does not end");
		box_detach(&g, &s);
		from = &s;
	}
	if (!status)
		status = box_result(&g);
	box_fini(&g);
	printf("%s and %s: %s after %u changes\n", pair[0]->name, pair[1]->name,
	       status ? "failed" : "passed", changes - 1);
	return status;
}

static int run_both_ways(const struct engine_ops *a, const struct engine_ops *b, const char *path)
{
	int status = run_pair((const struct engine_ops *[]){ a, b }, path);

	return a == b ? status : status | run_pair((const struct engine_ops *[]){ b, a }, path);
}

static int usage(void)
{
	fprintf(stderr, "usage: unit-switcher [--with ENGINE] IMAGE ENGINE...\n");
	return 2;
}

int main(int argc, char **argv)
{
	const struct engine_ops *engine[ENGINES_MAX], *with = NULL;
	unsigned count = 0;
	const char *path;
	int status = 0, arg = 1;

	if (argc > 2 && !strcmp(argv[1], "--with")) {
		with = engine_find(argv[2]);
		arg = 3;
	}
	if (argc < arg + 2 || (arg == 3 && !with))
		return usage();
	path = argv[arg++];
	if (with && !box_engine_works(with, path))
		return 77;
	for (; arg < argc && count < ENGINES_MAX; arg++) {
		engine[count] = engine_find(argv[arg]);
		if (!engine[count])
			return usage();
		count += box_engine_works(engine[count], path);
	}
	for (unsigned a = 0; a < count; a++) {
		if (with)
			status |= run_both_ways(with, engine[a], path);
		for (unsigned b = a; b < count && !with; b++)
			status |= run_both_ways(engine[a], engine[b], path);
	}
	return count ? status : 77;
}
