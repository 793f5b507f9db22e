/* The wire, plain and under TLS: keys, frames both ways, and what the other side may do wrong. */
#include "migration/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit/check.h"
#include "base/bits.h"
#include "migration/frame.h"

#define KEY_A "000102030405060708090a0b0c0d0e0f"
#define KEY_B "000102030405060708090a0b0c0d0eff"

static void test_keys(void)
{
	struct wire_key key;
	struct lm_err err;
	char long_key[140];

	CHECK_EQ(wire_parse_key(&key, KEY_A "\n", NULL), 0);
	CHECK_EQ(key.size, 16);
	CHECK_EQ(key.bytes[15], 15);
	CHECK_EQ(wire_parse_key(&key, "ABCDEFabcdef0123456789ABCDEFabcd", NULL), 0);
	CHECK_EQ(key.bytes[0], 0xab);
	CHECK_EQ(wire_parse_key(&key, "0001", NULL), -EINVAL);
	CHECK_EQ(wire_parse_key(&key, KEY_A "0", NULL), -EINVAL);
	CHECK_EQ(wire_parse_key(&key, KEY_A " x", NULL), -EINVAL);
	memset(long_key, 'a', sizeof(long_key));
	long_key[130] = 0;
	CHECK_EQ(wire_parse_key(&key, long_key, &err), -EINVAL);
	long_key[128] = 0;
	CHECK_EQ(wire_parse_key(&key, long_key, NULL), 0);
	CHECK_EQ(key.size, WIRE_KEY_MAX);
}

static void test_key_file(void)
{
	char path[] = "/tmp/lamina-key-XXXXXX";
	int fd = mkstemp(path);
	struct wire_key key;
	struct lm_err err;

	CHECK_EQ(write(fd, KEY_A "\n", 33), 33);
	close(fd);
	CHECK_EQ(wire_read_key(&key, path, NULL), 0);
	chmod(path, 0640);
	CHECK_EQ(wire_read_key(&key, path, &err), -EPERM);
	CHECK(strstr(err.text, "chmod 600") != NULL);
	unlink(path);
	CHECK_EQ(wire_read_key(&key, path, NULL), -ENOENT);
	CHECK_EQ(wire_read_key(&key, "/dev/null", NULL), -EINVAL);
}

/* ---- Two ends ---- */

struct end {
	int fd;
	bool server;
	const char *key;
	int rc;
	struct lm_err err;
	pthread_t thread;
};

static int talk(struct wire *w, bool server, struct lm_err *err)
{
	json_t *json = NULL;
	int rc = frame_greet(w, err);

	if (!rc && !server)
		rc = frame_send_json(w, FRAME_HELLO, json_pack("{s:i}", "n", 7), err);
	if (!rc && server)
		rc = frame_expect(w, FRAME_HELLO, &json, err);
	if (!rc && server && json_integer_value(json_object_get(json, "n")) != 7)
		rc = -EBADMSG;
	json_decref(json);
	if (!rc && server)
		rc = frame_send_json(w, FRAME_READY, json_object(), err);
	return rc || server ? rc : frame_expect(w, FRAME_READY, NULL, err);
}

static void *run_end(void *opaque)
{
	struct end *e = opaque;
	struct wire_key key = { .size = 0 };
	struct wire w;

	if (e->key)
		wire_parse_key(&key, e->key, NULL);
	e->rc = wire_open(&w, e->fd, e->server, &key, &e->err);
	if (!e->rc)
		e->rc = talk(&w, e->server, &e->err);
	wire_close(&w);
	return NULL;
}

static void run_both(struct end *client, struct end *server, const char *client_key,
		     const char *server_key)
{
	int fd[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	*client = (struct end){ .fd = fd[0], .key = client_key };
	*server = (struct end){ .fd = fd[1], .key = server_key, .server = true };
	pthread_create(&server->thread, NULL, run_end, server);
	run_end(client);
	pthread_join(server->thread, NULL);
}

static void test_connections(void)
{
	struct end c, s;

	run_both(&c, &s, NULL, NULL);
	CHECK(!c.rc && !s.rc);
	run_both(&c, &s, KEY_A, KEY_A);
	CHECK(!c.rc && !s.rc);
	run_both(&c, &s, KEY_A, KEY_B);
	CHECK(c.rc == -EACCES && s.rc == -EACCES);
	CHECK(strstr(c.err.text, "another key") && strstr(s.err.text, "another key"));
	run_both(&c, &s, NULL, KEY_A);
	CHECK(c.rc < 0 && s.rc < 0);
	run_both(&c, &s, KEY_A, NULL);
	CHECK(c.rc < 0 && s.rc < 0);
}

/* Plain bytes from a stranger; the frame's head, and what comes of it. */
static int hear(const void *bytes, size_t len, struct lm_err *err)
{
	struct wire_key none = { .size = 0 };
	struct wire w;
	int fd[2], rc;

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	CHECK_EQ(wire_open(&w, fd[0], true, &none, NULL), 0);
	CHECK_EQ(write(fd[1], bytes, len), len);
	close(fd[1]);
	rc = frame_expect(&w, FRAME_HELLO, NULL, err);
	wire_close(&w);
	return rc;
}

static int hear_frame(uint32_t type, uint32_t claimed, const char *text, struct lm_err *err)
{
	uint8_t bytes[256];

	le_store(bytes, type, 4);
	le_store(bytes + 4, claimed, 4);
	memcpy(bytes + 8, text, strlen(text));
	return hear(bytes, 8 + strlen(text), err);
}

static void test_strangers(void)
{
	struct lm_err err;

	CHECK_EQ(hear_frame(FRAME_HELLO, 2, "{}", &err), 0);
	CHECK_EQ(hear("", 0, &err), -ECONNRESET);
	CHECK_EQ(hear("\1\0\0", 3, &err), -ECONNRESET);
	CHECK_EQ(hear_frame(FRAME_HELLO, 3, "{}", &err), -ECONNRESET);
	CHECK_EQ(hear_frame(FRAME_HELLO, 2, "[]", &err), -EPROTO);
	CHECK_EQ(hear_frame(FRAME_HELLO, 1, "{", &err), -EPROTO);
	CHECK_EQ(hear_frame(FRAME_HELLO, UINT32_MAX, "{}", &err), -EPROTO);
	CHECK_EQ(hear_frame(0, 2, "{}", &err), -EPROTO);
	CHECK_EQ(hear_frame(FRAME_TYPES, 2, "{}", &err), -EPROTO);
	CHECK_EQ(hear_frame(UINT32_MAX, 2, "{}", &err), -EPROTO);
	CHECK_EQ(hear_frame(FRAME_READY, 2, "{}", &err), -EPROTO);
	CHECK(!strcmp(err.text, "a message \"ready\" in place of \"hello\""));
	CHECK_EQ(hear_frame(FRAME_ERROR, 16, "{\"text\": \"so so\"}", &err), -EPROTO);
	CHECK_EQ(hear_frame(FRAME_ERROR, 17, "{\"text\": \"so so\"}", &err), -ECANCELED);
	CHECK(!strcmp(err.text, "the other side says: so so"));
}

int main(void)
{
	test_keys();
	test_key_file();
	test_connections();
	test_strangers();
	return check_done();
}
