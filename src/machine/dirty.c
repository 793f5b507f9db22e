/* Dirty tracking of a machine: RAM's map, and the engine that fills it. */
#include <errno.h>

#include "machine/machine_impl.h"

static void forget_writes(struct machine *m)
{
	for (unsigned k = 0; m->config.engine->forget_writes && k < m->sys.cpu_count; k++)
		m->config.engine->forget_writes(m->sys.cpu[k]);
}

static int tell_engine(struct machine *m, enum dirty_log what, struct lm_err *err)
{
	const struct engine_ops *engine = m->config.engine;

	return engine->dirty_log ? engine->dirty_log(&m->sys, what, err) : 0;
}

int machine_dirty_start(struct machine *m, struct lm_err *err)
{
	const struct engine_ops *engine = m->config.engine;
	int rc;

	if (!engine->forget_writes && !engine->dirty_log)
		return lm_err_set(err, -ENOTSUP, "engine %s does not note which memory is written",
				  engine->name);
	rc = dirty_start(&m->ram.dirty, m->ram.size, err);
	if (rc < 0)
		return rc;
	rc = tell_engine(m, DIRTY_LOG_START, err);
	if (rc < 0)
		dirty_stop(&m->ram.dirty);
	else
		forget_writes(m);
	return rc;
}

int machine_dirty_take(struct machine *m, uint64_t *to, struct lm_err *err)
{
	int rc = tell_engine(m, DIRTY_LOG_COLLECT, err);

	if (rc < 0)
		return rc;
	dirty_take(&m->ram.dirty, to);
	forget_writes(m);
	return 0;
}

struct dirty_map *machine_disk_writes(struct machine *m, unsigned disk)
{
	struct pc_disk *d = m->pc.disk[disk];

	return d->interface == DISK_VIRTIO ? &d->blk.writes : NULL;
}

void machine_dirty_stop(struct machine *m)
{
	tell_engine(m, DIRTY_LOG_STOP, NULL);
	dirty_stop(&m->ram.dirty);
}
