#include "cmd/signals.h"

#include <signal.h>
#include <stddef.h>

static const int ending[] = {SIGINT, SIGTERM, SIGHUP};
#define ENDING_COUNT (sizeof(ending) / sizeof(ending[0]))

/* Written only while no handler of ours is installed. */
static void (*quit_call)(void *opaque);
static void *quit_opaque;
static struct sigaction saved[ENDING_COUNT]; /* such as the terminal's, which restores it */

static void on_signal(int sig)
{
	for (size_t k = 0; k < ENDING_COUNT; k++)
		if (ending[k] == sig)
			sigaction(sig, &saved[k], NULL);
	quit_call(quit_opaque);
}

void signals_catch(void (*quit)(void *opaque), void *opaque)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	quit_call = quit;
	quit_opaque = opaque;
	sigemptyset(&action.sa_mask);
	for (size_t k = 0; k < ENDING_COUNT; k++) {
		sigaction(ending[k], NULL, &saved[k]);
		if (saved[k].sa_handler != SIG_IGN)
			sigaction(ending[k], &action, NULL);
	}
	/* A reader of our output that went away is an error of write, told to the guest. */
	signal(SIGPIPE, SIG_IGN);
}

void signals_restore(void)
{
	for (size_t k = 0; k < ENDING_COUNT; k++) {
		struct sigaction now;

		sigaction(ending[k], NULL, &now);
		if (now.sa_handler == on_signal)
			sigaction(ending[k], &saved[k], NULL);
	}
}
