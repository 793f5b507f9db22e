/*
 * Standing still: what pauses, resets, snapshots and migrations have in common.
 *
 * vCPUs are parked first and without the device lock, which they may need to reach an instruction
 * boundary. Then time stops, and last the disks finish what they were given; completions may still
 * change guest memory and raise interrupts, which the guest sees when it goes on.
 */
#include "backend/block.h"
#include "base/bits.h"
#include "machine/machine_impl.h"

void machine_park(struct machine *m)
{
	if (!m->parked)
		vcpus_park(&m->vcpus);
	m->parked = true;
}

void machine_hold_still(struct machine *m)
{
	if (m->still)
		return;
	machine_park(m);
	networks_stop(&m->networks);
	clock_stop(&m->loop.clock);
	loop_lock(&m->loop);
	pc_drain(&m->pc);
	loop_unlock(&m->loop);
	m->still = true;
}

/* What failed and stopped the machine is tried again. */
static void resume_disks(struct machine *m)
{
	loop_lock(&m->loop);
	for (unsigned k = 0; k < m->config.disk_count; k++)
		block_resume(m->disk[k]);
	loop_unlock(&m->loop);
}

void machine_let_go(struct machine *m)
{
	if (m->paused)
		return;
	m->still = m->parked = false;
	clock_start(&m->loop.clock);
	networks_start(&m->networks);
	resume_disks(m);
	vcpus_resume(&m->vcpus);
}

void machine_when_still(struct machine *m, struct machine_task *task)
{
	loop_lock(&m->loop);
	queue_push(&m->tasks, &task->queued);
	loop_unlock(&m->loop);
	loop_stop(&m->loop);
}

static struct machine_task *next_task(struct machine *m)
{
	struct queue_item *item;

	loop_lock(&m->loop);
	item = queue_pop(&m->tasks);
	loop_unlock(&m->loop);
	return item ? LM_CONTAINER_OF(item, struct machine_task, queued) : NULL;
}

static void run_task(struct machine *m, struct machine_task *task)
{
	if (task->light) {
		loop_lock(&m->loop);
		task->run(m, task->opaque);
		loop_unlock(&m->loop);
		return;
	}
	machine_hold_still(m);
	for (unsigned k = 0; k < m->sys.cpu_count; k++)
		m->config.engine->state_save(m->sys.cpu[k]);
	task->run(m, task->opaque);
}

void machine_run_tasks(struct machine *m)
{
	struct machine_task *task;

	while ((task = next_task(m)))
		run_task(m, task);
}

void machine_pause(struct machine *m)
{
	m->paused = true;
}

void machine_resume(struct machine *m)
{
	m->paused = false;
}

int machine_attach_disks(struct machine *m, struct lm_err *err)
{
	int rc = 0;

	loop_lock(&m->loop);
	for (unsigned k = 0; k < m->config.disk_count && !rc; k++)
		rc = block_attach(m->disk[k], err);
	loop_unlock(&m->loop);
	return rc;
}

void machine_throttle(struct machine *m, unsigned percent)
{
	vcpus_throttle(&m->vcpus, percent);
}

bool machine_paused(const struct machine *m)
{
	return m->paused;
}

void machine_power_button(struct machine *m)
{
	loop_lock(&m->loop);
	acpi_pm_power_button(&m->pc.pm);
	loop_unlock(&m->loop);
}
