#include "cmd/firmware_files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"

#define VARS_WORD ",vars="

/* Where Debian's packages (and most others') have them. */
static const struct {
	const char *name, *package;
	const char *code, *vars_template;
} known[] = {
	{ "seabios", "seabios", "/usr/share/seabios/bios-256k.bin", NULL },
	{ "ovmf", "ovmf", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd" },
};

static const char vga_bios[] = "/usr/share/seabios/vgabios-stdvga.bin";

static int check_readable(const char *path, const char *package, struct lm_err *err)
{
	if (!access(path, R_OK))
		return 0;
	if (package)
		return lm_err_errno(err, -errno, "%s: install the package %s", path, package);
	return lm_err_errno(err, -errno, "%s", path);
}

/* OVMF_CODE.fd has its variables' template beside it, as OVMF_VARS.fd. */
static void find_template(struct firmware_choice *choice)
{
	const char *base = strrchr(choice->path, '/');
	const char *word = strstr(base ? base : choice->path, "_CODE");

	if (!word)
		return;
	snprintf(choice->template, sizeof(choice->template), "%.*s_VARS%s",
		 (int)(word - choice->path), choice->path, word + strlen("_CODE"));
	if (!access(choice->template, R_OK))
		choice->files.vars_template = choice->template;
}

static int choose_known(struct firmware_choice *choice, unsigned k, struct lm_err *err)
{
	choice->files.code = known[k].code;
	choice->files.vars_template = known[k].vars_template;
	return check_readable(known[k].code, known[k].package, err);
}

static int choose_file(struct firmware_choice *choice, struct lm_err *err)
{
	choice->files.code = choice->path;
	find_template(choice);
	return check_readable(choice->path, NULL, err);
}

static int choose_code(struct firmware_choice *choice, struct lm_err *err)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(known); k++)
		if (!strcmp(choice->path, known[k].name))
			return choose_known(choice, k, err);
	return choose_file(choice, err);
}

int firmware_choose(struct firmware_choice *choice, const char *value, struct lm_err *err)
{
	const char *vars = strstr(value, VARS_WORD);
	size_t len = vars ? (size_t)(vars - value) : strlen(value);
	int rc;

	choice->files = (struct firmware_files){ 0 };
	if (!len || len >= sizeof(choice->path))
		return lm_err_set(err, -EINVAL, "the choices are seabios, ovmf, or a file's name");
	memcpy(choice->path, value, len);
	choice->path[len] = 0;
	rc = choose_code(choice, err);
	if (rc < 0)
		return rc;
	if (!access(vga_bios, R_OK))
		choice->files.vga = vga_bios;
	if (!vars)
		return 0;
	snprintf(choice->vars, sizeof(choice->vars), "%s", vars + strlen(VARS_WORD));
	choice->files.vars = choice->vars;
	if (!choice->files.vars_template)
		return lm_err_set(err, -EINVAL, "%s has no variables to keep", choice->path);
	return *choice->vars ? 0 : lm_err_set(err, -EINVAL, "vars= needs a file's name");
}
