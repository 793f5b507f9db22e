/* The way into the server for the pool's threads. */
#ifndef LM_BACKEND_FS_DISPATCH_H
#define LM_BACKEND_FS_DISPATCH_H

#include <stdbool.h>

#include "backend/fs/server.h"

/*
 * Serves a request within the device lock if that takes no longer than to wake a thread for it:
 * three times the speed for what reads names and attributes. False: it is for a thread.
 */
bool fuse_serve_quick(struct fs_server *fs, struct fs_request *req, struct fs_scratch *scratch);

/* Serves one request; opaque is a struct fs_server. */
void fuse_serve(void *opaque, struct fs_request *req, struct fs_scratch *scratch);

#endif
