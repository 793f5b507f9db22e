#include "control/commands.h"

#include <unistd.h>

#include "control/screen.h"
#include "machine/machine.h"

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
	json_object_set_new(result, "cpus", json_integer(config->cpus));
	json_object_set_new(result, "memory", json_integer((json_int_t)config->memory));
	json_object_set_new(result, "state", json_string(machine_state_name(r->machine)));
	json_object_set_new(result, "uptime", json_real(machine_uptime(r->machine)));
	return 0;
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
	{ "power-button", press_power_button, .still = false },
	{ "quit", quit, .still = false },
	{ "screenshot", control_screenshot, .still = false },
	{ "sendkeys", control_sendkeys, .still = false },
	{ NULL },
};
