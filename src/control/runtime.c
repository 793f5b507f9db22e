#include "control/runtime.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SUFFIX	    ".sock"
#define PLACES	    2  /* where directories may be */
#define BACKLOG	    64
#define MADE_UP_MAX 1000 /* names tried when none is given: PIDs of other namespaces may collide */

#define FILE_NAME_MAX (RUNTIME_NAME_MAX + sizeof(SUFFIX))

int runtime_check_name(const char *name, struct lm_err *err)
{
	size_t len = strlen(name);

	if (len < 1 || len > RUNTIME_NAME_MAX || !isalnum((unsigned char)*name))
		return lm_err_set(err, -EINVAL,
				  "a name has 1 to %d characters and starts with a letter or digit",
				  RUNTIME_NAME_MAX);
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
			return lm_err_set(
				err, -EINVAL,
				"a name has letters, digits, dots, dashes and underscores only");
	return 0;
}

/* ---- The directories ---- */

static bool is_ours(const char *path)
{
	struct stat st;

	return !lstat(path, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid();
}

/* The path of place 0 (XDG base directory specification) or 1; false where there is none. */
static bool place_path(unsigned place, char *path, size_t size)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	int n;

	if (place)
		n = snprintf(path, size, "/tmp/lamina-%u", (unsigned)geteuid());
	else if (xdg && *xdg == '/' && is_ours(xdg))
		n = snprintf(path, size, "%s/lamina", xdg);
	else
		return false;
	return n > 0 && (size_t)n < size;
}

static int check_dir(int fd, const char *path, struct lm_err *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return lm_err_errno(err, -errno, "runtime directory %s", path);
	if (st.st_uid != geteuid())
		return lm_err_set(err, -EPERM,
				  "runtime directory %s belongs to another user (%u): it must be "
				  "removed, or XDG_RUNTIME_DIR set", path, (unsigned)st.st_uid);
	if (st.st_mode & 077)
		return lm_err_set(err, -EPERM,
				  "runtime directory %s is open to others: chmod 700 it", path);
	return 0;
}

/* A descriptor of the checked directory; -ENOENT where it is not there and not to be made. */
static int open_place(unsigned place, bool create, char path[PATH_MAX], struct lm_err *err)
{
	int fd, rc;

	if (!place_path(place, path, PATH_MAX))
		return lm_err_set(err, -ENOENT, "no runtime directory");
	if (create && mkdir(path, 0700) && errno != EEXIST)
		return lm_err_errno(err, -errno, "cannot create the runtime directory %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return lm_err_errno(err, -errno, "cannot open the runtime directory %s", path);
	rc = check_dir(fd, path, err);
	if (rc < 0)
		close(fd);
	return rc < 0 ? rc : fd;
}

/* ---- Sockets in them ---- */

/* Nobody else can replace what lies on the path, since the checked directory is ours alone. */
static int make_address(struct sockaddr_un *to, const char *dir, const char *name, struct lm_err *err)
{
	int n;

	*to = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(to->sun_path, sizeof(to->sun_path), "%s/%s" SUFFIX, dir, name);
	if (n < 0 || (size_t)n >= sizeof(to->sun_path))
		return lm_err_set(err, -ENAMETOOLONG,
				  "the name of the control socket gets longer than %zu bytes: %s/%s"
				  SUFFIX, sizeof(to->sun_path) - 1, dir, name);
	return 0;
}

/* Does not block: -EAGAIN where a machine that has been stopped accepts nobody. */
static int connect_to(const struct sockaddr_un *to)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to))) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

/*
 * 1 when a machine listens there, else 0, or a negative errno where that cannot be told. The socket of
 * a dead one is removed; dir is locked.
 */
static int is_alive(int dir, const struct sockaddr_un *at)
{
	const char *file = strrchr(at->sun_path, '/') + 1;
	int fd = connect_to(at);

	if (fd == -ECONNREFUSED)
		unlinkat(dir, file, 0);
	if (fd == -ECONNREFUSED || fd == -ENOENT)
		return 0;
	if (fd < 0 && fd != -EAGAIN)
		return fd;
	if (fd >= 0)
		close(fd);
	return 1;
}

static bool taken_in(unsigned place, const char *name)
{
	char path[PATH_MAX];
	struct sockaddr_un at;
	int dir = open_place(place, false, path, NULL);
	bool taken;

	if (dir < 0)
		return false;
	flock(dir, LOCK_EX);
	taken = !make_address(&at, path, name, NULL) && is_alive(dir, &at) == 1;
	close(dir);
	return taken;
}

static int bind_at(const struct sockaddr_un *at, struct lm_err *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return lm_err_errno(err, -errno, "cannot make a control socket");
	if (bind(fd, (const struct sockaddr *)at, sizeof(*at)) || listen(fd, BACKLOG)) {
		int rc = lm_err_errno(err, -errno, "control socket %s", at->sun_path);

		close(fd);
		return rc;
	}
	return fd;
}

/* With the directory locked: binding and listening are one to everybody else. */
static int claim(struct runtime_socket *s, const char *path, const char *name, struct lm_err *err)
{
	struct sockaddr_un at;
	int rc = make_address(&at, path, name, err);

	if (rc < 0)
		return rc;
	rc = is_alive(s->dir, &at);
	if (rc < 0)
		return lm_err_errno(err, rc, "control socket %s", at.sun_path);
	if (rc)
		return lm_err_set(err, -EEXIST, "there is a machine named %s already", name);
	s->fd = bind_at(&at, err);
	snprintf(s->name, sizeof(s->name), "%s", name);
	return s->fd < 0 ? s->fd : 0;
}

static int claim_made_up(struct runtime_socket *s, const char *path, struct lm_err *err)
{
	char name[RUNTIME_NAME_MAX + 1];
	int rc = -EEXIST;

	for (unsigned k = 1; rc == -EEXIST && k < MADE_UP_MAX; k++) {
		snprintf(name, sizeof(name), k > 1 ? "vm-%d-%u" : "vm-%d", (int)getpid(), k);
		rc = claim(s, path, name, err);
	}
	return rc;
}

int runtime_listen(struct runtime_socket *s, const char *name, struct lm_err *err)
{
	unsigned place = place_path(0, (char[PATH_MAX]){ 0 }, PATH_MAX) ? 0 : 1;
	char path[PATH_MAX];
	int rc;

	*s = (struct runtime_socket){ .fd = -1, .dir = -1 };
	if (name && taken_in(1 - place, name))
		return lm_err_set(err, -EEXIST, "there is a machine named %s already", name);
	s->dir = open_place(place, true, path, err);
	if (s->dir < 0)
		return s->dir;
	flock(s->dir, LOCK_EX);
	rc = name ? claim(s, path, name, err) : claim_made_up(s, path, err);
	flock(s->dir, LOCK_UN);
	if (rc < 0) {
		close(s->dir);
		s->dir = -1;
	}
	return rc;
}

void runtime_unlisten(struct runtime_socket *s)
{
	char file[FILE_NAME_MAX];

	if (s->fd < 0)
		return;
	snprintf(file, sizeof(file), "%s" SUFFIX, s->name);
	unlinkat(s->dir, file, 0);
	close(s->fd);
	close(s->dir);
	s->fd = s->dir = -1;
}

static int connect_in(unsigned place, const char *name, struct lm_err *err)
{
	char path[PATH_MAX];
	struct sockaddr_un at;
	int dir = open_place(place, false, path, err);
	int rc;

	if (dir < 0)
		return dir;
	rc = make_address(&at, path, name, err);
	if (!rc)
		rc = connect_to(&at);
	close(dir);
	return rc == -ECONNREFUSED ? -ENOENT : rc; /* nobody listens: it is dead */
}

int runtime_connect(const char *name, struct lm_err *err)
{
	int rc = runtime_check_name(name, err);

	if (rc < 0)
		return rc;
	rc = -ENOENT;
	for (unsigned place = 0; rc == -ENOENT && place < PLACES; place++)
		rc = connect_in(place, name, err);
	if (rc == -ENOENT)
		return lm_err_set(err, rc, "no machine named %s; lamina ps lists them", name);
	if (rc == -EAGAIN)
		return lm_err_set(err, rc, "machine %s does not answer", name);
	if (rc < 0 && rc != -EPERM)
		return lm_err_errno(err, rc, "cannot reach machine %s", name);
	if (rc >= 0)
		fcntl(rc, F_SETFL, 0);
	return rc;
}

/* ---- Lists ---- */

/* The name in a socket's file name; false where it is none of ours. */
static bool name_of_file(const char *file, char *name)
{
	size_t len = strlen(file), end = sizeof(SUFFIX) - 1;

	if (len <= end || len - end > RUNTIME_NAME_MAX || strcmp(file + len - end, SUFFIX))
		return false;
	snprintf(name, RUNTIME_NAME_MAX + 1, "%.*s", (int)(len - end), file);
	return !runtime_check_name(name, NULL);
}

static int add_name(char ***names, size_t *count, const char *name)
{
	char **more = realloc(*names, (*count + 1) * sizeof(**names));

	if (!more)
		return -ENOMEM;
	*names = more;
	more[*count] = strdup(name);
	if (!more[*count])
		return -ENOMEM;
	++*count;
	return 0;
}

static int scan(DIR *d, const char *path, char ***names, size_t *count)
{
	const struct dirent *e;
	char name[RUNTIME_NAME_MAX + 1];
	struct sockaddr_un at;
	int rc = 0;

	flock(dirfd(d), LOCK_EX);
	while (!rc && (e = readdir(d)))
		if (name_of_file(e->d_name, name) && !make_address(&at, path, name, NULL) &&
		    is_alive(dirfd(d), &at) == 1)
			rc = add_name(names, count, name);
	return rc;
}

static int scan_place(unsigned place, char ***names, size_t *count, struct lm_err *err)
{
	char path[PATH_MAX];
	int fd = open_place(place, false, path, err), rc;
	DIR *d;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return lm_err_errno(err, -errno, "runtime directory %s", path);
	}
	rc = scan(d, path, names, count);
	closedir(d);
	return rc < 0 ? lm_err_errno(err, rc, "runtime directory %s", path) : 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int runtime_names(char ***names, size_t *count, struct lm_err *err)
{
	int rc = 0;

	*names = NULL;
	*count = 0;
	for (unsigned place = 0; !rc && place < PLACES; place++)
		rc = scan_place(place, names, count, err);
	if (rc < 0) {
		runtime_free_names(*names, *count);
		return rc;
	}
	if (*count)
		qsort(*names, *count, sizeof(**names), compare_names);
	return 0;
}

void runtime_free_names(char **names, size_t count)
{
	for (size_t k = 0; k < count; k++)
		free(names[k]);
	free(names);
}
