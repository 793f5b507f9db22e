#include "base/thread.h"

#include <signal.h>

#define STACK_SIZE (1024 * 1024)

int thread_start(pthread_t *thread, void *(*run)(void *opaque), void *opaque)
{
	pthread_attr_t attr;
	int rc = pthread_attr_init(&attr);

	if (rc)
		return -rc;
	rc = pthread_attr_setstacksize(&attr, STACK_SIZE);
	if (!rc)
		rc = pthread_create(thread, &attr, run, opaque);
	pthread_attr_destroy(&attr);
	return -rc;
}

int thread_start_quiet(pthread_t *thread, void *(*run)(void *opaque), void *opaque)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = thread_start(thread, run, opaque);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}
