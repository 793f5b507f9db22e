/*
 * A FUSE client for tests: requests to a server (backend/fs.h) that serves within submit, one at a time
 * and in whatever pieces. What no driver would say can be said by fuse_raw.
 */
#ifndef LM_TESTS_FUSE_CLIENT_H
#define LM_TESTS_FUSE_CLIENT_H

#include <errno.h>
#include <stddef.h>
#include <linux/fuse.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/fs.h"
#include "base/bits.h"
#include "check.h"

#define FUSE_BUF (128 * 1024)

struct fuse_client {
	struct fsdev *dev;
	uint64_t unique;
	uint8_t in[FUSE_BUF], out[FUSE_BUF];
	size_t in_len;
	size_t reply_len; /* payload of the last reply */
};

static inline void fuse_request_done(struct fs_request *req)
{
}

/* Sends what stands in c->in; the reply's error (0 or negative), 1 where there was no reply. */
static inline int fuse_raw(struct fuse_client *c, size_t room)
{
	struct iovec in[2] = {{c->in, c->in_len / 2}, {c->in + c->in_len / 2, c->in_len - c->in_len / 2}};
	struct iovec out[2] = {{c->out, room / 3}, {c->out + room / 3, room - room / 3}};
	struct fs_request req = {
	    .in = in, .in_count = 2, .in_len = c->in_len,
	    .out = out, .out_count = 2, .out_len = room,
	    .done = fuse_request_done,
	};
	struct fuse_out_header header;

	c->dev->ops->submit(c->dev, &req);
	c->reply_len = 0;
	if (req.written < sizeof(header))
		return 1;
	memcpy(&header, c->out, sizeof(header));
	CHECK_EQ(header.len, req.written);
	CHECK(header.error <= 0 && header.error > -512);
	c->reply_len = header.len - sizeof(header);
	return header.error;
}

static inline void fuse_begin(struct fuse_client *c, uint32_t opcode, uint64_t node)
{
	struct fuse_in_header h = {.opcode = opcode, .nodeid = node, .unique = ++c->unique};

	memcpy(c->in, &h, sizeof(h));
	c->in_len = sizeof(h);
}

static inline void fuse_add(struct fuse_client *c, const void *p, size_t len)
{
	memcpy(c->in + c->in_len, p, len);
	c->in_len += len;
}

static inline int fuse_send(struct fuse_client *c)
{
	struct fuse_in_header h;

	memcpy(&h, c->in, sizeof(h));
	h.len = (uint32_t)c->in_len;
	memcpy(c->in, &h, sizeof(h));
	return fuse_raw(c, sizeof(c->out));
}

static inline const void *fuse_reply_at(const struct fuse_client *c, size_t offset)
{
	return c->out + sizeof(struct fuse_out_header) + offset;
}

/* A fixed argument and up to two names. */
static inline int fuse_call(struct fuse_client *c, uint32_t opcode, uint64_t node, const void *arg,
			    size_t len, const char *name, const char *name2)
{
	fuse_begin(c, opcode, node);
	if (len)
		fuse_add(c, arg, len);
	if (name)
		fuse_add(c, name, strlen(name) + 1);
	if (name2)
		fuse_add(c, name2, strlen(name2) + 1);
	return fuse_send(c);
}

#define FUSE_CALL(c, op, node, arg, ...) fuse_call(c, op, node, &(arg), sizeof(arg), __VA_ARGS__)

static inline int fuse_init(struct fuse_client *c)
{
	struct fuse_init_in in = {.major = 7, .minor = 31, .flags = ~0u};

	return fuse_call(c, FUSE_INIT, 0, &in, 16, NULL, NULL);
}

/* The node, 0 where there is none; *rc is the error, *mode of the file. */
static inline uint64_t fuse_entry(const struct fuse_client *c, uint32_t *mode)
{
	struct fuse_entry_out e;

	memcpy(&e, fuse_reply_at(c, 0), sizeof(e));
	if (mode)
		*mode = e.attr.mode;
	return e.nodeid;
}

static inline uint64_t fuse_lookup(struct fuse_client *c, uint64_t dir, const char *name)
{
	return fuse_call(c, FUSE_LOOKUP, dir, NULL, 0, name, NULL) ? 0 : fuse_entry(c, NULL);
}

static inline int fuse_open(struct fuse_client *c, uint64_t node, uint32_t flags, uint64_t *fh)
{
	struct fuse_open_in in = {.flags = flags};
	struct fuse_open_out out;
	int rc = FUSE_CALL(c, FUSE_OPEN, node, in, NULL, NULL);

	memcpy(&out, fuse_reply_at(c, 0), sizeof(out));
	*fh = out.fh;
	return rc;
}

static inline int fuse_read(struct fuse_client *c, uint64_t fh, uint64_t offset, uint32_t size)
{
	struct fuse_read_in in = {.fh = fh, .offset = offset, .size = size};

	return FUSE_CALL(c, FUSE_READ, 0, in, NULL, NULL);
}

static inline int fuse_write(struct fuse_client *c, uint64_t fh, uint64_t offset, const char *text)
{
	struct fuse_write_in in = {.fh = fh, .offset = offset, .size = (uint32_t)strlen(text)};

	fuse_begin(c, FUSE_WRITE, 0);
	fuse_add(c, &in, sizeof(in));
	fuse_add(c, text, strlen(text));
	return fuse_send(c);
}

static inline int fuse_release(struct fuse_client *c, uint64_t fh)
{
	struct fuse_release_in in = {.fh = fh};

	return FUSE_CALL(c, FUSE_RELEASE, 0, in, NULL, NULL);
}

static inline int fuse_create(struct fuse_client *c, uint64_t dir, const char *name, uint32_t mode,
			      uint64_t *node, uint64_t *fh)
{
	struct fuse_create_in in = {.flags = 2 /* O_RDWR */, .mode = S_IFREG | mode};
	struct fuse_open_out out;
	int rc = FUSE_CALL(c, FUSE_CREATE, dir, in, name, NULL);

	*node = rc ? 0 : fuse_entry(c, NULL);
	memcpy(&out, fuse_reply_at(c, sizeof(struct fuse_entry_out)), sizeof(out));
	*fh = out.fh;
	return rc;
}

static inline int fuse_forget(struct fuse_client *c, uint64_t node, uint64_t n)
{
	struct fuse_forget_in in = {n};

	return FUSE_CALL(c, FUSE_FORGET, node, in, NULL, NULL);
}

#endif
