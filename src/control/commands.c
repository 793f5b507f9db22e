#include "control/commands.h"

#include <unistd.h>

#include "control/migrate.h"
#include "control/screen.h"
#include "control/snapshot.h"
#include "machine/machine.h"

/* Zero is "not known" and left out. */
static void add_bytes(json_t *object, const char *name, uint64_t bytes)
{
	if (bytes)
		json_object_set_new(object, name, json_integer((json_int_t)bytes));
}

static void add_memory(json_t *result, const struct machine *m)
{
	struct machine_memory mem;
	json_t *guest;

	machine_memory(m, &mem);
	add_bytes(result, "resident", mem.resident);
	if (!mem.has_balloon)
		return;
	guest = json_pack("{s:I, s:I}", "target", (json_int_t)mem.target, "ballooned",
			  (json_int_t)mem.ballooned);
	add_bytes(guest, "total", mem.total);
	add_bytes(guest, "free", mem.free);
	add_bytes(guest, "available", mem.available);
	add_bytes(guest, "caches", mem.caches);
	add_bytes(guest, "reported", mem.reported);
	json_object_set_new(result, "balloon", guest);
}

static int status(struct control_request *r, json_t *args, json_t *result, struct lm_err *err)
{
	const struct machine_config *config = machine_config(r->machine);
	int rc = control_unpack(args, err, "{}");

	if (rc < 0)
		return rc;
	json_object_set_new(result, "name", json_string(control_server_name(r->server)));
	json_object_set_new(result, "pid", json_integer(getpid()));
	json_object_set_new(result, "version", json_string(LAMINA_VERSION));
	json_object_set_new(result, "engine", json_string(config->engine->name));
	json_object_set_new(result, "cpu-model", json_string(config->cpu_model.name));
	json_object_set_new(result, "cpus", json_integer(config->cpus));
	json_object_set_new(result, "memory", json_integer((json_int_t)config->memory));
	json_object_set_new(result, "state", json_string(machine_state_name(r->machine)));
	json_object_set_new(result, "uptime", json_real(machine_uptime(r->machine)));
	add_memory(result, r->machine);
	return 0;
}

/* Without `keep` it only tells. */
static int balloon(struct control_request *r, json_t *args, json_t *result, struct lm_err *err)
{
	json_int_t keep = -1;
	int rc = control_unpack(args, err, "{s?:I}", "keep", &keep);

	if (!rc && json_object_get(args, "keep"))
		rc = machine_balloon(r->machine, keep < 0 ? 0 : (uint64_t)keep, err);
	if (!rc)
		add_memory(result, r->machine);
	return rc;
}

static int pause_machine(struct control_request *r, json_t *args, json_t *result, struct lm_err *err)
{
	int rc = control_unpack(args, err, "{}");

	if (!rc)
		machine_pause(r->machine);
	return rc;
}

static int resume_machine(struct control_request *r, json_t *args, json_t *result,
			  struct lm_err *err)
{
	int rc = control_unpack(args, err, "{}");

	if (!rc)
		rc = machine_attach_disks(r->machine, err);
	if (!rc)
		machine_resume(r->machine);
	return rc;
}

static int press_power_button(struct control_request *r, json_t *args, json_t *result,
			      struct lm_err *err)
{
	int rc = control_unpack(args, err, "{}");

	if (!rc)
		machine_power_button(r->machine);
	return rc;
}

static int quit(struct control_request *r, json_t *args, json_t *result, struct lm_err *err)
{
	int rc = control_unpack(args, err, "{}");

	if (!rc)
		machine_quit(r->machine);
	return rc;
}

const struct control_command control_commands[] = {
	{ "status", status, .still = false },
	{ "pause", pause_machine, .still = true },
	{ "resume", resume_machine, .still = true },
	{ "balloon", balloon, .still = false },
	{ "power-button", press_power_button, .still = false },
	{ "quit", quit, .still = false },
	{ "screenshot", control_screenshot, .still = false },
	{ "sendkeys", control_sendkeys, .still = false },
	{ "migrate", control_migrate, .cancel = control_migrate_cancel,
	  .abandon = control_migrate_abandon },
	{ "snapshot", control_snapshot, .still = true },
	{ NULL },
};
