#include "cmd/engines.h"

#include <errno.h>
#include <stdio.h>

int engine_check_name(const char *name, struct lm_err *err)
{
	char names[128] = "auto";
	size_t n = strlen(names);

	if (!strcmp(name, "auto") || engine_find(name))
		return 0;
	for (const struct engine_ops *const *e = engines; *e && n < sizeof(names); e++)
		n += (size_t)snprintf(names + n, sizeof(names) - n, ", %s", (*e)->name);
	return lm_err_set(err, -EINVAL, "no such engine; the choices are %s", names);
}

static int check_engine(const struct engine_ops *engine, unsigned cpus, struct lm_err *err)
{
	if (cpus > engine->cpus_max)
		return lm_err_set(err, -EINVAL, "it can run at most %u vCPUs, not %u", engine->cpus_max,
				  cpus);
	return engine->probe(err);
}

static const struct engine_ops *choose_best(unsigned cpus, struct lm_err *err)
{
	for (const struct engine_ops *const *e = engines; *e; e++)
		if (!check_engine(*e, cpus, err))
			return *e;
	lm_err_wrap(err, "no engine works on this host, the last one says");
	return NULL;
}

const struct engine_ops *engine_choose(const char *name, unsigned cpus, struct lm_err *err)
{
	const struct engine_ops *engine = engine_find(name);

	if (!engine)
		return choose_best(cpus, err);
	if (!check_engine(engine, cpus, err))
		return engine;
	lm_err_wrap(err, "cannot be used");
	return NULL;
}
