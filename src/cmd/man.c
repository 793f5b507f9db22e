/* lamina man: the manual page in man(7) macros; the build installs its output. */
#include <stdio.h>
#include <string.h>

#include "cmd/help.h"
#include "cmd/options.h"
#include "cmd/status.h"
#include "cmd/verb.h"

/* Text as it is: groff's own characters are escaped, also a leading dot or quote. */
static void put_text(const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", stdout);
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", stdout);
		else if (*text == '-')
			fputs("\\-", stdout);
		else
			putchar(*text);
	}
}

static void put_line(const char *text)
{
	put_text(text);
	putchar('\n');
}

static void put_paragraph(const char *text)
{
	puts(".PP");
	put_line(text);
}

static void put_option(const struct option *o)
{
	fputs(".TP\n", stdout);
	if (o->letter)
		printf("\\fB\\-%c\\fR, ", o->letter);
	fputs("\\fB\\-\\-", stdout);
	put_text(o->name);
	fputs("\\fR", stdout);
	if (o->arg) {
		fputs(" \\fI", stdout);
		put_text(o->arg);
		fputs("\\fR", stdout);
	}
	putchar('\n');
	put_text(o->help);
	if (o->fallback) {
		fputs(" (default: ", stdout);
		put_text(o->fallback);
		putchar(')');
	}
	puts(".");
}

static void put_verb(const struct verb *verb)
{
	fputs(".SS lamina ", stdout);
	put_text(verb->name);
	fputs(verb->options ? " [\\fIOPTION\\fR...] " : " ", stdout);
	put_text(verb->operands ? verb->operands : "");
	putchar('\n');
	fputs("The verb to ", stdout);
	put_text(verb->summary);
	puts(".");
	for (const char *const *p = verb->paragraphs; p && *p; p++)
		put_paragraph(*p);
	for (const struct option *o = verb->options; o && o->name; o++)
		put_option(o);
	for (const struct verb *const *v = verb->subverbs; v && *v; v++)
		put_verb(*v);
}

static void put_statuses(void)
{
	puts(".SH EXIT STATUS");
	for (const struct status_text *s = status_texts; s->value; s++) {
		puts(".TP");
		put_line(s->value);
		put_line(s->meaning);
	}
}

static int man_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct operands rest;
	int ret = options_parse(self, argc, argv, NULL, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	puts(".TH LAMINA 1 \"\" \"lamina " LAMINA_VERSION "\" \"User Commands\"\n"
	     ".SH NAME\nlamina \\- run virtual x86\\-64 machines, with or without /dev/kvm\n"
	     ".SH SYNOPSIS\n\\fBlamina\\fR \\fIVERB\\fR [\\fIOPTION\\fR...]\n"
	     ".SH DESCRIPTION\nEach verb takes \\fB\\-\\-help\\fR. \\fBlamina \\-\\-version\\fR "
	     "prints the version.\n.SH VERBS");
	for (const struct verb *const *v = verbs; *v; v++)
		if (!(*v)->hidden)
			put_verb(*v);
	put_statuses();
	puts(".SH FILES\n.TP\n\\fI${XDG_CACHE_HOME:\\-~/.cache}/lamina/guest/current\\fR\n"
	     "The default guest: kernel, initial RAM disk, disk image, manifest.json.");
	return 0;
}

const struct verb man_verb = {
    .name = "man",
    .summary = "print the manual page as source for man(1)",
    .hidden = true,
    .run = man_main,
};
