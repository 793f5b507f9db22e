/*
 * lamina doctor: what this host offers, and which engine auto takes.
 *
 * One row a finding, from one table; whatever a sandbox may forbid is tried in a child.
 */
#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/probe_child.h"
#include "cmd/default_guest.h"
#include "cmd/engines.h"
#include "cmd/help.h"
#include "cmd/options.h"
#include "cmd/values.h"
#include "cmd/verb.h"
#include "engine/kvm/probe.h"

#define PROBE_MS	    100
#define HWCAP2_FSGSBASE_BIT 1 /* asm/hwcap2.h */

/* Present since Linux 5.11; Debian 11 has older headers. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

enum mark { MARK_PLAIN, MARK_YES, MARK_PARTLY, MARK_NO };

struct finding {
	enum mark mark;
	char text[224];
};

static void found(struct finding *f, enum mark mark, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void found(struct finding *f, enum mark mark, const char *fmt, ...)
{
	va_list ap;

	f->mark = mark;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
}

/* The value behind `key` and a colon in a file of such lines; false when there is none. */
static bool file_field(const char *path, const char *key, char *value, size_t size)
{
	FILE *file = fopen(path, "re");
	char line[4096];
	bool hit = false;

	while (file && !hit && fgets(line, sizeof(line), file)) {
		char *colon = strchr(line, ':');
		size_t len = strlen(key);

		if (!colon || strncmp(line, key, len) || strspn(line + len, " \t:") == 0)
			continue;
		colon += 1 + strspn(colon + 1, " \t");
		colon[strcspn(colon, "\n")] = 0;
		snprintf(value, size, "%s", colon);
		hit = true;
	}
	if (file)
		fclose(file);
	return hit;
}

/* A file's first line. */
static bool file_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	bool ok = file && fgets(line, (int)size, file);

	if (file)
		fclose(file);
	if (ok)
		line[strcspn(line, "\n")] = 0;
	return ok;
}

static bool cpu_has(const char *flag)
{
	char flags[4096] = " ", padded[32];

	if (!file_field("/proc/cpuinfo", "flags", flags + 1, sizeof(flags) - 2))
		return false;
	strcat(flags, " ");
	snprintf(padded, sizeof(padded), " %s ", flag);
	return strstr(flags, padded);
}

static void check_kernel(struct finding *f)
{
	struct utsname u;

	uname(&u);
	found(f, MARK_PLAIN, "%s %s %s, uid %u", u.sysname, u.release, u.machine, geteuid());
}

static void check_cpu(struct finding *f)
{
	char vendor[64] = "unknown vendor", model[96] = "unknown model";

	file_field("/proc/cpuinfo", "vendor_id", vendor, sizeof(vendor));
	file_field("/proc/cpuinfo", "model name", model, sizeof(model));
	found(f, MARK_PLAIN, "%s, %s%s", vendor, model,
	      cpu_has("hypervisor") ? ", itself virtual" : "");
}

static void check_cpus(struct finding *f)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set))
		found(f, MARK_PLAIN, "unknown: %s", strerror(errno));
	else
		found(f, MARK_PLAIN, "%d for us, %ld in all", CPU_COUNT(&set),
		      sysconf(_SC_NPROCESSORS_ONLN));
}

static void check_memory(struct finding *f)
{
	char total[64] = "0", available[64] = "0", limit[64] = "";

	file_field("/proc/meminfo", "MemTotal", total, sizeof(total));
	file_field("/proc/meminfo", "MemAvailable", available, sizeof(available));
	if (!file_line("/sys/fs/cgroup/memory.max", limit, sizeof(limit)) || !atoll(limit))
		*limit = 0;
	found(f, MARK_PLAIN, "%s, %s available%s%s",
	      size_format(strtoull(total, NULL, 10) * KIB).text,
	      size_format(strtoull(available, NULL, 10) * KIB).text,
	      *limit ? ", cgroup limit " : "",
	      *limit ? size_format(strtoull(limit, NULL, 10)).text : "");
}

static void check_kvm(struct finding *f)
{
	const struct kvm_probe *kvm = kvm_probe_host();
	double mips = (double)kvm->insns_per_s / 1e6;

	if (!kvm->present)
		found(f, MARK_NO, "no /dev/kvm");
	else if (kvm->open_errno == EACCES || kvm->open_errno == EPERM)
		found(f, MARK_NO, "/dev/kvm cannot be opened: %s; is this user in group kvm?",
		      strerror(kvm->open_errno));
	else if (kvm->open_errno)
		found(f, MARK_NO, "/dev/kvm cannot be opened: %s", strerror(kvm->open_errno));
	else if (!kvm->usable)
		found(f, MARK_NO, "/dev/kvm opens, but is not usable: %s", kvm->problem);
	else if (!kvm->fast)
		found(f, MARK_PARTLY, "usable, slow (emulated): %.1f million instructions/s", mips);
	else
		found(f, MARK_YES, "usable, fast: %.0f million instructions/s", mips);
}

/* Puts a probe's result into words; a negative answer is an errno. */
static void found_probe(struct finding *f, const struct probe_result *r, const char *good)
{
	if (r->outcome == PROBE_ANSWERED && r->value >= 0)
		found(f, MARK_YES, "%s", good);
	else if (r->outcome == PROBE_ANSWERED)
		found(f, MARK_NO, "%s", strerror((int)-r->value));
	else if (r->outcome == PROBE_KILLED)
		found(f, MARK_NO, "the sandbox answers with signal %ld", r->value);
	else if (r->outcome == PROBE_TIMEOUT)
		found(f, MARK_NO, "no answer in %d ms", PROBE_MS);
	else
		found(f, MARK_NO, "could not be tried: %s", strerror((int)r->value));
}

static long answer(long ret)
{
	return ret < 0 ? -errno : 0;
}

static long try_memfd(void)
{
	return answer(memfd_create("doctor", MFD_CLOEXEC));
}

static long try_uffd(void)
{
	return answer(syscall(SYS_userfaultfd, O_CLOEXEC));
}

static long try_uffd_user(void)
{
	return answer(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
}

static long try_io_uring(void)
{
	struct io_uring_params params = {0};

	return answer(syscall(SYS_io_uring_setup, 4, &params));
}

static long try_pkey(void)
{
	return answer(syscall(SYS_pkey_alloc, 0, 0));
}

static void check_memfd(struct finding *f)
{
	struct probe_result r = probe_in_child(try_memfd, PROBE_MS);

	found_probe(f, &r, "guest RAM can be shared and cloned");
}

static void check_uffd(struct finding *f)
{
	struct probe_result r = probe_in_child(try_uffd, PROBE_MS);

	if (r.outcome == PROBE_ANSWERED && r.value == 0) {
		found(f, MARK_YES, "faults of user and kernel");
		return;
	}
	r = probe_in_child(try_uffd_user, PROBE_MS);
	found_probe(f, &r, "faults of user mode only");
	if (f->mark == MARK_YES)
		f->mark = MARK_PARTLY;
}

static void check_io_uring(struct finding *f)
{
	struct probe_result r = probe_in_child(try_io_uring, PROBE_MS);

	found_probe(f, &r, "for disks that bypass the host's page cache");
	if (f->mark == MARK_NO)
		strncat(f->text, "; worker threads serve disks", sizeof(f->text) - strlen(f->text) - 1);
}

static void check_pku(struct finding *f)
{
	struct probe_result r = probe_in_child(try_pkey, PROBE_MS);

	if (cpu_has("pku"))
		found_probe(f, &r, "protection keys can be allocated");
	else
		found(f, MARK_NO, "the CPU has no protection keys");
}

static void check_fsgsbase(struct finding *f)
{
	if (getauxval(AT_HWCAP2) & LM_BIT(HWCAP2_FSGSBASE_BIT))
		found(f, MARK_YES, "AT_HWCAP2 says that user mode may use it");
	else
		found(f, MARK_NO, "AT_HWCAP2 does not have it");
}

static void check_flag(struct finding *f, const char *flag)
{
	if (cpu_has(flag))
		found(f, MARK_YES, "in the CPU's flags");
	else
		found(f, MARK_NO, "not in the CPU's flags");
}

static void check_avx2(struct finding *f)
{
	check_flag(f, "avx2");
}

static void check_bmi2(struct finding *f)
{
	check_flag(f, "bmi2");
}

static void check_max_map_count(struct finding *f)
{
	char line[64] = "unknown";

	file_line("/proc/sys/vm/max_map_count", line, sizeof(line));
	found(f, MARK_PLAIN, "%s mappings a process", line);
}

static void check_rlimit_as(struct finding *f)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_AS, &r))
		found(f, MARK_PLAIN, "unknown: %s", strerror(errno));
	else if (r.rlim_cur == RLIM_INFINITY)
		found(f, MARK_YES, "no limit of address space");
	else
		found(f, MARK_PARTLY, "%s of address space (ulimit -v)",
		      size_format(r.rlim_cur).text);
}

static void check_overcommit(struct finding *f)
{
	static const char *const names[] = {"0, heuristic", "1, always", "2, never"};
	char line[64] = "";

	if (!file_line("/proc/sys/vm/overcommit_memory", line, sizeof(line)) || *line < '0' ||
	    *line > '2')
		found(f, MARK_PLAIN, "unknown");
	else
		found(f, *line == '2' ? MARK_PARTLY : MARK_YES, "%s", names[*line - '0']);
}

static void check_seccomp(struct finding *f)
{
	static const char *const names[] = {"0, none", "1, strict", "2, a filter is in force"};
	char mode[16] = "", privs[16] = "";

	if (!file_field("/proc/self/status", "Seccomp", mode, sizeof(mode)) || *mode < '0' ||
	    *mode > '2') {
		found(f, MARK_PLAIN, "unknown");
		return;
	}
	file_field("/proc/self/status", "NoNewPrivs", privs, sizeof(privs));
	found(f, MARK_PLAIN, "%s%s", names[*mode - '0'],
	      *privs == '1' ? ", no new privileges" : "");
}

static void check_guest(struct finding *f)
{
	static struct default_guest guest;
	struct lm_err err = {0};

	if (default_guest_find(&guest, &err))
		found(f, MARK_NO, "%s", err.text);
	else
		found(f, MARK_YES, "%s", guest.disk);
}

static const struct {
	const char *name;
	void (*check)(struct finding *f);
} checks[] = {
    {"kernel", check_kernel},
    {"CPU", check_cpu},
    {"CPUs", check_cpus},
    {"memory", check_memory},
    {"KVM", check_kvm},
    {"memfd", check_memfd},
    {"userfaultfd", check_uffd},
    {"io_uring", check_io_uring},
    {"PKU", check_pku},
    {"FSGSBASE", check_fsgsbase},
    {"AVX2", check_avx2},
    {"BMI2", check_bmi2},
    {"max_map_count", check_max_map_count},
    {"RLIMIT_AS", check_rlimit_as},
    {"overcommit", check_overcommit},
    {"seccomp", check_seccomp},
    {"default guest", check_guest},
};

static bool wants_colour(void)
{
	const char *term = getenv("TERM"), *no = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") && (!no || !*no);
}

static void print_row(const char *name, const struct finding *f)
{
	static const char *const words[] = {"-", "yes", "partly", "no"};
	static const char *const colours[] = {"", "\033[32m", "\033[33m", "\033[31m"};
	bool colour = wants_colour() && f->mark != MARK_PLAIN;

	printf("%-14s  %s%-6s%s  %s\n", name, colour ? colours[f->mark] : "", words[f->mark],
	       colour ? "\033[0m" : "", f->text);
}

static void found_engine(struct finding *f, const struct engine_ops *engine)
{
	char without[96] = "";

	if (engine->shortfall)
		engine->shortfall(without, sizeof(without));
	found(f, *without ? MARK_PARTLY : MARK_YES, "%s%s%s", engine->summary, *without ? "; here without " : "",
	      without);
}

static void print_engines(void)
{
	for (const struct engine_ops *const *e = engines; *e; e++) {
		struct lm_err err = {0};
		struct finding f;
		char name[32];

		snprintf(name, sizeof(name), "engine %s", (*e)->name);
		if ((*e)->probe(&err))
			found(&f, MARK_NO, "%s", err.text);
		else
			found_engine(&f, *e);
		print_row(name, &f);
	}
}

/* Best first: auto's is the first one whose probe succeeds. */
static int print_choice(struct lm_err *err)
{
	const struct engine_ops *engine = engine_choose("auto", 1, err);

	if (!engine)
		return err->code;
	printf("\n--engine auto takes %s: %s.\n", engine->name,
	       engine == engines[0] && !engines[1] ? "the only engine of this version"
	       : engine == engines[0]		   ? "the best engine, and it works here"
						   : "the better ones do not work here");
	return 0;
}

static int doctor_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct operands rest;
	int ret = options_parse(self, argc, argv, NULL, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	for (size_t k = 0; k < LM_ARRAY_SIZE(checks); k++) {
		struct finding f;

		checks[k].check(&f);
		print_row(checks[k].name, &f);
	}
	print_engines();
	return print_choice(err);
}

static const char *const doctor_paragraphs[] = {
    "Each line has a name, yes, partly, no or - (plain information), and what was found. Takes "
    "about a second at most: what may hang is tried in a child process with a time limit.",
    NULL,
};

const struct verb doctor_verb = {
    .name = "doctor",
    .summary = "tell what this host offers, and which engine auto takes",
    .paragraphs = doctor_paragraphs,
    .run = doctor_main,
};
