/*
 * A command in the default guest: the VMM's side of guest/PROTOCOL.md.
 *
 * Four virtio-console ports. lamina.in, .out and .err stand on the process' own stdin, stdout and
 * stderr; lamina.ctl takes the request and gives the status.
 */
#ifndef LM_MACHINE_COMMAND_H
#define LM_MACHINE_COMMAND_H

#include <stdbool.h>

#include "base/fields.h"
#include "base/err.h"
#include "dev/chardev.h"
#include "dev/virtio/console.h"
#include "event/loop.h"
#include "machine/machine.h"

struct command;

/* In the order in which the ports are added; the control port comes last. */
enum command_ports { COMMAND_IN, COMMAND_OUT, COMMAND_ERR, COMMAND_CTL, COMMAND_PORTS };

struct command_config {
	char *const *argv;	/* NULL-terminated */
	const char *const *env; /* "K=V" each, NULL-terminated; NULL: none */
	enum command_io io;
};

/*
 * What config names is borrowed for the call. `ended` is called once under the device lock, after all
 * output has left the guest: the command's status, 128 + N for signal N, 125 when it could not be run.
 */
int command_open(struct command **out, const struct command_config *config, struct event_loop *loop,
		 void (*ended)(void *opaque, int status), void *opaque, struct lm_err *err);
void command_attach(struct command *cmd, struct virtio_console *console);
/* char_drain and char_output_failed of standard output and error. */
bool command_drain(struct command *cmd, int timeout_ms);
bool command_output_failed(struct command *cmd);
void command_close(struct command *cmd);

const char *command_port_name(unsigned port);
struct chardev *command_port(struct command *cmd, unsigned port);

/* What a snapshot holds of the protocol's state; the request is made from the same argv again. */
extern const struct fields_section command_section;

#endif
