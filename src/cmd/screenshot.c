/* lamina screenshot: what is on a machine's screen, as a picture or as text. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cmd/control.h"
#include "cmd/help.h"
#include "cmd/picture.h"
#include "control/client.h"
#include "dev/display.h"

#define ANSWER_MS 30000

static const char *const paragraphs[] = {
	"Writes a picture of the machine's screen to FILE, in the format PNG; to a FILE that ends in "
	".txt, or - for standard output, the text of a screen in text mode, as UTF-8.",
	NULL,
};

struct shot {
	const char *kind;
	int width, height;
	json_t *text; /* borrowed; NULL unless in text mode */
	int fd;	      /* pixels */
};

static bool wants_text(const char *file)
{
	size_t len = strlen(file);

	return !strcmp(file, "-") || (len > 4 && !strcmp(file + len - 4, ".txt"));
}

static int write_text(const struct shot *shot, FILE *out, struct lm_err *err)
{
	json_t *row;
	size_t n;

	if (!shot->text)
		return lm_err_set(err, -EINVAL, "the screen has no text: it is %s; write a .png", shot->kind);
	json_array_foreach(shot->text, n, row)
		fprintf(out, "%s\n", json_string_value(row) ? json_string_value(row) : "");
	return 0;
}

static int write_png(const struct shot *shot, FILE *out, struct lm_err *err)
{
	size_t size = sizeof(uint32_t) * (size_t)shot->width * (size_t)shot->height;
	void *pixels = mmap(NULL, size, PROT_READ, MAP_PRIVATE, shot->fd, 0);
	int ret;

	if (pixels == MAP_FAILED || lseek(shot->fd, 0, SEEK_END) < (off_t)size)
		return lm_err_set(err, -EIO, "the machine did not send the whole screen");
	ret = picture_save(out, pixels, (unsigned)shot->width, (unsigned)shot->height, err);
	munmap(pixels, size);
	return ret;
}

static int finish(FILE *out, int ret, const char *file, const char *part, struct lm_err *err)
{
	if ((fflush(out) || ferror(out)) && !ret)
		ret = lm_err_errno(err, -errno, "cannot write %s", file);
	fclose(out);
	if (!ret && rename(part, file))
		ret = lm_err_errno(err, -errno, "cannot create %s", file);
	if (ret)
		unlink(part);
	return ret;
}

/* Under another name until it is whole. */
static int write_file(const struct shot *shot, const char *file, struct lm_err *err)
{
	char part[4096];
	FILE *out;
	int ret;

	if (!strcmp(file, "-"))
		return write_text(shot, stdout, err);
	if ((size_t)snprintf(part, sizeof(part), "%s.%d.part", file, (int)getpid()) >= sizeof(part))
		return lm_err_set(err, -ENAMETOOLONG, "too long a name: %.60s", file);
	out = fopen(part, "wxe");
	if (!out)
		return lm_err_errno(err, -errno, "cannot create %s", file);
	ret = wants_text(file) ? write_text(shot, out, err) : write_png(shot, out, err);
	return finish(out, ret, file, part, err);
}

static int read_answer(struct shot *shot, json_t *result, struct lm_err *err)
{
	shot->text = json_object_get(result, "text");
	if (json_unpack(result, "{s:s, s:i, s:i}", "kind", &shot->kind, "width", &shot->width,
			"height", &shot->height) ||
	    shot->width < 1 || shot->width > (int)DISPLAY_MAX_WIDTH || shot->height < 1 ||
	    shot->height > (int)DISPLAY_MAX_HEIGHT)
		return lm_err_set(err, -EPROTO, "the machine's answer makes no sense");
	return 0;
}

static int shoot(struct control_client *c, const char *file, struct lm_err *err)
{
	struct shot shot = { .fd = memfd_create("lamina-screenshot", MFD_CLOEXEC) };
	struct control_call call = {
		.command = "screenshot", .timeout_ms = ANSWER_MS, .fd = &shot.fd,
		.fds = wants_text(file) ? 0 : 1,
	};
	json_t *result = NULL;
	int ret;

	if (shot.fd < 0)
		return lm_err_errno(err, -errno, "no memory for the picture");
	ret = control_call(c, &call, &result, err);
	if (!ret)
		ret = read_answer(&shot, result, err);
	if (!ret)
		ret = write_file(&shot, file, err);
	json_decref(result);
	close(shot.fd);
	return ret;
}

static int screenshot_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct control_client client;
	struct operands rest;
	int ret = options_parse(self, argc, argv, NULL, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	if (rest.count != 2)
		return lm_err_set(err, -EINVAL, "lamina screenshot wants a machine's NAME and a FILE");
	ret = control_client_open(&client, rest.words[0], err);
	if (ret)
		return ret;
	ret = shoot(&client, rest.words[1], err);
	control_client_close(&client);
	return ret;
}

const struct verb screenshot_verb = {
	.name = "screenshot",
	.summary = "a picture of a machine's screen, or its text",
	.operands = "NAME FILE",
	.paragraphs = paragraphs,
	.run = screenshot_main,
};
