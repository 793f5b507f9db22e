/*
 * Firmware configuration device, as QEMU has it (docs/specs/fw_cfg.rst): how SeaBIOS, OVMF and
 * others get kernels, tables and settings from the machine.
 *
 * Items are bytes under a 16-bit key; files are items with a name in the directory. The guest
 * cannot write items. Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_CHIPSET_FW_CFG_H
#define LM_DEV_CHIPSET_FW_CFG_H

#include "base/fields.h"
#include "base/err.h"
#include "dev/bus.h"
#include "mem/ram.h"

/* Keys (QEMU include/standard-headers/linux/qemu_fw_cfg.h and hw/i386/fw_cfg.h). */
#define FW_CFG_SIGNATURE     0x00
#define FW_CFG_ID	     0x01
#define FW_CFG_UUID	     0x02
#define FW_CFG_RAM_SIZE	     0x03
#define FW_CFG_NOGRAPHIC     0x04
#define FW_CFG_NB_CPUS	     0x05
#define FW_CFG_KERNEL_SIZE   0x08
#define FW_CFG_INITRD_SIZE   0x0b
#define FW_CFG_BOOT_MENU     0x0e
#define FW_CFG_MAX_CPUS	     0x0f
#define FW_CFG_KERNEL_ADDR   0x07
#define FW_CFG_INITRD_ADDR   0x0a
#define FW_CFG_KERNEL_DATA   0x11
#define FW_CFG_INITRD_DATA   0x12
#define FW_CFG_CMDLINE_ADDR  0x13
#define FW_CFG_CMDLINE_SIZE  0x14
#define FW_CFG_CMDLINE_DATA  0x15
#define FW_CFG_SETUP_ADDR    0x16
#define FW_CFG_SETUP_SIZE    0x17
#define FW_CFG_SETUP_DATA    0x18
#define FW_CFG_FILE_DIR	     0x19
#define FW_CFG_FILE_FIRST    0x20
#define FW_CFG_ARCH_LOCAL    0x8000
#define FW_CFG_IRQ0_OVERRIDE (FW_CFG_ARCH_LOCAL + 2)

#define FW_CFG_MAX_ITEMS 96
#define FW_CFG_MAX_FILES 48
#define FW_CFG_NAME	 56 /* with its NUL */

struct fw_cfg_item {
	uint16_t key;
	bool owned; /* data is freed with the device */
	uint32_t size;
	const uint8_t *data;
};

struct fw_cfg {
	struct ram *ram;
	struct fw_cfg_item item[FW_CFG_MAX_ITEMS];
	unsigned count, files;
	uint8_t directory[4 + 64 * FW_CFG_MAX_FILES];
	/* Guest-visible state. */
	uint16_t key;	   /* selected */
	uint32_t offset;   /* in the selected item, at most its size */
	uint32_t dma_high; /* upper half of the DMA address, until the lower is written */
	struct bus_region ports, dma;
};

int fw_cfg_init(struct fw_cfg *fw, struct bus *port, struct ram *ram, struct lm_err *err);
void fw_cfg_reset(struct fw_cfg *fw);
void fw_cfg_fini(struct fw_cfg *fw);

/*
 * Before the guest runs. With copy, the bytes are copied; otherwise they stay the caller's and must
 * outlive the device. -EEXIST for a key or name that is taken, -ENOSPC when full, -EINVAL for a
 * name that is empty or longer than 55 characters.
 */
int fw_cfg_add(struct fw_cfg *fw, uint16_t key, const void *data, uint32_t size, bool copy,
	       struct lm_err *err);
/* A little-endian number of 1, 2, 4 or 8 bytes. */
int fw_cfg_add_number(struct fw_cfg *fw, uint16_t key, uint64_t value, unsigned size,
		      struct lm_err *err);
int fw_cfg_add_file(struct fw_cfg *fw, const char *name, const void *data, uint32_t size, bool copy,
		    struct lm_err *err);

/* What a snapshot holds of it. */
extern const struct fields_section fw_cfg_section;

#endif
