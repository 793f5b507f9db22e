/*
 * dirty_test ENGINE CPUS COMMAND: whether dirty tracking misses a write. Runs a command in the default
 * guest, follows its memory in a copy, round by round, as a migration does, and compares both at the
 * end: a page that differs was written unnoticed.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/thread.h"
#include "cmd/default_guest.h"
#include "machine/machine_impl.h"

static struct machine *machine;
static uint8_t *copy;
static uint64_t *pages;
static bool stopping, round_done;
static unsigned rounds;
static uint64_t copied;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static int fail(const char *what, const struct lm_err *err)
{
	fprintf(stderr, "%s: %s\n", what, err->text);
	return 1;
}

static void take(struct machine *m, void *opaque)
{
	struct lm_err err;

	if (machine_dirty_take(m, pages, &err))
		exit(fail("take", &err));
	pthread_mutex_lock(&lock);
	round_done = true;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

static void copy_pages(void)
{
	struct ram *ram = &machine->ram;

	for (uint64_t k = 0; k < ram->size >> PAGE_SHIFT; k++) {
		if (!(pages[k / 64] >> k % 64 & 1))
			continue;
		memcpy(copy + (k << PAGE_SHIFT), ram->base + (k << PAGE_SHIFT), PAGE_SIZE);
		copied++;
	}
	memset(pages, 0, ram->size >> PAGE_SHIFT >> 3);
}

/* False: the machine ended before it had the task. */
static bool wait_for_round(void)
{
	struct timespec until;
	bool done;

	pthread_mutex_lock(&lock);
	while (!round_done && !stopping) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&changed, &lock, &until);
	}
	done = round_done;
	round_done = false;
	pthread_mutex_unlock(&lock);
	return done;
}

static void *follow(void *opaque)
{
	static struct machine_task task = { .run = take, .light = true };

	do {
		usleep(20000);
		machine_when_still(machine, &task);
		if (!wait_for_round())
			return NULL;
		copy_pages();
		rounds++;
	} while (!stopping);
	return NULL;
}

static int compare(void)
{
	struct ram *ram = &machine->ram;
	unsigned wrong = 0;

	for (uint64_t at = 0; at < ram->size; at += PAGE_SIZE) {
		if (!memcmp(copy + at, ram->base + at, PAGE_SIZE))
			continue;
		if (wrong++ < 10)
			fprintf(stderr, "page 0x%llx was written unnoticed\n", (unsigned long long)at);
	}
	printf("%u rounds, %llu pages copied, %u missed\n", rounds, (unsigned long long)copied, wrong);
	return wrong || rounds < 3;
}

static int run(const struct machine_config *config, struct lm_err *err)
{
	struct machine_result result;
	pthread_t thread;

	if (machine_create(&machine, config, err) || machine_dirty_start(machine, err))
		return fail("machine", err);
	copy = malloc(config->memory);
	pages = calloc(config->memory >> PAGE_SHIFT >> 6, 8);
	if (!copy || !pages)
		return 1;
	memcpy(copy, machine->ram.base, config->memory);
	if (thread_start(&thread, follow, NULL) || machine_run(machine, &result, err))
		return fail("run", err);
	pthread_mutex_lock(&lock);
	stopping = true;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
	pthread_join(thread, NULL);
	if (machine_dirty_take(machine, pages, err))
		return fail("take", err);
	copy_pages();
	if (result.end != END_COMMAND || result.status) {
		fprintf(stderr, "the guest's command failed\n");
		return 1;
	}
	return compare();
}

int main(int argc, char **argv)
{
	static struct default_guest guest;
	static char append[4096];
	char *command[] = { "sh", "-c", argc == 4 ? argv[3] : NULL, NULL };
	struct machine_config config = {
		.memory = 256 * MIB,
		.console = CONSOLE_NONE,
		.command = command,
		.append = append,
		.kernel = guest.kernel,
		.initrd = guest.initrd,
		.disk = { { .path = guest.disk, .ephemeral = true } },
		.disk_count = 1,
	};
	struct lm_err err = { 0 };
	int status;

	if (argc != 4)
		return 2;
	config.engine = engine_find(argv[1]);
	config.cpus = (unsigned)atoi(argv[2]);
	if (!config.engine || default_guest_find(&guest, &err)) {
		printf("skipped: no engine %s or no default guest\n", argv[1]);
		return 77;
	}
	snprintf(append, sizeof(append), "%s console=ttyS0 lamina.cmd=1", guest.cmdline);
	status = run(&config, &err);
	machine_destroy(machine);
	return status;
}
