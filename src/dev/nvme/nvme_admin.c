/* Admin commands (NVMe 1.4 §5): identify, queues, features, logs. */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "dev/nvme/nvme.h"

#define ADMIN_DELETE_SQ	   0x00
#define ADMIN_CREATE_SQ	   0x01
#define ADMIN_LOG	   0x02
#define ADMIN_DELETE_CQ	   0x04
#define ADMIN_CREATE_CQ	   0x05
#define ADMIN_IDENTIFY	   0x06
#define ADMIN_ABORT	   0x08
#define ADMIN_SET_FEATURES 0x09
#define ADMIN_GET_FEATURES 0x0a
#define ADMIN_EVENT	   0x0c

#define IDENTIFY_SIZE	   4096
#define FEATURE_TEMPERATURE 4
#define FEATURE_CACHE	   6
#define FEATURE_QUEUES	   7
#define FEATURE_SAVE	   LM_BIT(31)
#define KELVIN		   273

struct field_value {
	unsigned at, size;
	uint64_t value;
};

static void put_fields(uint8_t *data, const struct field_value *f, unsigned count)
{
	for (unsigned k = 0; k < count; k++)
		le_store(data + f[k].at, f[k].value, f[k].size);
}

/* Text fields have spaces behind the text. */
static void put_text(uint8_t *at, unsigned size, const char *text)
{
	memset(at, ' ', size);
	memcpy(at, text, strnlen(text, size));
}

/* ---- Identify (§5.15) ---- */

static uint16_t identify_controller(struct nvme *nvme, const struct nvme_command *c, uint8_t *data)
{
	const struct field_value fields[] = {
	    {0, 2, nvme->pci.config[PCI_VENDOR_ID] | nvme->pci.config[PCI_VENDOR_ID + 1] << 8},
	    {77, 1, NVME_MDTS},
	    {80, 4, 0x00010400},	   /* VER */
	    {259, 1, NVME_MAX_EVENTS - 1}, /* AERL */
	    {260, 1, 1 << 1 | 1},	   /* FRMW: one slot, read-only */
	    {266, 2, KELVIN + 70},	   /* WCTEMP */
	    {268, 2, KELVIN + 100},	   /* CCTEMP */
	    {512, 1, 0x66},		   /* SQES: 64 bytes */
	    {513, 1, 0x44},		   /* CQES: 16 bytes */
	    {516, 4, 1},		   /* NN */
	    {520, 2, 1 << 2 | 1 << 3},	   /* ONCS: dataset management, write zeroes */
	    {525, 1, 1},		   /* VWC */
	};

	put_fields(data, fields, LM_ARRAY_SIZE(fields));
	put_text(data + 4, 20, nvme->backend->id);
	put_text(data + 24, 40, "lamina NVMe disk");
	put_text(data + 64, 8, LAMINA_VERSION);
	snprintf((char *)data + 768, 256, "nqn.2025-01.lamina:nvme:%s:%02x", nvme->backend->id,
		 nvme->pci.devfn);
	return 0;
}

static uint16_t identify_namespace(struct nvme *nvme, const struct nvme_command *c, uint8_t *data)
{
	uint64_t blocks = nvme->backend->size / BLOCK_SECTOR_SIZE;
	const struct field_value fields[] = {
	    {0, 8, blocks},		   /* NSZE */
	    {8, 8, blocks},		   /* NCAP */
	    {16, 8, blocks},		   /* NUSE */
	    {24, 1, 1 << 4},		   /* NSFEAT: the next five are there */
	    {64, 2, 7},			   /* NPWG, …: writes of 4 KiB are best */
	    {66, 2, 7},			   /* NPWA */
	    {68, 2, 7},			   /* NPDG */
	    {70, 2, 7},			   /* NPDA */
	    {72, 2, 0},			   /* NOWS */
	    {99, 1, nvme->backend->read_only}, /* NSATTR */
	    {130, 1, 9},		   /* LBAF0: 512 bytes */
	};

	if (c->namespace != 1)
		return NVME_INVALID_NAMESPACE;
	put_fields(data, fields, LM_ARRAY_SIZE(fields));
	return 0;
}

static uint16_t identify_list(struct nvme *nvme, const struct nvme_command *c, uint8_t *data)
{
	if (c->namespace >= 0xfffffffe)
		return NVME_INVALID_NAMESPACE;
	le_store(data, c->namespace < 1, 4);
	return 0;
}

/* No identifiers: a name of the host's file is none that is unique in the world. */
static uint16_t identify_descriptors(struct nvme *nvme, const struct nvme_command *c, uint8_t *data)
{
	return c->namespace == 1 ? 0 : NVME_INVALID_NAMESPACE;
}

static uint16_t identify(struct nvme_request *req, const struct nvme_command *c)
{
	static uint16_t (*const kinds[])(struct nvme *nvme, const struct nvme_command *c,
					 uint8_t *data) = {
	    identify_namespace, identify_controller, identify_list, identify_descriptors};
	unsigned kind = c->dw10 & 0xff;
	uint8_t data[IDENTIFY_SIZE] = {0};
	uint16_t status;

	if (kind >= LM_ARRAY_SIZE(kinds))
		return NVME_INVALID_FIELD;
	status = kinds[kind](req->nvme, c, data);
	return status ? status : nvme_give(req, c, data, sizeof(data));
}

/* ---- Logs (§5.14) ---- */

static void log_errors(uint8_t *data)
{
}

static void log_health(uint8_t *data)
{
	static const struct field_value fields[] = {
	    {1, 2, KELVIN + 30}, /* composite temperature */
	    {3, 1, 100},	 /* available spare */
	    {4, 1, 10},		 /* its threshold */
	};

	put_fields(data, fields, LM_ARRAY_SIZE(fields));
}

static void log_firmware(uint8_t *data)
{
	data[0] = 1;
	put_text(data + 8, 8, LAMINA_VERSION);
}

static uint16_t get_log(struct nvme_request *req, const struct nvme_command *c)
{
	static void (*const logs[])(uint8_t *data) = {NULL, log_errors, log_health, log_firmware};
	uint64_t len = ((c->dw10 >> 16) + ((uint64_t)(c->dw11 & 0xffff) << 16) + 1) * 4;
	uint64_t offset = c->dw12 | (uint64_t)c->dw13 << 32;
	unsigned log = c->dw10 & 0xff;
	uint8_t data[IDENTIFY_SIZE] = {0};

	if (log >= LM_ARRAY_SIZE(logs) || !logs[log])
		return NVME_INVALID_LOG;
	if (offset % 4 || offset >= sizeof(data) || len > sizeof(data) - offset)
		return NVME_INVALID_FIELD;
	logs[log](data);
	return nvme_give(req, c, data + offset, len);
}

/* ---- Features (§5.21, §5.14) ---- */

/* What can be set; all are kept and have no effect but the write cache's. */
static const uint32_t settable[NVME_FEATURES] = {
    [1] = 0xffffff07,	/* arbitration */
    [2] = 0,		/* power state: there is one */
    [FEATURE_TEMPERATURE] = 0x003fffff,
    [5] = 0x0001ffff,	/* error recovery */
    [FEATURE_CACHE] = 1,
    [FEATURE_QUEUES] = 0,
    [8] = 0xffff,	/* interrupt coalescing */
    [9] = 0x0001ffff,	/* interrupt vector */
    [10] = 1,		/* write atomicity */
    [11] = 0xffffffff,	/* asynchronous events */
};

static bool knows_feature(unsigned id)
{
	return (id >= 1 && id <= 11 && id != 3);
}

static uint32_t feature(const struct nvme *nvme, unsigned id)
{
	uint32_t queues = nvme->io_queues - 1;

	return id == FEATURE_QUEUES ? queues | queues << 16 : nvme->feature[id];
}

static uint16_t set_features(struct nvme_request *req, const struct nvme_command *c)
{
	unsigned id = c->dw10 & 0xff;

	if (!knows_feature(id))
		return NVME_INVALID_FIELD;
	if (c->dw10 & FEATURE_SAVE)
		return NVME_NOT_SAVEABLE;
	if (id == FEATURE_QUEUES && ((c->dw11 & 0xffff) == 0xffff || c->dw11 >> 16 == 0xffff))
		return NVME_INVALID_FIELD;
	if (id == 2 && c->dw11 & 0x1f)
		return NVME_INVALID_FIELD;
	req->nvme->feature[id] = c->dw11 & settable[id];
	req->result = id == FEATURE_QUEUES ? feature(req->nvme, id) : 0;
	return 0;
}

/* SELECT: current, default (all zero but the cache), saved (the same), what can be done. */
static uint16_t get_features(struct nvme_request *req, const struct nvme_command *c)
{
	unsigned id = c->dw10 & 0xff, select = c->dw10 >> 8 & 7;

	if (!knows_feature(id) || select > 3)
		return NVME_INVALID_FIELD;
	if (select == 0 || id == FEATURE_QUEUES)
		req->result = feature(req->nvme, id);
	else if (select == 3)
		req->result = settable[id] ? LM_BIT(2) : 0;
	else
		req->result = id == FEATURE_CACHE;
	return 0;
}

/* ---- The rest ---- */

static uint16_t create_sq(struct nvme_request *req, const struct nvme_command *c)
{
	return nvme_create_sq(req->nvme, c);
}

static uint16_t create_cq(struct nvme_request *req, const struct nvme_command *c)
{
	return nvme_create_cq(req->nvme, c);
}

static uint16_t delete_sq(struct nvme_request *req, const struct nvme_command *c)
{
	return nvme_delete_sq(req->nvme, c->dw10 & 0xffff);
}

static uint16_t delete_cq(struct nvme_request *req, const struct nvme_command *c)
{
	return nvme_delete_cq(req->nvme, c->dw10 & 0xffff);
}

/* Nothing is ever aborted, which dword 0 says. */
static uint16_t abort_command(struct nvme_request *req, const struct nvme_command *c)
{
	req->result = 1;
	return 0;
}

/* Kept until a reset; the request is free for others. */
static uint16_t wait_for_event(struct nvme_request *req, const struct nvme_command *c)
{
	struct nvme *nvme = req->nvme;

	if (nvme->events == NVME_MAX_EVENTS)
		return NVME_TOO_MANY_EVENTS;
	nvme->event[nvme->events++] = c->id;
	req->dropped = true;
	return 0;
}

static const struct {
	uint8_t opcode;
	uint16_t (*run)(struct nvme_request *req, const struct nvme_command *c);
} commands[] = {
    {ADMIN_DELETE_SQ, delete_sq},	{ADMIN_CREATE_SQ, create_sq},
    {ADMIN_LOG, get_log},		{ADMIN_DELETE_CQ, delete_cq},
    {ADMIN_CREATE_CQ, create_cq},	{ADMIN_IDENTIFY, identify},
    {ADMIN_ABORT, abort_command},	{ADMIN_SET_FEATURES, set_features},
    {ADMIN_GET_FEATURES, get_features}, {ADMIN_EVENT, wait_for_event},
};

uint16_t nvme_admin(struct nvme_request *req, const struct nvme_command *c)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(commands); k++)
		if (commands[k].opcode == c->opcode)
			return commands[k].run(req, c);
	return NVME_INVALID_OPCODE;
}
