/* lamina completion: scripts for shells, written from the tables. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/help.h"
#include "cmd/options.h"
#include "cmd/verb.h"

static bool takes_file(const struct option *o)
{
	return o->arg && !strncmp(o->arg, "FILE", 4);
}

/* "a|b|c": the words that the option knows. */
static bool takes_words(const struct option *o)
{
	return o->arg && strchr(o->arg, '|') && !takes_file(o);
}

/* Prints words, which are separated by |, with spaces instead. */
static void put_words(const char *words)
{
	for (; *words; words++)
		putchar(*words == '|' ? ' ' : *words);
}

/* Inside single quotes of any of the three shells; no table text has a backslash. */
static void put_quoted(const char *text, const char *quote)
{
	for (; *text; text++)
		if (*text == '\'')
			fputs(quote, stdout);
		else
			putchar(*text);
}

static void put_verb_names(void)
{
	for (const struct verb *const *v = verbs; *v; v++)
		if (!(*v)->hidden)
			printf("%s ", (*v)->name);
}

/* The operands of verbs: words to complete, or NULL. */
static const char *operand_words(const struct verb *verb)
{
	const char *o = verb->operands;

	return o && strchr(o, '|') ? o : NULL;
}

static void bash_verb(const struct verb *verb)
{
	printf("\t%s)\n\t\tcase $prev in\n", verb->name);
	for (const struct option *o = verb->options; o && o->name; o++) {
		if (takes_words(o)) {
			printf("\t\t--%s) COMPREPLY=($(compgen -W '", o->name);
			put_words(o->arg);
			puts("' -- \"$cur\")); return ;;");
		} else if (takes_file(o)) {
			printf("\t\t--%s) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n",
			       o->name);
		} else if (o->arg) {
			printf("\t\t--%s) return ;;\n", o->name);
		}
	}
	fputs("\t\tesac\n\t\twords='--help ", stdout);
	for (const struct option *o = verb->options; o && o->name; o++)
		printf("--%s ", o->name);
	for (const struct option *o = verb->options; o && o->name; o++)
		if (o->letter)
			printf("-%c ", o->letter);
	if (operand_words(verb))
		put_words(operand_words(verb));
	if (verb == &help_verb)
		put_verb_names();
	puts("' ;;");
}

static void bash_script(void)
{
	fputs("# bash completion for lamina; try: . <(lamina completion bash)\n"
	      "_lamina() {\n"
	      "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words word\n"
	      "\tCOMPREPLY=()\n"
	      "\tfor word in \"${COMP_WORDS[@]:2:COMP_CWORD-2}\"; do\n"
	      "\t\t[ \"$word\" = -- ] && return\n"
	      "\tdone\n"
	      "\tcase $COMP_CWORD in\n\t1) words='--help --version ",
	      stdout);
	put_verb_names();
	puts("' ;;\n\t*)\n\tcase ${COMP_WORDS[1]} in");
	for (const struct verb *const *v = verbs; *v; v++)
		if (!(*v)->hidden)
			bash_verb(*v);
	puts("\tesac ;;\n\tesac\n"
	     "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
	     "complete -F _lamina lamina");
}

/* Inside '...[...]' of _arguments: brackets and colons mean something. */
static void put_zsh_text(const char *text)
{
	for (; *text; text++) {
		if (strchr("[]:", *text))
			putchar('\\');
		if (*text == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*text);
	}
}

static void zsh_option(const struct option *o)
{
	printf("\t\t\t'*--%s[", o->name);
	put_zsh_text(o->help);
	putchar(']');
	if (takes_words(o)) {
		fputs(":value:(", stdout);
		put_words(o->arg);
		putchar(')');
	} else if (o->arg) {
		fputs(takes_file(o) ? ":file:_files" : ":value: ", stdout);
	}
	puts("' \\");
}

static void zsh_verb(const struct verb *verb)
{
	printf("\t\t%s) _arguments -S \\\n", verb->name);
	for (const struct option *o = verb->options; o && o->name; o++)
		zsh_option(o);
	if (operand_words(verb)) {
		fputs("\t\t\t'1:word:(", stdout);
		put_words(operand_words(verb));
		puts(")' \\");
	}
	if (verb == &help_verb) {
		fputs("\t\t\t'1:verb:(", stdout);
		put_verb_names();
		puts(")' \\");
	}
	puts("\t\t\t'--help[print help]' ;;");
}

static void zsh_script(void)
{
	puts("#compdef lamina\n"
	     "_lamina() {\n"
	     "\tlocal -a verbs\n\tverbs=(");
	for (const struct verb *const *v = verbs; *v; v++) {
		if ((*v)->hidden)
			continue;
		printf("\t\t'%s:", (*v)->name);
		put_quoted((*v)->summary, "'\\''");
		puts("'");
	}
	puts("\t)\n\tif ((CURRENT == 2)); then\n\t\t_describe verb verbs\n\t\treturn\n\tfi\n"
	     "\tlocal verb=$words[2]\n\tshift words\n\t((CURRENT--))\n\tcase $verb in");
	for (const struct verb *const *v = verbs; *v; v++)
		if (!(*v)->hidden)
			zsh_verb(*v);
	puts("\tesac\n}\n"
	     "if [ \"$funcstack[1]\" = _lamina ]; then _lamina \"$@\"; else compdef _lamina "
	     "lamina; fi");
}

static void fish_option(const struct verb *verb, const struct option *o)
{
	printf("complete -c lamina -n '__fish_seen_subcommand_from %s' -l %s ", verb->name,
	       o->name);
	if (o->letter)
		printf("-s %c ", o->letter);
	fputs("-d '", stdout);
	put_quoted(o->help, "\\'");
	putchar('\'');
	if (takes_words(o)) {
		fputs(" -x -a '", stdout);
		put_words(o->arg);
		putchar('\'');
	} else if (o->arg) {
		fputs(takes_file(o) ? " -rF" : " -x", stdout);
	}
	putchar('\n');
}

static void fish_verb(const struct verb *verb)
{
	printf("complete -c lamina -n __fish_use_subcommand -a %s -d '", verb->name);
	put_quoted(verb->summary, "\\'");
	puts("'");
	for (const struct option *o = verb->options; o && o->name; o++)
		fish_option(verb, o);
	if (operand_words(verb) || verb == &help_verb) {
		printf("complete -c lamina -n '__fish_seen_subcommand_from %s' -a '", verb->name);
		if (operand_words(verb))
			put_words(operand_words(verb));
		else
			put_verb_names();
		puts("'");
	}
}

static void fish_script(void)
{
	puts("complete -c lamina -f\n"
	     "complete -c lamina -l help -d 'print help'\n"
	     "complete -c lamina -n __fish_use_subcommand -l version -d 'print the version'");
	for (const struct verb *const *v = verbs; *v; v++)
		if (!(*v)->hidden)
			fish_verb(*v);
}

static int completion_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	static const struct {
		const char *name;
		void (*print)(void);
	} shells[] = {{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}};
	struct operands rest;
	int ret = options_parse(self, argc, argv, NULL, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	for (size_t k = 0; rest.count == 1 && k < sizeof(shells) / sizeof(shells[0]); k++) {
		if (!strcmp(rest.words[0], shells[k].name)) {
			shells[k].print();
			return 0;
		}
	}
	return lm_err_set(err, -EINVAL, "which shell? lamina completion %s", self->operands);
}

const struct verb completion_verb = {
    .name = "completion",
    .summary = "print a completion script for a shell",
    .operands = "bash|zsh|fish",
    .run = completion_main,
};
