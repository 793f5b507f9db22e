/*
 * Exit statuses of the process.
 *
 * A command in a guest ends with 0 to 127, or 128 + the signal (at most 192) that killed it, and
 * some programs use 255; --test-devices gives odd numbers only. So lamina's own are even numbers
 * above 192, and whoever started lamina can tell them apart from every usual one.
 */
#ifndef LM_CMD_STATUS_H
#define LM_CMD_STATUS_H

enum exit_status {
	STATUS_OK = 0,
	STATUS_ERROR = 240,
	STATUS_LOST_COMMAND = 242,
	STATUS_TRIPLE_FAULT = 244,
	STATUS_PANIC = 246,
	STATUS_TIMEOUT = 248,
	STATUS_QUIT = 250,
	STATUS_RESET = 252,
	STATUS_MIGRATED = 254,
};

struct status_text {
	const char *value;
	const char *meaning;
};

/* For help and the manual page; ended by a NULL value. */
extern const struct status_text status_texts[];

#endif
