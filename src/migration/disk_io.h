/*
 * Reading and writing a disk beside the guest, the way its device does: under the device lock, by
 * requests, so that everything that serves the guest may go on meanwhile.
 */
#ifndef LM_MIGRATION_DISK_IO_H
#define LM_MIGRATION_DISK_IO_H

#include "dev/blockdev.h"
#include "event/loop.h"

/*
 * Blocks until it is done; not on the event loop's thread while that serves events. With `still`
 * nobody serves the loop: the disk is drained here. 0 or a negative errno.
 */
int disk_io(struct event_loop *loop, struct blockdev *dev, enum block_op op, uint64_t offset,
	    void *data, uint64_t len, bool still);

#endif
