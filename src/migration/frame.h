/*
 * What goes over the wire: frames of a type and a length, then that many bytes. docs/migration.md has
 * the order in which they come.
 */
#ifndef LM_MIGRATION_FRAME_H
#define LM_MIGRATION_FRAME_H

#include <jansson.h>

#include "migration/wire.h"

#define FRAME_MAGIC	UINT64_C(0x31306d616e696d6c) /* "lminam01", the format's version in it */
#define FRAME_JSON_MAX	(16u << 20)
#define FRAME_BYTES_MAX (4u << 20)

enum frame_type {
	FRAME_HELLO = 1, /* source: JSON, the manifest */
	FRAME_READY,	 /* target: JSON; a machine like that is there */
	FRAME_PAGES,	 /* source: pages of memory (pages.h) */
	FRAME_BLOCKS,	 /* source: pages of a disk */
	FRAME_ROUND,	 /* source: JSON; a round has ended; target answers by FRAME_READY */
	FRAME_STATE,	 /* source: JSON; all else has been sent */
	FRAME_LOADED,	 /* target: JSON; it could run now */
	FRAME_COMMIT,	 /* source: JSON; it runs no more */
	FRAME_DONE,	 /* target: JSON; it runs */
	FRAME_ERROR,	 /* either: JSON {"text"}, the last frame */
	FRAME_TYPES,
};

struct frame {
	enum frame_type type;
	uint32_t len;
};

/* Both sides first: what they speak. */
int frame_greet(struct wire *w, struct lm_err *err);

int frame_send(struct wire *w, enum frame_type type, const void *data, uint32_t len,
	       struct lm_err *err);
/* Steals the JSON. */
int frame_send_json(struct wire *w, enum frame_type type, json_t *json, struct lm_err *err);
/* As the last word; failures do not matter any more. */
void frame_send_error(struct wire *w, const struct lm_err *why);

/* The next frame's head. FRAME_ERROR becomes the error that it tells. */
int frame_next(struct wire *w, struct frame *f, struct lm_err *err);
/* Its body as JSON, for json_decref. */
int frame_json(struct wire *w, const struct frame *f, json_t **out, struct lm_err *err);
/* The next frame must be of this type. out may be NULL. */
int frame_expect(struct wire *w, enum frame_type type, json_t **out, struct lm_err *err);

#endif
