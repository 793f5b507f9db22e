#include "base/bug.h"

#include <stdio.h>
#include <stdlib.h>

void lm_bug(const char *file, int line, const char *what)
{
	fprintf(stderr, "lamina: internal error at %s:%d: %s; please report it\n", file, line, what);
	abort();
}
