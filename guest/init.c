/*
 * PID 1 of the default guest, and its poweroff, halt, reboot and shutdown commands.
 *
 * Shell mode: a root login shell on the console; when it ends, the machine powers off.
 * Command mode (lamina.cmd=1): one command for the VMM, see PROTOCOL.md beside this file.
 * There is no service manager and no udev: devtmpfs names the devices, /proc/cmdline is the only
 * configuration. Sizes from outside are bounded here, the rest of the guest trusts nobody either.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PORT_WAIT_MS	10000
#define REQUEST_MAX	(1 << 20)
#define LINE_LEN_MAX	64
#define TERM_WAIT_MS	500
#define KILL_WAIT_MS	2000
#define NET_WAIT_MS	3000
#define ACK_WAIT_MS	10000
#define DEFAULT_PATH	"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* ---- small tools ---- */

static void sleep_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

/* Reads a short file without its last newline; an unreadable one gives the empty string. */
static void read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? 0 : read(fd, buf, size - 1);

	if (fd >= 0)
		close(fd);
	if (len < 0)
		len = 0;
	if (len > 0 && buf[len - 1] == '\n')
		len--;
	buf[len] = '\0';
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The value of the last KEY=VALUE of the kernel command line in BUF; KEY ends with '='. */
static const char *cmdline_value(const char *key, char *buf, size_t size)
{
	char line[4096];
	const char *found = NULL;

	read_file("/proc/cmdline", line, sizeof line);
	for (char *save, *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save))
		if (strncmp(word, key, strlen(key)) == 0)
			found = word + strlen(key);
	if (!found)
		return NULL;
	snprintf(buf, size, "%s", found);
	return buf;
}

/* "ROWSxCOLS", both 1 to 65535. */
static int parse_winsize(const char *text, struct winsize *size)
{
	char *end;
	unsigned long rows = strtoul(text, &end, 10);

	if (*end != 'x')
		return -1;
	unsigned long cols = strtoul(end + 1, &end, 10);
	if (*end || rows < 1 || rows > 65535 || cols < 1 || cols > 65535)
		return -1;
	*size = (struct winsize){.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};
	return 0;
}

/* ---- bringing the system up ---- */

static const struct {
	const char *target, *type, *data;
	unsigned long flags;
} mounts[] = {
	{"/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"/dev", "devtmpfs", "mode=0755", MS_NOSUID},
	{"/dev/pts", "devpts", "gid=5,mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC},
	{"/dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV},
	{"/run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV},
	{"/tmp", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV},
	{"/sys/fs/cgroup", "cgroup2", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
};

static const char *const links[][2] = {
	{"/proc/self/fd", "/dev/fd"},
	{"/proc/self/fd/0", "/dev/stdin"},
	{"/proc/self/fd/1", "/dev/stdout"},
	{"/proc/self/fd/2", "/dev/stderr"},
};

/* Failures are not fatal: a shell on a half-made system is how one repairs it. */
static void mount_all(void)
{
	struct stat root, there;

	stat("/", &root);
	for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
		/* A shared folder as root may lack the places. */
		mkdir(mounts[i].target, 0755);
		/* The initrd hands /proc and /dev over mounted. */
		if (!strchr(mounts[i].target + 1, '/') && stat(mounts[i].target, &there) == 0 &&
		    there.st_dev != root.st_dev)
			continue;
		if (mount(mounts[i].type, mounts[i].target, mounts[i].type, mounts[i].flags,
			  mounts[i].data) < 0)
			dprintf(2, "init: cannot mount %s: %s\n", mounts[i].target, strerror(errno));
	}
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		symlink(links[i][0], links[i][1]);
}

/* Quietly stays read-only when the disk is. */
static void remount_root(void)
{
	struct statvfs root;

	if (statvfs("/", &root) == 0 && root.f_flag & ST_RDONLY)
		mount(NULL, "/", NULL, MS_REMOUNT, NULL);
}

/* What went wrong with the first share that could not be mounted. */
static char share_error[160];

/* mkdir -p. */
static void make_folder(const char *path)
{
	char part[256];

	for (size_t i = 1; i < sizeof part && path[i - 1] != '\0'; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		mkdir(part, 0755);
	}
}

/* "PATH" or "PATH:ro"; the path is the share's tag as well. */
static void mount_share(char *share)
{
	char *option = strchr(share, ':');
	unsigned long flags = option && strcmp(option, ":ro") == 0 ? MS_RDONLY : 0;

	if (option)
		*option = '\0';
	make_folder(share);
	if (mount(share, share, "virtiofs", flags | MS_NODEV, NULL) == 0 || *share_error)
		return;
	snprintf(share_error, sizeof share_error, "cannot mount the share at %s: %s", share,
		 strerror(errno));
	dprintf(2, "init: %s\n", share_error);
}

static void mount_shares(void)
{
	char line[4096];

	read_file("/proc/cmdline", line, sizeof line);
	for (char *save, *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save))
		if (strncmp(word, "lamina.share=", 13) == 0)
			mount_share(word + 13);
}

static void loopback_up(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	/* IPv4 gives lo its address by itself (inetdev_event). */
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
		dprintf(2, "init: cannot bring up lo: %s\n", strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* 0, 1 and 2 are closed when the kernel had no console yet as it started its first program. */
static void open_stdio(void)
{
	int fd = fcntl(0, F_GETFD) < 0 ? open("/dev/console", O_RDWR | O_NOCTTY) : 3;

	while (fd >= 0 && fd < 2)
		fd = dup(fd);
}

static char console[64] = "/dev/console";
static char term[64];

/* The last active console is the one /dev/console stands for, but only it can be a job-control tty. */
static void find_console(void)
{
	char active[256];

	read_file("/sys/class/tty/console/active", active, sizeof active);
	const char *last = strrchr(active, ' ');
	last = last ? last + 1 : active;
	if (*last)
		snprintf(console, sizeof console, "/dev/%.50s", last);
	if (!cmdline_value("lamina.term=", term, sizeof term))
		strcpy(term, strncmp(last, "ttyS", 4) == 0 ? "vt100" : "linux");
}

static void set_default_env(int tty)
{
	clearenv();
	setenv("PATH", DEFAULT_PATH, 1);
	setenv("HOME", "/root", 1);
	setenv("USER", "root", 1);
	setenv("LOGNAME", "root", 1);
	setenv("SHELL", "/bin/bash", 1);
	setenv("LANG", "C.UTF-8", 1);
	if (tty)
		setenv("TERM", term, 1);
}

/* ---- going down ---- */

/* Reaps until no process is left or the time is over. */
static void reap_all(long wait_ms)
{
	for (long waited = 0; waited <= wait_ms; waited++) {
		pid_t pid;
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (pid < 0)
			return;
		sleep_ms(1);
	}
}

/*
 * Unmounts what was mounted from a device or the host, last first; tmpfs and the like hold nothing to
 * save.
 */
static void unmount_disks(void)
{
	char table[16384], *line;

	read_file("/proc/self/mounts", table, sizeof table);
	for (char *end = table + strlen(table); end > table; end = line) {
		for (line = end; line > table && line[-1] != '\n'; line--)
			;
		char *save, *source = strtok_r(line, " ", &save), *target = strtok_r(NULL, " ", &save);
		char *type = strtok_r(NULL, " ", &save);
		if (type && strcmp(target, "/") != 0 &&
		    (strncmp(source, "/dev/", 5) == 0 || strcmp(type, "virtiofs") == 0))
			umount2(target, MNT_DETACH);
		if (line > table)
			*--line = '\0';
	}
	mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

/* Ends every process and leaves the disks clean. With NOW set, processes get no chance to tidy up. */
static void quiesce(int now)
{
	if (!now) {
		kill(-1, SIGTERM);
		kill(-1, SIGHUP);
		kill(-1, SIGCONT);
		reap_all(TERM_WAIT_MS);
	}
	kill(-1, SIGKILL);
	reap_all(KILL_WAIT_MS);
	tcdrain(1);
	sync();
	unmount_disks();
}

/* how: RB_POWER_OFF or RB_AUTOBOOT. */
static _Noreturn void stop_machine(int how)
{
	reboot(how);
	for (;;)
		pause();
}

static _Noreturn void shut_down(int how, int now)
{
	quiesce(now);
	stop_machine(how);
}

/* Signals by which the poweroff and reboot commands speak to PID 1, as in other small inits. */
static volatile sig_atomic_t wanted_signal;

static void on_signal(int sig)
{
	if (sig != SIGCHLD)
		wanted_signal = sig;
}

static void obey_signal(void)
{
	if (wanted_signal)
		shut_down(wanted_signal == SIGTERM ? RB_AUTOBOOT : RB_POWER_OFF, 0);
}

static const int init_signals[] = {SIGCHLD, SIGTERM, SIGUSR1, SIGUSR2};

/* The signals stay blocked and are let in only while ppoll waits, so none is missed. */
static void take_signals(sigset_t *while_waiting)
{
	struct sigaction action = {.sa_handler = on_signal};
	sigset_t mine;

	sigemptyset(&mine);
	sigprocmask(SIG_SETMASK, NULL, while_waiting);
	for (size_t i = 0; i < sizeof init_signals / sizeof *init_signals; i++) {
		sigaction(init_signals[i], &action, NULL);
		sigaddset(&mine, init_signals[i]);
	}
	sigprocmask(SIG_BLOCK, &mine, NULL);
	signal(SIGPIPE, SIG_IGN);
	reboot(RB_DISABLE_CAD);
}

/* ---- starting a process ---- */

/* In the child: signals as a new program expects them, its own session. */
static void start_session(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
}

/* In the child: 0, 1 and 2 become the console, as controlling terminal. */
static void use_console(const struct winsize *size)
{
	int fd = open(console, O_RDWR);

	if (fd < 0)
		fd = open("/dev/console", O_RDWR);
	if (fd < 0)
		_exit(126);
	ioctl(fd, TIOCSCTTY, 1);
	if (size->ws_row)
		ioctl(fd, TIOCSWINSZ, size);
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

static struct winsize first_winsize(void)
{
	struct winsize size = {0};
	char text[16];

	if (cmdline_value("lamina.winsize=", text, sizeof text))
		parse_winsize(text, &size);
	return size;
}

/* ---- bringing the system up: what starts processes ---- */

/* Whether it is a network card: lo and tunnels have no device behind them. */
static int is_card(const char *interface)
{
	char path[300];

	snprintf(path, sizeof path, "/sys/class/net/%s/device", interface);
	return access(path, F_OK) == 0;
}

/* The initrd's, where root is a folder of the host that has none. */
static const char *net_program = "/usr/sbin/lamina-net";

static void find_net_program(void)
{
	const char *given = getenv("LAMINA_NET");

	if (!given)
		return;
	net_program = strdup(given);
	unsetenv("LAMINA_NET");
	fcntl(9, F_SETFD, FD_CLOEXEC); /* a program, not a script: it needs no name after exec */
}

/* A lamina-net (net.c) for a card; it says on a pipe when the network works. */
static void start_network(const char *interface, int cards, int ready)
{
	char metric[16];
	pid_t pid = fork();

	if (pid != 0)
		return;
	start_session();
	int null = open("/dev/null", O_RDONLY);
	dup2(null, 0);
	dup2(ready, 1);
	set_default_env(0);
	snprintf(metric, sizeof metric, "%d", cards * 10);
	execl(net_program, "lamina-net", interface, metric, (char *)NULL);
	_exit(127);
}

/* Waits until all cards are configured, but not long: whoever needs the network tries again. */
static void network_up(void)
{
	DIR *dir = opendir("/sys/class/net");
	struct timespec t;
	int cards = 0, pipe_ends[2];
	char byte;

	if (!dir || pipe2(pipe_ends, O_CLOEXEC) < 0)
		return;
	for (struct dirent *entry; (entry = readdir(dir));)
		if (is_card(entry->d_name))
			start_network(entry->d_name, cards++, pipe_ends[1]);
	closedir(dir);
	close(pipe_ends[1]);
	clock_gettime(CLOCK_MONOTONIC, &t);
	for (long end = t.tv_sec * 1000 + NET_WAIT_MS; cards > 0; cards--) {
		struct pollfd wait = {.fd = pipe_ends[0], .events = POLLIN};
		clock_gettime(CLOCK_MONOTONIC, &t);
		long left = end - (t.tv_sec * 1000 + t.tv_nsec / 1000000);
		if (left <= 0 || poll(&wait, 1, (int)left) <= 0 || read(pipe_ends[0], &byte, 1) <= 0)
			break;
	}
	close(pipe_ends[0]);
}

static void bring_up(void)
{
	char name[64], *hostname = "lamina";

	umask(022);
	find_net_program();
	mount_all();
	open_stdio();
	remount_root();
	mount_shares();
	if (cmdline_value("lamina.hostname=", name, sizeof name))
		hostname = name;
	sethostname(hostname, strlen(hostname));
	loopback_up();
	find_console();
	network_up();
}

/* ---- shell mode ---- */

static pid_t start_shell(void)
{
	struct winsize size = first_winsize();
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	start_session();
	use_console(&size);
	set_default_env(1);
	if (chdir("/root") < 0)
		chdir("/");
	execl("/bin/bash", "-bash", (char *)NULL);
	execl("/bin/sh", "-sh", (char *)NULL);
	dprintf(2, "init: cannot run /bin/bash or /bin/sh: %s\n", strerror(errno));
	_exit(127);
}

static _Noreturn void shell_mode(const sigset_t *while_waiting)
{
	pid_t shell = start_shell(), pid;

	for (;;) {
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			if (pid == shell)
				shut_down(RB_POWER_OFF, 0);
		if (shell < 0)
			shut_down(RB_POWER_OFF, 0);
		ppoll(NULL, 0, NULL, while_waiting);
		obey_signal();
	}
}

/* ---- command mode: ports ---- */

enum { CTL, IN, OUT, ERR, PORTS };
static const char *const port_names[PORTS] = {"lamina.ctl", "lamina.in", "lamina.out", "lamina.err"};
static int ports[PORTS] = {-1, -1, -1, -1};

/* Opens the named ports that are in WANTED and present, and not open yet. */
static void open_ports(unsigned wanted)
{
	char path[300], name[32];
	DIR *dir = opendir("/sys/class/virtio-ports");

	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
		read_file(path, name, sizeof name);
		for (int i = 0; i < PORTS; i++) {
			if (strcmp(name, port_names[i]) != 0 || ports[i] >= 0 || !(wanted & 1u << i))
				continue;
			int mode = i == CTL ? O_RDWR : i == IN ? O_RDONLY : O_WRONLY;
			snprintf(path, sizeof path, "/dev/%s", entry->d_name);
			ports[i] = open(path, mode | O_CLOEXEC | (i == CTL ? 0 : O_NONBLOCK));
		}
	}
	if (dir)
		closedir(dir);
}

static int host_gone(int port)
{
	struct pollfd p = {.fd = port};

	return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR);
}

/* PROTOCOL.md §2 rule 1: once the host has opened ctl, the other ports have names and are open. */
static void connect_ports(void)
{
	int waited = 0;

	for (; waited < PORT_WAIT_MS; waited++) {
		if (ports[CTL] < 0)
			open_ports(1u << CTL);
		if (ports[CTL] >= 0 && !host_gone(ports[CTL]))
			break;
		sleep_ms(1);
	}
	if (waited == PORT_WAIT_MS) {
		dprintf(2, "init: no host on a virtio port named lamina.ctl\n");
		shut_down(RB_POWER_OFF, 1);
	}
	open_ports(1u << IN | 1u << OUT | 1u << ERR);
}

/* Waits until the host closes ctl, having taken everything, or for ACK_WAIT_MS. */
static void await_host(void)
{
	struct pollfd ctl = {.fd = ports[CTL], .events = POLLIN};
	char late[64];

	for (int waited = 0; waited < ACK_WAIT_MS; waited += ACK_WAIT_MS / 10)
		while (poll(&ctl, 1, ACK_WAIT_MS / 10) > 0)
			if (ctl.revents & POLLHUP || read(ports[CTL], late, sizeof late) <= 0)
				return;
}

/* Stops everything, sends the last line and ends the machine. */
static _Noreturn __attribute__((format(printf, 1, 2))) void finish(const char *format, ...)
{
	char line[257];
	va_list args;

	va_start(args, format);
	int len = vsnprintf(line, sizeof line - 1, format, args);
	va_end(args);
	if (len > (int)sizeof line - 2)
		len = sizeof line - 2;
	for (int i = 0; i < len; i++)
		if (line[i] < ' ' || line[i] > '~')
			line[i] = '?';
	line[len] = '\n';
	quiesce(1);
	if (!host_gone(ports[CTL])) {
		write_all(ports[CTL], line, (size_t)len + 1);
		await_host();
	}
	stop_machine(RB_POWER_OFF);
}

static void read_exactly(char *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = read(ports[CTL], buf, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			shut_down(RB_POWER_OFF, 1);
		buf += n;
		len -= (size_t)n;
	}
}

/* ---- command mode: the request ---- */

struct request {
	char **argv;
	const char *cwd;
	char **env; /* "K=V", NULL at the end */
	struct winsize size;
	int tty, null_stdin;
};

/* The header "lamina1 LEN\n", read by single bytes so that nothing behind it is lost. */
static size_t read_header(void)
{
	char line[24], *end;
	size_t len = 0;

	while (len < sizeof line - 1) {
		read_exactly(line + len, 1);
		if (line[len] == '\n')
			break;
		len++;
	}
	line[len] = '\0';
	if (strncmp(line, "lamina1 ", 8) != 0 || line[8] < '1' || line[8] > '9')
		finish("error bad header: %s", line);
	unsigned long size = strtoul(line + 8, &end, 10);
	if (*end || size > REQUEST_MAX)
		finish("error bad length: %s", line);
	return size;
}

/* The value of RECORD if it starts with KEY ('=' included), else NULL. */
static char *record_value(char *record, const char *key)
{
	return strncmp(record, key, strlen(key)) == 0 ? record + strlen(key) : NULL;
}

static void parse_record(struct request *req, char *record, size_t *argc, size_t *envc)
{
	char *v;

	if ((v = record_value(record, "argv=")))
		req->argv[(*argc)++] = v;
	else if ((v = record_value(record, "env=")) && *v != '=' && strchr(v, '='))
		req->env[(*envc)++] = v;
	else if ((v = record_value(record, "cwd=")) && !req->cwd)
		req->cwd = v;
	else if (strcmp(record, "tty=1") == 0 && !req->tty)
		req->tty = 1;
	else if (strcmp(record, "stdin=null") == 0 && !req->null_stdin)
		req->null_stdin = 1;
	else if ((v = record_value(record, "winsize=")) && !req->size.ws_row) {
		if (parse_winsize(v, &req->size) < 0)
			finish("error bad winsize: %s", v);
	} else
		finish("error bad record: %s", record);
}

static void read_request(struct request *req)
{
	size_t size = read_header(), records = 0, argc = 0, envc = 0;
	char *body = malloc(size);

	if (!body)
		finish("error out of memory");
	read_exactly(body, size);
	if (body[size - 1])
		finish("error the last record has no NUL");
	for (size_t i = 0; i < size; i++)
		records += !body[i];
	req->argv = calloc(records + 1, sizeof *req->argv);
	req->env = calloc(records + 1, sizeof *req->env);
	if (!req->argv || !req->env)
		finish("error out of memory");
	for (char *record = body; record < body + size; record += strlen(record) + 1)
		parse_record(req, record, &argc, &envc);
	if (argc == 0 || !*req->argv[0])
		finish("error no argv");
	if (req->size.ws_row && !req->tty)
		finish("error winsize without tty");
	if (req->tty && req->null_stdin)
		finish("error stdin=null with tty");
	for (int i = IN; i < PORTS && !req->tty; i++)
		if (ports[i] < 0 && !(i == IN && req->null_stdin))
			finish("error no port named %s", port_names[i]);
}

/* ---- command mode: the command ---- */

static _Noreturn void exec_command(const struct request *req, int dir)
{
	if (fchdir(dir) < 0)
		_exit(126);
	set_default_env(req->tty);
	for (char **env = req->env; *env; env++)
		putenv(*env);
	execvp(req->argv[0], req->argv);
	int not_found = errno == ENOENT || errno == ENOTDIR;
	dprintf(2, "lamina: %s: %s\n", req->argv[0],
		errno == ENOENT && !strchr(req->argv[0], '/') ? "command not found" : strerror(errno));
	_exit(not_found ? 127 : 126);
}

/* Starts the command; HOST_ENDS gets our ends of its stdin, stdout and stderr, -1 for none. */
static pid_t start_command(const struct request *req, int host_ends[3])
{
	const char *cwd = req->cwd ? req->cwd : "/root";
	int dir = open(cwd, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};

	if (dir < 0 && !req->cwd)
		dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		finish("error cwd %s: %s", cwd, strerror(errno));
	if (!req->tty && (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0))
		finish("error pipe: %s", strerror(errno));
	if (req->null_stdin) {
		close(in[0]);
		close(in[1]);
		in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		in[1] = -1;
	}
	pid_t pid = fork();
	if (pid < 0)
		finish("error fork: %s", strerror(errno));
	if (pid == 0) {
		struct winsize size = req->size.ws_row ? req->size : first_winsize();
		start_session();
		if (req->tty) {
			use_console(&size);
		} else {
			dup2(in[0], 0);
			dup2(out[1], 1);
			dup2(err[1], 2);
		}
		exec_command(req, dir);
	}
	close(dir);
	close(in[0]);
	close(out[1]);
	close(err[1]);
	host_ends[0] = in[1];
	host_ends[1] = out[0];
	host_ends[2] = err[0];
	for (int i = 0; i < 3; i++)
		if (host_ends[i] >= 0)
			fcntl(host_ends[i], F_SETFL, O_NONBLOCK);
	return pid;
}

/* ---- command mode: carrying bytes ---- */

/* One direction of one stream. Over when FROM is -1; the pipe end, whichever it is, is closed then. */
struct pump {
	int from, to, pipe;
	size_t len, done;
	char buf[32768];
};

static struct pump pumps[3];

static void pump_end(struct pump *p)
{
	close(p->pipe);
	p->from = -1;
}

/* What to wait for: room for what is held, else more. */
static struct pollfd pump_wait(const struct pump *p)
{
	if (p->from < 0)
		return (struct pollfd){.fd = -1};
	if (p->done < p->len)
		return (struct pollfd){.fd = p->to, .events = POLLOUT};
	return (struct pollfd){.fd = p->from, .events = POLLIN};
}

static void pump_write(struct pump *p, short revents)
{
	/* The reader has gone: the command closed its stdin, or the host its port. */
	if (revents & (POLLERR | POLLHUP)) {
		pump_end(p);
		return;
	}
	ssize_t n = write(p->to, p->buf + p->done, p->len - p->done);
	if (n >= 0)
		p->done += (size_t)n;
	else if (errno != EAGAIN && errno != EINTR)
		pump_end(p);
}

static void pump_run(struct pump *p, short revents)
{
	if (!revents || p->from < 0)
		return;
	if (p->done < p->len) {
		pump_write(p, revents);
		return;
	}
	ssize_t n = read(p->from, p->buf, sizeof p->buf);
	if (n > 0) {
		p->len = (size_t)n;
		p->done = 0;
		pump_write(p, 0);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		pump_end(p);
	}
}

static void start_pumps(const int host_ends[3])
{
	for (int i = 0; i < 3; i++) {
		pumps[i].pipe = host_ends[i];
		pumps[i].from = host_ends[i] < 0 ? -1 : i == 0 ? ports[IN] : host_ends[i];
		pumps[i].to = i == 0 ? host_ends[0] : ports[OUT + i - 1];
	}
}

/* ---- command mode: while it runs ---- */

static void control_line(const char *line, pid_t pid, int tty)
{
	struct winsize size;
	int fd;

	if (strncmp(line, "kill ", 5) == 0) {
		int sig = atoi(line + 5);
		if (pid > 0 && sig >= 1 && sig <= 64)
			kill(-pid, sig);
	} else if (strncmp(line, "winsize ", 8) == 0 && tty && parse_winsize(line + 8, &size) == 0 &&
		   (fd = open(console, O_RDWR | O_NOCTTY | O_CLOEXEC)) >= 0) {
		ioctl(fd, TIOCSWINSZ, &size);
		close(fd);
	}
}

/* Collects control bytes into lines; a line that is too long is dropped whole. */
static void read_control(pid_t pid, int tty)
{
	static char line[LINE_LEN_MAX];
	static size_t len;
	char buf[256];
	ssize_t n = read(ports[CTL], buf, sizeof buf);

	if (n == 0)
		shut_down(RB_POWER_OFF, 1);
	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] != '\n') {
			if (len < sizeof line)
				line[len++] = buf[i];
			continue;
		}
		if (len < sizeof line) {
			line[len] = '\0';
			control_line(line, pid, tty);
		}
		len = 0;
	}
}

/* Returns the wait status of the command, when all it wrote has been sent. */
static int run_command(pid_t pid, int tty, const sigset_t *while_waiting)
{
	int status = 0, ended = 0, wait_status;

	for (;;) {
		for (pid_t p; (p = waitpid(-1, &wait_status, WNOHANG)) > 0;) {
			if (p != pid)
				continue;
			status = wait_status;
			ended = 1;
			pid = -1;
			kill(-1, SIGKILL);
		}
		if (ended && pumps[1].from < 0 && pumps[2].from < 0)
			return status;
		struct pollfd wait[] = {pump_wait(&pumps[0]), pump_wait(&pumps[1]), pump_wait(&pumps[2]),
					{.fd = ports[CTL], .events = POLLIN}};
		if (ppoll(wait, 4, NULL, while_waiting) < 0) {
			obey_signal();
			continue;
		}
		for (int i = 0; i < 3; i++)
			pump_run(&pumps[i], wait[i].revents);
		if (wait[3].revents)
			read_control(pid, tty);
	}
}

static _Noreturn void command_mode(const sigset_t *while_waiting)
{
	struct request req = {0};
	int host_ends[3];

	connect_ports();
	write_all(ports[CTL], "ready 1\n", 8);
	read_request(&req);
	if (*share_error)
		finish("error %s", share_error);
	pid_t pid = start_command(&req, host_ends);
	start_pumps(host_ends);
	int status = run_command(pid, req.tty, while_waiting);
	if (WIFSIGNALED(status))
		finish("signal %d", WTERMSIG(status));
	finish("exit %d", WEXITSTATUS(status));
}

/* ---- the commands ---- */

/* poweroff, halt (a halted machine is of no use here: the same), reboot, shutdown [-r]. */
static int shutdown_command(const char *name, const char *option)
{
	static const char *const names[] = {"reboot", "shutdown", "poweroff", "halt"};
	size_t i = 0;

	while (i < 4 && strcmp(name, names[i]) != 0)
		i++;
	if (i == 4) {
		dprintf(2, "%s: runs as process 1 only\n", name);
		return 1;
	}
	int reboots = i == 0 || (i == 1 && strcmp(option, "-r") == 0);
	sync();
	if (kill(1, reboots ? SIGTERM : SIGUSR2) < 0) {
		dprintf(2, "%s: %s\n", name, strerror(errno));
		return 1;
	}
	/* PID 1 ends us; returning would show a prompt for a moment. */
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const char *name = argc > 0 && strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
	char mode[8];
	sigset_t while_waiting;

	if (getpid() != 1)
		return shutdown_command(name, argc > 1 ? argv[1] : "");
	take_signals(&while_waiting);
	bring_up();
	if (cmdline_value("lamina.cmd=", mode, sizeof mode) && strcmp(mode, "1") == 0)
		command_mode(&while_waiting);
	shell_mode(&while_waiting);
}
