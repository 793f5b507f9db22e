/* Saving and loading by parts; see save.h. */
#include "machine/save.h"

#include <errno.h>
#include <string.h>

#include "base/bug.h"
#include "machine/machine_impl.h"

/* ---- Which parts there are ---- */

struct part_list {
	struct machine_part *part;
	int count;
};

static void add(struct part_list *list, const struct fields_section *section, void *object,
		const char *name)
{
	struct machine_part *p = &list->part[list->count++];

	LM_BUG_ON(list->count > MACHINE_MAX_PARTS);
	*p = (struct machine_part){ .section = section, .object = object };
	snprintf(p->name, sizeof(p->name), "%s", name);
}

static void add_numbered(struct part_list *list, const struct fields_section *section, void *object,
			 unsigned number)
{
	char name[48];

	snprintf(name, sizeof(name), "%s%u", section->name, number);
	add(list, section, object, name);
}

/* PCI functions are named by their slot, which decides what the guest calls them. */
static void add_function(struct part_list *list, const struct fields_section *section, void *object,
			 uint8_t devfn)
{
	char name[48];

	snprintf(name, sizeof(name), "%s@%02x.%u", section->name, devfn >> 3, devfn & 7u);
	add(list, section, object, name);
}

static const struct field pc_fields[] = {
	FIELD(struct pc, intx_levels, NULL, .max = (1 << PCI_INTX_LINES) - 1),
	FIELD_END,
};

static const struct fields_section pc_section = {
	.name = "board",
	.version = 1,
	.table = pc_fields,
};

static void add_legacy(struct part_list *list, struct pc *pc)
{
	add(list, &pit_section, &pc->pit, "pit");
	add(list, &rtc_section, &pc->rtc, "rtc");
	add(list, &acpi_pm_section, &pc->pm, "acpi-pm");
	for (unsigned k = 0; k < PC_UARTS; k++)
		add_numbered(list, &uart_section, &pc->uart[k], k);
	add(list, &i8042_section, &pc->kbc, "i8042");
	add(list, &fw_cfg_section, &pc->fw_cfg, "fw_cfg");
	if (pc->testdev)
		add(list, &testdev_section, pc->testdev, "testdev");
}

static int add_virtio(struct part_list *list, struct virtio_device *dev, struct lm_err *err)
{
	struct virtio_pci *vp = dev->interrupt_opaque;

	if (!dev->ops->section)
		return lm_err_set(err, -ENOTSUP, "the state of a %s device cannot be saved yet",
				  dev->ops->name);
	add_function(list, &virtio_pci_section, vp, vp->pci.devfn);
	add_function(list, dev->ops->section, dev, vp->pci.devfn);
	return 0;
}

static int refuse_unsaved(const struct machine *m, struct lm_err *err)
{
	if (m->config.firmware.code)
		return lm_err_set(err, -ENOTSUP,
				  "the state of a machine with firmware cannot be saved yet");
	if (m->pc.ahci)
		return lm_err_set(err, -ENOTSUP, "the state of a SATA controller cannot be saved yet");
	for (unsigned k = 0; k < m->pc.disks; k++)
		if (m->pc.disk[k]->interface == DISK_NVME)
			return lm_err_set(err, -ENOTSUP,
					  "the state of an NVMe controller cannot be saved yet");
	return 0;
}

/*
 * The interrupt controllers come after all that drives their lines, and vCPUs last of all: what a
 * device does to a line while it is loaded leaves no trace.
 */
int machine_parts(struct machine *m, struct machine_part parts[MACHINE_MAX_PARTS],
		  struct lm_err *err)
{
	struct part_list list = { parts, 0 };
	struct pc *pc = &m->pc;

	if (refuse_unsaved(m, err) < 0)
		return -ENOTSUP;
	add(&list, &clock_section, &m->loop.clock, "clock");
	add_legacy(&list, pc);
	add(&list, &pci_host_section, &pc->pci, "pci-host");
	for (unsigned k = 0; k < pc->virtios; k++) {
		int rc = add_virtio(&list, pc->virtio[k], err);

		if (rc < 0)
			return rc;
	}
	for (unsigned k = 0; k < pc->disks; k++)
		if (pc->disk[k]->interface == DISK_NVME)
			add_function(&list, &nvme_section, &pc->disk[k]->nvme,
				     pc->disk[k]->nvme.pci.devfn);
	if (pc->ahci)
		add(&list, &ahci_section, pc->ahci, "ahci");
	add(&list, &pc_section, pc, "board");
	add(&list, &pic_section, &pc->pic, "pic");
	add(&list, &ioapic_section, &pc->ioapic, "ioapic");
	if (m->command)
		add(&list, &command_section, m->command, "command");
	for (unsigned k = 0; k < m->sys.cpu_count; k++)
		add_numbered(&list, &x86_cpu_section, m->sys.cpu[k], k);
	return list.count;
}

/* ---- Saving ---- */

static int save_parts(const struct machine_part *part, int count, json_t *out, struct lm_err *err)
{
	for (int k = 0; k < count; k++) {
		json_t *section;
		int rc = fields_save(part[k].section, part[k].object, &section, err);

		if (!rc && json_object_set_new(out, part[k].name, section) < 0)
			rc = lm_err_set(err, -ENOMEM, "no memory for the state of %s",
					part[k].name);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int machine_save(struct machine *m, json_t **out, struct lm_err *err)
{
	struct machine_part part[MACHINE_MAX_PARTS];
	int rc;

	*out = json_object();
	loop_lock(&m->loop);
	rc = machine_parts(m, part, err);
	if (rc >= 0)
		rc = save_parts(part, rc, *out, err);
	loop_unlock(&m->loop);
	if (rc >= 0)
		return 0;
	json_decref(*out);
	*out = NULL;
	return rc;
}

/* ---- Loading ---- */

static int load_parts(const struct machine_part *part, int count, const json_t *in,
		      struct lm_err *err)
{
	for (int k = 0; k < count; k++) {
		const json_t *section = json_object_get(in, part[k].name);
		int rc;

		if (!section)
			return lm_err_set(err, -EINVAL, "the state has no section \"%s\"",
					  part[k].name);
		rc = fields_load(part[k].section, part[k].object, section, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int refuse_unknown(const struct machine_part *part, int count, const json_t *in,
			  struct lm_err *err)
{
	const char *name;
	json_t *section;

	json_object_foreach((json_t *)(uintptr_t)in, name, section) {
		int k = 0;

		while (k < count && strcmp(part[k].name, name) != 0)
			k++;
		if (k == count)
			return lm_err_set(err, -EINVAL,
					  "the state has a section \"%.40s\", which this machine "
					  "has no device for", name);
	}
	return 0;
}

/* Engines take over the vCPUs before backends speak to devices, which may interrupt them. */
static void finish_loading(struct machine *m, const struct machine_part *part, int count)
{
	for (unsigned k = 0; k < m->sys.cpu_count; k++)
		m->config.engine->state_load(m->sys.cpu[k]);
	for (int k = 0; k < count; k++)
		if (part[k].section->restored)
			part[k].section->restored(part[k].object);
}

int machine_load(struct machine *m, const json_t *in, struct lm_err *err)
{
	struct machine_part part[MACHINE_MAX_PARTS];
	int count, rc;

	if (!json_is_object(in))
		return lm_err_set(err, -EINVAL, "the state is no object of sections");
	loop_lock(&m->loop);
	count = rc = machine_parts(m, part, err);
	if (rc >= 0)
		rc = refuse_unknown(part, count, in, err);
	if (rc >= 0)
		rc = load_parts(part, count, in, err);
	if (rc >= 0)
		finish_loading(m, part, count);
	loop_unlock(&m->loop);
	return rc < 0 ? rc : 0;
}
