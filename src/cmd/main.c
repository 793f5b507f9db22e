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

/* One line, whatever file names and arguments in it contain. */
static void print_error(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	fprintf(stderr, "lamina: %s\n", text);
}

static int unknown_verb(const char *word, struct lm_err *err)
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
		return lm_err_set(err, -EINVAL, "unknown verb \"%s\"; did you mean \"%s\"?", word,
				  near);
	return lm_err_set(err, -EINVAL, "unknown verb \"%s\"; lamina help lists them", word);
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
	ret = verb ? verb->run(verb, argc - 1, argv + 1, &err) : unknown_verb(argv[1], &err);
	if (ret >= 0)
		return finish_output(ret);
	print_error(err.text);
	return STATUS_ERROR;
}
