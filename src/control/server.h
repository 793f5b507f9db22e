/*
 * The control socket of a machine: requests and answers are JSON objects, one a line.
 *
 *   > {"command": "pause"}
 *   < {"return": {}}
 *   > {"command": "snapshot", "arguments": {"dir": "/x"}, "id": 7}
 *   < {"progress": {"done": 10, "total": 100}, "id": 7}
 *   < {"error": {"errno": 28, "text": "..."}, "id": 7}
 *
 * A connection's requests are served in their order; connections are independent of each other. File
 * descriptors may come along with a request's line (SCM_RIGHTS). Peers are the machine's own user
 * (the directory's rights and SO_PEERCRED say so), yet input and output are bounded. docs/control.md
 * lists the commands.
 *
 * Everything on the event loop's thread.
 */
#ifndef LM_CONTROL_SERVER_H
#define LM_CONTROL_SERVER_H

#include <jansson.h>
#include <stdbool.h>

#include "control/runtime.h"
#include "event/loop.h"
#include "machine/machine.h"

#define CONTROL_REQUEST_MAX 65536 /* bytes of a line */
#define CONTROL_REPLY_MAX   (1 << 20)
#define CONTROL_FDS_MAX	    4
#define CONTROL_CLIENTS_MAX 32

struct control_server;
struct control_request;
struct connection;

#define CONTROL_LATER 1

struct control_command {
	const char *name;
	/*
	 * Returns 0 with the answer filled into `result` (an empty object at first), a negative errno
	 * with err set, or CONTROL_LATER: then control_finish is called later, once. `args` is an object,
	 * borrowed; unpack it with control_unpack.
	 */
	int (*run)(struct control_request *r, json_t *args, json_t *result, struct lm_err *err);
	/* Run when the guest stands still, as machine_when_still says; without the device lock. */
	bool still;
	/* The client went away while the request was pending; finish it soon. NULL: it runs on. */
	void (*cancel)(struct control_request *r);
	/* The machine has ended while the request was pending: free `data`; nothing is answered. */
	void (*abandon)(struct control_request *r);
};

struct control_request {
	struct control_server *server;
	struct machine *machine;
	const struct control_command *command;
	struct connection *conn; /* NULL: the client is gone */
	json_t *id, *args;	 /* owned */
	int fd[CONTROL_FDS_MAX]; /* that came along; closed at the end unless set to -1 */
	unsigned fds;
	struct machine_task task;
	void *data;		 /* the command's own */
	struct control_request *next;
};

/*
 * Arguments by jansson's format for json_unpack, strictly: "{s:s, s?b}". A wrong or superfluous one
 * is -EINVAL with what is wrong in err.
 */
int control_unpack(json_t *args, struct lm_err *err, const char *format, ...);

/* For requests that were answered by CONTROL_LATER. The result is stolen; NULL is an empty object. */
void control_progress(struct control_request *r, json_t *progress);
void control_finish(struct control_request *r, json_t *result);
void control_fail(struct control_request *r, const struct lm_err *err);

/* Serves `commands` (ended by a NULL name) on the socket, which stays the caller's. Heap. */
int control_server_create(struct control_server **out, const struct control_command *commands,
			  struct machine *machine, struct event_loop *loop,
			  struct runtime_socket *socket, struct lm_err *err);
/* Requests that are pending end without an answer. */
void control_server_destroy(struct control_server *s);

/* One more client, already connected; fd becomes ours. For tests. */
int control_server_adopt(struct control_server *s, int fd, struct lm_err *err);

const char *control_server_name(const struct control_server *s);

#endif
