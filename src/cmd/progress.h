/* A bar on standard error while something takes long; nothing where that is no terminal. */
#ifndef LM_CMD_PROGRESS_H
#define LM_CMD_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what; /* one word or two */
	bool shown;	  /* there is a line to be finished */
	int64_t last_ns;  /* when it was drawn */
};

void progress_tell(void *progress, uint64_t done, uint64_t all);
/* Removes the bar. */
void progress_end(struct progress *p);

#endif
