#include "backend/fs/inode.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"

#define SLOTS_START 1024 /* and buckets */

/* ---- Finding ---- */

static struct fs_inode **bucket_of(const struct fs_inodes *t, dev_t dev, ino_t ino)
{
	uint64_t h = (ino ^ dev << 40) * UINT64_C(0x9e3779b97f4a7c15);

	return &t->bucket[(h >> 32) & (t->buckets - 1)];
}

static struct fs_inode *find(const struct fs_inodes *t, const struct stat *st)
{
	struct fs_inode *i = *bucket_of(t, st->st_dev, st->st_ino);

	while (i && (i->dev != st->st_dev || i->ino != st->st_ino))
		i = i->hash_next;
	return i;
}

static void hash_add(struct fs_inodes *t, struct fs_inode *i)
{
	struct fs_inode **head = bucket_of(t, i->dev, i->ino);

	i->hash_next = *head;
	*head = i;
}

static void hash_remove(struct fs_inodes *t, struct fs_inode *i)
{
	struct fs_inode **at = bucket_of(t, i->dev, i->ino);

	while (*at != i)
		at = &(*at)->hash_next;
	*at = i->hash_next;
}

/* Doubles slots and buckets; false without memory, and nothing has changed. */
static bool grow(struct fs_inodes *t)
{
	uint32_t n = t->slots * 2;
	struct fs_inode **slot, **bucket = calloc(n, sizeof(struct fs_inode *));

	if (!bucket)
		return false;
	slot = realloc(t->slot, n * sizeof(struct fs_inode *));
	if (!slot) {
		free(bucket);
		return false;
	}
	memset(slot + t->slots, 0, t->slots * sizeof(struct fs_inode *));
	t->slot = slot;
	t->slots = n;
	free(t->bucket);
	t->bucket = bucket;
	t->buckets = n;
	for (uint32_t k = 0; k < n / 2; k++)
		if (slot[k])
			hash_add(t, slot[k]);
	return true;
}

static bool take_slot(struct fs_inodes *t, struct fs_inode *i)
{
	if (t->count == t->max || (t->count == t->slots && !grow(t)))
		return false;
	while (t->slot[t->first_free])
		t->first_free = (t->first_free + 1) & (t->slots - 1);
	i->slot = t->first_free;
	t->slot[i->slot] = i;
	t->count++;
	return true;
}

/* ---- Descriptors ---- */

static void lru_remove(struct fs_inodes *t, struct fs_inode *i)
{
	if (t->oldest != i && !i->older)
		return; /* not in the list */
	*(i->older ? &i->older->newer : &t->oldest) = i->newer;
	*(i->newer ? &i->newer->older : &t->newest) = i->older;
	i->older = i->newer = NULL;
}

static void lru_add(struct fs_inodes *t, struct fs_inode *i)
{
	i->older = t->newest;
	i->newer = NULL;
	*(t->newest ? &t->newest->newer : &t->oldest) = i;
	t->newest = i;
}

/* Called whenever something of this has changed. */
static void update_lru(struct fs_inodes *t, struct fs_inode *i)
{
	lru_remove(t, i);
	if (i->fd >= 0 && i->parent && !i->pinned && !i->users)
		lru_add(t, i);
}

static void close_fd(struct fs_inodes *t, struct fs_inode *i)
{
	lru_remove(t, i);
	if (i->fd < 0)
		return;
	close(i->fd);
	i->fd = -1;
	t->fds--;
}

static void set_fd(struct fs_inodes *t, struct fs_inode *i, int fd)
{
	i->fd = fd;
	t->fds++;
	update_lru(t, i);
}

/* Makes room for one more descriptor; false where all are needed. */
static bool spare_fd(struct fs_inodes *t)
{
	while (t->fds >= t->max_fds && t->oldest)
		close_fd(t, t->oldest);
	return t->fds < t->max_fds;
}

/* The parent is a folder and so has its descriptor. */
static int open_again(struct fs_inodes *t, struct fs_inode *i)
{
	struct stat st;
	int fd;

	if (!spare_fd(t))
		return -ENFILE;
	fd = confine_lookup(t->confine, i->parent->fd, i->name, false, &st);
	if (fd < 0)
		return fd == -EMFILE || fd == -ENFILE ? -ENFILE : -ESTALE;
	if (st.st_dev != i->dev || st.st_ino != i->ino || (st.st_mode & S_IFMT) != i->type) {
		close(fd);
		return -ESTALE;
	}
	set_fd(t, i, fd);
	return 0;
}

/* ---- Where an inode was seen ---- */

static void release(struct fs_inodes *t, struct fs_inode *i);

static void lose_place(struct fs_inodes *t, struct fs_inode *i)
{
	struct fs_inode *parent = i->parent;

	free(i->name);
	i->name = NULL;
	i->parent = NULL;
	if (!parent)
		return;
	parent->children--;
	release(t, parent);
}

/* Folders need no place; without memory for the name the descriptor stays open. */
static void set_place(struct fs_inodes *t, struct fs_inode *i, struct fs_inode *parent,
		      const char *name)
{
	char *copy;

	if (i->type == S_IFDIR || (i->parent == parent && !strcmp(i->name, name)))
		return;
	copy = strdup(name);
	if (!copy)
		return;
	parent->children++;
	lose_place(t, i);
	i->parent = parent;
	i->name = copy;
	i->pinned = false;
	update_lru(t, i);
}

/* Frees an inode that nobody needs. Its parent, a folder, has no parent of its own: no recursion. */
static void release(struct fs_inodes *t, struct fs_inode *i)
{
	if (i->lookups || i->users || i->children || i == &t->root)
		return;
	hash_remove(t, i);
	t->slot[i->slot] = NULL;
	t->first_free = i->slot;
	t->count--;
	close_fd(t, i);
	lose_place(t, i);
	free(i);
}

/* ---- For calls ---- */

int inode_get(struct fs_inodes *t, uint64_t nodeid, struct fs_inode **out)
{
	struct fs_inode *i = NULL;
	int rc = 0;

	pthread_mutex_lock(&t->lock);
	if (nodeid >= FUSE_ROOT_ID && nodeid - FUSE_ROOT_ID < t->slots)
		i = t->slot[nodeid - FUSE_ROOT_ID];
	if (!i)
		rc = -ENOENT;
	else if (i->fd < 0)
		rc = open_again(t, i);
	if (!rc) {
		i->users++;
		update_lru(t, i);
	}
	pthread_mutex_unlock(&t->lock);
	*out = i;
	return rc;
}

void inode_put(struct fs_inodes *t, struct fs_inode *i)
{
	pthread_mutex_lock(&t->lock);
	i->users--;
	update_lru(t, i);
	release(t, i);
	pthread_mutex_unlock(&t->lock);
}

static struct fs_inode *add(struct fs_inodes *t, int fd, const struct stat *st)
{
	struct fs_inode *i = spare_fd(t) ? calloc(1, sizeof(*i)) : NULL;

	if (!i || !take_slot(t, i)) {
		free(i);
		close(fd);
		return NULL;
	}
	i->type = st->st_mode & S_IFMT;
	i->dev = st->st_dev;
	i->ino = st->st_ino;
	hash_add(t, i);
	set_fd(t, i, fd);
	return i;
}

/* The known inode of fd, which is kept where the inode has none; NULL for an unknown one. */
static struct fs_inode *known(struct fs_inodes *t, int fd, const struct stat *st)
{
	struct fs_inode *i = find(t, st);

	if (!i)
		return NULL;
	if (i->fd < 0 && spare_fd(t))
		set_fd(t, i, fd);
	else
		close(fd);
	return i;
}

int inode_enter(struct fs_inodes *t, int fd, const struct stat *st, struct fs_inode *parent,
		const char *name, uint64_t *nodeid)
{
	struct fs_inode *i;

	pthread_mutex_lock(&t->lock);
	i = known(t, fd, st);
	if (!i)
		i = add(t, fd, st);
	if (i) {
		i->lookups++;
		set_place(t, i, parent, name);
		*nodeid = i->slot + FUSE_ROOT_ID;
	}
	pthread_mutex_unlock(&t->lock);
	return i ? 0 : -ENFILE;
}

void inode_forget(struct fs_inodes *t, uint64_t nodeid, uint64_t lookups)
{
	struct fs_inode *i;

	pthread_mutex_lock(&t->lock);
	if (nodeid > FUSE_ROOT_ID && nodeid - FUSE_ROOT_ID < t->slots) {
		i = t->slot[nodeid - FUSE_ROOT_ID];
		if (i) {
			i->lookups -= LM_MIN(i->lookups, lookups);
			release(t, i);
		}
	}
	pthread_mutex_unlock(&t->lock);
}

void inode_renamed(struct fs_inodes *t, int fd, const struct stat *st, struct fs_inode *parent,
		   const char *name)
{
	struct fs_inode *i;

	pthread_mutex_lock(&t->lock);
	i = known(t, fd, st);
	if (i)
		set_place(t, i, parent, name);
	else
		close(fd);
	pthread_mutex_unlock(&t->lock);
}

void inode_pin(struct fs_inodes *t, int fd, const struct stat *st)
{
	struct fs_inode *i;

	pthread_mutex_lock(&t->lock);
	i = known(t, fd, st);
	if (i) {
		i->pinned = true;
		update_lru(t, i);
	} else {
		close(fd);
	}
	pthread_mutex_unlock(&t->lock);
}

/* ---- The whole table ---- */

int inodes_init(struct fs_inodes *t, const struct confine *confine, int root_fd, uint32_t max,
		unsigned max_fds, struct lm_err *err)
{
	struct stat st;

	*t = (struct fs_inodes){.confine = confine, .max = max, .max_fds = max_fds};
	pthread_mutex_init(&t->lock, NULL);
	t->root.fd = root_fd;
	t->slot = calloc(SLOTS_START, sizeof(struct fs_inode *));
	t->bucket = calloc(SLOTS_START, sizeof(struct fs_inode *));
	if (!t->slot || !t->bucket)
		return lm_err_set(err, -ENOMEM, "no memory for a table of files");
	t->slots = t->buckets = SLOTS_START;
	if (fstat(root_fd, &st))
		return lm_err_errno(err, -errno, "cannot look at it");
	t->root.type = S_IFDIR;
	t->root.dev = st.st_dev;
	t->root.ino = st.st_ino;
	t->root.lookups = 1;
	take_slot(t, &t->root);
	hash_add(t, &t->root);
	t->fds = 1;
	return 0;
}

void inodes_clear(struct fs_inodes *t)
{
	for (uint32_t k = 0; k < t->slots; k++) {
		struct fs_inode *i = t->slot[k];

		if (!i || i == &t->root)
			continue;
		i->lookups = 0;
		release(t, i); /* a folder stays until its last child is gone */
	}
}

void inodes_fini(struct fs_inodes *t)
{
	if (t->slot)
		inodes_clear(t);
	free(t->slot);
	free(t->bucket);
	if (t->root.fd >= 0)
		close(t->root.fd);
	t->root.fd = -1;
	pthread_mutex_destroy(&t->lock);
}
