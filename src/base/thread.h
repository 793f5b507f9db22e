/*
 * Starting threads, with a stack whose size does not hang on `ulimit -s`, which may be too small for
 * a thread or too large for many of them.
 */
#ifndef LM_BASE_THREAD_H
#define LM_BASE_THREAD_H

#include <pthread.h>

/* Returns 0 or a negative errno. */
int thread_start(pthread_t *thread, void *(*run)(void *opaque), void *opaque);

/* The same with all signals blocked: they are for the threads that expect them. */
int thread_start_quiet(pthread_t *thread, void *(*run)(void *opaque), void *opaque);

#endif
