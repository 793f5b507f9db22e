/*
 * /init of the initrd: loads modules, mounts root= and becomes its init.
 *
 * Modules are /0.ko, /1.ko, … in this order, and for each PCI device with the identity VVVVDDDD
 * those named /VVVVDDDD-0.ko, /VVVVDDDD-1.ko, …
 *
 * With rootfstype=virtiofs root= is the tag of a folder of the host, which needs not be made for lamina:
 * its init is the one in here, /lamina-init. With lamina.overlay=1 it is never written: changes go to
 * memory.
 *
 * A compiled program because every guest instruction is expensive in a software engine: a shell
 * and its tools cost about thirty times more. Kernel command line words read here: root=,
 * rootfstype= (ext4), rootflags=, init=, rw, ro. Without root= it is /dev/vda.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROOT_WAIT_MS 10000

static char cmdline[4096];

/* One line on the console, then power off: a panic would bury the reason. */
static void fail(const char *what, const char *which)
{
	dprintf(2, "lamina initrd: %s %s: %s\n", what, which, strerror(errno));
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}

/* The value of the last KEY=VALUE on the command line, NULL without one. KEY ends with '='. */
static const char *value(const char *key)
{
	size_t key_len = strlen(key);
	const char *found = NULL;

	for (const char *p = cmdline; *p; p += strlen(p) + 1)
		if (strncmp(p, key, key_len) == 0)
			found = p + key_len;
	return found;
}

/* Reads the command line and turns it into words, each ended by NUL, the last by two. */
static void read_cmdline(void)
{
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, cmdline, sizeof cmdline - 2);

	if (len < 0)
		fail("cannot read", "/proc/cmdline");
	close(fd);
	size_t out = 0;
	for (ssize_t i = 0; i < len; i++) {
		int blank = cmdline[i] == ' ' || cmdline[i] == '\n';
		if (!blank)
			cmdline[out++] = cmdline[i];
		else if (out > 0 && cmdline[out - 1])
			cmdline[out++] = '\0';
	}
	cmdline[out] = cmdline[out + 1] = '\0';
}

static int has_word(const char *word)
{
	for (const char *p = cmdline; *p; p += strlen(p) + 1)
		if (strcmp(p, word) == 0)
			return 1;
	return 0;
}

static void load_modules(const char *prefix)
{
	char path[32];

	for (int i = 0;; i++) {
		snprintf(path, sizeof path, "/%s%d.ko", prefix, i);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return;
		if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
			fail("cannot load", path);
		close(fd);
		unlink(path);
	}
}

/* Lines of the file: bus and function, vendor and device, and more, in hexadecimal. */
static void load_modules_of_devices(void)
{
	static char list[16384];
	int fd = open("/proc/bus/pci/devices", O_RDONLY | O_CLOEXEC);
	ssize_t n, len = 0;
	char prefix[16], *save;

	while (fd >= 0 && (n = read(fd, list + len, sizeof list - 1 - (size_t)len)) > 0)
		len += n;
	if (fd >= 0)
		close(fd);
	list[len] = '\0';
	for (char *line = strtok_r(list, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *identity = strchr(line, '\t');
		snprintf(prefix, sizeof prefix, "%.8s-", identity ? identity + 1 : "");
		load_modules(prefix);
	}
}

/* The kernel leaves 0, 1 and 2 closed when the console's driver is one of our modules. */
static void open_console(void)
{
	if (fcntl(0, F_GETFD) >= 0)
		return;
	int fd = open("/dev/console", O_RDWR);
	while (fd >= 0 && fd < 2)
		fd = dup(fd);
}

static void wait_for(const char *device)
{
	struct timespec ms = {.tv_nsec = 1000000};

	for (int i = 0; access(device, F_OK) < 0 && i < ROOT_WAIT_MS; i++)
		nanosleep(&ms, NULL);
}

/* A shared folder below, memory above. */
static void mount_overlay(const char *tag)
{
	load_modules("overlay-");
	mkdir("/lower", 0700);
	mkdir("/upper", 0700);
	if (mount(tag, "/lower", "virtiofs", MS_RDONLY, NULL) < 0)
		fail("cannot mount the shared folder", tag);
	if (mount("tmpfs", "/upper", "tmpfs", 0, "mode=0755") < 0)
		fail("cannot mount", "/upper");
	mkdir("/upper/files", 0755);
	mkdir("/upper/work", 0755);
	if (mount("overlay", "/root", "overlay", 0,
		  "lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work") < 0)
		fail("cannot mount", "the overlay");
}

static void mount_share(const char *tag)
{
	if (has_word("lamina.overlay=1"))
		mount_overlay(tag);
	else if (mount(tag, "/root", "virtiofs", 0, NULL) < 0)
		fail("cannot mount the shared folder", tag);
	mkdir("/root/proc", 0555);
	mkdir("/root/dev", 0755);
}

static void mount_disk(void)
{
	const char *device = value("root="), *type = value("rootfstype="), *data = value("rootflags=");
	unsigned long flags = has_word("rw") && !has_word("ro") ? 0 : MS_RDONLY;

	device = device ? device : "/dev/vda";
	type = type ? type : "ext4";
	wait_for(device);
	if (mount(device, "/root", type, flags, data) == 0)
		return;
	/* A read-only disk refuses a writable mount. */
	if (mount(device, "/root", type, flags | MS_RDONLY, data) < 0)
		fail("cannot mount root", device);
}

/* Its programs for a root without them: init, and where init finds the other one. */
static char *share_env[] = {"LAMINA_NET=/proc/self/fd/9", NULL};

static int open_init(void)
{
	int net = open("/lamina-net", O_RDONLY);

	if (net >= 0 && dup2(net, 9) == 9 && net != 9)
		close(net);
	return open("/lamina-init", O_RDONLY | O_CLOEXEC);
}

int main(int argc, char **argv)
{
	(void)argc;
	mkdir("/proc", 0555);
	mkdir("/dev", 0755);
	mkdir("/root", 0700);
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		fail("cannot mount", "/proc");
	if (mount("dev", "/dev", "devtmpfs", MS_NOSUID, "mode=0755") < 0)
		fail("cannot mount", "/dev");
	read_cmdline();
	load_modules("");
	load_modules_of_devices();
	open_console();
	const char *type = value("rootfstype=");
	int own_init = -1;
	if (type && strcmp(type, "virtiofs") == 0) {
		own_init = open_init();
		mount_share(value("root="));
	} else {
		mount_disk();
	}
	unlink("/init");
	/* A root without these folders still boots; its init mounts what it wants. */
	mount("/proc", "/root/proc", NULL, MS_MOVE, NULL);
	mount("/dev", "/root/dev", NULL, MS_MOVE, NULL);
	if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
		fail("cannot switch to", "the root");
	if (own_init >= 0) {
		argv[0] = "/sbin/lamina-init";
		fexecve(own_init, argv, share_env);
		fail("cannot run", argv[0]);
	}

	const char *init = value("init=");
	argv[0] = (char *)(init ? init : "/sbin/init");
	execv(argv[0], argv);
	fail("cannot run", argv[0]);
}
