/*
 * The unit tests' few words: CHECK and CHECK_EQ print place and values and count a failure; a test
 * program returns check_done(), which prints the closing line.
 */
#ifndef LM_TESTS_CHECK_H
#define LM_TESTS_CHECK_H

#include <stdio.h>

static unsigned check_passed, check_failed;

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (cond) {                                                                        \
			check_passed++;                                                            \
		} else {                                                                           \
			check_failed++;                                                            \
			fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__,   \
				#cond);                                                            \
		}                                                                                  \
	} while (0)

#define CHECK_EQ(got, want)                                                                        \
	do {                                                                                       \
		unsigned long long got_ = (unsigned long long)(got);                               \
		unsigned long long want_ = (unsigned long long)(want);                             \
		if (got_ == want_) {                                                               \
			check_passed++;                                                            \
		} else {                                                                           \
			check_failed++;                                                            \
			fprintf(stderr, "%s:%d: %s: %s is 0x%llx, not 0x%llx\n", __FILE__,         \
				__LINE__, __func__, #got, got_, want_);                            \
		}                                                                                  \
	} while (0)

static inline int check_done(void)
{
	printf("%u passed, %u failed\n", check_passed, check_failed);
	return check_failed || !check_passed ? 1 : 0;
}

#endif
