#include "control/screen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/cp437.h"
#include "backend/keyboard.h"
#include "base/bits.h"
#include "dev/display.h"

/* ---- screenshot ---- */

static json_t *row_text(const struct display_cell *cells, unsigned columns)
{
	char text[DISPLAY_MAX_COLUMNS * CP437_UTF8_MAX];
	size_t len = 0;

	for (unsigned k = 0; k < columns; k++)
		len += cp437_utf8(cells[k].character, text + len);
	while (len && text[len - 1] == ' ')
		len--;
	return json_stringn(text, len);
}

static int add_text(const struct display *d, const struct display_mode *mode, json_t *result,
		    struct lm_err *err)
{
	struct display_cell *cells = calloc(mode->columns * mode->rows, sizeof(*cells));
	json_t *rows = json_array();

	if (!cells || !rows) {
		free(cells);
		json_decref(rows);
		return lm_err_set(err, -ENOMEM, "no memory for the screen's text");
	}
	d->cells(d->opaque, mode, cells);
	for (unsigned row = 0; row < mode->rows; row++)
		json_array_append_new(rows, row_text(cells + row * mode->columns, mode->columns));
	free(cells);
	return json_object_set_new(result, "text", rows);
}

static int write_pixels(const struct display *d, const struct display_mode *mode, int fd,
			struct lm_err *err)
{
	size_t size = sizeof(uint32_t) * mode->width * mode->height, done = 0;
	uint8_t *pixels = malloc(size);
	int rc = 0;

	if (!pixels)
		return lm_err_set(err, -ENOMEM, "no memory for the screen's pixels");
	d->pixels(d->opaque, mode, (uint32_t *)pixels);
	while (!rc && done < size) {
		ssize_t n = write(fd, pixels + done, size - done);

		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR)
			rc = lm_err_errno(err, -errno, "cannot hand over the screen's pixels");
	}
	free(pixels);
	return rc;
}

static const char *const kinds[] = {
	[DISPLAY_BLANK] = "blank",
	[DISPLAY_TEXT] = "text",
	[DISPLAY_GRAPHICS] = "graphics",
};

/* Pixels go to the descriptor that came along, a regular file or memfd, which does not block. */
int control_screenshot(struct control_request *r, json_t *args, json_t *result, struct lm_err *err)
{
	const struct display *d = machine_display(r->machine);
	struct display_mode mode;
	int rc = control_unpack(args, err, "{}");

	if (rc < 0)
		return rc;
	if (!d)
		return lm_err_set(err, -ENODEV, "this machine has no screen: it was started without firmware");
	d->mode(d->opaque, &mode);
	json_object_set_new(result, "kind", json_string(kinds[mode.kind]));
	json_object_set_new(result, "width", json_integer(mode.width));
	json_object_set_new(result, "height", json_integer(mode.height));
	if (mode.kind == DISPLAY_TEXT)
		rc = add_text(d, &mode, result, err);
	if (!rc && mode.kind == DISPLAY_TEXT && mode.cursor)
		json_object_set_new(result, "cursor", json_pack("[ii]", (int)mode.cursor_column,
								(int)mode.cursor_row));
	return !rc && r->fds ? write_pixels(d, &mode, r->fd[0], err) : rc;
}

/* ---- sendkeys ---- */

static int send_chord(struct keyboard *k, const char *text, struct lm_err *err)
{
	const struct key *keys[KEYBOARD_CHORD];
	unsigned count = keys_parse_chord(text, keys, KEYBOARD_CHORD);

	if (!count)
		return lm_err_set(err, -EINVAL, "no such key: \"%.40s\"", text);
	if (!keyboard_chord(k, keys, count))
		return lm_err_set(err, -EAGAIN, "too many keys at once; the guest has not read the last ones");
	return 0;
}

static int type_text(struct keyboard *k, const char *text, struct lm_err *err)
{
	for (; *text; text++) {
		const struct key *keys[2] = { key_by_name("shift", strlen("shift")) };
		bool shift = false;

		keys[1] = key_by_character(*text, &shift);
		if (!keys[1])
			return lm_err_set(err, -EINVAL, "no key types the byte 0x%02x",
					  (uint8_t)*text);
		if (!keyboard_chord(k, keys + !shift, 1u + shift))
			return lm_err_set(err, -EAGAIN,
					  "too much text at once; the guest has not read the last");
	}
	return 0;
}

int control_sendkeys(struct control_request *r, json_t *args, json_t *result, struct lm_err *err)
{
	struct keyboard *k = machine_keyboard(r->machine);
	json_t *keys = NULL, *key;
	const char *text = "";
	size_t n;
	int rc = control_unpack(args, err, "{s?o, s?s}", "keys", &keys, "text", &text);

	if (rc < 0)
		return rc;
	json_array_foreach(keys, n, key) {
		rc = json_is_string(key) ? send_chord(k, json_string_value(key), err)
					 : lm_err_set(err, -EINVAL, "keys: an array of strings");
		if (rc < 0)
			return rc;
	}
	return type_text(k, text, err);
}
