/* Our own bugs: never used on outside data. */
#ifndef LM_BASE_BUG_H
#define LM_BASE_BUG_H

_Noreturn void lm_bug(const char *file, int line, const char *what);

#define LM_BUG(what)     lm_bug(__FILE__, __LINE__, (what))
#define LM_BUG_ON(cond)                                                                            \
	do {                                                                                       \
		if (__builtin_expect(!!(cond), 0))                                                 \
			LM_BUG(#cond);                                                             \
	} while (0)

#endif
