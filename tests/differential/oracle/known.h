/* Where host processors are known to differ from the model, with reasons. */
#ifndef ORACLE_KNOWN_H
#define ORACLE_KNOWN_H

#include "oracle.h"

/*
 * Called with the outcomes of both sides before they are compared: brings the host's, and its data
 * pages, to the model's where the architecture or its vendor leaves a choice.
 */
void known_adopt(const struct oracle_case *c, struct outcome *host, uint8_t *host_data,
		 const struct outcome *engine, const uint8_t *engine_data);

/* Called with outcomes that differ: why they may, or NULL. */
const char *known_difference(const struct oracle_case *c, const struct outcome *host,
			     const struct outcome *engine);

#define KNOWN_REASONS 40

/* How often each reason was given; rows not met have none. */
struct known_count {
	const char *reason;
	uint64_t cases;
};

extern struct known_count known_counts[KNOWN_REASONS];

#endif
