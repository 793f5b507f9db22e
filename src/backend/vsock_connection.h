/*
 * One connection between a Unix socket and a port of the guest: credit both ways (virtio 1.2
 * §5.10.6.3), closing, and what it has to tell the guest.
 *
 * Memory is bounded: what the guest sends beyond its credit ends the connection.
 */
#ifndef LM_BACKEND_VSOCK_CONNECTION_H
#define LM_BACKEND_VSOCK_CONNECTION_H

#include "dev/vsockdev.h"
#include "event/loop.h"

#define VSOCK_BUFFER	   (128u * 1024) /* credit of the guest for one connection; power of two */
#define VSOCK_COMMAND_SIZE 32		 /* "CONNECT 4294967295\n" */

enum vsock_state {
	VSOCK_FREE,
	VSOCK_COMMAND,	 /* the host's program has not said which port it wants */
	VSOCK_REQUESTED, /* the guest has not answered */
	VSOCK_OPEN,
	VSOCK_DYING, /* the guest is to be told RST, and then it is free */
};

/* Packets that wait for a buffer of the guest's, a bit each. */
enum vsock_wish {
	WISH_REQUEST = 1 << 0,
	WISH_RESPONSE = 1 << 1,
	WISH_RST = 1 << 2,
	WISH_CREDIT = 1 << 3,
	WISH_CREDIT_REQUEST = 1 << 4,
	WISH_SHUTDOWN = 1 << 5,
	WISH_DATA = 1 << 6, /* the socket may have bytes */
};

struct vsock_connection {
	enum vsock_state state;
	uint32_t host_port, guest_port;
	void *owner;
	int fd;
	struct event_fd watch;
	uint32_t events;
	unsigned wishes;

	uint32_t peer_alloc, peer_fwd; /* the guest's credit for us */
	uint32_t sent;		       /* bytes to the guest, modulo 2^32 as all counts */
	uint32_t received, forwarded;  /* bytes from the guest, and of those to the socket */
	uint32_t forwarded_told;
	bool hung_up;	   /* the program at the socket is gone; it is not watched any more */
	bool host_ended;   /* the socket gives no more */
	bool guest_sends_no_more, guest_reads_no_more;

	unsigned command_len;
	char command[VSOCK_COMMAND_SIZE];
	uint8_t *buffer; /* ring of VSOCK_BUFFER bytes, [forwarded, received) of the counts; or NULL */
};

/* Both return false when the connection is to die. */

/* A packet of the guest's for this connection. */
bool vsock_connection_take(struct vsock_connection *c, const struct vsock_header *h,
			   const struct iovec *iov, unsigned count);
/* The socket has room again. */
bool vsock_connection_flush(struct vsock_connection *c);

/* Fills in the next packet that the connection wishes to send; false for none. */
bool vsock_connection_next(struct vsock_connection *c, struct vsock_header *h,
			   const struct iovec *iov, unsigned count, uint32_t room);
/* The program at the socket is gone; what it sent can still be read. */
void vsock_connection_hang_up(struct vsock_connection *c);
/* Watches the socket for what is of use now. */
void vsock_connection_watch(struct vsock_connection *c);
/* Closes the socket and frees the buffer. */
void vsock_connection_close(struct vsock_connection *c);

#endif
