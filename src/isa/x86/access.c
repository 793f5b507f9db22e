/* Guest memory as instructions see it. Fast path: a TLB hit within one page; all else is slow_*. */
#include "isa/x86/access.h"

#include "isa/x86/debug.h"
#include "isa/x86/fault.h"
#include "isa/x86/mmu.h"
#include "isa/x86/trace.h"

/* ---- Host memory: all accesses are ordered, aligned ones single; others are not on x86 either ---- */

static inline uint64_t host_load(const uint8_t *p, unsigned size)
{
	uint64_t v = 0;

	if (LM_UNLIKELY((uintptr_t)p & (size - 1))) {
		memcpy(&v, p, size);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		return v;
	}
	switch (size) {
	case 1:
		return __atomic_load_n(p, __ATOMIC_ACQUIRE);
	case 2:
		return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
	case 4:
		return __atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE);
	case 8:
		return __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
	default:
		memcpy(&v, p, size);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		return v;
	}
}

static inline void host_store(uint8_t *p, uint64_t v, unsigned size)
{
	if (LM_UNLIKELY((uintptr_t)p & (size - 1))) {
		__atomic_thread_fence(__ATOMIC_RELEASE);
		memcpy(p, &v, size);
		return;
	}
	switch (size) {
	case 1:
		__atomic_store_n(p, (uint8_t)v, __ATOMIC_RELEASE);
		break;
	case 2:
		__atomic_store_n((uint16_t *)p, (uint16_t)v, __ATOMIC_RELEASE);
		break;
	case 4:
		__atomic_store_n((uint32_t *)p, (uint32_t)v, __ATOMIC_RELEASE);
		break;
	case 8:
		__atomic_store_n((uint64_t *)p, v, __ATOMIC_RELEASE);
		break;
	default:
		__atomic_thread_fence(__ATOMIC_RELEASE);
		memcpy(p, &v, size);
		break;
	}
}

static inline bool within_page(gva_t gva, unsigned len)
{
	return (gva.v & PAGE_MASK) + len <= PAGE_SIZE;
}

static inline unsigned first_part(gva_t gva, unsigned len)
{
	return LM_MIN(len, (unsigned)(PAGE_SIZE - (gva.v & PAGE_MASK)));
}

static inline unsigned set_of(const struct x86_cpu *c)
{
	return (unsigned)(c->tlb - c->tlb_set);
}

/* The byte after the last of a page-crossing access; linear addresses wrap at 4 GiB outside long mode. */
static gva_t gva_add(const struct x86_cpu *c, gva_t gva, uint64_t bytes)
{
	uint64_t sum = gva.v + bytes;

	return GVA(x86_long_mode(c) ? sum : (uint32_t)sum);
}

/* ---- Device memory ---- */

static uint64_t device_read(struct x86_cpu *c, gpa_t gpa, unsigned size)
{
	uint64_t v;

	c->count.mmio_exits++;
	if (lapic_owns(c, gpa))
		v = lapic_mmio_read(c, (uint32_t)(gpa.v & PAGE_MASK));
	else
		v = c->sys->io->mmio_read(c->sys->io->opaque, gpa, size);
	if (trace_wants(c, TRACE_MMIO))
		trace_mmio(c, false, gpa, v, size);
	return v;
}

static void device_write(struct x86_cpu *c, gpa_t gpa, uint64_t value, unsigned size)
{
	c->count.mmio_exits++;
	if (trace_wants(c, TRACE_MMIO))
		trace_mmio(c, true, gpa, value & mask_bytes(size), size);
	if (lapic_owns(c, gpa))
		lapic_mmio_write(c, (uint32_t)(gpa.v & PAGE_MASK), (uint32_t)value);
	else
		c->sys->io->mmio_write(c->sys->io->opaque, gpa, value & mask_bytes(size), size);
}

/* Devices are asked in powers of two; a straddling rest goes byte by byte. */
static uint64_t device_read_any(struct x86_cpu *c, gpa_t gpa, unsigned size)
{
	uint64_t v = 0;

	if (is_pow2(size))
		return device_read(c, gpa, size) & mask_bytes(size);
	for (unsigned k = 0; k < size; k++)
		v |= (device_read(c, GPA(gpa.v + k), 1) & 0xff) << (8 * k);
	return v;
}

static void device_write_any(struct x86_cpu *c, gpa_t gpa, uint64_t value, unsigned size)
{
	if (is_pow2(size)) {
		device_write(c, gpa, value, size);
		return;
	}
	for (unsigned k = 0; k < size; k++)
		device_write(c, GPA(gpa.v + k), value >> (8 * k) & 0xff, 1);
}

/* ---- Pieces within one page, already known to be permitted or not ---- */

/* #AC is for a program's own accesses: not for those to descriptor tables, TSS or event stacks. */
static void check_alignment(struct x86_cpu *c, unsigned set, gva_t gva, unsigned size)
{
	bool checked = c->s.cr0 & CR0_AM && c->s.rflags & FLAG_AC && set == TLB_USER;

	if (checked && is_pow2(size) && gva.v & (size - 1))
		x86_raise_error(c, VEC_AC, 0);
}

static uint64_t piece_read(struct x86_cpu *c, unsigned set, gva_t gva, unsigned size,
			   enum mem_access access)
{
	gpa_t gpa;
	const uint8_t *p = mmu_translate(c, gva, access, set, &gpa);

	return p ? host_load(p, size) : device_read_any(c, gpa, size);
}

static void piece_write(struct x86_cpu *c, unsigned set, gva_t gva, uint64_t value, unsigned size)
{
	gpa_t gpa;
	uint8_t *p = mmu_translate(c, gva, ACCESS_WRITE, set, &gpa);

	if (p)
		host_store(p, value, size);
	else
		device_write_any(c, gpa, value, size);
}

static uint64_t slow_read(struct x86_cpu *c, unsigned set, gva_t gva, unsigned size,
			  enum mem_access access)
{
	unsigned low = first_part(gva, size);
	gva_t next = gva_add(c, gva, low);
	uint64_t v;
	gpa_t gpa;

	if (c->access_checks)
		check_alignment(c, set, gva, size);
	mmu_translate(c, gva, access, set, &gpa);
	if (low < size)
		mmu_translate(c, next, access, set, &gpa);
	if (c->access_checks)
		debug_data_access(c, gva, size, access);
	if (low == size)
		return piece_read(c, set, gva, size, access);
	v = piece_read(c, set, gva, low, access);
	return v | piece_read(c, set, next, size - low, access) << (8 * low);
}

static void slow_write(struct x86_cpu *c, unsigned set, gva_t gva, uint64_t value, unsigned size)
{
	unsigned low = first_part(gva, size);
	gva_t next = gva_add(c, gva, low);
	gpa_t gpa;

	if (c->access_checks)
		check_alignment(c, set, gva, size);
	mmu_translate(c, gva, ACCESS_WRITE, set, &gpa);
	if (low < size)
		mmu_translate(c, next, ACCESS_WRITE, set, &gpa);
	if (c->access_checks)
		debug_data_access(c, gva, size, ACCESS_WRITE);
	if (low == size) {
		piece_write(c, set, gva, value, size);
		return;
	}
	piece_write(c, set, gva, value & mask_bytes(low), low);
	piece_write(c, set, next, value >> (8 * low), size - low);
}

/* ---- By linear address ---- */

static inline uint8_t *tlb_read_hit(struct x86_tlb *tlb, gva_t gva, unsigned size)
{
	struct tlb_entry *e = tlb_slot(tlb, gva.v);

	if (LM_LIKELY(e->read_tag == tlb_tag(tlb, gva.v) && within_page(gva, size)))
		return (uint8_t *)(gva.v + e->addend);
	return NULL;
}

static inline uint8_t *tlb_write_hit(struct x86_tlb *tlb, gva_t gva, unsigned size)
{
	struct tlb_entry *e = tlb_slot(tlb, gva.v);

	if (LM_LIKELY(e->write_tag == tlb_tag(tlb, gva.v) && within_page(gva, size)))
		return (uint8_t *)(gva.v + e->addend);
	return NULL;
}

uint64_t lin_read(struct x86_cpu *c, gva_t gva, unsigned size)
{
	const uint8_t *p = tlb_read_hit(c->tlb, gva, size);

	return p ? host_load(p, size) : slow_read(c, set_of(c), gva, size, ACCESS_READ);
}

uint64_t lin_read_rmw(struct x86_cpu *c, gva_t gva, unsigned size)
{
	const uint8_t *p = tlb_write_hit(c->tlb, gva, size);

	return p ? host_load(p, size) : slow_read(c, set_of(c), gva, size, ACCESS_WRITE);
}

void lin_write(struct x86_cpu *c, gva_t gva, uint64_t value, unsigned size)
{
	uint8_t *p = tlb_write_hit(c->tlb, gva, size);

	if (p)
		host_store(p, value, size);
	else
		slow_write(c, set_of(c), gva, value, size);
}

uint64_t sys_read(struct x86_cpu *c, gva_t gva, unsigned size)
{
	const uint8_t *p = tlb_read_hit(&c->tlb_set[TLB_SUPERVISOR], gva, size);

	return p ? host_load(p, size) : slow_read(c, TLB_SUPERVISOR, gva, size, ACCESS_READ);
}

void sys_write(struct x86_cpu *c, gva_t gva, uint64_t value, unsigned size)
{
	uint8_t *p = tlb_write_hit(&c->tlb_set[TLB_SUPERVISOR], gva, size);

	if (p)
		host_store(p, value, size);
	else
		slow_write(c, TLB_SUPERVISOR, gva, value, size);
}

/* ---- Locked operations ---- */

static bool host_cas(uint8_t *p, uint64_t expected, uint64_t desired, unsigned size)
{
	uint8_t e8 = (uint8_t)expected;
	uint16_t e16 = (uint16_t)expected;
	uint32_t e32 = (uint32_t)expected;

	switch (size) {
	case 1:
		return __atomic_compare_exchange_n(p, &e8, (uint8_t)desired, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	case 2:
		return __atomic_compare_exchange_n((uint16_t *)p, &e16, (uint16_t)desired, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	case 4:
		return __atomic_compare_exchange_n((uint32_t *)p, &e32, (uint32_t)desired, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	default:
		return __atomic_compare_exchange_n((uint64_t *)p, &expected, desired, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
}

/*
 * Misaligned within an aligned 8-byte word: one CAS of the word. Wider ("split") locks are atomic
 * among themselves only (CAVEATS).
 */
static bool split_cas(struct x86_cpu *c, uint8_t *p, uint64_t expected, uint64_t desired,
		      unsigned size)
{
	unsigned offset = (uintptr_t)p & 7;
	uint64_t mask, word;
	bool same;

	if (offset + size <= 8) {
		mask = mask_bytes(size) << (8 * offset);
		word = host_load(p - offset, 8);
		if ((word & mask) != (expected & mask_bytes(size)) << (8 * offset))
			return false;
		return host_cas(p - offset, word,
				(word & ~mask) | (desired & mask_bytes(size)) << (8 * offset), 8);
	}
	pthread_mutex_lock(&c->sys->split_lock);
	same = host_load(p, size) == (expected & mask_bytes(size));
	if (same)
		host_store(p, desired, size);
	pthread_mutex_unlock(&c->sys->split_lock);
	return same;
}

static bool page_crossing_cas(struct x86_cpu *c, gva_t gva, uint64_t expected, uint64_t desired,
			      unsigned size)
{
	bool same;

	/* rmw_read has checked both pages with the intent to write; the second look cannot fault
	 * unless another vCPU changes the tables meanwhile, so throw before taking the lock. */
	lin_probe(c, gva, size, ACCESS_WRITE);
	pthread_mutex_lock(&c->sys->split_lock);
	same = lin_read(c, gva, size) == (expected & mask_bytes(size));
	if (same)
		lin_write(c, gva, desired, size);
	pthread_mutex_unlock(&c->sys->split_lock);
	return same;
}

static bool set_cas(struct x86_cpu *c, unsigned set, gva_t gva, uint64_t expected,
		    uint64_t desired, unsigned size)
{
	gpa_t gpa;
	uint8_t *p;

	if (!within_page(gva, size))
		return page_crossing_cas(c, gva, expected, desired, size);
	p = mmu_translate(c, gva, ACCESS_WRITE, set, &gpa);
	if (!p) { /* device memory has no atomic operations */
		device_write_any(c, gpa, desired, size);
		return true;
	}
	if ((uintptr_t)p & (size - 1))
		return split_cas(c, p, expected, desired, size);
	return host_cas(p, expected, desired, size);
}

bool lin_cas(struct x86_cpu *c, gva_t gva, uint64_t expected, uint64_t desired, unsigned size)
{
	return set_cas(c, set_of(c), gva, expected, desired, size);
}

bool sys_cas(struct x86_cpu *c, gva_t gva, uint64_t expected, uint64_t desired, unsigned size)
{
	return set_cas(c, TLB_SUPERVISOR, gva, expected, desired, size);
}

/* Where the host has no 16-byte compare-and-swap it is atomic among its kind only (CAVEATS). */
static bool host_cas16(struct x86_cpu *c, unsigned __int128 *p, unsigned __int128 *expected,
		       unsigned __int128 desired)
{
	unsigned __int128 seen;
	bool same;

#ifdef __GCC_HAVE_SYNC_COMPARE_AND_SWAP_16
	seen = __sync_val_compare_and_swap(p, *expected, desired);
	same = seen == *expected;
#else
	pthread_mutex_lock(&c->sys->split_lock);
	seen = *p;
	same = seen == *expected;
	if (same)
		*p = desired;
	pthread_mutex_unlock(&c->sys->split_lock);
#endif
	*expected = seen;
	return same;
}

bool lin_cas16(struct x86_cpu *c, gva_t gva, unsigned __int128 *expected,
	       unsigned __int128 desired)
{
	gpa_t gpa;
	unsigned __int128 *p;

	p = (unsigned __int128 *)mmu_translate(c, gva, ACCESS_WRITE, set_of(c), &gpa);
	if (!p) /* not RAM: no machine lets this work in a useful way */
		x86_raise_gp(c, 0);
	if (c->access_checks)
		debug_data_access(c, gva, 16, ACCESS_WRITE);
	return host_cas16(c, p, expected, desired);
}

/* ---- Blocks ---- */

void lin_probe(struct x86_cpu *c, gva_t gva, unsigned len, enum mem_access access)
{
	gpa_t gpa;

	while (len) {
		unsigned part = first_part(gva, len);

		mmu_translate(c, gva, access, set_of(c), &gpa);
		gva = gva_add(c, gva, part);
		len -= part;
	}
}

/*
 * What #AC wants of an operand of this size (SDM vol. 3A table 6-7). It is for types of up to 8
 * bytes: vectors have #GP or nothing.
 */
static unsigned block_alignment(unsigned len)
{
	switch (len) {
	case 10: /* FBLD, FBSTP, FLD and FSTP m80 */
		return 8;
	case 14: /* x87 environment and state, by operand size */
	case 94:
		return 2;
	case 28:
	case 108:
		return 4;
	default:
		return is_pow2(len) && len <= 8 ? len : 1;
	}
}

/* Everything that could stop a block access. */
static void probe_aligned(struct x86_cpu *c, gva_t gva, unsigned len, enum mem_access access)
{
	if (c->access_checks)
		check_alignment(c, set_of(c), gva, block_alignment(len));
	lin_probe(c, gva, len, access);
}

static void check_block(struct x86_cpu *c, gva_t gva, unsigned len, enum mem_access access)
{
	if (LM_LIKELY(!c->access_checks && within_page(gva, len)))
		return;
	probe_aligned(c, gva, len, access);
	if (c->access_checks)
		debug_data_access(c, gva, len, access);
}

static void read_part(struct x86_cpu *c, gva_t gva, uint8_t *to, unsigned len)
{
	gpa_t gpa;
	const uint8_t *p = tlb_read_hit(c->tlb, gva, len);

	if (!p)
		p = mmu_translate(c, gva, ACCESS_READ, set_of(c), &gpa);
	if (p) {
		memcpy(to, p, len);
		return;
	}
	for (unsigned k = 0; k < len; k += 8) {
		unsigned n = LM_MIN(8, len - k);
		uint64_t v = device_read_any(c, GPA(gpa.v + k), n);

		memcpy(to + k, &v, n);
	}
}

static void write_part(struct x86_cpu *c, gva_t gva, const uint8_t *from, unsigned len)
{
	gpa_t gpa;
	uint8_t *p = tlb_write_hit(c->tlb, gva, len);

	if (!p)
		p = mmu_translate(c, gva, ACCESS_WRITE, set_of(c), &gpa);
	if (p) {
		memcpy(p, from, len);
		return;
	}
	for (unsigned k = 0; k < len; k += 8) {
		unsigned n = LM_MIN(8, len - k);
		uint64_t v = 0;

		memcpy(&v, from + k, n);
		device_write_any(c, GPA(gpa.v + k), v, n);
	}
}

void lin_read_block(struct x86_cpu *c, gva_t gva, void *buf, unsigned len)
{
	uint8_t *to = buf;

	check_block(c, gva, len, ACCESS_READ);
	while (len) {
		unsigned part = first_part(gva, len);

		read_part(c, gva, to, part);
		to += part;
		gva = gva_add(c, gva, part);
		len -= part;
	}
}

void lin_write_block(struct x86_cpu *c, gva_t gva, const void *buf, unsigned len)
{
	const uint8_t *from = buf;

	check_block(c, gva, len, ACCESS_WRITE);
	while (len) {
		unsigned part = first_part(gva, len);

		write_part(c, gva, from, part);
		from += part;
		gva = gva_add(c, gva, part);
		len -= part;
	}
}

uint64_t lin_read_element(struct x86_cpu *c, gva_t gva, unsigned size)
{
	uint64_t v = 0;

	if (LM_LIKELY(!c->access_checks))
		return lin_read(c, gva, size);
	for (unsigned k = 0; k < size; k++)
		v |= lin_read(c, gva_add(c, gva, k), 1) << (8 * k);
	return v;
}

void lin_write_element(struct x86_cpu *c, gva_t gva, uint64_t value, unsigned size)
{
	if (LM_LIKELY(!c->access_checks)) {
		lin_write(c, gva, value, size);
		return;
	}
	for (unsigned k = 0; k < size; k++)
		lin_write(c, gva_add(c, gva, k), value >> (8 * k) & 0xff, 1);
}

uint8_t *lin_host(struct x86_cpu *c, gva_t gva, enum mem_access access)
{
	gpa_t gpa;

	if (c->access_checks)
		return NULL;
	return mmu_translate(c, gva, access, set_of(c), &gpa);
}
