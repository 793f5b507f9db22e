/* What the manuals leave open, and where processors are known to differ. */
#ifndef ORACLE_UNDEFINED_H
#define ORACLE_UNDEFINED_H

#include "oracle.h"

/* The status flags that SDM vol. 2 leaves undefined after this case. */
uint32_t undefined_flags(const struct oracle_case *c);

/* How far a result may be off. */
enum tolerance {
	EXACT,
	ESTIMATE,       /* |relative error| <= 1.5 * 2^-12 on either side */
	LAST_BIT,       /* one unit in the last place of an x87 result */
	ANY_NAN32,      /* one NaN for another in each 32-bit lane */
	ANY_NAN64,      /* the same in 64-bit lanes */
	NO_DESTINATION, /* the destination is undefined */
};

enum tolerance result_tolerance(const struct oracle_case *c);

#endif
