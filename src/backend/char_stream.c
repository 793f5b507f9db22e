#include "backend/char_stream.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/thread.h"
#include "event/waker.h"

/*
 * A descriptor that poll calls writable takes this much without blocking, if it is a pipe
 * (PIPE_BUF); others block for a moment at worst, in their own thread.
 */
#define CHUNK		   4096
#define BACKGROUND_WAIT_MS 250
#define STOP_WAIT_S	   1
#define NS_PER_MS	   1000000L
#define NS_PER_S	   1000000000L

/* Waits until the descriptor is ready; false when told to stop. */
static bool wait_ready(struct char_stream *s, short events)
{
	struct pollfd p[2] = {{s->fd, events, 0}, {s->stop_fd, POLLIN, 0}};

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	return !p[1].revents;
}

static bool pause_unless_stopped(struct char_stream *s)
{
	struct pollfd p = {s->stop_fd, POLLIN, 0};

	return poll(&p, 1, BACKGROUND_WAIT_MS) == 0;
}

/* With the lock held. */
static void end(struct char_stream *s, int error)
{
	s->ended = true;
	s->error = error;
	pthread_cond_broadcast(&s->changed);
	wake_fd_signal(s->notify_fd);
}

/* A background job that reads its terminal gets EIO, as SIGTTIN is blocked here: not an end. */
static bool in_background(const struct char_stream *s, int error)
{
	return error == EIO && isatty(s->fd) && tcgetpgrp(s->fd) != getpgrp();
}

/* One read, without the lock: the bytes read, 0 at the end of the stream, or negative errno. */
static ssize_t read_chunk(struct char_stream *s, uint8_t buf[CHUNK])
{
	while (wait_ready(s, POLLIN)) {
		ssize_t n = read(s->fd, buf, CHUNK);
		int error = n < 0 ? errno : 0;

		if (error == EINTR || error == EAGAIN)
			continue;
		if (in_background(s, error) && pause_unless_stopped(s))
			continue;
		return error ? -error : n;
	}
	return 0;
}

static void append(struct char_stream *s, const uint8_t *bytes, size_t len)
{
	size_t tail = (s->head + s->len) % STREAM_RING;
	size_t first = LM_MIN(len, STREAM_RING - tail);

	memcpy(s->buf + tail, bytes, first);
	memcpy(s->buf, bytes + first, len - first);
	s->len += len;
}

static void *reader(void *opaque)
{
	struct char_stream *s = opaque;
	uint8_t buf[CHUNK];
	ssize_t n;

	while ((n = read_chunk(s, buf)) > 0) {
		pthread_mutex_lock(&s->lock);
		append(s, buf, (size_t)n);
		wake_fd_signal(s->notify_fd);
		while (STREAM_RING - s->len < CHUNK && !s->stopping)
			pthread_cond_wait(&s->changed, &s->lock);
		pthread_mutex_unlock(&s->lock);
	}
	pthread_mutex_lock(&s->lock);
	end(s, (int)-n);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* One write of bytes that stay in the ring meanwhile; the number written or negative errno. */
static ssize_t write_chunk(struct char_stream *s, const uint8_t *bytes, size_t len)
{
	while (wait_ready(s, POLLOUT)) {
		ssize_t n = write(s->fd, bytes, len);

		if (n >= 0)
			return n;
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
	return -ECANCELED;
}

static void *writer(void *opaque)
{
	struct char_stream *s = opaque;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		ssize_t n;
		size_t len;

		while (!s->len && !s->stopping)
			pthread_cond_wait(&s->changed, &s->lock);
		if (s->stopping)
			break;
		len = LM_MIN(LM_MIN(s->len, STREAM_RING - s->head), CHUNK);
		pthread_mutex_unlock(&s->lock);
		n = write_chunk(s, s->buf + s->head, len);
		pthread_mutex_lock(&s->lock);
		if (n < 0) {
			end(s, (int)-n);
			break;
		}
		s->head = (s->head + (size_t)n) % STREAM_RING;
		s->len -= (size_t)n;
		if (s->short_write && s->len <= STREAM_RING / 2)
			wake_fd_signal(s->notify_fd);
		if (!s->len)
			pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void init_locks(struct char_stream *s)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &attr);
	pthread_condattr_destroy(&attr);
}

int char_stream_start(struct char_stream *s, int fd, bool output, int notify_fd, struct lm_err *err)
{
	int rc;

	s->fd = fd;
	s->output = output;
	s->notify_fd = notify_fd;
	s->stop_fd = wake_fd_open(err);
	if (s->stop_fd < 0)
		return s->stop_fd;
	init_locks(s);
	rc = thread_start_quiet(&s->thread, output ? writer : reader, s);
	if (rc) {
		close(s->stop_fd);
		return lm_err_errno(err, rc, "cannot create a thread");
	}
	s->started = true;
	return 0;
}

static struct timespec deadline(clockid_t clock, long ms)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += ms % 1000 * NS_PER_MS;
	if (ts.tv_nsec >= NS_PER_S) {
		ts.tv_sec++;
		ts.tv_nsec -= NS_PER_S;
	}
	return ts;
}

bool char_stream_stop(struct char_stream *s)
{
	struct timespec until;

	if (!s->started)
		return true;
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	wake_fd_signal(s->stop_fd);
	until = deadline(CLOCK_REALTIME, 1000 * STOP_WAIT_S);
	if (pthread_timedjoin_np(s->thread, NULL, &until) != 0) {
		pthread_detach(s->thread);
		return false;
	}
	s->started = false;
	close(s->stop_fd);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	return true;
}

size_t char_stream_put(struct char_stream *s, const uint8_t *bytes, size_t len)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	if (s->ended) {
		n = len;
	} else {
		n = LM_MIN(len, STREAM_RING - s->len);
		s->short_write = n < len;
		append(s, bytes, n);
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

bool char_stream_has_room(struct char_stream *s)
{
	bool room;

	pthread_mutex_lock(&s->lock);
	room = s->short_write && (s->ended || s->len <= STREAM_RING / 2);
	if (room)
		s->short_write = false;
	pthread_mutex_unlock(&s->lock);
	return room;
}

bool char_stream_drain(struct char_stream *s, int timeout_ms)
{
	struct timespec until = deadline(CLOCK_MONOTONIC, timeout_ms);
	bool done;
	int rc = 0;

	if (!s->started)
		return true;
	pthread_mutex_lock(&s->lock);
	while (s->len && !s->ended && rc == 0) {
		if (timeout_ms < 0)
			rc = pthread_cond_wait(&s->changed, &s->lock);
		else
			rc = pthread_cond_timedwait(&s->changed, &s->lock, &until);
	}
	done = !s->len || s->ended;
	pthread_mutex_unlock(&s->lock);
	return done;
}

size_t char_stream_get(struct char_stream *s, uint8_t *bytes, size_t len)
{
	size_t n, first;

	pthread_mutex_lock(&s->lock);
	n = LM_MIN(len, s->len);
	first = LM_MIN(n, STREAM_RING - s->head);
	memcpy(bytes, s->buf + s->head, first);
	memcpy(bytes + first, s->buf, n - first);
	s->head = (s->head + n) % STREAM_RING;
	s->len -= n;
	if (n)
		pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return n;
}

bool char_stream_ended(struct char_stream *s, int *error)
{
	bool ended;

	if (!s->started)
		return false;
	pthread_mutex_lock(&s->lock);
	ended = s->ended && (s->output || !s->len);
	*error = s->error;
	pthread_mutex_unlock(&s->lock);
	return ended;
}
