/* SIGINT, SIGTERM and SIGHUP while a machine runs. */
#ifndef LM_CMD_SIGNALS_H
#define LM_CMD_SIGNALS_H

/*
 * From now on the first such signal calls quit(opaque) in the handler, which must be safe there;
 * the second one kills the process as if nobody had caught it. A signal that was ignored stays
 * ignored.
 */
void signals_catch(void (*quit)(void *opaque), void *opaque);

/* Back to what was before; quit is not called after this. */
void signals_restore(void);

#endif
