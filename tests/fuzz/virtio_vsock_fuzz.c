/* The hostile driver against virtio-vsock and its connections, with programs at the Unix sockets that
 * talk, stall and leave. */
#include <sys/epoll.h>
#include <sys/socket.h>

#include "backend/unix_listen.h"
#include "backend/vsock.h"
#include "dev/virtio/vsock.h"
#include "virtio_fuzz.h"

#define CID	 9
#define PORT	 7
#define PROGRAMS 4

struct target {
	struct virtio_fuzz f;
	struct virtio_vsock vsock;
	struct vsockdev *backend;
	struct sockaddr_un path, port_path;
	int listener;
	int program[PROGRAMS];
};

static struct target target;

/* One turn of the loop, without waiting. */
static void turn(void)
{
	struct epoll_event ev[16];
	int n = epoll_wait(target.f.d.loop.epoll_fd, ev, 16, 0);

	for (int k = 0; k < n; k++) {
		struct event_fd *e = ev[k].data.ptr;

		if (e && e->ready)
			e->ready(e->opaque, ev[k].events);
	}
}

static void close_program(unsigned k)
{
	if (target.program[k] >= 0)
		close(target.program[k]);
	target.program[k] = -1;
}

static void host_acts(struct fuzz_input *in)
{
	static uint8_t bytes[65536];
	unsigned k = (unsigned)fuzz_take(in, 1) % PROGRAMS;
	int fd;

	switch (fuzz_take(in, 1) % 8) {
	case 0:
		close_program(k);
		break;
	case 1:
		close_program(k);
		target.program[k] = unix_connect(&target.path);
		turn();
		break;
	case 2:
		(void)!send(target.program[k], "CONNECT 7\n", 10, MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	case 3:
		(void)!send(target.program[k], bytes, (size_t)fuzz_take(in, 2), MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	case 4:
		(void)!recv(target.program[k], bytes, (size_t)fuzz_take(in, 2), MSG_DONTWAIT);
		break;
	case 5:
		shutdown(target.program[k], SHUT_WR);
		break;
	case 6:
		fd = accept4(target.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			close_program(k);
			target.program[k] = fd;
		}
		break;
	default:
		turn();
	}
}

/* A packet that is well-formed but for what it says; mostly of one of a few connections. */
static void guest_sends(struct fuzz_input *in)
{
	uint32_t len = fuzz_take(in, 1) < 100 ? (uint32_t)fuzz_take(in, 2) : 0;
	struct virtio_vsock_hdr h = {
		.src_cid = CID, .dst_cid = VSOCK_CID_HOST, .type = VIRTIO_VSOCK_TYPE_STREAM,
		.src_port = (uint32_t)fuzz_take(in, 1) & 1 ? 7 : 8,
		.dst_port = fuzz_take(in, 1) < 128 ? PORT
						   : (UINT32_C(1) << 30) + (uint32_t)(fuzz_take(in, 1) & 15),
		.op = (uint16_t)(len ? VIRTIO_VSOCK_OP_RW : fuzz_take(in, 1) % 9),
		.len = len,
		.flags = (uint32_t)fuzz_take(in, 1) & 3,
		.buf_alloc = (uint32_t)fuzz_take(in, fuzz_take(in, 1) & 1 ? 2 : 4),
		.fwd_cnt = (uint32_t)fuzz_take(in, fuzz_take(in, 1) & 1 ? 1 : 4),
	};

	memcpy(drv_ptr(&target.f.d, DRV_DATA), &h, sizeof(h));
	drv_desc(&target.f.d, 1, 0, DRV_DATA, sizeof(h) + len, 0, 0);
	drv_offer(&target.f.d, 1, 0);
	drv_kick(&target.f.d, 1);
}

static void buffers(struct fuzz_input *in)
{
	drv_desc(&target.f.d, 0, 1, DRV_DATA, 44 + (uint32_t)fuzz_take(in, 2), VRING_DESC_F_WRITE, 0);
	for (unsigned k = 0; k < 4; k++)
		drv_offer(&target.f.d, 0, 1);
	drv_kick(&target.f.d, 0);
}

static void event(void *opaque, struct fuzz_input *in)
{
	switch (fuzz_take(in, 1) % 4) {
	case 0:
		host_acts(in);
		break;
	case 1:
		buffers(in);
		break;
	default:
		guest_sends(in);
	}
}

static void check(void *opaque)
{
	for (unsigned k = 0; k < PROGRAMS; k++)
		close_program(k);
	turn();
}

static void start(void)
{
	char path[64];

	drv_init(&target.f.d, true);
	snprintf(path, sizeof(path), "/tmp/lamina-vsock-fuzz-%d", (int)getpid());
	fuzz_require(unix_address(&target.path, path, NULL) == 0, "path");
	fuzz_require(vsock_open(&target.backend, path, &target.f.d.loop, NULL) == 0, "no backend");
	snprintf(path, sizeof(path), "/tmp/lamina-vsock-fuzz-%d_%d", (int)getpid(), PORT);
	unix_address(&target.port_path, path, NULL);
	target.listener = unix_listen(&target.port_path, NULL);
	fuzz_require(target.listener >= 0, "no listener");
	virtio_vsock_init(&target.vsock, target.backend, CID, &target.f.d.ram, &target.f.d.loop);
	fuzz_attach(&target.f, &target.vsock.virtio);
	target.f.event = event;
	target.f.check = check;
	for (unsigned k = 0; k < PROGRAMS; k++)
		target.program[k] = -1;
}

static void stop(void)
{
	vsock_close(target.backend);
	unlink(target.port_path.sun_path);
}

static void fuzz_one(struct fuzz_input *in)
{
	if (!target.f.queues) {
		start();
		atexit(stop);
	}
	fuzz_drive(&target.f, in);
}
