/*
 * A machine's state with damaged values: whatever loads must run. A fresh machine is saved, values of
 * its sections are changed, and what machine_load accepts executes some thousand instructions of random
 * memory, under the interpreter and the translator.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "machine/machine_impl.h"
#include "machine/save.h"
#include "fuzz.h"

#define INSTRUCTIONS 3000
#define MEMORY	     (4 * MIB)

static struct machine *create(const char *engine)
{
	struct machine_config config = {
		.engine = engine_find(engine),
		.cpus = 1,
		.memory = MEMORY,
		.console = CONSOLE_NONE,
		.restoring = true,
		.deterministic = true,
		.test_devices = true,
	};
	struct machine *m = NULL;

	if (!config.engine || config.engine->probe(NULL) < 0)
		return NULL;
	LM_BUG_ON(machine_create(&m, &config, NULL));
	return m;
}

static json_t *random_value(struct fuzz_input *in)
{
	char text[20];

	switch (fuzz_take(in, 1) % 6) {
	case 0:
		return json_integer((json_int_t)fuzz_take(in, 1));
	case 1:
		return json_integer((json_int_t)fuzz_take(in, 8));
	case 2:
		return json_boolean(fuzz_take(in, 1) & 1);
	case 3:
		snprintf(text, sizeof(text), "0x%llx", (unsigned long long)fuzz_take(in, 2));
		return json_string(text);
	default:
		snprintf(text, sizeof(text), "0x%llx", (unsigned long long)fuzz_take(in, 8));
		return json_string(text);
	}
}

/* Goes down to a random leaf and changes it, mostly to something of its kind. */
static void damage(struct fuzz_input *in, json_t *node)
{
	for (unsigned depth = 0; depth < 8; depth++) {
		size_t size = json_is_object(node) ? json_object_size(node) : json_array_size(node);
		size_t n = size ? fuzz_take(in, 2) % size : 0;
		void *at = json_object_iter(node);
		json_t *next;

		for (size_t k = 0; at && k < n; k++)
			at = json_object_iter_next(node, at);
		next = at ? json_object_iter_value(at) : json_array_get(node, n);
		if (!next)
			return;
		if (json_is_object(next) || json_is_array(next)) {
			node = next;
			continue;
		}
		if (json_is_boolean(next) && at)
			json_object_iter_set_new(node, at, json_boolean(fuzz_take(in, 1) & 1));
		else if (at)
			json_object_iter_set_new(node, at, random_value(in));
		else
			json_array_set_new(node, n, random_value(in));
		return;
	}
}

static void fill_memory(struct fuzz_input *in, struct machine *m)
{
	uint64_t state = fuzz_take(in, 8) | 1;

	for (unsigned k = 0; k < 64 * KIB; k += 8) {
		state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
		le_store(m->ram.base + k, state >> 3, 8);
	}
}

static void run(struct machine *m)
{
	struct x86_cpu *c = m->sys.cpu[0];

	for (unsigned k = 0; k < 10; k++) {
		enum exit_reason why = m->config.engine->run(c, INSTRUCTIONS / 10);

		loop_lock(&m->loop);
		m->loop.clock.virtual_ns += 1000000;
		loop_run_timers(&m->loop);
		loop_unlock(&m->loop);
		if (why == EXIT_SHUTDOWN || why == EXIT_HALTED)
			break;
	}
}

static void fuzz_one(struct fuzz_input *in)
{
	static json_t *good;
	const char *engine = fuzz_take(in, 1) & 1 ? "jit" : "interp";
	struct machine *m = create(engine);
	json_t *state;

	if (!m)
		return;
	if (!good)
		LM_BUG_ON(machine_save(m, &good, NULL));
	state = json_deep_copy(good);
	for (unsigned n = 1 + fuzz_take(in, 1) % 6; n; n--)
		damage(in, state);
	fill_memory(in, m);
	if (!machine_load(m, state, NULL)) {
		clock_start(&m->loop.clock);
		run(m);
	}
	json_decref(state);
	machine_destroy(m);
}
