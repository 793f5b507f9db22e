/*
 * Field tables on damaged sections: bytes of a good one are changed, cut and inserted. What loads
 * must be within the table's bounds, and saving it must give what loads to the same again.
 */
#include <stdlib.h>
#include <string.h>

#include "../unit/fields_sample.h"
#include "base/bug.h"
#include "fuzz.h"

static char *good_text(void)
{
	struct sample s = { .index = 3, .fifo_count = 2, .list_count = 2, .lanes = 3, .name = "x" };
	json_t *json = NULL;
	char *text;

	LM_BUG_ON(fields_save(&sample_section, &s, &json, NULL));
	text = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	return text;
}

static void damage(struct fuzz_input *in, char *text, size_t len)
{
	static const char likely[] = "0123456789abcdefx\"[]{},:-.";

	for (unsigned n = fuzz_take(in, 1) % 8; n; n--) {
		size_t at = fuzz_take(in, 2) % len;
		uint64_t choice = fuzz_take(in, 2);

		text[at] = choice & 0x100 ? (char)choice : likely[choice % (sizeof(likely) - 1)];
		if (choice & 0x1000) /* a piece of the text once more, elsewhere */
			memmove(text + at, text + choice % len,
				LM_MIN((size_t)(choice >> 8), len - LM_MAX(at, choice % len)));
	}
}

static void check_loaded(struct sample *s)
{
	struct sample again;
	json_t *json = NULL;

	LM_BUG_ON(s->index > 7 || s->fifo_count > 8 || s->list_count > 4 || s->colour > BLUE);
	LM_BUG_ON(s->derived != UINT64_C(1) << s->index || s->name[7]);
	LM_BUG_ON(fields_save(&sample_section, s, &json, NULL));
	memset(&again, 0, sizeof(again));
	again.lanes = 3;
	LM_BUG_ON(fields_load(&sample_section, &again, json, NULL));
	LM_BUG_ON(memcmp(s, &again, sizeof(again)) != 0);
	json_decref(json);
}

static void fuzz_one(struct fuzz_input *in)
{
	static char *good;
	struct sample s;
	char *text;
	json_t *json;

	if (!good)
		good = good_text();
	text = strdup(good);
	damage(in, text, strlen(text));
	json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	memset(&s, 0, sizeof(s));
	s.lanes = 3;
	if (json && !fields_load(&sample_section, &s, json, NULL))
		check_loaded(&s);
	json_decref(json);
	free(text);
}
