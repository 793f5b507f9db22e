/* Two connected stream sockets with room for megabytes. */
#ifndef LM_BASE_STREAM_PAIR_H
#define LM_BASE_STREAM_PAIR_H

/*
 * A Unix socket pair holds 208 KiB on most hosts (net.core.wmem_max), which an ordinary user cannot
 * raise; a TCP connection over loopback grows to net.ipv4.tcp_wmem, 4 MiB. Whoever drops what a socket
 * has no room for needs the latter. Where loopback is down it is a Unix socket pair after all.
 *
 * Both ends close on exec. Returns 0 or a negative errno.
 */
int stream_pair(int fd[2]);

#endif
