/*
 * The way between two machines: a connected socket, plain (Unix sockets) or under TLS 1.3 with a key
 * that both sides have (RFC 8446 §2.2, GnuTLS).
 *
 * Calls block, at most WIRE_TIMEOUT_S without progress. One thread at a time; wire_interrupt from any.
 */
#ifndef LM_MIGRATION_WIRE_H
#define LM_MIGRATION_WIRE_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define WIRE_TIMEOUT_S	20
#define WIRE_KEY_MIN	16 /* bytes */
#define WIRE_KEY_MAX	64

struct wire_key {
	uint8_t bytes[WIRE_KEY_MAX];
	unsigned size; /* 0: none */
};

struct wire {
	int fd; /* owned; -1: closed */
	bool server;
	struct wire_key key;
	gnutls_session_t tls; /* NULL: plain */
	gnutls_psk_client_credentials_t client_key;
	gnutls_psk_server_credentials_t server_key;
	uint64_t sent; /* bytes */
};

/* Hexadecimal digits, 32 to 128, and white space behind them. */
int wire_parse_key(struct wire_key *key, const char *text, struct lm_err *err);
/* From a file that others may not read. */
int wire_read_key(struct wire_key *key, const char *path, struct lm_err *err);

/* Takes fd over, for wire_close also on failure. With a key of size 0 it stays plain. */
int wire_open(struct wire *w, int fd, bool server, const struct wire_key *key, struct lm_err *err);
void wire_close(struct wire *w);

/* All of it, or an error. */
int wire_write(struct wire *w, const void *data, size_t len, struct lm_err *err);
int wire_read(struct wire *w, void *data, size_t len, struct lm_err *err);

/* Any thread: makes calls fail, now and later. */
void wire_interrupt(struct wire *w);

#endif
