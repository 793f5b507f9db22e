/*
 * A hostile guest's FUSE requests on a folder of its own: any operation with mostly plausible
 * arguments. Beside the folder lies what it must not reach; links in the folder point there.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit/fuse_client.h"
#include "fuzz.h"

#define SECRET	      "secret of the host"
#define FILE_SIZE_MAX (1 << 20)

struct target {
	char dir[64], share[80], outside[80];
	struct event_loop loop;
	struct fuse_client c;
	uint64_t node[8], fh[8]; /* that the server gave out */
};

static void require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return ftw->level ? remove(path) : 0;
}

static void remove_all(void)
{
	static char *dir;

	if (!dir)
		dir = getenv("LAMINA_FUZZ_DIR");
	if (!dir)
		return;
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	rmdir(dir);
}

static void write_secret(const struct target *t)
{
	char path[100];
	int fd;

	snprintf(path, sizeof(path), "%s/secret", t->outside);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	require(fd >= 0 && write(fd, SECRET, strlen(SECRET)) == (ssize_t)strlen(SECRET), "cannot write");
	close(fd);
}

static void open_target(struct target *t, unsigned kind)
{
	struct fs_options o = {
	    .tag = "fuzz",
	    .synchronous = true,
	    .cache_s = 1,
	    .max_files = 2048,
	    .shares = kind & 1 ? 1u << 30 : 1, /* few descriptors, or many */
	    .owners = kind & 2 ? FS_OWNERS_SQUASH : FS_OWNERS_DEFAULT,
	    .read_only = kind == 7,
	    .writeback = kind & 4,
	};

	if (!*t->dir) {
		strcpy(t->dir, "/tmp/lamina-fuzz-XXXXXX");
		require(mkdtemp(t->dir) != NULL, "cannot make a folder");
		snprintf(t->share, sizeof(t->share), "%s/share", t->dir);
		snprintf(t->outside, sizeof(t->outside), "%s/outside", t->dir);
		require(!mkdir(t->share, 0755) && !mkdir(t->outside, 0755), "cannot make folders");
		setenv("LAMINA_FUZZ_DIR", t->dir, 1);
		atexit(remove_all);
		write_secret(t);
		require(!loop_init(&t->loop, true, NULL), "no event loop");
	}
	nftw(t->share, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	chmod(t->share, 0755);
	o.path = t->share;
	require(!fs_open(&t->c.dev, &o, &t->loop, NULL), "cannot share");
}

/* Only the secret is there, as it was. */
static void check_outside(const struct target *t)
{
	char path[100], text[64] = "";
	unsigned entries = 0;
	struct stat st;
	DIR *list = opendir(t->outside);
	int fd;

	while (list && readdir(list))
		entries++;
	closedir(list);
	snprintf(path, sizeof(path), "%s/secret", t->outside);
	fd = open(path, O_RDONLY);
	require(entries == 3 && fd >= 0 && read(fd, text, sizeof(text) - 1) > 0, "the outside was changed");
	require(!strcmp(text, SECRET) && !fstat(fd, &st) && st.st_mode == (S_IFREG | 0600) && st.st_nlink == 1,
		"the secret was changed");
	close(fd);
}

static const char *take_name(struct fuzz_input *in)
{
	static const char *const names[] = {
	    "a", "b", "c", "d", "user.x", "security.capability", "..", ".", "../outside/secret", "a/b",
	    "", "/", "/proc/self/fd/3", "a/../../outside/secret", "./a", "a/",
	};
	unsigned k = (unsigned)fuzz_take(in, 1);

	return names[k < 200 ? k & 3 : k & 15];
}

static const char *take_target(const struct target *t, struct fuzz_input *in)
{
	static char text[120];
	unsigned kind = (unsigned)fuzz_take(in, 1) & 3;

	if (kind == 0)
		return "../outside/secret";
	if (kind == 1)
		snprintf(text, sizeof(text), "/proc/self/fd/%u", (unsigned)fuzz_take(in, 1) & 15);
	else
		snprintf(text, sizeof(text), "%s%s", t->outside, kind & 1 ? "/secret" : "");
	return text;
}

static uint64_t take_node(const struct target *t, struct fuzz_input *in)
{
	unsigned k = (unsigned)fuzz_take(in, 1);

	if (k >= 250)
		return fuzz_take(in, 8);
	return k < 64 || !t->node[k & 7] ? FUSE_ROOT_ID : t->node[k & 7];
}

static uint64_t take_fh(const struct target *t, struct fuzz_input *in)
{
	unsigned k = (unsigned)fuzz_take(in, 1);

	return k < 240 ? t->fh[k & 7] : fuzz_take(in, 8);
}

static uint64_t take_number(struct fuzz_input *in)
{
	unsigned k = (unsigned)fuzz_take(in, 1);

	return k < 200 ? fuzz_take(in, 2) : fuzz_take(in, 8);
}

/* The argument: fields of 4 bytes that mean something in most structs, in a shape by the operation. */
static void add_argument(struct target *t, struct fuzz_input *in, uint32_t opcode)
{
	struct fuse_client *c = &t->c;
	uint64_t words[14] = {0};
	size_t count = 1;

	for (size_t k = 1, n = fuzz_take(in, 1) % 8; k <= n; k++)
		words[k] = take_number(in);
	switch (opcode) {
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_LINK:
		words[0] = take_node(t, in);
		count = opcode == FUSE_RENAME2 ? 2 : 1;
		words[1] &= 3;
		break;
	case FUSE_CREATE:
	case FUSE_MKNOD:
		words[0] = opcode == FUSE_CREATE ? (fuzz_take(in, 2) & 0x1fff) | (uint64_t)S_IFREG << 32
						 : fuzz_take(in, 2);
		words[1] = 0;
		count = 2;
		break;
	case FUSE_MKDIR:
	case FUSE_OPEN:
	case FUSE_OPENDIR:
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
	case FUSE_SETXATTR:
		words[0] = fuzz_take(in, 2);
		count = 1;
		break;
	case FUSE_LOOKUP:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_SYMLINK:
	case FUSE_REMOVEXATTR:
		count = 0;
		break;
	case FUSE_SETATTR:
		words[1] = take_fh(t, in);
		count = 11;
		break;
	default:
		words[0] = take_fh(t, in);
		if (opcode == FUSE_COPY_FILE_RANGE)
			words[3] = take_fh(t, in);
		count = 7;
	}
	fuse_add(c, words, count * 8);
}

static void keep_reply(struct target *t, uint32_t opcode, unsigned slot)
{
	size_t entry = sizeof(struct fuse_entry_out);

	if (opcode == FUSE_LOOKUP || opcode == FUSE_MKNOD || opcode == FUSE_MKDIR ||
	    opcode == FUSE_SYMLINK || opcode == FUSE_CREATE || opcode == FUSE_LINK)
		t->node[slot] = fuse_entry(&t->c, NULL);
	if (opcode == FUSE_OPEN || opcode == FUSE_OPENDIR)
		memcpy(&t->fh[slot], fuse_reply_at(&t->c, 0), 8);
	if (opcode == FUSE_CREATE)
		memcpy(&t->fh[slot], fuse_reply_at(&t->c, entry), 8);
}

/* What must never be in a reply. */
static void check_reply(const struct target *t)
{
	const void *p = fuse_reply_at(&t->c, 0);

	require(!t->c.reply_len || !memmem(p, t->c.reply_len, SECRET, strlen(SECRET)),
		"the secret was read");
}

/* Half of them make or open something, so that there is something. */
static uint32_t take_opcode(struct fuzz_input *in)
{
	static const uint8_t making[] = {FUSE_LOOKUP, FUSE_CREATE, FUSE_MKDIR,	 FUSE_SYMLINK,
					 FUSE_LINK,   FUSE_OPEN,   FUSE_OPENDIR, FUSE_RENAME2};
	unsigned k = (unsigned)fuzz_take(in, 1);

	return k < 128 ? making[k & 7] : k % 54;
}

static void step(struct target *t, struct fuzz_input *in)
{
	uint32_t opcode = take_opcode(in);
	unsigned slot = (unsigned)fuzz_take(in, 1) & 7;
	size_t room;

	/* Each would end, or cost, the most of a run. */
	if ((opcode == FUSE_DESTROY || opcode == FUSE_SYNCFS) && fuzz_take(in, 1) > 10)
		return;
	fuse_begin(&t->c, opcode, take_node(t, in));
	add_argument(t, in, opcode);
	if (opcode != FUSE_READ && opcode != FUSE_WRITE) {
		const char *name = take_name(in);

		fuse_add(&t->c, name, strlen(name) + 1);
		name = opcode == FUSE_SYMLINK ? take_target(t, in) : take_name(in);
		fuse_add(&t->c, name, strlen(name) + (fuzz_take(in, 1) < 250));
	}
	room = fuzz_take(in, 1) < 230 ? FUSE_BUF : fuzz_take(in, 2);
	if (fuse_raw(&t->c, room) == 0)
		keep_reply(t, opcode, slot);
	check_reply(t);
}

static void fuzz_one(struct fuzz_input *in)
{
	static const struct rlimit limit = {FILE_SIZE_MAX, FILE_SIZE_MAX};
	static struct target t;

	setrlimit(RLIMIT_FSIZE, &limit);
	signal(SIGXFSZ, SIG_IGN);
	open_target(&t, (unsigned)fuzz_take(in, 1) & 7);
	memset(t.node, 0, sizeof(t.node));
	fuse_init(&t.c);
	while (in->p < in->end)
		step(&t, in);
	fs_close(t.c.dev);
	check_outside(&t);
}
