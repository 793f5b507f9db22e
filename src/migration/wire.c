#include "migration/wire.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/bits.h"

#define IDENTITY "lamina"

/* A key that is shared beforehand, and a fresh exchange, so that old recordings stay secret. */
#define PRIORITIES "NONE:+VERS-TLS1.3:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:+AEAD:"            \
		   "+ECDHE-PSK:+DHE-PSK:+GROUP-X25519:+GROUP-SECP256R1:+SIGN-ALL:+CTYPE-X509"

/* ---- Keys ---- */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int wire_parse_key(struct wire_key *key, const char *text, struct lm_err *err)
{
	*key = (struct wire_key){ .size = 0 };
	for (; key->size < WIRE_KEY_MAX && digit(text[0]) >= 0 && digit(text[1]) >= 0; text += 2)
		key->bytes[key->size++] = (uint8_t)(digit(text[0]) << 4 | digit(text[1]));
	while (isspace((unsigned char)*text))
		text++;
	if (*text || key->size < WIRE_KEY_MIN)
		return lm_err_set(err, -EINVAL, "a key has %d to %d hexadecimal digits, an even number",
				  2 * WIRE_KEY_MIN, 2 * WIRE_KEY_MAX);
	return 0;
}

static int read_text(int fd, char *text, size_t size, struct lm_err *err)
{
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st))
		return lm_err_errno(err, -errno, "cannot look at it");
	if (!S_ISREG(st.st_mode))
		return lm_err_set(err, -EINVAL, "not a file");
	if (st.st_mode & 077)
		return lm_err_set(err, -EPERM, "others may read or write it: chmod 600 it");
	n = read(fd, text, size - 1);
	if (n < 0)
		return lm_err_errno(err, -errno, "cannot read it");
	text[n] = 0;
	return 0;
}

int wire_read_key(struct wire_key *key, const char *path, struct lm_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc;
	char text[2 * WIRE_KEY_MAX + 64];

	if (fd < 0)
		return lm_err_errno(err, -errno, "cannot read it");
	rc = read_text(fd, text, sizeof(text), err);
	close(fd);
	if (!rc)
		rc = wire_parse_key(key, text, err);
	explicit_bzero(text, sizeof(text));
	return rc;
}

/* ---- TLS ---- */

static int tls_error(int code, const char *what, struct lm_err *err)
{
	if (code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED)
		return lm_err_set(err, -ETIMEDOUT, "%s: the other side does not answer", what);
	if (code == GNUTLS_E_PREMATURE_TERMINATION || code == GNUTLS_E_PUSH_ERROR ||
	    code == GNUTLS_E_PULL_ERROR)
		return lm_err_set(err, -ECONNRESET, "%s: the other side is gone", what);
	if (code == GNUTLS_E_FATAL_ALERT_RECEIVED || code == GNUTLS_E_DECRYPTION_FAILED ||
	    code == GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER)
		return lm_err_set(err, -EACCES, "%s: the other side has another key", what);
	return lm_err_set(err, -EPROTO, "%s: TLS: %s", what, gnutls_strerror(code));
}

static int give_key(gnutls_session_t tls, const char *identity, gnutls_datum_t *out)
{
	const struct wire *w = gnutls_session_get_ptr(tls);

	if (strcmp(identity, IDENTITY) != 0)
		return -1;
	out->data = gnutls_malloc(w->key.size);
	if (!out->data)
		return -1;
	memcpy(out->data, w->key.bytes, w->key.size);
	out->size = w->key.size;
	return 0;
}

static int set_credentials(struct wire *w)
{
	gnutls_datum_t key = { w->key.bytes, w->key.size };
	int rc;

	if (w->server) {
		rc = gnutls_psk_allocate_server_credentials(&w->server_key);
		if (rc < 0)
			return rc;
		gnutls_psk_set_server_credentials_function(w->server_key, give_key);
		return gnutls_credentials_set(w->tls, GNUTLS_CRD_PSK, w->server_key);
	}
	rc = gnutls_psk_allocate_client_credentials(&w->client_key);
	if (rc < 0)
		return rc;
	rc = gnutls_psk_set_client_credentials(w->client_key, IDENTITY, &key, GNUTLS_PSK_KEY_RAW);
	return rc < 0 ? rc : gnutls_credentials_set(w->tls, GNUTLS_CRD_PSK, w->client_key);
}

static int start_tls(struct wire *w, struct lm_err *err)
{
	unsigned flags = (w->server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL;
	int rc = gnutls_init(&w->tls, flags);

	if (rc >= 0) {
		gnutls_session_set_ptr(w->tls, w);
		rc = gnutls_priority_set_direct(w->tls, PRIORITIES, NULL);
	}
	if (rc >= 0)
		rc = set_credentials(w);
	if (rc < 0)
		return tls_error(rc, "cannot start", err);
	gnutls_transport_set_int(w->tls, w->fd);
	do
		rc = gnutls_handshake(w->tls);
	while (rc < 0 && !gnutls_error_is_fatal(rc) && rc != GNUTLS_E_AGAIN);
	if (rc < 0)
		gnutls_alert_send_appropriate(w->tls, rc);
	return rc < 0 ? tls_error(rc, "handshake", err) : 0;
}

/* ---- Opening and closing ---- */

static void set_options(int fd)
{
	struct timeval limit = { .tv_sec = WIRE_TIMEOUT_S };
	int on = 1;

	fcntl(fd, F_SETFL, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* not for Unix sockets: fails */
}

int wire_open(struct wire *w, int fd, bool server, const struct wire_key *key, struct lm_err *err)
{
	*w = (struct wire){ .fd = fd, .server = server, .key = *key };
	set_options(fd);
	return key->size ? start_tls(w, err) : 0;
}

void wire_close(struct wire *w)
{
	if (w->fd < 0)
		return;
	if (w->tls)
		gnutls_deinit(w->tls);
	if (w->client_key)
		gnutls_psk_free_client_credentials(w->client_key);
	if (w->server_key)
		gnutls_psk_free_server_credentials(w->server_key);
	explicit_bzero(&w->key, sizeof(w->key));
	close(w->fd);
	w->fd = -1;
	w->tls = NULL;
}

void wire_interrupt(struct wire *w)
{
	shutdown(w->fd, SHUT_RDWR);
}

/* ---- Data ---- */

static int plain_error(int code, const char *what, struct lm_err *err)
{
	if (code == EAGAIN)
		return lm_err_set(err, -ETIMEDOUT, "%s: the other side does not answer", what);
	if (code == EPIPE || code == ECONNRESET || code == 0)
		return lm_err_set(err, -ECONNRESET, "%s: the other side is gone", what);
	return lm_err_errno(err, -code, "%s", what);
}

int wire_write(struct wire *w, const void *data, size_t len, struct lm_err *err)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = w->tls ? gnutls_record_send(w->tls, p, len)
				   : send(w->fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && (w->tls ? n == GNUTLS_E_INTERRUPTED : errno == EINTR))
			continue;
		if (n <= 0)
			return w->tls ? tls_error((int)n, "sending", err)
				      : plain_error(errno, "sending", err);
		p += n;
		len -= (size_t)n;
		w->sent += (uint64_t)n;
	}
	return 0;
}

int wire_read(struct wire *w, void *data, size_t len, struct lm_err *err)
{
	uint8_t *p = data;

	while (len) {
		ssize_t n = w->tls ? gnutls_record_recv(w->tls, p, len) : recv(w->fd, p, len, 0);

		if (n < 0 && (w->tls ? n == GNUTLS_E_INTERRUPTED : errno == EINTR))
			continue;
		if (n == 0)
			return plain_error(0, "receiving", err);
		if (n < 0)
			return w->tls ? tls_error((int)n, "receiving", err)
				      : plain_error(errno, "receiving", err);
		p += n;
		len -= (size_t)n;
	}
	return 0;
}
