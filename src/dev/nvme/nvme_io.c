/* The namespace's commands (NVMe 1.4 §6), and physical region pages (§4.3). */
#include <string.h>

#include "base/bits.h"
#include "dev/nvme/nvme.h"

#define IO_FLUSH	 0x00
#define IO_WRITE	 0x01
#define IO_READ		 0x02
#define IO_WRITE_ZEROES	 0x08
#define IO_DATASET	 0x09
#define ALL_NAMESPACES	 0xffffffff
#define FUA		 LM_BIT(30)
#define DEALLOCATE	 LM_BIT(25)
#define DATASET_DISCARD	 LM_BIT(2)
#define RANGE_SIZE	 16
#define PRP_SIZE	 8
#define FEATURE_CACHE	 6

/* ---- Guest memory ---- */

/* Adds a piece, joined to the one before where they touch. */
static bool add_piece(struct nvme_request *req, uint64_t address, uint64_t len)
{
	uint8_t *hva = ram_ptr(req->nvme->ram, GPA(address), len);
	struct iovec *last = req->iov_count ? &req->iov[req->iov_count - 1] : NULL;

	if (!hva)
		return false;
	if (last && (uint8_t *)last->iov_base + last->iov_len == hva) {
		last->iov_len += len;
		return true;
	}
	if (req->iov_count == NVME_SEGMENTS)
		return false;
	req->iov[req->iov_count++] = (struct iovec){hva, len};
	return true;
}

/*
 * A list of pages: when it fills its page and more is needed, its last entry is the next list's
 * address. Every list but the first has at least 511 pages, so that this ends.
 */
static uint16_t add_list(struct nvme_request *req, uint64_t list, uint64_t len)
{
	uint64_t room = (NVME_PAGE - list % NVME_PAGE) / PRP_SIZE;

	if (list % PRP_SIZE)
		return NVME_INVALID_PRP;
	while (len) {
		const uint8_t *entry = ram_ptr(req->nvme->ram, GPA(list), PRP_SIZE);
		uint64_t page, piece = LM_MIN(len, NVME_PAGE);

		if (!entry)
			return NVME_TRANSFER_ERROR;
		page = le64toh(__atomic_load_n((const uint64_t *)(const void *)entry,
					       __ATOMIC_RELAXED));
		if (page % NVME_PAGE)
			return NVME_INVALID_PRP;
		if (--room == 0 && len > NVME_PAGE) {
			list = page;
			room = NVME_PAGE / PRP_SIZE;
			continue;
		}
		if (!add_piece(req, page, piece))
			return NVME_TRANSFER_ERROR;
		len -= piece;
		list += PRP_SIZE;
	}
	return 0;
}

uint16_t nvme_map(struct nvme_request *req, const struct nvme_command *c, uint64_t len)
{
	uint64_t first = LM_MIN(len, NVME_PAGE - c->prp1 % NVME_PAGE);

	req->iov_count = 0;
	if (c->prp1 % 4)
		return NVME_INVALID_PRP;
	if (!add_piece(req, c->prp1, first))
		return NVME_TRANSFER_ERROR;
	len -= first;
	if (!len)
		return 0;
	if (len > NVME_PAGE)
		return add_list(req, c->prp2, len);
	if (c->prp2 % NVME_PAGE)
		return NVME_INVALID_PRP;
	return add_piece(req, c->prp2, len) ? 0 : NVME_TRANSFER_ERROR;
}

static void note_written(const struct nvme_request *req)
{
	for (unsigned k = 0; k < req->iov_count; k++)
		ram_note_write(req->nvme->ram, req->iov[k].iov_base, req->iov[k].iov_len);
}

uint16_t nvme_give(struct nvme_request *req, const struct nvme_command *c, const void *data,
		   uint64_t len)
{
	uint16_t status = nvme_map(req, c, len);
	const uint8_t *from = data;

	if (status)
		return status;
	for (unsigned k = 0; k < req->iov_count; k++) {
		memcpy(req->iov[k].iov_base, from, req->iov[k].iov_len);
		from += req->iov[k].iov_len;
	}
	note_written(req);
	return 0;
}

uint16_t nvme_take(struct nvme_request *req, const struct nvme_command *c, void *data, uint64_t len)
{
	uint16_t status = nvme_map(req, c, len);
	uint8_t *to = data;

	for (unsigned k = 0; !status && k < req->iov_count; k++) {
		memcpy(to, req->iov[k].iov_base, req->iov[k].iov_len);
		to += req->iov[k].iov_len;
	}
	__asm__ volatile("" ::: "memory"); /* not read from the guest again */
	return status;
}

/* ---- Commands ---- */

static void submit(struct nvme_request *req)
{
	req->nvme->in_flight++;
	req->nvme->backend->ops->submit(req->nvme->backend, &req->block);
}

static void io_done(struct block_request *block, int result)
{
	struct nvme_request *req = LM_CONTAINER_OF(block, struct nvme_request, block);
	bool read = block->op == BLOCK_READ;

	req->nvme->in_flight--;
	if (read)
		note_written(req);
	if (result < 0)
		req->status = read ? NVME_READ_ERROR : NVME_WRITE_FAULT;
	nvme_complete(req);
}

static uint16_t start(struct nvme_request *req, enum block_op op, uint64_t offset, uint64_t len)
{
	req->block = (struct block_request){
	    .op = op,
	    .offset = offset,
	    .len = len,
	    .iov = req->iov,
	    .iov_count = req->iov_count,
	    .done = io_done,
	};
	return 0;
}

static bool writes_through(const struct nvme *nvme)
{
	return !(nvme->feature[FEATURE_CACHE] & 1);
}

static uint16_t check_range(const struct nvme *nvme, const struct nvme_command *c)
{
	uint64_t lba = c->dw10 | (uint64_t)c->dw11 << 32, count = (c->dw12 & 0xffff) + 1;
	uint64_t capacity = nvme->backend->size / BLOCK_SECTOR_SIZE;

	return lba < capacity && count <= capacity - lba ? 0 : NVME_LBA_RANGE;
}

static uint64_t offset_of(const struct nvme_command *c)
{
	return (c->dw10 | (uint64_t)c->dw11 << 32) * BLOCK_SECTOR_SIZE;
}

static uint64_t length_of(const struct nvme_command *c)
{
	return ((c->dw12 & 0xffff) + UINT64_C(1)) * BLOCK_SECTOR_SIZE;
}

static uint16_t transfer(struct nvme_request *req, const struct nvme_command *c, enum block_op op)
{
	uint64_t len = length_of(c);
	uint16_t status = len > NVME_MAX_DATA ? NVME_INVALID_FIELD : nvme_map(req, c, len);

	if (status)
		return status;
	start(req, op, offset_of(c), len);
	req->block.sync = op == BLOCK_WRITE && (c->dw12 & FUA || writes_through(req->nvme));
	submit(req);
	return NVME_PENDING;
}

static uint16_t io_read(struct nvme_request *req, const struct nvme_command *c)
{
	return transfer(req, c, BLOCK_READ);
}

static uint16_t io_write(struct nvme_request *req, const struct nvme_command *c)
{
	return transfer(req, c, BLOCK_WRITE);
}

static uint16_t io_write_zeroes(struct nvme_request *req, const struct nvme_command *c)
{
	start(req, BLOCK_WRITE_ZEROES, offset_of(c), length_of(c));
	req->block.may_unmap = c->dw12 & DEALLOCATE;
	req->block.sync = c->dw12 & FUA || writes_through(req->nvme);
	submit(req);
	return NVME_PENDING;
}

static uint16_t io_flush(struct nvme_request *req, const struct nvme_command *c)
{
	start(req, BLOCK_FLUSH, 0, 0);
	submit(req);
	return NVME_PENDING;
}

/* One range after the other; a hint that fails is no error. */
static void next_range(struct block_request *block, int result)
{
	struct nvme_request *req = LM_CONTAINER_OF(block, struct nvme_request, block);

	req->nvme->in_flight--;
	if (req->range == req->ranges) {
		nvme_complete(req);
		return;
	}
	start(req, BLOCK_DISCARD, req->list[req->range].offset, req->list[req->range].len);
	req->block.done = next_range;
	req->range++;
	submit(req);
	if (!req->nvme->working)
		blockdev_commit(req->nvme->backend);
}

static uint16_t io_dataset(struct nvme_request *req, const struct nvme_command *c)
{
	uint64_t capacity = req->nvme->backend->size / BLOCK_SECTOR_SIZE;
	unsigned count = (c->dw10 & 0xff) + 1;
	uint8_t raw[NVME_RANGES * RANGE_SIZE];
	uint16_t status = nvme_take(req, c, raw, count * RANGE_SIZE);

	req->range = req->ranges = 0;
	for (unsigned k = 0; !status && k < count; k++) {
		uint64_t len = le_load(raw + RANGE_SIZE * k + 4, 4);
		uint64_t lba = le_load(raw + RANGE_SIZE * k + 8, 8);

		if (lba > capacity || len > capacity - lba)
			return NVME_LBA_RANGE;
		if (len)
			req->list[req->ranges++] = (struct nvme_range){lba * BLOCK_SECTOR_SIZE,
								       len * BLOCK_SECTOR_SIZE};
	}
	if (status || !(c->dw11 & DATASET_DISCARD) || !req->ranges)
		return status;
	req->nvme->in_flight++; /* as if a range before the first were done */
	next_range(&req->block, 0);
	return NVME_PENDING;
}

static const struct {
	uint8_t opcode;
	bool ranged; /* dwords 10 to 12 say which blocks */
	bool writes;
	uint16_t (*run)(struct nvme_request *req, const struct nvme_command *c);
} commands[] = {
    {IO_FLUSH, false, false, io_flush},
    {IO_WRITE, true, true, io_write},
    {IO_READ, true, false, io_read},
    {IO_WRITE_ZEROES, true, true, io_write_zeroes},
    {IO_DATASET, false, true, io_dataset},
};

uint16_t nvme_io(struct nvme_request *req, const struct nvme_command *c)
{
	struct nvme *nvme = req->nvme;

	for (unsigned k = 0; k < LM_ARRAY_SIZE(commands); k++) {
		uint16_t status = 0;

		if (commands[k].opcode != c->opcode)
			continue;
		if (c->namespace != 1 &&
		    (c->namespace != ALL_NAMESPACES || c->opcode != IO_FLUSH))
			return NVME_INVALID_NAMESPACE;
		if (commands[k].writes && nvme->backend->read_only)
			return NVME_WRITE_PROTECTED;
		if (commands[k].ranged)
			status = check_range(nvme, c);
		return status ? status : commands[k].run(req, c);
	}
	return NVME_INVALID_OPCODE;
}
