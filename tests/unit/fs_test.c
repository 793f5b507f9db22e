/* Shared folders: what a guest can do with one, and that it never gets out of it. */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fuse_client.h"

#define SECRET "secret of the host"

/* A folder with share/ and outside/ in it; the guest gets share/. */
struct box {
	char dir[64];
	int share, outside; /* descriptors */
	struct event_loop loop;
	struct fuse_client c;
};

static void put_file(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static bool has_text(int dir, const char *name, const char *text)
{
	char buf[256] = "";
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW);
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	close(fd);
	return n >= 0 && !strcmp(buf, text);
}

static void box_start(struct box *b, struct fs_options options)
{
	char share[80];

	snprintf(share, sizeof(share), "%s/share", b->dir);
	options.path = share;
	options.tag = "test";
	options.synchronous = true;
	options.max_files = 4096;
	options.shares = options.shares ? options.shares : 1;
	CHECK_EQ(fs_open(&b->c.dev, &options, &b->loop, NULL), 0);
	CHECK_EQ(fuse_init(&b->c), 0);
}

static void box_init(struct box *b, struct fs_options options)
{
	int top;

	memset(b, 0, sizeof(*b));
	strcpy(b->dir, "/tmp/lamina-fs-XXXXXX");
	CHECK(mkdtemp(b->dir) != NULL);
	top = open(b->dir, O_PATH | O_DIRECTORY);
	mkdirat(top, "share", 0755);
	mkdirat(top, "outside", 0755);
	b->share = openat(top, "share", O_RDONLY | O_DIRECTORY);
	b->outside = openat(top, "outside", O_RDONLY | O_DIRECTORY);
	close(top);
	put_file(b->outside, "secret", SECRET);
	CHECK_EQ(loop_init(&b->loop, true, NULL), 0);
	box_start(b, options);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void box_fini(struct box *b)
{
	CHECK(has_text(b->outside, "secret", SECRET));
	fs_close(b->c.dev);
	loop_fini(&b->loop);
	close(b->share);
	close(b->outside);
	nftw(b->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void test_files(void)
{
	struct box b;
	struct fuse_client *c = &b.c;
	struct fuse_mkdir_in dir_in = {.mode = 0751};
	uint64_t dir, node, fh;
	uint32_t mode;
	struct stat st;

	box_init(&b, (struct fs_options){.cache_s = 1});
	CHECK_EQ(FUSE_CALL(c, FUSE_MKDIR, FUSE_ROOT_ID, dir_in, "dir", NULL), 0);
	dir = fuse_entry(c, &mode);
	CHECK_EQ(mode, S_IFDIR | 0751);
	CHECK_EQ(fuse_create(c, dir, "file", 0606, &node, &fh), 0);
	CHECK_EQ(fuse_write(c, fh, 3, "hello"), 0);
	CHECK_EQ(fuse_read(c, fh, 1, 100), 0);
	CHECK_EQ(c->reply_len, 7);
	CHECK(!memcmp(fuse_reply_at(c, 0), "\0\0hello", 7));
	CHECK_EQ(fuse_release(c, fh), 0);
	CHECK_EQ(fuse_release(c, fh), -EBADF);
	CHECK_EQ(fuse_read(c, fh, 0, 1), -EBADF);
	CHECK_EQ(fstatat(b.share, "dir/file", &st, 0), 0);
	CHECK_EQ(st.st_mode, S_IFREG | 0606);
	CHECK_EQ(st.st_size, 8);
	CHECK_EQ(fuse_lookup(c, dir, "file"), node);
	CHECK_EQ(fuse_call(c, FUSE_UNLINK, dir, NULL, 0, "file", NULL), 0);
	CHECK_EQ(fuse_call(c, FUSE_RMDIR, FUSE_ROOT_ID, NULL, 0, "dir", NULL), 0);
	CHECK_EQ(fuse_lookup(c, FUSE_ROOT_ID, "dir"), 0);
	box_fini(&b);
}

/* Names that are not there: node 0 may be believed, where anything may. */
static void test_negative(void)
{
	struct box b;

	box_init(&b, (struct fs_options){.cache_s = 7});
	CHECK_EQ(fuse_call(&b.c, FUSE_LOOKUP, 1, NULL, 0, "nothing", NULL), 0);
	CHECK_EQ(b.c.reply_len, sizeof(struct fuse_entry_out));
	CHECK_EQ(fuse_entry(&b.c, NULL), 0);
	fs_close(b.c.dev);
	box_start(&b, (struct fs_options){.cache_s = 0});
	CHECK_EQ(fuse_call(&b.c, FUSE_LOOKUP, 1, NULL, 0, "nothing", NULL), -ENOENT);
	box_fini(&b);
}

static void test_read_only(void)
{
	struct box b;
	struct fuse_client *c = &b.c;
	struct fuse_mkdir_in dir_in = {.mode = 0755};
	struct fuse_setattr_in attr = {.valid = FATTR_SIZE};
	struct fuse_rename2_in rename_in = {.newdir = 1};
	uint64_t node, fh;

	box_init(&b, (struct fs_options){.read_only = true});
	put_file(b.share, "file", "text");
	node = fuse_lookup(c, 1, "file");
	CHECK(node > 1);
	CHECK_EQ(FUSE_CALL(c, FUSE_MKDIR, 1, dir_in, "dir", NULL), -EROFS);
	CHECK_EQ(fuse_create(c, 1, "new", 0644, &fh, &fh), -EROFS);
	CHECK_EQ(FUSE_CALL(c, FUSE_SETATTR, node, attr, NULL, NULL), -EROFS);
	CHECK_EQ(fuse_call(c, FUSE_UNLINK, 1, NULL, 0, "file", NULL), -EROFS);
	CHECK_EQ(FUSE_CALL(c, FUSE_RENAME2, 1, rename_in, "file", "other"), -EROFS);
	CHECK_EQ(fuse_open(c, node, O_RDWR, &fh), -EROFS);
	CHECK_EQ(fuse_open(c, node, O_RDONLY | O_TRUNC, &fh), -EROFS);
	CHECK_EQ(fuse_open(c, node, O_RDONLY, &fh), 0);
	CHECK_EQ(fuse_write(c, fh, 0, "TEXT"), -EROFS);
	CHECK(has_text(b.share, "file", "text"));
	box_fini(&b);
}

/* No word of a guest's is a path. */
static void test_names(void)
{
	static const char *const bad[] = {"", ".", "..", "/", "a/b", "../outside", "/tmp/lamina-fs-test-outside",
					  "dir/../../outside", "./dir"};
	static const uint32_t takes_name[] = {FUSE_LOOKUP, FUSE_UNLINK, FUSE_RMDIR};
	struct box b;
	struct fuse_client *c = &b.c;
	struct fuse_mkdir_in dir_in = {.mode = 0755};
	struct fuse_mknod_in node_in = {.mode = S_IFREG | 0644};
	struct fuse_rename2_in rename_in = {.newdir = 1};
	uint64_t dir, node, fh;

	box_init(&b, (struct fs_options){.cache_s = 1});
	mkdirat(b.share, "dir", 0755);
	put_file(b.share, "file", "text");
	dir = fuse_lookup(c, 1, "dir");
	for (size_t k = 0; k < LM_ARRAY_SIZE(bad); k++) {
		for (size_t n = 0; n < LM_ARRAY_SIZE(takes_name); n++)
			CHECK_EQ(fuse_call(c, takes_name[n], dir, NULL, 0, bad[k], NULL), -EINVAL);
		CHECK_EQ(FUSE_CALL(c, FUSE_MKDIR, dir, dir_in, bad[k], NULL), -EINVAL);
		CHECK_EQ(FUSE_CALL(c, FUSE_MKNOD, dir, node_in, bad[k], NULL), -EINVAL);
		CHECK_EQ(fuse_create(c, dir, bad[k], 0644, &node, &fh), -EINVAL);
		CHECK_EQ(fuse_call(c, FUSE_SYMLINK, dir, NULL, 0, bad[k], "x"), -EINVAL);
		CHECK_EQ(FUSE_CALL(c, FUSE_RENAME2, 1, rename_in, "file", bad[k]), -EINVAL);
		CHECK_EQ(FUSE_CALL(c, FUSE_RENAME2, dir, rename_in, bad[k], "file"), -EINVAL);
	}
	/* A name without an end. */
	fuse_begin(c, FUSE_LOOKUP, 1);
	fuse_add(c, "file", 4);
	CHECK_EQ(fuse_send(c), -EINVAL);
	CHECK(has_text(b.share, "file", "text"));
	box_fini(&b);
}

/* A link is a file with text in it: nothing goes through it. */
static void check_link(struct box *b, const char *target)
{
	struct fuse_client *c = &b->c;
	struct fuse_setattr_in attr = {.valid = FATTR_SIZE | FATTR_MODE, .mode = 0777};
	struct fuse_link_in link_in;
	struct fuse_open_in open_in = {.flags = O_RDONLY};
	struct fuse_getxattr_in xattr = {.size = 100};
	uint64_t node, fh, made;
	struct stat st;

	unlinkat(b->share, "link", 0);
	unlinkat(b->share, "second", 0);
	CHECK_EQ(symlinkat(target, b->share, "link"), 0);
	node = fuse_lookup(c, 1, "link");
	CHECK(node > 1);
	CHECK_EQ(fuse_call(c, FUSE_READLINK, node, NULL, 0, NULL, NULL), 0);
	CHECK_EQ(c->reply_len, strlen(target));
	CHECK_EQ(fuse_open(c, node, O_RDONLY, &fh), -ELOOP);
	CHECK_EQ(fuse_open(c, node, O_RDWR | O_TRUNC, &fh), -ELOOP);
	CHECK_EQ(FUSE_CALL(c, FUSE_OPENDIR, node, open_in, NULL, NULL), -ENOTDIR);
	CHECK_EQ(fuse_call(c, FUSE_LOOKUP, node, NULL, 0, "secret", NULL), -ENOTDIR);
	CHECK_EQ(fuse_create(c, node, "new", 0644, &made, &fh), -ENOTDIR);
	CHECK_EQ(fuse_create(c, 1, "link", 0644, &made, &fh), -ELOOP);
	CHECK_EQ(FUSE_CALL(c, FUSE_SETATTR, node, attr, NULL, NULL), -EOPNOTSUPP);
	attr.valid = FATTR_SIZE;
	CHECK_EQ(FUSE_CALL(c, FUSE_SETATTR, node, attr, NULL, NULL), -ELOOP);
	CHECK_EQ(FUSE_CALL(c, FUSE_GETXATTR, node, xattr, "user.x", NULL), -ENODATA);
	/* A second name for the link is one for the link, or none. */
	link_in.oldnodeid = node;
	if (!FUSE_CALL(c, FUSE_LINK, 1, link_in, "second", NULL)) {
		CHECK_EQ(fstatat(b->share, "second", &st, AT_SYMLINK_NOFOLLOW), 0);
		CHECK(S_ISLNK(st.st_mode));
	}
}

static void test_links(void)
{
	struct box b;
	char target[100];
	int secret;

	box_init(&b, (struct fs_options){.cache_s = 1});
	check_link(&b, "../outside/secret");
	check_link(&b, "../outside");
	check_link(&b, "/");
	snprintf(target, sizeof(target), "%s/outside", b.dir);
	check_link(&b, target);
	/* The descriptors of the process itself, its root and its memory. */
	secret = openat(b.outside, "secret", O_RDWR);
	snprintf(target, sizeof(target), "/proc/self/fd/%d", secret);
	check_link(&b, target);
	check_link(&b, "/proc/self/root");
	check_link(&b, "/proc/self/mem");
	close(secret);
	box_fini(&b);
}

/* The whole of the host shared: its kernel's file systems are not part of it. */
static void test_kernel_files(void)
{
	struct event_loop loop;
	static struct fuse_client c;
	struct fs_options o = {.path = "/", .tag = "root", .synchronous = true, .max_files = 100};

	CHECK_EQ(loop_init(&loop, true, NULL), 0);
	CHECK_EQ(fs_open(&c.dev, &o, &loop, NULL), 0);
	CHECK_EQ(fuse_call(&c, FUSE_LOOKUP, 1, NULL, 0, "proc", NULL), -EINVAL); /* before INIT */
	CHECK_EQ(fuse_init(&c), 0);
	CHECK_EQ(fuse_call(&c, FUSE_LOOKUP, 1, NULL, 0, "proc", NULL), -EACCES);
	if (!access("/sys/kernel", F_OK))
		CHECK_EQ(fuse_call(&c, FUSE_LOOKUP, 1, NULL, 0, "sys", NULL), -EACCES);
	CHECK(fuse_lookup(&c, 1, "tmp") > 1);
	fs_close(c.dev);
	loop_fini(&loop);
}

/* Nodes of devices and pipes are names: they are not opened here, and real ones not made. */
static void test_special(void)
{
	struct box b;
	struct fuse_client *c = &b.c;
	struct fuse_mknod_in in = {.mode = S_IFCHR | 0666, .rdev = 0x103};
	uint64_t fh, node;

	box_init(&b, (struct fs_options){.cache_s = 1});
	CHECK_EQ(FUSE_CALL(c, FUSE_MKNOD, 1, in, "null", NULL), -EPERM);
	in.mode = S_IFBLK | 0666;
	CHECK_EQ(FUSE_CALL(c, FUSE_MKNOD, 1, in, "null", NULL), -EPERM);
	in = (struct fuse_mknod_in){.mode = S_IFIFO | 0666};
	CHECK_EQ(FUSE_CALL(c, FUSE_MKNOD, 1, in, "pipe", NULL), 0);
	CHECK_EQ(fuse_open(c, fuse_entry(c, NULL), O_RDONLY, &fh), -ENXIO); /* does not wait */
	CHECK_EQ(fuse_create(c, 1, "pipe", 0644, &node, &fh), -ENXIO);
	if (!mknodat(b.share, "device", S_IFCHR | 0666, 0x103))
		CHECK_EQ(fuse_open(c, fuse_lookup(c, 1, "device"), O_RDWR, &fh), -ENXIO);
	box_fini(&b);
}

/* A host that changes "name" between a folder and a link to outside as fast as it can. */
struct swapper {
	const struct box *box;
	bool stop;
	unsigned swaps;
};

static void *swap(void *opaque)
{
	struct swapper *s = opaque;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		syscall(SYS_renameat2, s->box->share, "name", s->box->share, "other", 2 /* EXCHANGE */);
		s->swaps++;
	}
	return NULL;
}

static void race_once(struct fuse_client *c, unsigned round)
{
	uint64_t dir, node, fh;
	char name[16];

	snprintf(name, sizeof(name), "n%u", round % 50);
	dir = fuse_lookup(c, 1, "name");
	if (!dir)
		return;
	node = fuse_lookup(c, dir, "secret");
	CHECK_EQ(node, 0);
	if (!fuse_create(c, dir, name, 0644, &node, &fh)) {
		fuse_write(c, fh, 0, "overwritten");
		fuse_release(c, fh);
		fuse_forget(c, node, 1);
	}
	fuse_call(c, FUSE_UNLINK, dir, NULL, 0, round & 1 ? name : "secret", NULL);
	fuse_forget(c, dir, 1);
}

static void test_races(void)
{
	struct box b;
	struct swapper s = {.box = &b};
	pthread_t thread;
	DIR *list;

	box_init(&b, (struct fs_options){.cache_s = 0});
	mkdirat(b.share, "name", 0755);
	symlinkat("../outside", b.share, "other");
	CHECK_EQ(pthread_create(&thread, NULL, swap, &s), 0);
	for (unsigned k = 0; k < 4000; k++)
		race_once(&b.c, k);
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	CHECK(s.swaps > 0);
	/* Nothing came to be outside. */
	list = fdopendir(dup(b.outside));
	for (const struct dirent *e; list && (e = readdir(list));)
		CHECK(*e->d_name == '.' || !strcmp(e->d_name, "secret"));
	closedir(list);
	box_fini(&b);
}

/* A folder that the host has moved out of the share: what is above it stays out of reach. */
static void test_moved_out(void)
{
	struct box b;
	struct fuse_client *c = &b.c;
	uint64_t dir;

	box_init(&b, (struct fs_options){.cache_s = 1});
	mkdirat(b.share, "dir", 0755);
	dir = fuse_lookup(c, 1, "dir");
	CHECK_EQ(renameat(b.share, "dir", b.outside, "dir"), 0);
	CHECK_EQ(fuse_call(c, FUSE_LOOKUP, dir, NULL, 0, "..", NULL), -EINVAL);
	CHECK_EQ(fuse_call(c, FUSE_LOOKUP, dir, NULL, 0, "../secret", NULL), -EINVAL);
	box_fini(&b);
}

/* What ".." of the root is called must not tell of the host. */
static void test_root_list(void)
{
	struct box b;
	struct fuse_client *c = &b.c;
	struct fuse_open_in in = {.flags = O_RDONLY};
	struct fuse_open_out open_out;
	struct fuse_read_in read_in = {.size = 4096};
	struct stat st;
	size_t at = 0;
	unsigned seen = 0;

	box_init(&b, (struct fs_options){.cache_s = 1});
	fstat(b.share, &st);
	put_file(b.share, "file", "x");
	CHECK_EQ(FUSE_CALL(c, FUSE_OPENDIR, 1, in, NULL, NULL), 0);
	memcpy(&open_out, fuse_reply_at(c, 0), sizeof(open_out));
	read_in.fh = open_out.fh;
	CHECK_EQ(FUSE_CALL(c, FUSE_READDIR, 1, read_in, NULL, NULL), 0);
	while (at < c->reply_len) {
		const struct fuse_dirent *d = fuse_reply_at(c, at);

		if (d->namelen == 2 && !memcmp(d->name, "..", 2))
			CHECK_EQ(d->ino, st.st_ino);
		seen++;
		at += FUSE_DIRENT_SIZE(d);
	}
	CHECK_EQ(seen, 3);
	CHECK_EQ(fuse_read(c, open_out.fh, 0, 10), -EBADF); /* of another kind */
	/* Plus: the file has a node, and the dots have none that would have to be forgotten. */
	CHECK_EQ(FUSE_CALL(c, FUSE_READDIRPLUS, 1, read_in, NULL, NULL), 0);
	for (at = 0; at < c->reply_len;) {
		const struct fuse_direntplus *d = fuse_reply_at(c, at);

		CHECK_EQ(d->entry_out.nodeid != 0, d->dirent.namelen == 4);
		at += FUSE_DIRENTPLUS_SIZE(d);
	}
	box_fini(&b);
}

/* More files known than descriptors: each is still itself, also renamed and removed ones. */
static void test_many(void)
{
	enum { FILES = 300 };
	struct box b;
	struct fuse_client *c = &b.c;
	struct fuse_rename2_in rename_in = {.newdir = 1};
	uint64_t node[FILES], fh;
	char name[16], text[16];

	box_init(&b, (struct fs_options){.cache_s = 1, .shares = 1u << 30}); /* the least of descriptors */
	for (unsigned k = 0; k < FILES; k++) {
		snprintf(name, sizeof(name), "f%u", k);
		put_file(b.share, name, name);
		node[k] = fuse_lookup(c, 1, name);
	}
	CHECK_EQ(FUSE_CALL(c, FUSE_RENAME2, 1, rename_in, "f0", "moved"), 0);
	CHECK_EQ(fuse_call(c, FUSE_UNLINK, 1, NULL, 0, "f1", NULL), 0);
	CHECK_EQ(renameat(b.share, "f2", b.share, "f3"), 0); /* on the host, unknown to us */
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned k = 0; k < FILES; k++) {
			snprintf(text, sizeof(text), "f%u", k);
			if (k == 2 || k == 3) {
				CHECK_EQ(fuse_open(c, node[k], O_RDONLY, &fh), -ESTALE);
				continue;
			}
			CHECK_EQ(fuse_open(c, node[k], O_RDONLY, &fh), 0);
			CHECK_EQ(fuse_read(c, fh, 0, 100), 0);
			CHECK_EQ(c->reply_len, strlen(text));
			CHECK(!memcmp(fuse_reply_at(c, 0), text, c->reply_len));
			CHECK_EQ(fuse_release(c, fh), 0);
		}
	}
	CHECK_EQ(fuse_lookup(c, 1, "f3"), node[2]); /* and found again where it is */
	CHECK_EQ(fuse_open(c, node[2], O_RDONLY, &fh), 0);
	box_fini(&b);
}

/* Numbers that nobody gave out, counts that are too large. */
static void test_numbers(void)
{
	static const uint64_t wild[] = {0, 2, 1023, 1024, 1u << 31, UINT64_MAX};
	struct box b;
	struct fuse_client *c = &b.c;
	struct fuse_batch_forget_in batch = {.count = UINT32_MAX};
	struct fuse_forget_one one = {1, UINT64_MAX};
	uint64_t node, fh;

	box_init(&b, (struct fs_options){.cache_s = 1});
	for (size_t k = 0; k < LM_ARRAY_SIZE(wild); k++) {
		CHECK_EQ(fuse_call(c, FUSE_LOOKUP, wild[k], NULL, 0, "x", NULL), -ENOENT);
		CHECK_EQ(fuse_read(c, wild[k], 0, 10), -EBADF);
		CHECK_EQ(fuse_forget(c, wild[k], 1), 1);
	}
	fuse_begin(c, FUSE_BATCH_FORGET, 0);
	fuse_add(c, &batch, sizeof(batch));
	fuse_add(c, &one, sizeof(one));
	CHECK_EQ(fuse_send(c), 1);
	CHECK_EQ(fuse_call(c, FUSE_STATFS, 1, NULL, 0, NULL, NULL), 0); /* the root stays */
	CHECK_EQ(fuse_create(c, 1, "file", 0644, &node, &fh), 0);
	fuse_forget(c, node, UINT64_MAX);
	CHECK_EQ(fuse_open(c, node, O_RDONLY, &fh), -ENOENT);
	CHECK_EQ(fuse_call(c, 4095, 1, NULL, 0, NULL, NULL), -ENOSYS);
	CHECK_EQ(fuse_call(c, UINT32_MAX, 1, NULL, 0, NULL, NULL), -ENOSYS);
	c->in_len = 12;
	CHECK_EQ(fuse_raw(c, 100), -EIO); /* no whole header */
	fuse_begin(c, FUSE_STATFS, 1);
	CHECK_EQ(fuse_raw(c, 20), -EIO); /* no room for the reply */
	CHECK_EQ(fuse_raw(c, 15), 1);
	box_fini(&b);
}

/* All that a guest knew is closed and forgotten when its driver goes. */
static void test_reset(void)
{
	struct box b;
	struct fuse_client *c = &b.c;
	uint64_t node, fh;

	box_init(&b, (struct fs_options){.cache_s = 1});
	CHECK_EQ(fuse_create(c, 1, "file", 0644, &node, &fh), 0);
	c->dev->ops->reset(c->dev);
	CHECK_EQ(fuse_read(c, fh, 0, 1), -EINVAL);
	CHECK_EQ(fuse_init(c), 0);
	CHECK_EQ(fuse_read(c, fh, 0, 1), -EBADF);
	CHECK_EQ(fuse_open(c, node, O_RDONLY, &fh), -ENOENT);
	box_fini(&b);
}

/* Squashed: all is root's, and no right of the host's can be given away. */
static void test_squash(void)
{
	struct box b;
	struct fuse_client *c = &b.c;
	struct fuse_setattr_in attr = {.valid = FATTR_MODE, .mode = S_IFREG | 06755};
	struct fuse_attr_out out;
	struct {
		uint32_t size, flags;
	} xattr = {1, 0};
	uint64_t node, fh;
	struct stat st;

	box_init(&b, (struct fs_options){.cache_s = 1, .owners = FS_OWNERS_SQUASH});
	CHECK_EQ(fuse_create(c, 1, "file", 06777, &node, &fh), 0);
	CHECK_EQ(fstatat(b.share, "file", &st, 0), 0);
	CHECK_EQ(st.st_mode & 07777, 0777);
	CHECK_EQ(FUSE_CALL(c, FUSE_SETATTR, node, attr, NULL, NULL), 0);
	memcpy(&out, fuse_reply_at(c, 0), sizeof(out));
	CHECK_EQ(out.attr.uid, 0);
	CHECK_EQ(out.attr.mode, S_IFREG | 0755);
	attr = (struct fuse_setattr_in){.valid = FATTR_UID, .uid = 1000};
	CHECK_EQ(FUSE_CALL(c, FUSE_SETATTR, node, attr, NULL, NULL), -EPERM);
	CHECK_EQ(FUSE_CALL(c, FUSE_SETXATTR, node, xattr, "security.capability", "x"), -EOPNOTSUPP);
	CHECK_EQ(FUSE_CALL(c, FUSE_SETXATTR, node, xattr, "trusted.x", "x"), -EOPNOTSUPP);
	box_fini(&b);
}

int main(void)
{
	test_files();
	test_negative();
	test_read_only();
	test_names();
	test_links();
	test_kernel_files();
	test_special();
	test_races();
	test_moved_out();
	test_root_list();
	test_many();
	test_numbers();
	test_reset();
	test_squash();
	return check_done();
}
