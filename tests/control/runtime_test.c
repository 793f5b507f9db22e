/* The runtime directory: its rights, names, sockets of the living and of the dead. */
#include "control/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/check.h"

static char top[] = "/tmp/lamina-test-XXXXXX";
static char dir[64];

static void in_top(char *path, const char *name)
{
	snprintf(path, 128, "%s/%s", top, name);
}

static void test_names(void)
{
	static const char *const good[] = { "a", "9", "a.b-c_D", "vm-12" };
	static const char *const bad[] = { "", ".", "..", ".a", "-a", "a/b", "a b", "a\n", "\xc3\xa4" };
	char name[RUNTIME_NAME_MAX + 2];

	for (size_t k = 0; k < sizeof(good) / sizeof(good[0]); k++)
		CHECK_EQ(runtime_check_name(good[k], NULL), 0);
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		CHECK_EQ(runtime_check_name(bad[k], NULL), -EINVAL);
	memset(name, 'x', sizeof(name));
	name[RUNTIME_NAME_MAX + 1] = 0;
	CHECK_EQ(runtime_check_name(name, NULL), -EINVAL);
	name[RUNTIME_NAME_MAX] = 0;
	CHECK_EQ(runtime_check_name(name, NULL), 0);
}

/* Of machines in our directory; others that run on this host are in the list as well. */
static size_t count_names(void)
{
	char **names, path[128];
	size_t count = 0, ours = 0;

	CHECK_EQ(runtime_names(&names, &count, NULL), 0);
	for (size_t k = 0; k < count; k++) {
		snprintf(path, sizeof(path), "%.50s/%.64s.sock", dir, names[k]);
		ours += !access(path, F_OK);
	}
	runtime_free_names(names, count);
	return ours;
}

static void test_life(void)
{
	struct runtime_socket a, b, c;
	struct stat st;
	int fd;

	CHECK_EQ(count_names(), 0);
	CHECK_EQ(runtime_connect("a", NULL), -ENOENT);
	CHECK_EQ(runtime_listen(&a, "a", NULL), 0);
	CHECK_EQ(stat(dir, &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0700);
	CHECK_EQ(runtime_listen(&b, "a", NULL), -EEXIST);
	CHECK_EQ(runtime_listen(&b, NULL, NULL), 0);
	CHECK_EQ(runtime_listen(&c, NULL, NULL), 0); /* the same PID: another name */
	CHECK(strcmp(b.name, c.name) != 0);
	CHECK_EQ(count_names(), 3);
	fd = runtime_connect("a", NULL);
	CHECK(fd >= 0);
	close(fd);
	runtime_unlisten(&a);
	runtime_unlisten(&b);
	runtime_unlisten(&c);
	CHECK_EQ(count_names(), 0);
	CHECK_EQ(runtime_connect("a", NULL), -ENOENT);
}

/* A machine that was killed leaves its socket, which hinders nobody. */
static void test_dead(void)
{
	struct runtime_socket s;
	char path[128];
	pid_t pid;

	for (unsigned how = 0; how < 3; how++) {
		pid = fork();
		if (!pid)
			_exit(runtime_listen(&s, "dead", NULL) ? 1 : 0);
		waitpid(pid, NULL, 0);
		snprintf(path, sizeof(path), "%s/dead.sock", dir);
		CHECK_EQ(access(path, F_OK), 0);
		if (how == 0) {
			CHECK_EQ(runtime_connect("dead", NULL), -ENOENT);
		} else if (how == 1) {
			CHECK_EQ(count_names(), 0);
			CHECK(access(path, F_OK) != 0);
		} else {
			CHECK_EQ(runtime_listen(&s, "dead", NULL), 0);
			CHECK_EQ(count_names(), 1);
			runtime_unlisten(&s);
		}
	}
}

/* A machine that accepts nobody is there all the same, and nobody waits for it. */
static void test_full(void)
{
	struct runtime_socket s;
	int fd[100], n = 0;

	CHECK_EQ(runtime_listen(&s, "full", NULL), 0);
	while (n < 100 && (fd[n] = runtime_connect("full", NULL)) >= 0)
		n++;
	CHECK(n < 100);
	CHECK_EQ(count_names(), 1);
	while (n--)
		close(fd[n]);
	runtime_unlisten(&s);
}

static void test_bad_directories(void)
{
	struct runtime_socket s;
	struct lm_err err;
	char other[128];

	rmdir(dir);
	in_top(other, "other");
	mkdir(other, 0700);
	CHECK_EQ(symlink(other, dir), 0);
	CHECK(runtime_listen(&s, "x", &err) < 0); /* ELOOP or ENOTDIR */
	CHECK(strstr(err.text, dir) != NULL);
	unlink(dir);
	rmdir(other);
	mkdir(dir, 0700);
	chmod(dir, 0755);
	CHECK_EQ(runtime_listen(&s, "x", &err), -EPERM);
	CHECK(strstr(err.text, "chmod 700") != NULL);
	CHECK_EQ(runtime_connect("x", &err), -EPERM);
	if (!geteuid()) {
		chmod(dir, 0700);
		CHECK_EQ(chown(dir, 1234, 1234), 0);
		CHECK_EQ(runtime_listen(&s, "x", &err), -EPERM);
		CHECK(strstr(err.text, "another user (1234)") != NULL);
	}
	rmdir(dir);
	close(open(dir, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	CHECK_EQ(runtime_listen(&s, "x", &err), -ENOTDIR);
	unlink(dir);
}

static void test_long_path(void)
{
	struct runtime_socket s;
	struct lm_err err;
	char name[RUNTIME_NAME_MAX + 1];

	memset(name, 'x', sizeof(name));
	name[RUNTIME_NAME_MAX] = 0;
	CHECK_EQ(runtime_listen(&s, name, NULL), 0);
	runtime_unlisten(&s);
	memset(dir + strlen(top), 'd', 30);
	dir[strlen(top)] = '/';
	dir[strlen(top) + 30] = 0;
	mkdir(dir, 0700);
	setenv("XDG_RUNTIME_DIR", dir, 1);
	CHECK_EQ(runtime_listen(&s, name, &err), -ENAMETOOLONG);
	strcat(dir, "/lamina");
	rmdir(dir);
	*strrchr(dir, '/') = 0;
	rmdir(dir);
	setenv("XDG_RUNTIME_DIR", top, 1);
}

int main(void)
{
	if (!mkdtemp(top))
		return 1;
	setenv("XDG_RUNTIME_DIR", top, 1);
	snprintf(dir, sizeof(dir), "%s/lamina", top);
	test_names();
	test_life();
	test_dead();
	test_full();
	test_bad_directories();
	test_long_path();
	snprintf(dir, sizeof(dir), "%s/lamina", top);
	rmdir(dir);
	rmdir(top);
	return check_done();
}
