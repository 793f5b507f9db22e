#include "cmd/live.h"

#include <errno.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "base/log.h"
#include "cmd/signals.h"
#include "cmd/status.h"
#include "control/commands.h"
#include "control/runtime.h"

int live_status(const struct machine_result *result, unsigned timeout_s)
{
	switch (result->end) {
	case END_POWEROFF:
		return STATUS_OK;
	case END_RESET:
		log_line(LOG_WARN, "the guest reset the machine");
		return STATUS_RESET;
	case END_TRIPLE_FAULT:
		log_line(LOG_WARN, "triple fault: the guest could not handle its own exceptions");
		return STATUS_TRIPLE_FAULT;
	case END_PANIC:
		log_line(LOG_WARN, "the guest's kernel panicked");
		return STATUS_PANIC;
	case END_TIMEOUT:
		log_line(LOG_WARN, "ended by --timeout %u", timeout_s);
		return STATUS_TIMEOUT;
	case END_QUIT:
		return STATUS_QUIT;
	case END_DEBUG_EXIT:
	case END_COMMAND:
		return result->status & 0xff;
	case END_DIFFERENCE:
	case END_ENGINE:
		return STATUS_ERROR;
	case END_MIGRATED:
		return STATUS_MIGRATED;
	case END_LOST_COMMAND:
		log_line(LOG_WARN, "the guest ended before the command's status arrived");
		return STATUS_LOST_COMMAND;
	}
	return STATUS_ERROR;
}

static void quit(void *opaque)
{
	machine_quit(opaque);
}

/* Where the guest stood when it ended badly, or was ended, if anybody wants to know. */
static int print_backtrace(const struct live_options *o, struct machine *m,
			   const struct machine_result *result, struct lm_err *err)
{
	bool bad = result->end == END_TRIPLE_FAULT || result->end == END_PANIC ||
		   result->end == END_TIMEOUT || result->end == END_QUIT;

	if (!o->symbols || !bad)
		return 0;
	return machine_backtrace(m, o->symbols, stderr, err);
}

/*
 * Others find the machine by its control socket. Where the host has no place for one the machine runs
 * without, unless it was given a name, which would be of no use then.
 */
static int open_socket(const struct live_options *o, struct runtime_socket *socket, struct lm_err *err)
{
	int ret = runtime_listen(socket, o->name, err);

	if (!ret || o->name || ret == -EMFILE || ret == -ENFILE || ret == -ENOMEM)
		return ret;
	log_line(LOG_WARN, "no control socket: %s", err->text);
	return 0;
}

static int run_controlled(struct machine *m, struct runtime_socket *socket,
			  struct machine_result *result, struct lm_err *err)
{
	struct control_server *control = NULL;
	int ret = socket->fd < 0 ? 0
				 : control_server_create(&control, control_commands, m,
							 machine_loop(m), socket, err);

	if (ret)
		return ret;
	signals_catch(quit, m);
	ret = machine_run(m, result, err);
	signals_restore();
	control_server_destroy(control);
	return ret;
}

int live_run(const struct live_options *o,
	     int (*make)(void *opaque, struct machine **out, struct lm_err *err), void *opaque,
	     struct lm_err *err)
{
	struct machine_result result = { 0 };
	struct runtime_socket socket;
	struct machine *m = NULL;
	int ret = open_socket(o, &socket, err);

	if (ret)
		return ret;
	if (o->name)
		prctl(PR_SET_NAME, o->name);
	ret = make(opaque, &m, err);
	if (!ret)
		ret = run_controlled(m, &socket, &result, err);
	runtime_unlisten(&socket);
	if (!m)
		return ret;
	if (!ret)
		ret = print_backtrace(o, m, &result, err);
	if (o->stats)
		machine_print_stats(m, stderr);
	machine_destroy(m);
	if (ret)
		return ret;
	ret = live_status(&result, o->timeout_s);
	return ret == STATUS_OK && result.output_failed ? STATUS_ERROR : ret;
}
