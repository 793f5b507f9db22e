/* Judges two outcomes of a case. */
#ifndef ORACLE_COMPARE_H
#define ORACLE_COMPARE_H

#include "oracle.h"

#define MAX_DIFFERENCES 24

/* One field that differs, as text. */
struct difference {
	char field[24];
	char host[72], engine[72];
};

struct verdict {
	unsigned count;
	struct difference d[MAX_DIFFERENCES];
};

/* Fills v (may be NULL: only the answer matters); true when the outcomes agree. */
bool outcomes_agree(const struct oracle_case *c, const struct outcome *host, const uint8_t *host_data,
		    const struct outcome *engine, const uint8_t *engine_data, struct verdict *v);

#endif
