#include "migration/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

#define HEAD_SIZE 8

static const char *const names[FRAME_TYPES] = {
	[FRAME_HELLO] = "hello", [FRAME_READY] = "ready",   [FRAME_PAGES] = "pages",
	[FRAME_BLOCKS] = "blocks", [FRAME_ROUND] = "round", [FRAME_STATE] = "state",
	[FRAME_LOADED] = "loaded", [FRAME_COMMIT] = "commit", [FRAME_DONE] = "done",
	[FRAME_ERROR] = "error",
};

int frame_greet(struct wire *w, struct lm_err *err)
{
	uint8_t mine[8], its[8];
	int rc;

	le_store(mine, FRAME_MAGIC, 8);
	rc = wire_write(w, mine, sizeof(mine), err);
	if (!rc)
		rc = wire_read(w, its, sizeof(its), err);
	if (!rc && memcmp(mine, its, sizeof(mine)) != 0)
		rc = lm_err_set(err, -EPROTO, "the other side speaks something else: another version of "
					      "lamina, or TLS (a key on one side only)");
	return rc;
}

int frame_send(struct wire *w, enum frame_type type, const void *data, uint32_t len,
	       struct lm_err *err)
{
	uint8_t head[HEAD_SIZE];
	int rc;

	le_store(head, type, 4);
	le_store(head + 4, len, 4);
	rc = wire_write(w, head, sizeof(head), err);
	return rc || !len ? rc : wire_write(w, data, len, err);
}

int frame_send_json(struct wire *w, enum frame_type type, json_t *json, struct lm_err *err)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	int rc;

	json_decref(json);
	if (!text)
		return lm_err_set(err, -EINVAL, "a path or word is no valid UTF-8");
	if (strlen(text) > FRAME_JSON_MAX)
		rc = lm_err_set(err, -E2BIG, "too much state");
	else
		rc = frame_send(w, type, text, (uint32_t)strlen(text), err);
	free(text);
	return rc;
}

void frame_send_error(struct wire *w, const struct lm_err *why)
{
	json_t *text = json_string(why->text);

	frame_send_json(w, FRAME_ERROR,
			json_pack("{s:o}", "text", text ? text : json_string("failed")), NULL);
}

static uint32_t length_limit(enum frame_type type)
{
	return type == FRAME_PAGES || type == FRAME_BLOCKS ? FRAME_BYTES_MAX : FRAME_JSON_MAX;
}

int frame_json(struct wire *w, const struct frame *f, json_t **out, struct lm_err *err)
{
	char *text = malloc(f->len + 1);
	json_error_t why;
	int rc;

	*out = NULL;
	if (!text)
		return lm_err_set(err, -ENOMEM, "no memory for a message");
	rc = wire_read(w, text, f->len, err);
	if (!rc) {
		*out = json_loadb(text, f->len, JSON_REJECT_DUPLICATES, &why);
		if (!json_is_object(*out))
			rc = lm_err_set(err, -EPROTO, "a strange message: %s",
					*out ? "no object" : why.text);
	}
	free(text);
	if (rc) {
		json_decref(*out);
		*out = NULL;
	}
	return rc;
}

/* Its words, shown as the other side's. */
static int take_error(struct wire *w, const struct frame *f, struct lm_err *err)
{
	const char *text;
	json_t *json;
	int rc = frame_json(w, f, &json, err);

	if (rc < 0)
		return rc;
	text = json_string_value(json_object_get(json, "text"));
	rc = lm_err_set(err, -ECANCELED, "the other side says: %.300s", text ? text : "no");
	json_decref(json);
	return rc;
}

int frame_next(struct wire *w, struct frame *f, struct lm_err *err)
{
	uint8_t head[HEAD_SIZE];
	uint64_t type;
	int rc = wire_read(w, head, sizeof(head), err);

	if (rc < 0)
		return rc;
	type = le_load(head, 4);
	f->type = (enum frame_type)type;
	f->len = (uint32_t)le_load(head + 4, 4);
	if (type < 1 || type >= FRAME_TYPES || f->len > length_limit(f->type))
		return lm_err_set(err, -EPROTO, "a strange message (type %llu, %u bytes)",
				  (unsigned long long)type, f->len);
	return f->type == FRAME_ERROR ? take_error(w, f, err) : 0;
}

int frame_expect(struct wire *w, enum frame_type type, json_t **out, struct lm_err *err)
{
	struct frame f;
	json_t *json;
	int rc = frame_next(w, &f, err);

	if (rc < 0)
		return rc;
	if (f.type != type)
		return lm_err_set(err, -EPROTO, "a message \"%s\" in place of \"%s\"", names[f.type],
				  names[type]);
	rc = frame_json(w, &f, &json, err);
	if (!rc && out)
		*out = json;
	else if (!rc)
		json_decref(json);
	return rc;
}
