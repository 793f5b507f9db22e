#include "event/io_thread.h"

#include "base/thread.h"

static void *run(void *opaque)
{
	loop_run(opaque);
	return NULL;
}

int io_thread_init(struct io_thread *io, struct lm_err *err)
{
	io->started = false;
	return loop_init(&io->loop, false, err);
}

int io_thread_start(struct io_thread *io, struct lm_err *err)
{
	int rc = thread_start_quiet(&io->thread, run, &io->loop);

	if (rc < 0)
		return lm_err_errno(err, rc, "cannot start an I/O thread");
	io->started = true;
	return 0;
}

void io_thread_stop(struct io_thread *io)
{
	if (!io->started)
		return;
	loop_stop(&io->loop);
	pthread_join(io->thread, NULL);
	io->started = false;
}

void io_thread_fini(struct io_thread *io)
{
	io_thread_stop(io);
	loop_fini(&io->loop);
}
