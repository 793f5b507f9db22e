#include "backend/screen_vnc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <rfb/rfb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/thread.h"

#define REFRESH_MS   40
#define UNIX_PREFIX  "unix:"
#define SLOW_MS	     2000 /* a viewer that takes nothing for so long is left behind */
#define BACKLOG	     4
#define VIEWERS_MAX  8

struct screen_vnc {
	const struct display *display;
	struct keyboard *keyboard;
	struct screen_pointer pointer;
	int pointer_x, pointer_y; /* where a viewer had it last */
	struct event_loop *loop;
	rfbScreenInfoPtr rfb;
	uint32_t *shown, *now; /* width * height pixels: what viewers have, and what is */
	struct display_mode mode;
	int listener;
	char unix_path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* to be removed; may be empty */
	pthread_t thread;
	bool started, stop; /* stop: atomic */
};

/* ---- Addresses ---- */

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

static bool is_loopback(const union address *a)
{
	if (a->any.sa_family == AF_INET)
		return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
	return a->any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

static int parse_unix(const char *path, union address *a, socklen_t *len, struct lm_err *err)
{
	a->un.sun_family = AF_UNIX;
	if (!*path || strlen(path) >= sizeof(a->un.sun_path))
		return lm_err_set(err, -EINVAL, "a Unix socket's path has 1 to %zu bytes",
				  sizeof(a->un.sun_path) - 1);
	strcpy(a->un.sun_path, path);
	*len = sizeof(a->un);
	return 0;
}

/* "[HOST:]PORT"; an IPv6 HOST may be in brackets. */
static int parse_inet(const char *text, union address *a, socklen_t *len, struct lm_err *err)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_NUMERICSERV }, *found;
	const char *colon = strrchr(text, ':'), *port = colon ? colon + 1 : text;
	char host[128] = "127.0.0.1";
	int rc;

	if (colon && (size_t)(colon - text) < sizeof(host)) {
		bool bracket = *text == '[' && colon[-1] == ']';

		snprintf(host, sizeof(host), "%.*s", (int)(colon - text) - 2 * bracket,
			 text + bracket);
	}
	rc = *port ? getaddrinfo(host, port, &hints, &found) : EAI_SERVICE;
	if (rc)
		return lm_err_set(err, -EINVAL,
				  "not an address to listen on: %s; the form is [HOST:]PORT or unix:PATH",
				  gai_strerror(rc));
	memcpy(a, found->ai_addr, LM_MIN(found->ai_addrlen, sizeof(*a)));
	*len = found->ai_addrlen;
	freeaddrinfo(found);
	if (!is_loopback(a))
		return lm_err_set(err, -EACCES,
				  "VNC is not encrypted: only a loopback address or unix:PATH; reach it "
				  "from elsewhere by ssh -L");
	return 0;
}

static int parse_address(const char *text, union address *a, socklen_t *len, struct lm_err *err)
{
	memset(a, 0, sizeof(*a));
	if (!strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)))
		return parse_unix(text + strlen(UNIX_PREFIX), a, len, err);
	return parse_inet(text, a, len, err);
}

int screen_vnc_check(const char *address, struct lm_err *err)
{
	union address a;
	socklen_t len;

	return parse_address(address, &a, &len, err);
}

static int listen_on(struct screen_vnc *s, const char *text, struct lm_err *err)
{
	union address a;
	socklen_t len;
	int one = 1, rc = parse_address(text, &a, &len, err);

	if (rc < 0)
		return rc;
	s->listener = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listener < 0)
		return lm_err_errno(err, -errno, "--display vnc: no socket");
	if (a.any.sa_family != AF_UNIX)
		setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	else
		fchmod(s->listener, 0600);
	if (bind(s->listener, &a.any, len) < 0 || listen(s->listener, BACKLOG) < 0)
		return lm_err_errno(err, -errno, "--display vnc=%s", text);
	if (a.any.sa_family == AF_UNIX)
		strcpy(s->unix_path, a.un.sun_path);
	return 0;
}

/* ---- Viewers' keys (on our thread, in rfbProcessEvents) ---- */

static void on_key(rfbBool down, rfbKeySym keysym, rfbClientPtr client)
{
	struct screen_vnc *s = client->screen->screenData;
	const struct key *key = key_by_keysym(keysym);

	if (!key)
		return;
	loop_lock(s->loop);
	keyboard_event(s->keyboard, key, down);
	loop_unlock(s->loop);
}

/* RFC 6143 §7.5.5: buttons left, middle, right, then the wheel up and down, as presses. */
static void on_pointer(int mask, int x, int y, rfbClientPtr client)
{
	struct screen_vnc *s = client->screen->screenData;
	uint8_t buttons = (uint8_t)((mask & 1) | (mask & 4) >> 1 | (mask & 2) << 1);
	int wheel = (mask & 16 ? 1 : 0) - (mask & 8 ? 1 : 0);

	loop_lock(s->loop);
	s->pointer.move(s->pointer.opaque, x - s->pointer_x, y - s->pointer_y, wheel, buttons);
	loop_unlock(s->loop);
	s->pointer_x = x;
	s->pointer_y = y;
}

/* ---- The picture ---- */

/* The framebuffer is one pixel at least, and replaced before the old one is freed. */
static bool resize(struct screen_vnc *s, const struct display_mode *mode)
{
	size_t size = (size_t)mode->width * mode->height;
	uint32_t *shown = calloc(size, sizeof(*shown)), *now = calloc(size, sizeof(*now));

	if (!shown || !now) {
		free(shown);
		free(now);
		return false;
	}
	rfbNewFramebuffer(s->rfb, (char *)shown, (int)mode->width, (int)mode->height, 8, 3, 4);
	s->rfb->serverFormat.redShift = 16;
	s->rfb->serverFormat.greenShift = 8;
	s->rfb->serverFormat.blueShift = 0;
	free(s->shown);
	free(s->now);
	s->shown = shown;
	s->now = now;
	s->mode = *mode;
	return true;
}

/* False: the mode changed, and memory for it is needed first. */
static bool take_picture(struct screen_vnc *s, struct display_mode *mode)
{
	bool same;

	loop_lock(s->loop);
	s->display->mode(s->display->opaque, mode);
	same = s->shown && mode->width == s->mode.width && mode->height == s->mode.height;
	if (same)
		s->display->pixels(s->display->opaque, mode, s->now);
	loop_unlock(s->loop);
	return same;
}

/* Stretches of lines that changed. */
static void show_changes(struct screen_vnc *s)
{
	unsigned width = s->mode.width, first = s->mode.height;

	for (unsigned y = 0; y <= s->mode.height; y++) {
		bool differs = y < s->mode.height &&
			       memcmp(s->shown + y * width, s->now + y * width, 4 * width);

		if (differs) {
			memcpy(s->shown + y * width, s->now + y * width, 4 * width);
			first = LM_MIN(first, y);
		} else if (first < y) {
			rfbMarkRectAsModified(s->rfb, 0, (int)first, (int)width, (int)y);
			first = s->mode.height;
		}
	}
}

static void refresh(struct screen_vnc *s)
{
	struct display_mode mode;

	if (take_picture(s, &mode) || (resize(s, &mode) && take_picture(s, &mode)))
		show_changes(s);
}

/* ---- The thread ---- */

static unsigned viewers(const struct screen_vnc *s)
{
	unsigned n = 0;

	for (rfbClientPtr c = s->rfb->clientHead; c; c = c->next)
		n++;
	return n;
}

static void accept_viewer(struct screen_vnc *s)
{
	int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (viewers(s) >= VIEWERS_MAX)
		close(fd);
	else
		rfbNewClientConnection(s->rfb, fd);
}

static void *serve(void *opaque)
{
	struct screen_vnc *s = opaque;

	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		struct pollfd listener = { .fd = s->listener, .events = POLLIN };
		bool watched = s->rfb->clientHead != NULL;

		if (poll(&listener, 1, watched ? 0 : REFRESH_MS) > 0)
			accept_viewer(s);
		if (!watched)
			continue;
		refresh(s);
		rfbProcessEvents(s->rfb, REFRESH_MS * 1000);
	}
	return NULL;
}

static void quiet(const char *format, ...)
{
}

static int create_rfb(struct screen_vnc *s, const char *name, struct lm_err *err)
{
	rfbLog = rfbErr = quiet;
	s->rfb = rfbGetScreen(NULL, NULL, 16, 16, 8, 3, 4);
	s->shown = calloc(16 * 16, sizeof(*s->shown));
	s->now = calloc(16 * 16, sizeof(*s->now));
	if (!s->rfb || !s->shown || !s->now)
		return lm_err_set(err, -ENOMEM, "no memory for VNC");
	s->mode.width = s->mode.height = 16;
	s->rfb->frameBuffer = (char *)s->shown;
	s->rfb->desktopName = name;
	s->rfb->screenData = s;
	s->rfb->kbdAddEvent = on_key;
	s->rfb->ptrAddEvent = on_pointer;
	s->rfb->alwaysShared = TRUE;
	s->rfb->port = s->rfb->ipv6port = 0;
	s->rfb->autoPort = FALSE;
	s->rfb->handleEventsEagerly = TRUE;
	s->rfb->maxClientWait = rfbMaxClientWait = SLOW_MS;
	rfbInitServer(s->rfb); /* with port 0 it listens nowhere */
	return 0;
}

int screen_vnc_open(struct screen_vnc **out, const char *address, const char *name,
		    const struct display *display, struct keyboard *keyboard,
		    struct screen_pointer pointer, struct event_loop *loop, struct lm_err *err)
{
	struct screen_vnc *s = calloc(1, sizeof(*s));
	int rc;

	*out = s;
	if (!s)
		return lm_err_set(err, -ENOMEM, "no memory for VNC");
	s->listener = -1;
	s->display = display;
	s->keyboard = keyboard;
	s->pointer = pointer;
	s->loop = loop;
	rc = listen_on(s, address, err);
	if (!rc)
		rc = create_rfb(s, name, err);
	if (rc < 0)
		return rc;
	rc = thread_start_quiet(&s->thread, serve, s);
	s->started = !rc;
	return rc ? lm_err_errno(err, rc, "cannot start the thread of VNC") : 0;
}

void screen_vnc_close(struct screen_vnc *s)
{
	if (!s)
		return;
	__atomic_store_n(&s->stop, true, __ATOMIC_RELEASE);
	if (s->started)
		pthread_join(s->thread, NULL);
	if (s->rfb) {
		rfbShutdownServer(s->rfb, TRUE);
		s->rfb->frameBuffer = NULL;
		rfbScreenCleanup(s->rfb);
	}
	if (s->listener >= 0)
		close(s->listener);
	if (*s->unix_path)
		unlink(s->unix_path);
	free(s->shown);
	free(s->now);
	free(s);
}
