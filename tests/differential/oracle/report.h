/* What a person reads: a difference, and how much was covered. */
#ifndef ORACLE_REPORT_H
#define ORACLE_REPORT_H

#include "compare.h"
#include "forms.h"

struct tally {
	uint64_t cases, random, skipped, host_only, excepted, differences;
};

void report_case(const struct oracle_case *c, const struct verdict *v, const char *engine);
void report_outcome(const char *who, const struct outcome *o);
void report_coverage(const struct form_table *t, const struct tally *n, bool list_missed);

#endif
