/* virtio-vsock with its Unix sockets: both ways of connecting, credit, ends, refusals. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/unix_listen.h"
#include "backend/vsock.h"
#include "backend/vsock_connection.h"
#include "dev/virtio/vsock.h"
#include "virtio_driver.h"

#define CID	5
#define RX	0
#define TX	1
#define EVENT	2
#define WRITE	VRING_DESC_F_WRITE
#define PACKET	DRV_DATA
#define BUFFERS (DRV_DATA + 0x40000)
#define ROOM	4096u

struct fixture {
	struct driver d;
	struct virtio_vsock vsock;
	struct vsockdev *backend;
	char path[64];
	uint32_t fwd_cnt;
};

static void turn(struct fixture *f)
{
	struct epoll_event ev[16];
	int n = epoll_wait(f->d.loop.epoll_fd, ev, 16, 0);

	for (int k = 0; k < n; k++) {
		struct event_fd *e = ev[k].data.ptr;

		if (e && e->ready)
			e->ready(e->opaque, ev[k].events);
	}
}

static void offer_buffer(struct fixture *f, unsigned slot)
{
	drv_desc(&f->d, RX, slot, BUFFERS + slot * 0x2000, 44 + ROOM, WRITE, 0);
	drv_offer(&f->d, RX, (uint16_t)slot);
	drv_kick(&f->d, RX);
}

static void setup(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	drv_init(&f->d, true);
	snprintf(f->path, sizeof(f->path), "/tmp/lamina-vsock-test-%d", (int)getpid());
	CHECK_EQ(vsock_open(&f->backend, f->path, &f->d.loop, NULL), 0);
	virtio_vsock_init(&f->vsock, f->backend, CID, &f->d.ram, &f->d.loop);
	drv_attach(&f->d, &f->vsock.virtio);
	drv_start(&f->d, 0, 3, 16);
	for (unsigned k = 0; k < 8; k++)
		offer_buffer(f, k);
}

static void teardown(struct fixture *f)
{
	virtio_vsock_fini(&f->vsock);
	vsock_close(f->backend);
	loop_fini(&f->d.loop);
	ram_fini(&f->d.ram);
}

static int connect_to(const char *path)
{
	struct sockaddr_un a;

	return unix_address(&a, path, NULL) < 0 ? -1 : unix_connect(&a);
}

/* The next packet to the guest; op 0 for none. *data: its payload. */
static struct virtio_vsock_hdr next(struct fixture *f, const uint8_t **data)
{
	struct virtio_vsock_hdr h = {0};
	uint32_t id, len;

	turn(f);
	if (!drv_used(&f->d, RX, &id, &len))
		return h;
	memcpy(&h, drv_ptr(&f->d, BUFFERS + id * 0x2000), sizeof(h));
	CHECK_EQ(len, 44 + h.len);
	CHECK_EQ(h.dst_cid, CID);
	if (data)
		*data = drv_ptr(&f->d, BUFFERS + id * 0x2000 + 44);
	offer_buffer(f, id);
	return h;
}

static void send_packet(struct fixture *f, uint32_t host_port, uint32_t guest_port, uint16_t op,
			uint32_t flags, uint32_t len)
{
	struct virtio_vsock_hdr h = {.src_cid = CID, .dst_cid = 2, .src_port = guest_port,
				     .dst_port = host_port, .type = 1, .op = op, .flags = flags,
				     .len = len, .buf_alloc = 10000, .fwd_cnt = f->fwd_cnt};

	memcpy(drv_ptr(&f->d, PACKET), &h, sizeof(h));
	memset(drv_ptr(&f->d, PACKET + 44), 'g', len);
	drv_desc(&f->d, TX, 0, PACKET, 44 + len, 0, 0);
	drv_offer(&f->d, TX, 0);
	drv_kick(&f->d, TX);
}

/* A program of the host's connects to port 80 of the guest; its socket, and the host's port. */
static int host_connects(struct fixture *f, uint32_t *port)
{
	int fd = connect_to(f->path);
	struct virtio_vsock_hdr h;
	char answer[32] = "", want[32];

	CHECK(fd >= 0);
	turn(f);
	CHECK_EQ(send(fd, "CONNECT 80\nearly", 16, 0), 16);
	h = next(f, NULL);
	CHECK_EQ(h.op, VIRTIO_VSOCK_OP_REQUEST);
	CHECK_EQ(h.dst_port, 80);
	*port = h.src_port;
	send_packet(f, *port, 80, VIRTIO_VSOCK_OP_RESPONSE, 0, 0);
	CHECK(recv(fd, answer, sizeof(answer) - 1, MSG_DONTWAIT) > 0);
	snprintf(want, sizeof(want), "OK %u\n", *port);
	CHECK(!strcmp(answer, want));
	return fd;
}

static void test_host_connects(void)
{
	static struct fixture f;
	struct virtio_vsock_hdr h;
	const uint8_t *data;
	char bytes[200];
	uint32_t port;
	int fd;

	setup(&f);
	fd = host_connects(&f, &port);
	h = next(&f, &data);
	CHECK_EQ(h.op, VIRTIO_VSOCK_OP_RW);
	CHECK_EQ(h.len, 5);
	CHECK(!memcmp(data, "early", 5));
	send_packet(&f, port, 80, VIRTIO_VSOCK_OP_RW, 0, 100);
	CHECK_EQ(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT), 100);
	CHECK_EQ(bytes[99], 'g');
	/* The end of what the host sends, then the guest's, which ends it. */
	shutdown(fd, SHUT_WR);
	h = next(&f, NULL);
	CHECK_EQ(h.op, VIRTIO_VSOCK_OP_SHUTDOWN);
	CHECK_EQ(h.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	send_packet(&f, port, 80, VIRTIO_VSOCK_OP_SHUTDOWN, 3, 0);
	CHECK_EQ(next(&f, NULL).op, VIRTIO_VSOCK_OP_RST);
	CHECK_EQ(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT), 0);
	close(fd);
	teardown(&f);
}

static void test_refused(void)
{
	static struct fixture f;
	char byte;
	int fd;

	setup(&f);
	fd = connect_to(f.path);
	turn(&f);
	send(fd, "CONNECT 81\n", 11, 0);
	send_packet(&f, next(&f, NULL).src_port, 81, VIRTIO_VSOCK_OP_RST, 0, 0);
	CHECK_EQ(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	close(fd);
	fd = connect_to(f.path);
	turn(&f);
	send(fd, "GET / HTTP/1.0\n", 15, 0);
	turn(&f);
	CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) <= 0);
	close(fd);
	/* Nobody listens, and a packet of no connection. */
	send_packet(&f, 4000, 1, VIRTIO_VSOCK_OP_REQUEST, 0, 0);
	CHECK_EQ(next(&f, NULL).op, VIRTIO_VSOCK_OP_RST);
	send_packet(&f, 4001, 1, VIRTIO_VSOCK_OP_RW, 0, 10);
	CHECK_EQ(next(&f, NULL).op, VIRTIO_VSOCK_OP_RST);
	teardown(&f);
}

static void test_guest_connects(void)
{
	static struct fixture f;
	struct sockaddr_un a;
	char path[80], byte;
	int listener, fd;

	setup(&f);
	snprintf(path, sizeof(path), "%s_%u", f.path, 4000);
	unix_address(&a, path, NULL);
	listener = unix_listen(&a, NULL);
	send_packet(&f, 4000, 1, VIRTIO_VSOCK_OP_REQUEST, 0, 0);
	CHECK_EQ(next(&f, NULL).op, VIRTIO_VSOCK_OP_RESPONSE);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	CHECK(fd >= 0);
	send_packet(&f, 4000, 1, VIRTIO_VSOCK_OP_RW, 0, 1);
	CHECK_EQ(recv(fd, &byte, 1, MSG_DONTWAIT), 1);
	/* The program is gone: the guest learns that neither way works. */
	close(fd);
	CHECK_EQ(next(&f, NULL).op, VIRTIO_VSOCK_OP_SHUTDOWN);
	close(listener);
	unlink(path);
	teardown(&f);
}

/* The host never sends more than the guest has room for. */
static void test_credit_of_guest(void)
{
	static struct fixture f;
	static uint8_t bytes[20000];
	uint32_t port, total = 0;
	struct virtio_vsock_hdr h;
	int fd;

	setup(&f);
	fd = host_connects(&f, &port);
	CHECK(send(fd, bytes, sizeof(bytes), 0) == sizeof(bytes));
	for (h = next(&f, NULL); h.op == VIRTIO_VSOCK_OP_RW; h = next(&f, NULL))
		total += h.len;
	CHECK_EQ(total, 10000);
	CHECK_EQ(h.op, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	CHECK_EQ(next(&f, NULL).op, 0);
	f.fwd_cnt = 10000;
	send_packet(&f, port, 80, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 0);
	for (h = next(&f, NULL); h.op == VIRTIO_VSOCK_OP_RW; h = next(&f, NULL))
		total += h.len;
	CHECK_EQ(total, 20000);
	close(fd);
	teardown(&f);
}

/* A guest that sends more than it may loses the connection; until then all is kept. */
static void test_credit_of_host(void)
{
	static struct fixture f;
	uint32_t port, sent = 0;
	int fd, size = 4096;

	setup(&f);
	fd = host_connects(&f, &port);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	CHECK_EQ(next(&f, NULL).op, VIRTIO_VSOCK_OP_RW);
	while (next(&f, NULL).op != VIRTIO_VSOCK_OP_RST && sent < 100 * VSOCK_BUFFER) {
		send_packet(&f, port, 80, VIRTIO_VSOCK_OP_RW, 0, 32768);
		sent += 32768;
	}
	CHECK(sent > VSOCK_BUFFER && sent < 100 * VSOCK_BUFFER);
	close(fd);
	teardown(&f);
}

static void test_invalid_packets(void)
{
	static struct fixture f;

	setup(&f);
	send_packet(&f, 1, 1, VIRTIO_VSOCK_OP_REQUEST, 0, 10); /* no payload allowed */
	CHECK_EQ(f.vsock.tx_invalid, 1);
	drv_desc(&f.d, TX, 0, PACKET, 43, 0, 0);
	drv_offer(&f.d, TX, 0);
	drv_kick(&f.d, TX);
	CHECK_EQ(f.vsock.tx_invalid, 2);
	CHECK(!drv_needs_reset(&f.d));
	teardown(&f);
}

static void test_path(void)
{
	struct event_loop loop;
	struct vsockdev *v;
	char path[] = "/tmp/lamina-vsock-XXXXXX";
	int fd = mkstemp(path);

	CHECK_EQ(loop_init(&loop, true, NULL), 0);
	CHECK_EQ(vsock_open(&v, path, &loop, NULL), -EADDRINUSE); /* a file stays */
	CHECK_EQ(access(path, F_OK), 0);
	CHECK_EQ(vsock_open(&v, "", &loop, NULL), -ENAMETOOLONG);
	close(fd);
	unlink(path);
	loop_fini(&loop);
}

int main(void)
{
	test_host_connects();
	test_refused();
	test_guest_connects();
	test_credit_of_guest();
	test_credit_of_host();
	test_invalid_packets();
	test_path();
	return check_done();
}
