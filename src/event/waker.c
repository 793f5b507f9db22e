#include "event/waker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

int wake_fd_open(struct lm_err *err)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? lm_err_errno(err, -errno, "cannot create an eventfd") : fd;
}

void wake_fd_signal(int fd)
{
	eventfd_write(fd, 1); /* EAGAIN: it has been woken and has not looked yet */
}

void wake_fd_clear(int fd)
{
	eventfd_t count;

	eventfd_read(fd, &count); /* EAGAIN: it was clear */
}

static void ready(void *opaque, uint32_t events)
{
	struct waker *w = opaque;

	wake_fd_clear(w->fd);
	w->woken(w->opaque);
}

int waker_init(struct waker *w, struct event_loop *loop, void (*woken)(void *), void *opaque,
	       struct lm_err *err)
{
	int rc, fd = wake_fd_open(err);

	if (fd < 0)
		return fd;
	*w = (struct waker){.fd = fd, .woken = woken, .opaque = opaque};
	rc = event_fd_init(&w->watch, loop, fd, EPOLLIN, ready, w, err);
	if (rc < 0) {
		close(fd);
		w->woken = NULL;
	}
	return rc;
}

void waker_wake(const struct waker *w)
{
	wake_fd_signal(w->fd);
}

void waker_fini(struct waker *w)
{
	if (!w->woken)
		return;
	event_fd_fini(&w->watch);
	close(w->fd);
	w->woken = NULL;
}
