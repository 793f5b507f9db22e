/*
 * What lies outside RAM, as seen by an engine: one table of callbacks given by the machine.
 *
 * An engine never knows a device. Software engines call these in the middle of an instruction;
 * the KVM engine calls them when the hardware exits. Callbacks take the device lock themselves.
 * Size is 1, 2, 4 or 8 bytes (ports: 1, 2 or 4); values are zero-extended.
 */
#ifndef LM_MEM_IO_H
#define LM_MEM_IO_H

#include <stdint.h>

#include "mem/addr.h"

struct mem_io {
	uint64_t (*mmio_read)(void *opaque, gpa_t gpa, unsigned size);
	void (*mmio_write)(void *opaque, gpa_t gpa, uint64_t value, unsigned size);
	uint32_t (*port_read)(void *opaque, uint16_t port, unsigned size);
	void (*port_write)(void *opaque, uint16_t port, uint32_t value, unsigned size);
	void *opaque;
};

#endif
