#include "cmd/status.h"

#include <stddef.h>

const struct status_text status_texts[] = {
    {"0", "the guest powered off, or the command ended with 0"},
    {"1-255", "the command's own status (128 + N: killed by signal N); with --test-devices "
	      "(V << 1) | 1 after a write of V to port 0xf4"},
    {"240", "wrong usage, or the host or a file failed"},
    {"242", "the guest ended before the command's status arrived"},
    {"244", "triple fault: the guest could not handle its own exceptions"},
    {"246", "the guest's kernel panicked"},
    {"248", "--timeout ran out"},
    {"250", "ended by the user: Ctrl-A x, SIGINT, SIGTERM or SIGHUP"},
    {"252", "the guest reset with --no-reboot"},
    {"254", "the machine goes on elsewhere: lamina migrate"},
    {NULL, NULL},
};
