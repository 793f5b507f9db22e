/*
 * The host's exceptions, as Linux tells programs. Apart from native.c because the C library's names
 * for registers collide with lamina's.
 */
#ifndef ORACLE_SIGNALS_H
#define ORACLE_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>

struct host_context {
	uint64_t gpr[16]; /* in encoding order */
	uint64_t rip, rflags, cr2;
	uint32_t error;
	uint16_t cs;
	uint8_t vector;
	bool hung;        /* not an exception: the watchdog's signal */
	const void *fp;   /* XSAVE area in the standard form */
};

/* Called in the handler, on its own stack; may leave by native_leave. False: not one of ours. */
bool native_caught(const struct host_context *h);

/* Asked once a second by another thread: is the case stuck that was running a second ago? */
bool native_stuck(void);

/*
 * 0 or a negative errno. After the engine was created: faults that are not a case's go on to the
 * handlers it installed. The calling thread is the one that runs cases.
 */
int signals_init(void);

#endif
