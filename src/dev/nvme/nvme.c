#include "dev/nvme/nvme.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"

#define BAR_REGISTERS 0
#define BAR_MSIX      4
#define BAR_SIZE      0x4000
#define PIN_VECTOR    0

/* Registers (§3.1). */
#define REG_CAP	      0x00
#define REG_VS	      0x08
#define REG_INTMS     0x0c
#define REG_INTMC     0x10
#define REG_CC	      0x14
#define REG_CSTS      0x1c
#define REG_AQA	      0x24
#define REG_ASQ	      0x28
#define REG_ACQ	      0x30
#define REG_DOORBELLS 0x1000

#define CAP_CQR	      LM_BIT(16)     /* queues are in one piece */
#define CAP_TIMEOUT   (UINT64_C(60) << 24) /* of CSTS.RDY, in half seconds */
#define CAP_NVM	      LM_BIT(37)
#define CC_ENABLE     1u
#define CC_SHUTDOWN   (3u << 14)
#define CC_WRITABLE   0x00fffff1u
#define CSTS_READY    1u
#define CSTS_FATAL    2u
#define CSTS_SHUTDOWN (3u << 2)
#define CSTS_SHUT     (2u << 2)

#define SQ_ENTRY      64
#define CQ_ENTRY      16
#define SQ_SHIFT      6
#define CQ_SHIFT      4
#define FEATURE_CACHE 6

static void work(struct nvme *nvme);

/* ---- Interrupts (§7.5) ---- */

static bool wants_attention(const struct nvme_cq *cq)
{
	return cq->size && cq->interrupts && cq->head != cq->tail;
}

/* Without MSI-X all queues share the pin. */
static void update_pin(struct nvme *nvme)
{
	bool level = false;

	for (unsigned k = 0; k < NVME_QUEUES; k++)
		level |= wants_attention(&nvme->cq[k]);
	pci_intx_set(&nvme->pci, level && !msix_enabled(&nvme->msix) && !(nvme->intms & 1));
}

static void interrupt(struct nvme *nvme, const struct nvme_cq *cq)
{
	if (!cq->interrupts)
		return;
	if (msix_enabled(&nvme->msix))
		msix_send(&nvme->msix, cq->vector);
	else
		update_pin(nvme);
}

/* ---- Completions (§4.6) ---- */

static void free_request(struct nvme_request *req)
{
	req->busy = false;
	req->next = req->nvme->free;
	req->nvme->free = req;
}

static bool has_room(const struct nvme_cq *cq)
{
	return (cq->tail + 1) % cq->size != cq->head;
}

static void post(struct nvme *nvme, const struct nvme_request *req)
{
	const struct nvme_sq *sq = &nvme->sq[req->sq];
	struct nvme_cq *cq = &nvme->cq[sq->cq];
	uint8_t *entry = ram_ptr(nvme->ram, GPA(cq->base + CQ_ENTRY * cq->tail), CQ_ENTRY);
	uint32_t status = req->status | (req->status ? NVME_DNR : 0u);

	nvme->errors += req->status != 0;
	if (entry) {
		le_store(entry, req->result, 4);
		le_store(entry + 4, 0, 4);
		le_store(entry + 8, sq->head | (uint32_t)req->sq << 16, 4);
		/* The phase makes the entry valid: last, and at once. */
		__atomic_store_n((uint32_t *)(void *)(entry + 12),
				 htole32(req->id | (status << 1 | cq->phase) << 16),
				 __ATOMIC_RELEASE);
		ram_note_write(nvme->ram, entry, CQ_ENTRY);
	}
	cq->tail = (uint16_t)((cq->tail + 1) % cq->size);
	cq->phase ^= cq->tail == 0;
	interrupt(nvme, cq);
}

/* In the order in which they came; a full queue keeps its own waiting. */
static void post_waiting(struct nvme *nvme)
{
	struct nvme_request **at = &nvme->waiting, *req;

	while ((req = *at)) {
		if (!req->dropped && !has_room(&nvme->cq[nvme->sq[req->sq].cq])) {
			at = &req->next;
			continue;
		}
		*at = req->next;
		if (!req->dropped)
			post(nvme, req);
		free_request(req);
	}
}

static void add_waiting(struct nvme_request *req)
{
	struct nvme_request **end = &req->nvme->waiting;

	while (*end)
		end = &(*end)->next;
	req->next = NULL;
	*end = req;
}

static void finish_disabling(struct nvme *nvme);

void nvme_complete(struct nvme_request *req)
{
	struct nvme *nvme = req->nvme;

	add_waiting(req);
	post_waiting(nvme);
	if (nvme->disabling)
		finish_disabling(nvme);
	else
		work(nvme);
}

/* ---- Submissions (§4.1) ---- */

static void unpack(struct nvme_command *c, const uint8_t *b)
{
	*c = (struct nvme_command){
		.opcode = b[0],
		.flags = b[1],
		.id = (uint16_t)le_load(b + 2, 2),
		.namespace = (uint32_t)le_load(b + 4, 4),
		.prp1 = le_load(b + 24, 8),
		.prp2 = le_load(b + 32, 8),
		.dw10 = (uint32_t)le_load(b + 40, 4),
		.dw11 = (uint32_t)le_load(b + 44, 4),
		.dw12 = (uint32_t)le_load(b + 48, 4),
		.dw13 = (uint32_t)le_load(b + 52, 4),
		.dw14 = (uint32_t)le_load(b + 56, 4),
		.dw15 = (uint32_t)le_load(b + 60, 4),
	};
}

static bool fetch(struct nvme *nvme, struct nvme_sq *sq, struct nvme_command *c)
{
	const uint8_t *entry = ram_ptr(nvme->ram, GPA(sq->base + SQ_ENTRY * sq->head), SQ_ENTRY);
	uint8_t copy[SQ_ENTRY];

	sq->head = (uint16_t)((sq->head + 1) % sq->size);
	if (!entry)
		return false;
	memcpy(copy, entry, sizeof(copy));
	__asm__ volatile("" : "+m"(copy)); /* the guest's memory is not read again */
	unpack(c, copy);
	return true;
}

static void execute(struct nvme *nvme, unsigned queue, const struct nvme_command *c)
{
	struct nvme_request *req = nvme->free;
	/* Fused operations and scatter-gather lists are not offered. */
	bool plain = !(c->flags & 0xc3);
	uint16_t status;

	nvme->free = req->next;
	nvme->requests++;
	req->busy = true;
	req->dropped = false;
	req->sq = (uint16_t)queue;
	req->id = c->id;
	req->result = 0;
	req->status = 0;
	status = !plain ? NVME_INVALID_FIELD : queue ? nvme_io(req, c) : nvme_admin(req, c);
	if (status == NVME_PENDING)
		return;
	req->status = status;
	nvme_complete(req);
}

/* One command of each queue in turn. True while there is more. */
static bool round_of_queues(struct nvme *nvme)
{
	bool more = false;

	for (unsigned k = 0; k < NVME_QUEUES && nvme->free; k++) {
		struct nvme_command c;

		if (!(nvme->csts & CSTS_READY) || nvme->disabling)
			return false;
		if (!nvme->sq[k].size || nvme->sq[k].head == nvme->sq[k].tail)
			continue;
		if (fetch(nvme, &nvme->sq[k], &c))
			execute(nvme, k, &c);
		more = true;
	}
	return more && nvme->free;
}

/* Completions within do not start it again. */
static void work(struct nvme *nvme)
{
	if (nvme->working)
		return;
	nvme->working = true;
	while (round_of_queues(nvme))
		;
	blockdev_commit(nvme->backend);
	nvme->working = false;
}

/* ---- Queues (§5.3 to §5.6) ---- */

static bool queue_fits(const struct nvme *nvme, uint64_t base, uint64_t bytes)
{
	return base % NVME_PAGE == 0 && ram_ptr(nvme->ram, GPA(base), bytes);
}

uint16_t nvme_create_cq(struct nvme *nvme, const struct nvme_command *c)
{
	unsigned id = c->dw10 & 0xffff, size = (c->dw10 >> 16) + 1, vector = c->dw11 >> 16;

	if (!id || id > nvme->io_queues || nvme->cq[id].size)
		return NVME_INVALID_QUEUE;
	if (size < 2 || size > NVME_MAX_ENTRIES)
		return NVME_INVALID_SIZE;
	if (vector >= (msix_enabled(&nvme->msix) ? nvme->msix.count : 1))
		return NVME_INVALID_VECTOR;
	if (!(c->dw11 & 1) || !queue_fits(nvme, c->prp1, (uint64_t)CQ_ENTRY * size))
		return NVME_INVALID_FIELD;
	nvme->cq[id] = (struct nvme_cq){
		.base = c->prp1,
		.size = (uint16_t)size,
		.vector = (uint16_t)vector,
		.phase = true,
		.interrupts = c->dw11 & 2,
	};
	return 0;
}

uint16_t nvme_create_sq(struct nvme *nvme, const struct nvme_command *c)
{
	unsigned id = c->dw10 & 0xffff, size = (c->dw10 >> 16) + 1, cq = c->dw11 >> 16;

	if (!id || id > nvme->io_queues || nvme->sq[id].size)
		return NVME_INVALID_QUEUE;
	if (!cq || cq > nvme->io_queues || !nvme->cq[cq].size)
		return NVME_INVALID_CQ;
	if (size < 2 || size > NVME_MAX_ENTRIES)
		return NVME_INVALID_SIZE;
	if (!(c->dw11 & 1) || !queue_fits(nvme, c->prp1, (uint64_t)SQ_ENTRY * size))
		return NVME_INVALID_FIELD;
	nvme->sq[id] = (struct nvme_sq){
		.base = c->prp1, .size = (uint16_t)size, .cq = (uint16_t)cq};
	return 0;
}

/* Requests of a queue (or of all, NVME_QUEUES) give no completion any more. */
static void drop_requests(struct nvme *nvme, unsigned queue)
{
	for (unsigned k = 0; k < NVME_REQUESTS; k++) {
		struct nvme_request *req = &nvme->request[k];

		if (req->busy && (queue == NVME_QUEUES || req->sq == queue))
			req->dropped = true;
	}
}

/* The guest may use the memory of what was in flight when the command is done. */
uint16_t nvme_delete_sq(struct nvme *nvme, unsigned id)
{
	if (!id || id > nvme->io_queues || !nvme->sq[id].size)
		return NVME_INVALID_QUEUE;
	drop_requests(nvme, id);
	blockdev_commit(nvme->backend);
	if (nvme->in_flight)
		blockdev_finish(nvme->backend);
	post_waiting(nvme);
	nvme->sq[id].size = 0;
	return 0;
}

uint16_t nvme_delete_cq(struct nvme *nvme, unsigned id)
{
	if (!id || id > nvme->io_queues || !nvme->cq[id].size)
		return NVME_INVALID_QUEUE;
	for (unsigned k = 1; k < NVME_QUEUES; k++)
		if (nvme->sq[k].size && nvme->sq[k].cq == id)
			return NVME_QUEUE_DELETION;
	nvme->cq[id].size = 0;
	update_pin(nvme);
	return 0;
}

/* ---- The controller's states (§7.6) ---- */

static void clear_queues(struct nvme *nvme)
{
	drop_requests(nvme, NVME_QUEUES);
	post_waiting(nvme);
	memset(nvme->sq, 0, sizeof(nvme->sq));
	memset(nvme->cq, 0, sizeof(nvme->cq));
	memset(nvme->feature, 0, sizeof(nvme->feature));
	nvme->feature[FEATURE_CACHE] = 1;
	nvme->events = 0;
	update_pin(nvme);
}

/* The guest sees RDY go when nothing touches its memory any more. */
static void finish_disabling(struct nvme *nvme)
{
	if (nvme->in_flight || nvme->shutting)
		return;
	nvme->disabling = false;
	nvme->csts = 0;
	clear_queues(nvme);
}

static void disable(struct nvme *nvme)
{
	drop_requests(nvme, NVME_QUEUES);
	nvme->disabling = true;
	finish_disabling(nvme);
}

static void enable(struct nvme *nvme)
{
	unsigned sq = (nvme->aqa & 0xfff) + 1, cq = (nvme->aqa >> 16 & 0xfff) + 1;
	unsigned mps = nvme->cc >> 7 & 15, css = nvme->cc >> 4 & 7, ams = nvme->cc >> 11 & 7;

	if (mps || css || ams || sq < 2 || cq < 2 ||
	    !queue_fits(nvme, nvme->asq, (uint64_t)SQ_ENTRY * sq) ||
	    !queue_fits(nvme, nvme->acq, (uint64_t)CQ_ENTRY * cq)) {
		log_guest_once("NVMe: the guest enabled the controller with unusable settings");
		nvme->csts |= CSTS_FATAL;
		return;
	}
	nvme->sq[0] = (struct nvme_sq){.base = nvme->asq, .size = (uint16_t)sq};
	nvme->cq[0] = (struct nvme_cq){
		.base = nvme->acq, .size = (uint16_t)cq, .phase = true, .interrupts = true};
	nvme->csts = CSTS_READY;
}

static void shut(struct block_request *block, int result)
{
	struct nvme *nvme = LM_CONTAINER_OF(block, struct nvme, shutdown);

	nvme->shutting = false;
	nvme->csts = (nvme->csts & ~CSTS_SHUTDOWN) | CSTS_SHUT;
	if (nvme->disabling)
		finish_disabling(nvme);
}

/* What the guest has written is on the disk when CSTS says that the shutdown is complete. */
static void shut_down(struct nvme *nvme)
{
	if (nvme->shutting)
		return;
	nvme->shutting = true;
	nvme->csts = (nvme->csts & ~CSTS_SHUTDOWN) | 1u << 2;
	nvme->shutdown = (struct block_request){.op = BLOCK_FLUSH, .done = shut};
	nvme->backend->ops->submit(nvme->backend, &nvme->shutdown);
	blockdev_commit(nvme->backend);
}

static void write_cc(struct nvme *nvme, uint32_t value)
{
	uint32_t changed = (nvme->cc ^ value) & CC_WRITABLE;

	if (nvme->disabling)
		return;
	nvme->cc = value & CC_WRITABLE;
	if (changed & CC_ENABLE && value & CC_ENABLE)
		enable(nvme);
	if (changed & CC_SHUTDOWN && value & CC_SHUTDOWN)
		shut_down(nvme);
	if (changed & CC_ENABLE && !(value & CC_ENABLE))
		disable(nvme);
}

/* ---- Registers ---- */

static void ring(struct nvme *nvme, uint64_t offset, uint32_t value)
{
	unsigned queue = (unsigned)((offset - REG_DOORBELLS) / 8);
	bool completion = offset & 4;
	uint16_t size = queue >= NVME_QUEUES ? 0
			: completion	     ? nvme->cq[queue].size
					     : nvme->sq[queue].size;

	if (!(nvme->csts & CSTS_READY) || nvme->disabling)
		return;
	if (value >= size) { /* no such queue has size 0 */
		nvme->bad_doorbells++;
		return;
	}
	if (completion) {
		nvme->cq[queue].head = (uint16_t)value;
		post_waiting(nvme);
		update_pin(nvme);
	} else {
		nvme->sq[queue].tail = (uint16_t)value;
	}
	work(nvme);
}

static uint64_t capabilities(void)
{
	return (NVME_MAX_ENTRIES - 1) | CAP_CQR | CAP_TIMEOUT | CAP_NVM;
}

static uint64_t register_value(const struct nvme *nvme, uint64_t offset)
{
	switch (offset) {
	case REG_CAP:
		return capabilities();
	case REG_VS:
		return 0x00010400 | (uint64_t)nvme->intms << 32;
	case REG_INTMC:
		return nvme->intms | (uint64_t)nvme->cc << 32;
	case REG_CSTS - 4:
		return (uint64_t)nvme->csts << 32;
	case REG_AQA - 4:
		return (uint64_t)nvme->aqa << 32;
	case REG_ASQ:
		return nvme->asq;
	case REG_ACQ:
		return nvme->acq;
	default:
		return 0;
	}
}

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned size)
{
	uint64_t v = register_value(opaque, offset & ~UINT64_C(7)) >> 8 * (offset & 7);

	return size == 8 ? v : v & mask_bytes(size);
}

static void set_half(uint64_t *reg, bool high, uint32_t value)
{
	*reg = high ? (uint32_t)*reg | (uint64_t)value << 32
		    : (*reg & ~UINT64_C(0xffffffff)) | (value & ~(NVME_PAGE - 1u));
}

static void write_register(struct nvme *nvme, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case REG_INTMS:
		nvme->intms |= value;
		break;
	case REG_INTMC:
		nvme->intms &= ~value;
		break;
	case REG_CC:
		write_cc(nvme, value);
		return;
	case REG_AQA:
		nvme->aqa = value & 0x0fff0fff;
		return;
	case REG_ASQ:
	case REG_ASQ + 4:
		set_half(&nvme->asq, offset & 4, value);
		return;
	case REG_ACQ:
	case REG_ACQ + 4:
		set_half(&nvme->acq, offset & 4, value);
		return;
	default:
		return;
	}
	update_pin(nvme);
}

/* §3.1: dwords, or quadwords as two of them. */
static void bar_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct nvme *nvme = opaque;

	if (size < 4 || offset % size)
		return;
	for (unsigned k = 0; k < size; k += 4, offset += 4, value >>= 32) {
		if (offset >= REG_DOORBELLS)
			ring(nvme, offset, (uint32_t)value);
		else
			write_register(nvme, offset, (uint32_t)value);
	}
}

static const struct bus_ops bar_ops = {bar_read, bar_write, 8};

/* ---- The PCI function ---- */

static void config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
	struct nvme *nvme = pci->opaque;

	msix_config_written(&nvme->msix, offset, size);
	update_pin(nvme);
}

static void bus_reset(struct pci_device *pci)
{
	struct nvme *nvme = pci->opaque;

	drop_requests(nvme, NVME_QUEUES);
	nvme->disabling = true;
	blockdev_finish(nvme->backend);
	finish_disabling(nvme);
	nvme->cc = nvme->aqa = nvme->intms = 0;
	nvme->asq = nvme->acq = 0;
	msix_reset(&nvme->msix);
	update_pin(nvme);
}

/* No vendor's: what virtio's vendor leaves to experiments. Drivers go by the class. */
static const struct pci_identity identity = {
	.vendor = 0x1af4,
	.device = 0x10f0,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class_code = 0x010802,
	.interrupt_pin = 1,
};

int nvme_init(struct nvme *nvme, struct blockdev *backend, unsigned io_queues, struct pci_bus *bus,
	      uint8_t devfn, struct ram *ram, struct lm_err *err)
{
	static const struct pci_device_ops ops = {.config_written = config_written,
						  .reset = bus_reset};
	struct pci_bar_spec bar = {
		.name = "NVMe",
		.size = BAR_SIZE,
		.is_64bit = true,
		.ops = &bar_ops,
		.opaque = nvme,
	};

	memset(nvme, 0, sizeof(*nvme));
	nvme->ram = ram;
	nvme->backend = backend;
	nvme->io_queues = io_queues;
	nvme->feature[FEATURE_CACHE] = 1;
	for (unsigned k = NVME_REQUESTS; k--;) {
		nvme->request[k].nvme = nvme;
		free_request(&nvme->request[k]);
	}
	pci_device_init(&nvme->pci, "NVMe", &ops, &identity, nvme);
	pci_add_bar(&nvme->pci, BAR_REGISTERS, &bar);
	msix_init(&nvme->msix, &nvme->pci, BAR_MSIX, io_queues + 1);
	return pci_bus_add(bus, &nvme->pci, devfn, err);
}

void nvme_fini(struct nvme *nvme)
{
	if (!nvme->backend)
		return;
	drop_requests(nvme, NVME_QUEUES);
	nvme->disabling = true;
	blockdev_finish(nvme->backend);
}

void nvme_drain(struct nvme *nvme)
{
	nvme->backend->ops->drain(nvme->backend);
}

/* ---- Saved state: requests are drained before ---- */

static const struct field sq_fields[] = {
	FIELD(struct nvme_sq, base, "gpa"),
	FIELD(struct nvme_sq, size, "", .max = NVME_MAX_ENTRIES),
	FIELD(struct nvme_sq, head, ""),
	FIELD(struct nvme_sq, tail, ""),
	FIELD(struct nvme_sq, cq, "", .max = NVME_MAX_IO_QUEUES),
	FIELD_END,
};

static const struct field cq_fields[] = {
	FIELD(struct nvme_cq, base, "gpa"),
	FIELD(struct nvme_cq, size, "", .max = NVME_MAX_ENTRIES),
	FIELD(struct nvme_cq, head, ""),
	FIELD(struct nvme_cq, tail, ""),
	FIELD(struct nvme_cq, vector, ""),
	FIELD(struct nvme_cq, phase, NULL),
	FIELD(struct nvme_cq, interrupts, NULL),
	FIELD_END,
};

static const struct field nvme_fields[] = {
	FIELD_STRUCT(struct nvme, pci, pci_device_fields),
	FIELD_STRUCT(struct nvme, msix, msix_fields),
	FIELD_NOT_SAVED(struct nvme, ram, "wiring"),
	FIELD_NOT_SAVED(struct nvme, backend, "wiring"),
	FIELD_NOT_SAVED(struct nvme, io_queues, "configuration"),
	FIELD(struct nvme, cc, NULL),
	FIELD(struct nvme, csts, NULL),
	FIELD(struct nvme, aqa, NULL),
	FIELD(struct nvme, intms, NULL),
	FIELD(struct nvme, asq, "gpa"),
	FIELD(struct nvme, acq, "gpa"),
	FIELD_ARRAY(struct nvme, feature, NULL),
	FIELD_STRUCTS(struct nvme, sq, sq_fields),
	FIELD_STRUCTS(struct nvme, cq, cq_fields),
	FIELD_ARRAY(struct nvme, event, NULL),
	FIELD(struct nvme, events, "", .max = NVME_MAX_EVENTS),
	FIELD_NOT_SAVED(struct nvme, disabling, "nothing is in flight"),
	FIELD_NOT_SAVED(struct nvme, shutting, "nothing is in flight"),
	FIELD_NOT_SAVED(struct nvme, working, "only within a call"),
	FIELD_NOT_SAVED(struct nvme, in_flight, "nothing is in flight"),
	FIELD_NOT_SAVED(struct nvme, requests, "statistics"),
	FIELD_NOT_SAVED(struct nvme, errors, "statistics"),
	FIELD_NOT_SAVED(struct nvme, bad_doorbells, "statistics"),
	FIELD_NOT_SAVED(struct nvme, shutdown, "nothing is in flight"),
	FIELD_NOT_SAVED(struct nvme, free, "nothing is in flight"),
	FIELD_NOT_SAVED(struct nvme, waiting, "posted before"),
	FIELD_NOT_SAVED(struct nvme, request, "nothing is in flight"),
	FIELD_END,
};

/*
 * Completions that found their queue full are lost to a restored machine: a driver that has more
 * commands than room for their completions breaks the rules (§4.1.1).
 */
static void nvme_pre_save(void *object)
{
	pci_pre_save(&((struct nvme *)object)->pci);
}

static bool is_sound(const struct nvme *nvme, unsigned k)
{
	const struct nvme_sq *sq = &nvme->sq[k];
	const struct nvme_cq *cq = &nvme->cq[k];

	if (k > nvme->io_queues && (sq->size || cq->size))
		return false;
	if (sq->size && (sq->size < 2 || sq->head >= sq->size || sq->tail >= sq->size ||
			 !nvme->cq[sq->cq].size))
		return false;
	return !cq->size || (cq->size >= 2 && cq->head < cq->size && cq->tail < cq->size);
}

static int nvme_loaded(void *object, struct lm_err *err)
{
	struct nvme *nvme = object;

	for (unsigned k = 0; k < NVME_QUEUES; k++)
		if (!is_sound(nvme, k))
			return lm_err_set(err, -EINVAL, "queue %u of the NVMe controller is impossible",
					  k);
	if (nvme->csts & CSTS_READY && (!nvme->sq[0].size || !nvme->cq[0].size))
		return lm_err_set(err, -EINVAL, "the NVMe controller has no admin queue");
	return pci_loaded(&nvme->pci, err);
}

/* Commands that the guest had given before. */
static void nvme_restored(void *object)
{
	work(object);
}

const struct fields_section nvme_section = {
	.name = "nvme",
	.version = 1,
	.table = nvme_fields,
	.pre_save = nvme_pre_save,
	.post_load = nvme_loaded,
	.restored = nvme_restored,
};
