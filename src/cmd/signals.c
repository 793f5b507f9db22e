#include "cmd/signals.h"

#include <signal.h>
#include <stddef.h>

static const int ending[] = {SIGINT, SIGTERM, SIGHUP};
#define ENDING_COUNT (sizeof(ending) / sizeof(ending[0]))

/* Written only while no handler is installed. */
static void (*quit_call)(void *opaque);
static void *quit_opaque;

static void on_signal(int sig)
{
	quit_call(quit_opaque);
}

void signals_catch(void (*quit)(void *opaque), void *opaque)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND | SA_RESTART};

	quit_call = quit;
	quit_opaque = opaque;
	sigemptyset(&sa.sa_mask);
	for (size_t k = 0; k < ENDING_COUNT; k++) {
		struct sigaction old;

		if (!sigaction(ending[k], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(ending[k], &sa, NULL);
	}
	/* A reader of our output that went away is an error of write, told to the guest. */
	signal(SIGPIPE, SIG_IGN);
}

void signals_restore(void)
{
	for (size_t k = 0; k < ENDING_COUNT; k++) {
		struct sigaction old;

		if (!sigaction(ending[k], NULL, &old) && old.sa_handler == on_signal)
			signal(ending[k], SIG_DFL);
	}
}
