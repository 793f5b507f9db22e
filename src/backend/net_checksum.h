/* Checksums that a guest has left open (virtio 1.2 §5.1.6.2, NEEDS_CSUM). */
#ifndef LM_BACKEND_NET_CHECKSUM_H
#define LM_BACKEND_NET_CHECKSUM_H

#include "dev/netdev.h"

/*
 * Fills in the checksum of a frame, all of it in memory of ours: the sum from csum_start to the end,
 * which holds the pseudo header's sum at csum_offset. header is checked against len.
 */
void net_checksum_fill(const struct virtio_net_hdr *header, uint8_t *frame, uint32_t len);

#endif
