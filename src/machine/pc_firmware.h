/* What the board has for firmware: the image, the chipset functions it looks for, its settings. */
#ifndef LM_MACHINE_PC_FIRMWARE_H
#define LM_MACHINE_PC_FIRMWARE_H

#include "machine/pc.h"

int pc_add_firmware(struct pc *pc, const struct pc_config *config, struct lm_err *err);

#endif
