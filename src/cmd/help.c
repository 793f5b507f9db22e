/* lamina help, and --help of every verb. */
#include "cmd/help.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/options.h"
#include "cmd/status.h"

#define WIDTH  80
#define COLUMN 26 /* where explanations start */

/* Prints text wrapped, the cursor being at `column`; further lines start at `indent`. */
static void print_wrapped(const char *text, unsigned column, unsigned indent)
{
	const char *separator = "";

	while (*text) {
		unsigned len = (unsigned)strcspn(text, " ");

		if (column + strlen(separator) + len > WIDTH && column > indent) {
			printf("\n%*s", (int)indent, "");
			column = indent;
			separator = "";
		}
		column += (unsigned)printf("%s%.*s", separator, (int)len, text);
		separator = " ";
		text += len + (text[len] == ' ');
	}
	putchar('\n');
}

/* "  left      right", the right side wrapped; it starts on its own line where left is long. */
static void print_row(const char *left, const char *right)
{
	int n = printf("  %s", left);

	if (n > COLUMN - 2) {
		putchar('\n');
		n = 0;
	}
	printf("%*s", COLUMN - n, "");
	print_wrapped(right, COLUMN, COLUMN);
}

static void print_option(const struct option *o)
{
	char left[80], right[400];
	size_t n = 0;

	if (o->letter)
		n = (size_t)snprintf(left, sizeof(left), "-%c, ", o->letter);
	snprintf(left + n, sizeof(left) - n, "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
	snprintf(right, sizeof(right), "%s%s%s%s", o->help, o->fallback ? " (default: " : "",
		 o->fallback ? o->fallback : "", o->fallback ? ")" : "");
	print_row(left, right);
}

int print_help(const struct verb *verb)
{
	printf("usage: lamina %s%s%s%s\n\n%c%s.\n", verb->name, verb->options ? " [OPTION...]" : "",
	       verb->operands ? " " : "", verb->operands ? verb->operands : "",
	       verb->summary[0] & ~0x20, verb->summary + 1);
	for (const char *const *p = verb->paragraphs; p && *p; p++) {
		putchar('\n');
		print_wrapped(*p, 0, 0);
	}
	if (verb->subverbs)
		puts("\nVerbs:");
	for (const struct verb *const *v = verb->subverbs; v && *v; v++)
		print_row((*v)->name + strlen(verb->name) + 1, (*v)->summary);
	puts("\nOptions:");
	for (const struct option *o = verb->options; o && o->name; o++)
		print_option(o);
	print_row("--help", "print this");
	if (!verb->statuses)
		return 0;
	puts("\nExit status:");
	for (const struct status_text *s = status_texts; s->value; s++)
		print_row(s->value, s->meaning);
	return 0;
}

int print_overview(void)
{
	puts("usage: lamina VERB [OPTION...]\n\n"
	     "Runs virtual x86-64 machines: with or without /dev/kvm.\n\nVerbs:");
	for (const struct verb *const *v = verbs; *v; v++)
		if (!(*v)->hidden)
			print_row((*v)->name, (*v)->summary);
	puts("\nlamina VERB --help tells the options of a verb; lamina --version the version.");
	return 0;
}

/* "image create" as two words. */
static const struct verb *find_with_subverb(char **words)
{
	const struct verb *verb = verb_find(words[0]);

	for (const struct verb *const *v = verb ? verb->subverbs : NULL; v && *v && words[1]; v++)
		if (!strcmp((*v)->name + strlen(verb->name) + 1, words[1]))
			return *v;
	return verb;
}

static int help_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct operands rest;
	const struct verb *verb;
	int ret = options_parse(self, argc, argv, NULL, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	if (!rest.count)
		return print_overview();
	verb = find_with_subverb(rest.words);
	if (!verb)
		return lm_err_set(err, -EINVAL, "no verb \"%.*s\"; lamina help lists them", SHOWN_MAX,
				  rest.words[0]);
	return print_help(verb);
}

const struct verb help_verb = {
    .name = "help",
    .summary = "list the verbs, or tell about one",
    .operands = "[VERB]",
    .run = help_main,
};
