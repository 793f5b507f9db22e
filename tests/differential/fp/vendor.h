/*
 * Lamina follows Intel's CPUs. Where a host of another vendor is known to answer otherwise, and the
 * architecture leaves room for it, the difference is listed here.
 */
#ifndef LM_TESTS_FP_VENDOR_H
#define LM_TESTS_FP_VENDOR_H

#include "fp_diff.h"

/* Turns our outcome of a case into the one that this host's vendor is known for. False, and
 * nothing changed, where no listed difference applies; always so on Intel. */
bool fp_vendor_outcome(const char *op, const struct fp_case *c, struct fp_outcome *soft);

#endif
