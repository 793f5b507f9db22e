/* The command: finds the verb, prints its error if there is one, and ends with its status. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/help.h"
#include "cmd/options.h"
#include "cmd/status.h"
#include "cmd/verb.h"

const struct verb *const verbs[] = {
    &run_verb, &doctor_verb, &completion_verb, &man_verb, &help_verb, NULL,
};

const struct verb *verb_find(const char *name)
{
	for (const struct verb *const *v = verbs; *v; v++)
		if (!strcmp((*v)->name, name))
			return *v;
	return NULL;
}

static void unknown_verb(const char *word)
{
	const char *names[sizeof(verbs) / sizeof(verbs[0])];
	const char *near;
	size_t n = 0;

	for (const struct verb *const *v = verbs; *v; v++)
		if (!(*v)->hidden)
			names[n++] = (*v)->name;
	names[n] = NULL;
	near = nearest_word(word, names);
	if (near)
		fprintf(stderr, "lamina: unknown verb \"%s\"; did you mean \"%s\"?\n", word, near);
	else
		fprintf(stderr, "lamina: unknown verb \"%s\"; lamina help lists them\n", word);
}

/* What was printed may still fail to be written, on a full disk. */
static int finish_output(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	fprintf(stderr, "lamina: cannot write to standard output: %s\n", strerror(errno));
	return STATUS_ERROR;
}

int main(int argc, char **argv)
{
	struct lm_err err = {0};
	const struct verb *verb;
	int ret;

	if (argc < 2) {
		fputs("lamina: no verb; lamina help lists them\n", stderr);
		return STATUS_ERROR;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts("lamina " LAMINA_VERSION);
		return finish_output(STATUS_OK);
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return finish_output(print_overview());
	verb = verb_find(argv[1]);
	if (!verb) {
		unknown_verb(argv[1]);
		return STATUS_ERROR;
	}
	ret = verb->run(verb, argc - 1, argv + 1, &err);
	if (ret >= 0)
		return finish_output(ret);
	fprintf(stderr, "lamina: %s\n", err.text);
	return STATUS_ERROR;
}
