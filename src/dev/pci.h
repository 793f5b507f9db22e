/*
 * PCI: one bus (bus 0) of conventional functions, as in PCI Local Bus 3.0.
 *
 * A device fills a struct pci_device (identity, BARs, capabilities), then pci_bus_add puts it at a
 * slot. The guest reaches its configuration space through the host bridge (pci_host.h); BARs appear
 * on the machine's MMIO and port buses when COMMAND enables them and follow what the guest writes.
 *
 * Bus and device structs are owned by the caller and outlive the bus. Everything under the device
 * lock.
 */
#ifndef LM_DEV_PCI_H
#define LM_DEV_PCI_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/pci_regs.h>

#include "base/err.h"
#include "base/fields.h"
#include "dev/bus.h"
#include "dev/irq.h"

#define PCI_MAX_FUNCTIONS     256 /* 32 slots of 8 functions */
#define PCI_CONFIG_SIZE	      256
#define PCI_BARS	      6
#define PCI_INTX_LINES	      4
#define PCI_DEVFN_OF(slot, f) ((uint8_t)((slot) << 3 | (f)))

struct pci_device;
struct pci_bus;

struct pci_device_ops {
	/* Before the guest reads [offset, offset + size): bring config up to date. May be NULL. */
	void (*config_reading)(struct pci_device *dev, unsigned offset, unsigned size);
	/* After the guest's write took effect. May be NULL. */
	void (*config_written)(struct pci_device *dev, unsigned offset, unsigned size);
	/* BAR `index` appeared on its bus or vanished from it (bar[index].region says). May be NULL. */
	void (*bar_moved)(struct pci_device *dev, unsigned index);
	/* Bus reset, after the configuration space was reset. May be NULL. */
	void (*reset)(struct pci_device *dev);
};

struct pci_bar {
	struct bus_region region; /* size 0 where there is no BAR */
	bool io;		  /* I/O ports, otherwise memory */
	bool is_64bit; /* memory with 64-bit address: takes the next BAR's register too */
	bool prefetchable;
};

struct pci_device {
	const char *name;
	const struct pci_device_ops *ops;
	struct pci_bus *bus;
	void *opaque; /* the device's own */
	uint8_t devfn;
	bool intx_level; /* what the device drives, before INTX_DISABLE */
	bool intx_wired; /* what is on the bus's line */
	uint8_t last_cap;
	uint8_t next_free; /* where the next capability goes */
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE];    /* bits that the guest can write */
	uint8_t write_clear[PCI_CONFIG_SIZE]; /* bits that a written 1 clears */
	uint8_t loaded[PCI_CONFIG_SIZE];      /* config on its way to and from a snapshot */
	struct pci_bar bar[PCI_BARS];
};

struct pci_bus {
	struct bus *mmio, *port;
	struct irq_line line[PCI_INTX_LINES];
	struct msi_sink msi;
	unsigned line_users[PCI_INTX_LINES]; /* devices that assert each line */
	struct pci_device *device[PCI_MAX_FUNCTIONS];
};

/* line[k] is the machine's line of the bus's INTA# to INTD#; see pci_intx_line. */
void pci_bus_init(struct pci_bus *bus, struct bus *mmio, struct bus *port,
		  const struct irq_line line[PCI_INTX_LINES], struct msi_sink msi);
/* -EEXIST where devfn is taken. Function 0 of the slot must exist once the guest runs. */
int pci_bus_add(struct pci_bus *bus, struct pci_device *dev, uint8_t devfn, struct lm_err *err);
/* The first slot without functions, at or above `from`; -1 for none. */
int pci_bus_free_slot(const struct pci_bus *bus, unsigned from);
/* Reset of the bus: configuration spaces and devices back to what they were at start-up. */
void pci_bus_reset(struct pci_bus *bus);

/* What pci_device_init needs to know; class_code is 24 bits: class, subclass, interface. */
struct pci_identity {
	uint16_t vendor, device;
	uint16_t subsystem_vendor, subsystem;
	uint32_t class_code;
	uint8_t revision;
	uint8_t interrupt_pin; /* 0 none, 1 INTA# … 4 INTD# */
};

void pci_device_init(struct pci_device *dev, const char *name, const struct pci_device_ops *ops,
		     const struct pci_identity *id, void *opaque);

struct pci_bar_spec {
	const char *name;
	uint64_t size; /* power of two; at least 16 for memory, 4 for I/O */
	bool io, is_64bit, prefetchable;
	const struct bus_ops *ops;
	void *opaque;
};

/* Before pci_bus_add. A 64-bit BAR takes `index` and `index + 1`. */
void pci_add_bar(struct pci_device *dev, unsigned index, const struct pci_bar_spec *spec);
/* Appends a capability of `size` bytes (id and next pointer included); returns its offset. */
uint8_t pci_add_capability(struct pci_device *dev, uint8_t id, uint8_t size);
/* Makes the bits of `mask` at [offset, offset + size) writable by the guest. */
void pci_set_writable(struct pci_device *dev, unsigned offset, uint32_t mask, unsigned size);
/* Sets bytes of the configuration space from the device's side. */
void pci_set(struct pci_device *dev, unsigned offset, uint32_t value, unsigned size);
uint32_t pci_get(const struct pci_device *dev, unsigned offset, unsigned size);

/* Drives the device's interrupt pin; the status bit follows, INTX_DISABLE is respected. */
void pci_intx_set(struct pci_device *dev, bool level);
/* Which of the bus's four lines a pin (1 to 4) of a slot is on: the usual rotation. */
static inline unsigned pci_intx_line(unsigned slot, unsigned pin)
{
	return (slot + pin - 1) % PCI_INTX_LINES;
}

/*
 * The guest's accesses, by the host bridge and tests: size 1, 2 or 4, within one dword. Functions
 * that do not exist read as all ones.
 */
uint32_t pci_config_read(struct pci_bus *bus, uint8_t devfn, unsigned offset, unsigned size);
void pci_config_write(struct pci_bus *bus, uint8_t devfn, unsigned offset, uint32_t value,
		      unsigned size);

/* Where BARs may be placed by pci_assign; a window with start == end is empty. */
struct pci_windows {
	uint64_t mem32_start, mem32_end; /* end exclusive */
	uint64_t mem64_start, mem64_end;
	uint32_t io_start, io_end;
	uint8_t irq[PCI_INTX_LINES]; /* legacy interrupt numbers for the Interrupt Line register */
};

/*
 * What firmware does at power-on, for boots without it: places every BAR (naturally aligned,
 * largest first, below 4 GiB where it fits), enables decoding and bus mastering, fills Interrupt
 * Line.
 */
int pci_assign(struct pci_bus *bus, const struct pci_windows *windows, struct lm_err *err);

/*
 * What a snapshot holds of a function; part of the tables of those that embed one. They call
 * pci_pre_save before, and pci_loaded after: it refuses a configuration that differs from this
 * machine's in other bits than the guest's, maps BARs and drives the interrupt pin.
 */
extern const struct field pci_device_fields[];
void pci_pre_save(struct pci_device *dev);
int pci_loaded(struct pci_device *dev, struct lm_err *err);

#endif
