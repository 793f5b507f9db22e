/* The command: options, the loop over the cases, and the exit status. See `usage`. */
#include <getopt.h>
#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bug.h"
#include "compare.h"
#include "generate.h"
#include "guest.h"
#include "known.h"
#include "native.h"
#include "report.h"
#include "sandbox.h"

struct options {
	uint64_t first, cases, seed, one_case;
	const char *forms, *engine, *mode;
	unsigned max_diffs, random_percent;
	bool one, list_forms, list_missed, given, help;
	uint8_t bytes[INSN_MAX_LENGTH]; /* of --bytes */
};

static struct options options = {
	.cases = 1000000, .seed = 1, .engine = "interp", .mode = "all", .max_diffs = 10,
	.random_percent = 3,
};

/* ---- Options ---- */

static const char usage[] =
	"usage: oracle [OPTION...]\n"
	"Runs cases K to N-1 of a seed on the host CPU and on an engine and prints every difference\n"
	"with the command that reruns it, then how many instruction forms were exercised.\n"
	"  --cases N         the end (default: 1000000)\n"
	"  --first K         the beginning (default: 0)\n"
	"  --seed S          which (default: 1)\n"
	"  --engine NAME     interp or jit (default: interp)\n"
	"  --mode 64|32|all  mode of the code (default: all)\n"
	"  --forms REGEX     only forms that match, as --list-forms prints them\n"
	"  --random PERCENT  cases of random bytes instead of a form (default: 3)\n"
	"  --case K          this case only; prints both outcomes whatever they are\n"
	"  --bytes HEX       this instruction, the rest of each case random; with --mode 64 or 32\n"
	"  --max-diffs N     end after so many differences (default: 10)\n"
	"  --list-forms      print all forms and end\n"
	"  --list-missed     print the forms that no case exercised\n"
	"Exits with 1 when there was a difference, 2 for wrong usage, 77 where this host cannot serve.\n";

static const struct option long_options[] = {
	{ "cases", required_argument, NULL, 'n' },
	{ "first", required_argument, NULL, 'F' },
	{ "seed", required_argument, NULL, 's' },
	{ "forms", required_argument, NULL, 'f' },
	{ "case", required_argument, NULL, 'k' },
	{ "engine", required_argument, NULL, 'e' },
	{ "max-diffs", required_argument, NULL, 'd' },
	{ "random", required_argument, NULL, 'r' },
	{ "mode", required_argument, NULL, 'm' },
	{ "bytes", required_argument, NULL, 'b' },
	{ "list-forms", no_argument, NULL, 'l' },
	{ "list-missed", no_argument, NULL, 'M' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* Hexadecimal digits; what is missing to 15 bytes is filled with int3. */
static bool parse_bytes(const char *hex)
{
	unsigned n = 0, byte;

	memset(options.bytes, BOX_FILL, sizeof(options.bytes));
	for (; n < INSN_MAX_LENGTH && sscanf(hex, "%2x", &byte) == 1; hex += 2) {
		options.bytes[n++] = (uint8_t)byte;
		if (!hex[0] || !hex[1] || !hex[2])
			break;
	}
	options.given = true;
	options.random_percent = 100;
	return n != 0;
}

static bool set_option(int option, const char *value)
{
	switch (option) {
	case 'n':
		options.cases = strtoull(value, NULL, 0);
		return true;
	case 'F':
		options.first = strtoull(value, NULL, 0);
		return true;
	case 's':
		options.seed = strtoull(value, NULL, 0);
		return true;
	case 'f':
		options.forms = value;
		return true;
	case 'k':
		options.one_case = strtoull(value, NULL, 0);
		options.one = true;
		return true;
	case 'e':
		options.engine = value;
		return true;
	case 'd':
		options.max_diffs = (unsigned)strtoul(value, NULL, 0);
		return true;
	case 'r':
		options.random_percent = (unsigned)strtoul(value, NULL, 0);
		return true;
	case 'm':
		options.mode = value;
		return true;
	case 'b':
		return parse_bytes(value);
	case 'l':
		options.list_forms = true;
		return true;
	case 'M':
		options.list_missed = true;
		return true;
	case 'h':
		options.help = true;
		return true;
	default:
		return false;
	}
}

static void print_rerun(const struct oracle_case *c)
{
	printf("  rerun: oracle --seed %" PRIu64 " --mode %s --random %u", options.seed, options.mode,
	       options.random_percent);
	if (options.forms)
		printf(" --forms '%s'", options.forms);
	printf(" --case %" PRIu64 "\n\n", c->number);
	fflush(stdout);
}

/* ---- Forms to run ---- */

static void find_forms(struct form_table *t)
{
	bool all = !strcmp(options.mode, "all");

	if (all || !strcmp(options.mode, "64"))
		forms_find(t, CODE_64, guest_model());
	if (!all && strcmp(options.mode, "32"))
		return;
	if (native_runs_32bit())
		forms_find(t, CODE_32, guest_model());
	else
		printf("32-bit code is left out: this host does not run it\n");
}

static int select_forms(struct generator *g)
{
	const struct form_table *t = g->forms;
	regex_t pattern;
	char text[128];

	if (regcomp(&pattern, options.forms ? options.forms : ".", REG_EXTENDED | REG_NOSUB)) {
		fprintf(stderr, "oracle: --forms: not a regular expression\n");
		return -1;
	}
	g->choice = calloc(2 * t->count + 1, sizeof(*g->choice));
	if (!g->choice)
		LM_BUG("no memory");
	for (unsigned general = 1; general + 1; general--) {
		for (size_t k = 0; k < t->count; k++) {
			form_describe(&t->form[k], text, sizeof(text));
			if (t->form[k].excluded || t->form[k].general != general ||
			    regexec(&pattern, text, 0, NULL, 0))
				continue;
			g->choice[g->choices++] = (uint32_t)k;
			g->general += general;
		}
	}
	regfree(&pattern);
	if (options.forms)
		g->random_percent = 0;
	return g->choices ? 0 : -1;
}

static void list_forms(const struct form_table *t)
{
	char text[128];

	for (size_t k = 0; k < t->count; k++) {
		form_describe(&t->form[k], text, sizeof(text));
		printf("%-64s %s%s%s\n", text, t->form[k].group, t->form[k].excluded ? " excluded: " : "",
		       t->form[k].excluded ? t->form[k].excluded : "");
	}
}

/* ---- Cases ---- */

static struct oracle_case now;
static struct outcome host, engine;
static struct verdict verdict;

/* True when both agree. */
static bool run_case(void)
{
	bool agree;

	native_executor.execute(&now, &host);
	guest_executor.execute(&now, &engine);
	known_adopt(&now, &host, native_executor.data, &engine, guest_executor.data);
	agree = outcomes_agree(&now, &host, native_executor.data, &engine, guest_executor.data,
			       &verdict) ||
		known_difference(&now, &host, &engine);
	native_executor.restore(&now);
	guest_executor.restore(&now);
	return agree;
}

static void count_case(struct tally *n)
{
	n->cases++;
	n->random += !now.form;
	n->excepted += host.excepted;
	if (now.form) {
		now.form->executed++;
		now.form->excepted += host.excepted;
	}
}

static void run_number(struct generator *g, uint64_t number, struct tally *n)
{
	switch (generate_case(g, number, &now)) {
	case CASE_SKIPPED:
		n->skipped++;
		return;
	case CASE_HOST_ONLY:
		n->host_only++;
		return;
	case CASE_OK:
		break;
	}
	if (!run_case()) {
		n->differences++;
		report_case(&now, &verdict, guest_executor.name);
		print_rerun(&now);
	}
	count_case(n);
}

static int run_all(struct generator *g)
{
	struct tally n = { 0 };
	struct timespec start, end;
	double seconds;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (uint64_t k = options.first; k < options.cases && n.differences < options.max_diffs; k++)
		run_number(g, k, &n);
	clock_gettime(CLOCK_MONOTONIC, &end);
	seconds = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
	report_coverage(g->forms, &n, options.list_missed);
	for (unsigned k = 0; k < KNOWN_REASONS; k++)
		if (known_counts[k].reason)
			printf("explained: %" PRIu64 " cases: %s\n", known_counts[k].cases,
			       known_counts[k].reason);
	printf("seed %" PRIu64 ", engine %s: %.0f s, %.0f cases/s\n", options.seed, guest_executor.name,
	       seconds, (double)n.cases / seconds);
	return n.differences != 0;
}

static int run_one(struct generator *g)
{
	bool agree;

	if (generate_case(g, options.one_case, &now) != CASE_OK) {
		printf("case %" PRIu64 " is not run\n", options.one_case);
		return 1;
	}
	agree = run_case();
	report_case(&now, &verdict, guest_executor.name);
	report_outcome(native_executor.name, &host);
	report_outcome(guest_executor.name, &engine);
	return !agree;
}

int main(int argc, char **argv)
{
	const char *unsupported = native_unsupported();
	struct form_table forms = { 0 };
	struct generator g = { .forms = &forms };
	struct lm_err err;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		if (!set_option(option, optarg))
			return 2;
	if (options.help) {
		fputs(usage, stdout);
		return 0;
	}
	if (unsupported) {
		printf("skipped: %s\n", unsupported);
		return 77;
	}
	g.seed = options.seed;
	g.random_percent = options.random_percent;
	g.bytes = options.given ? options.bytes : NULL;
	if (sandbox_init(options.seed, &err) || guest_init(options.engine, &err) || native_init(&err)) {
		fprintf(stderr, "oracle: %s\n", err.text);
		return 2;
	}
	g.model = guest_model();
	find_forms(&forms);
	if (options.list_forms) {
		list_forms(&forms);
		return 0;
	}
	if (select_forms(&g))
		return 2;
	generator_init(&g);
	return options.one ? run_one(&g) : run_all(&g);
}
