/* CPU models from JSON, as snapshots and files have them: never an incomplete one. */
#include <string.h>

#include "base/bits.h"
#include "base/bug.h"
#include "fuzz.h"
#include "isa/x86/model.h"

#define TEXT_MAX 2048

static void fuzz_one(struct fuzz_input *in)
{
	static const char *const words[] = {
		"{", "}", "[", "]", ":", ",", "\"name\"", "\"features\"", "\"base\"", "\"v2\"", "true", "false",
		"\"x\"", "1e999", "null", "\"\\u0000\"",
		"{\"name\":\"a\",\"features\":[\"mmx\",\"sse\",\"sse2\",\"nx\",\"syscall\",\"lm\"",
	};
	struct model_features m, here;
	struct lm_err err = { 0 };
	char text[TEXT_MAX + 128];
	size_t len = 0;
	json_t *json;

	while (in->p < in->end && len < TEXT_MAX) {
		unsigned what = (unsigned)fuzz_take(in, 1);
		const char *feature = model_feature_name((enum x86_feature)(what % F_COUNT));

		if (what < 100)
			len += (size_t)snprintf(text + len, 128, "%s", words[what % LM_ARRAY_SIZE(words)]);
		else if (what < 240)
			len += (size_t)snprintf(text + len, 128, ",\"%s\"", feature);
		else
			text[len++] = (char)fuzz_take(in, 1);
	}
	json = json_loadb(text, len, 0, NULL);
	if (!json)
		return;
	if (model_from_json(&m, json, &err))
		LM_BUG_ON(!err.text[0]);
	else
		LM_BUG_ON(!(m.features >> F_LM & 1) || !m.name[0]);
	model_choose(&here, "v3", NULL);
	LM_BUG_ON(model_check(&m, &here, &err) && !(m.features & ~here.features));
	json_decref(json);
}
