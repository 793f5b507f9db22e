/* What the guest has open: file handles (`fh`) and their descriptors. Any thread. */
#ifndef LM_BACKEND_FS_HANDLE_H
#define LM_BACKEND_FS_HANDLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fs_handle {
	int fd;
	bool dir;
	unsigned users; /* calls in progress, and one while it is open */
	uint32_t slot;
	pthread_mutex_t position_lock; /* folders: the descriptor's position belongs to one call */
};

struct fs_handles {
	pthread_mutex_t lock;
	struct fs_handle **slot;
	uint32_t slots, first_free, count, max;
};

int handles_init(struct fs_handles *t, uint32_t max);
void handles_clear(struct fs_handles *t);
void handles_fini(struct fs_handles *t);

/* fd is the table's from here on; 0 or a negative errno. */
int handle_add(struct fs_handles *t, int fd, bool dir, uint64_t *fh);
/* NULL for one that is not open, or not of this kind. */
struct fs_handle *handle_get(struct fs_handles *t, uint64_t fh, bool dir);
void handle_put(struct fs_handles *t, struct fs_handle *h);
/* The guest closed it; false where it was not open. */
bool handle_close(struct fs_handles *t, uint64_t fh);

#endif
