/*
 * The virtual machine generation ID (Microsoft, "Virtual Machine Generation ID", 2012): 16 bytes in
 * guest memory that change whenever the guest's past happens a second time, and an ACPI event that says
 * so. Linux from 5.18 on reseeds its random numbers then.
 */
#include <sys/random.h>

#include "dev/chipset/layout.h"
#include "machine/machine_impl.h"

void machine_new_generation(struct machine *m)
{
	uint8_t id[PC_VMGENID_SIZE];

	if (m->config.deterministic || m->config.firmware.code ||
	    getrandom(id, sizeof(id), 0) != sizeof(id))
		return;
	loop_lock(&m->loop);
	ram_write(&m->ram, GPA(PC_VMGENID), id, sizeof(id));
	acpi_pm_raise_gpe(&m->pc.pm, PM_GPE_VMGENID);
	loop_unlock(&m->loop);
}
