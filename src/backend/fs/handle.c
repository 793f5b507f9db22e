#include "backend/fs/handle.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

int handles_init(struct fs_handles *t, uint32_t max)
{
	*t = (struct fs_handles){.max = max};
	pthread_mutex_init(&t->lock, NULL);
	t->slot = calloc(max, sizeof(struct fs_handle *));
	t->slots = max;
	return t->slot ? 0 : -ENOMEM;
}

static void unref(struct fs_handles *t, struct fs_handle *h)
{
	if (--h->users)
		return;
	close(h->fd);
	pthread_mutex_destroy(&h->position_lock);
	free(h);
	t->count--;
}

static void close_slot(struct fs_handles *t, uint32_t slot)
{
	struct fs_handle *h = t->slot[slot];

	t->slot[slot] = NULL;
	t->first_free = slot;
	unref(t, h);
}

void handles_clear(struct fs_handles *t)
{
	for (uint32_t k = 0; k < t->slots; k++)
		if (t->slot[k])
			close_slot(t, k);
}

void handles_fini(struct fs_handles *t)
{
	if (t->slot)
		handles_clear(t);
	free(t->slot);
	pthread_mutex_destroy(&t->lock);
}

int handle_add(struct fs_handles *t, int fd, bool dir, uint64_t *fh)
{
	struct fs_handle *h = calloc(1, sizeof(*h));

	pthread_mutex_lock(&t->lock);
	if (!h || t->count == t->max) {
		pthread_mutex_unlock(&t->lock);
		free(h);
		close(fd);
		return -ENFILE;
	}
	while (t->slot[t->first_free])
		t->first_free = (t->first_free + 1) % t->slots;
	h->fd = fd;
	h->dir = dir;
	h->users = 1;
	h->slot = t->first_free;
	pthread_mutex_init(&h->position_lock, NULL);
	t->slot[h->slot] = h;
	t->count++;
	*fh = h->slot;
	pthread_mutex_unlock(&t->lock);
	return 0;
}

struct fs_handle *handle_get(struct fs_handles *t, uint64_t fh, bool dir)
{
	struct fs_handle *h;

	pthread_mutex_lock(&t->lock);
	h = fh < t->slots ? t->slot[fh] : NULL;
	if (h && h->dir != dir)
		h = NULL;
	if (h)
		h->users++;
	pthread_mutex_unlock(&t->lock);
	return h;
}

void handle_put(struct fs_handles *t, struct fs_handle *h)
{
	pthread_mutex_lock(&t->lock);
	unref(t, h);
	pthread_mutex_unlock(&t->lock);
}

bool handle_close(struct fs_handles *t, uint64_t fh)
{
	bool open;

	pthread_mutex_lock(&t->lock);
	open = fh < t->slots && t->slot[fh];
	if (open)
		close_slot(t, (uint32_t)fh);
	pthread_mutex_unlock(&t->lock);
	return open;
}
