/*
 * Runs workloads and says how long each took: as process 1 of a guest (which it powers off at the
 * end), or on the host in the same file system, `agent JOBS LIMIT`.
 *
 * Jobs are words separated by commas, in the guest from bench.jobs= of the kernel command line.
 * "NAME" is a workload of /bench/apps, "micro=ARGUMENT+ARGUMENT…" the microbenchmarks. A job that
 * takes longer than bench.limit= seconds is ended. On standard output, besides what the jobs print:
 *
 *   @clock                           the first line
 *   @start NAME
 *   @end NAME STATUS NANOSECONDS     STATUS: "ok", "exit N", "signal N" without the blank, "timeout"
 *   @done                            the last line
 *
 * The nanoseconds are those of CLOCK_MONOTONIC here, from fork to wait; the preparation of a workload
 * does not count.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ARGUMENTS_MAX	64
#define MICRO		"/bench/micro"
#define APPS		"/bench/apps"

static unsigned limit_s = 300;
static volatile sig_atomic_t too_long;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The line is with the host when this returns. */
static __attribute__((format(printf, 1, 2))) void tell(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	fflush(stdout);
	tcdrain(1);
}

static void on_alarm(int sig)
{
	(void)sig;
	too_long = 1;
}

/* Runs ARGV in a session of its own; leaves in STATUS how it ended, see above. Returns nanoseconds. */
static uint64_t run(char *const argv[], char status[32])
{
	uint64_t start = now(), end;
	pid_t pid = fork();
	int result = 0;

	if (pid == 0) {
		setsid();
		execv(argv[0], argv);
		fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	too_long = 0;
	alarm(limit_s);
	while (pid > 0 && waitpid(pid, &result, 0) < 0 && errno == EINTR)
		if (too_long)
			kill(-pid, SIGKILL);
	end = now();
	alarm(0);
	if (pid < 0)
		strcpy(status, "nofork");
	else if (too_long)
		strcpy(status, "timeout");
	else if (WIFSIGNALED(result))
		snprintf(status, 32, "signal%d", WTERMSIG(result));
	else if (WEXITSTATUS(result))
		snprintf(status, 32, "exit%d", WEXITSTATUS(result));
	else
		strcpy(status, "ok");
	return end - start;
}

/* Fills ARGV from "micro=A+B": the program and its arguments. */
static void split_arguments(char *text, char *argv[ARGUMENTS_MAX + 1])
{
	size_t n = 1;

	argv[0] = MICRO;
	for (char *save, *word = strtok_r(text, "+", &save); word && n < ARGUMENTS_MAX;
	     word = strtok_r(NULL, "+", &save))
		argv[n++] = word;
	argv[n] = NULL;
}

static void run_job(char *job)
{
	char *arguments = strchr(job, '='), *argv[ARGUMENTS_MAX + 1] = {APPS, "prepare", job};
	char status[32] = "ok";
	uint64_t ns = 0;

	if (arguments) {
		*arguments = '\0';
		split_arguments(arguments + 1, argv);
	} else {
		run(argv, status);
		argv[1] = "run";
	}
	tell("@start %s\n", job);
	if (strcmp(status, "ok") == 0)
		ns = run(argv, status);
	tell("@end %s %s %llu\n", job, status, (unsigned long long)ns);
}

static void run_jobs(char *jobs)
{
	struct sigaction action = {.sa_handler = on_alarm};

	sigaction(SIGALRM, &action, NULL);
	tell("@clock\n");
	for (char *save, *job = strtok_r(jobs, ",", &save); job; job = strtok_r(NULL, ",", &save))
		run_job(job);
	tell("@done\n");
}

static void mount_all(void)
{
	mount("sys", "/sys", "sysfs", 0, NULL);
	mount("tmp", "/tmp", "tmpfs", 0, "mode=1777");
	mkdir("/dev/shm", 0755);
	mount("shm", "/dev/shm", "tmpfs", 0, "mode=1777");
}

/* The value of KEY (which ends with '=') on the kernel command line; NULL without one. */
static char *cmdline_value(const char *key)
{
	static char line[4096];
	int fd = open("/proc/cmdline", O_RDONLY);
	ssize_t len = read(fd, line, sizeof line - 1);

	close(fd);
	line[len < 0 ? 0 : len] = '\0';
	for (char *save, *word = strtok_r(line, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
		if (strncmp(word, key, strlen(key)) == 0)
			return word + strlen(key);
	return NULL;
}

int main(int argc, char **argv)
{
	const char *limit;
	char *jobs;

	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/tmp", 1);
	setenv("LC_ALL", "C", 1);
	if (getpid() != 1) {
		if (argc != 3) {
			fprintf(stderr, "usage: agent JOBS LIMIT\n");
			return 2;
		}
		limit_s = (unsigned)atoi(argv[2]);
		run_jobs(argv[1]);
		return 0;
	}
	mount_all();
	limit = cmdline_value("bench.limit=");
	limit_s = limit ? (unsigned)atoi(limit) : limit_s;
	jobs = cmdline_value("bench.jobs=");
	if (jobs)
		run_jobs(jobs);
	sync();
	reboot(RB_POWER_OFF);
}
