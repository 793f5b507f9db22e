/* The command: finds the verb, prints its error if there is one, and ends with its status. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/help.h"
#include "cmd/options.h"
#include "cmd/status.h"
#include "cmd/verb.h"

const struct verb *const verbs[] = {
    &run_verb, &ps_verb, &pause_verb, &resume_verb, &stop_verb, &balloon_verb,
    &migrate_verb, &receive_verb, &snapshot_verb, &restore_verb, &clone_verb,
    &screenshot_verb, &sendkeys_verb, &image_verb, &doctor_verb, &completion_verb, &man_verb, &help_verb, &net_slirp_verb,
    NULL,
};

const struct verb *verb_find(const char *name)
{
	for (const struct verb *const *v = verbs; *v; v++)
		if (!strcmp((*v)->name, name))
			return *v;
	return NULL;
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
	return lm_err_set(err, -EINVAL, "unknown verb \"%.*s\"; lamina help lists them",
			  SHOWN_MAX, word);
}

/* What was printed may still fail to be written, on a full disk. */
static int finish_output(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	fprintf(stderr, "lamina: cannot write to standard output: %s\n", strerror(errno));
	return STATUS_ERROR;
}

/*
 * A standard descriptor that the caller has closed must not become one of ours, to which output would
 * go: its number gets what can be neither read nor written.
 */
static void occupy_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/", O_PATH) != fd)
			abort();
}

int main(int argc, char **argv)
{
	struct lm_err err = {0};
	const struct verb *verb;
	int ret;

	occupy_standard_descriptors();
	signal(SIGXFSZ, SIG_IGN); /* a file beyond `ulimit -f` is an error like any other */
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
	log_line(LOG_ERROR, "%s", err.text);
	return STATUS_ERROR;
}
