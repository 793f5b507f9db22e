/*
 * Runs one freestanding guest image on an engine (box.h).
 *
 *     unit-runner ENGINE IMAGE
 *
 * Exit status 1 for a check that failed, a triple fault, a halt nothing can end, and a budget used up
 * (for an engine that counts no instructions: a minute).
 */
#include <stdio.h>

#include "box.h"

#define BUDGET       UINT64_C(100000000)
#define SLICE        100000u /* instructions */
#define SLICE_US     50000u
#define SLICES_TIMED 1200u

static int run(struct guest_box *g)
{
	uint64_t slices = g->engine->exact ? BUDGET / SLICE : SLICES_TIMED;

	for (uint64_t k = 0; g->result < 0 && k < slices; k++)
		if (box_run(g, SLICE, SLICE_US))
			return 1;
	return g->result < 0 ? box_report(g, "does not end") : box_result(g);
}

int main(int argc, char **argv)
{
	const struct engine_ops *engine = argc == 3 ? engine_find(argv[1]) : NULL;
	static struct guest_box g;
	struct x86_state s;
	int status;

	if (!engine) {
		fprintf(stderr, "usage: unit-runner ENGINE IMAGE\n");
		return 2;
	}
	if (!box_engine_works(engine, argv[2]))
		return 77;
	if (!box_init(&g, argv[2], !engine->exact))
		return 2;
	box_expect(&g, engine);
	box_attach(&g, engine, NULL);
	status = run(&g);
	box_detach(&g, &s);
	box_fini(&g);
	return status;
}
