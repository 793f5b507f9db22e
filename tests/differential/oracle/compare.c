#include "compare.h"

#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "isa/x86/fault.h"
#include "sandbox.h"
#include "undefined.h"

struct comparison {
	const struct oracle_case *c;
	const struct outcome *host, *engine;
	struct verdict *v;
	enum tolerance tolerance;
	bool differs;
};

/* ---- Noting differences ---- */

static struct difference *note(struct comparison *k, const char *field)
{
	static struct difference none;
	struct difference *d = &none;

	k->differs = true;
	if (k->v && k->v->count < MAX_DIFFERENCES)
		d = &k->v->d[k->v->count++];
	snprintf(d->field, sizeof(d->field), "%s", field);
	return d;
}

static void compare_value(struct comparison *k, const char *field, uint64_t host, uint64_t engine)
{
	struct difference *d;

	if (host == engine)
		return;
	d = note(k, field);
	snprintf(d->host, sizeof(d->host), "%llx", (unsigned long long)host);
	snprintf(d->engine, sizeof(d->engine), "%llx", (unsigned long long)engine);
}

static void compare_indexed(struct comparison *k, const char *kind, unsigned n, uint64_t host,
			    uint64_t engine)
{
	char field[24];

	if (host == engine)
		return;
	snprintf(field, sizeof(field), "%s%u", kind, n);
	compare_value(k, field, host, engine);
}

/* ---- Registers ---- */

static const char *const gpr_names[16] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15",
};

static bool is_destination(const struct comparison *k, unsigned reg)
{
	const struct operand *o = &k->c->insn.op[0];

	return o->kind == OPK_GPR && o->reg == reg;
}

static void compare_gprs(struct comparison *k)
{
	bool wide = k->c->size == CODE_64;

	for (unsigned n = 0; n < (wide ? 16 : 8); n++) {
		uint64_t mask = wide ? UINT64_MAX : 0xffffffff;

		if (k->tolerance == NO_DESTINATION && is_destination(k, n))
			continue;
		compare_value(k, gpr_names[n], k->host->after.gpr[n] & mask,
			      k->engine->after.gpr[n] & mask);
	}
}

static void compare_system(struct comparison *k)
{
	static const char *const names[] = { "es", "cs", "ss", "ds", "fs", "gs" };
	const struct registers *h = &k->host->after, *e = &k->engine->after;
	uint64_t known = ~(uint64_t)(k->host->excepted && k->host->vector != VEC_DB
					     ? 0
					     : undefined_flags(k->c));

	compare_value(k, "rip", h->rip, e->rip);
	compare_value(k, "rflags", h->rflags & known, e->rflags & known);
	for (unsigned n = 0; n < 6; n++)
		compare_value(k, names[n], h->sreg[n], e->sreg[n]);
	compare_value(k, "fs.base", h->fs_base, e->fs_base);
	compare_value(k, "gs.base", h->gs_base, e->gs_base);
}

/* ---- x87, SSE and AVX ---- */

/* Values of equal sign and exponent class whose significands are neighbours count as equal. */
static bool neighbours(uint64_t sig_a, uint16_t se_a, uint64_t sig_b, uint16_t se_b)
{
	__int128 a = (__int128)(se_a & 0x7fff) << 63 | (sig_a & INT64_MAX);
	__int128 b = (__int128)(se_b & 0x7fff) << 63 | (sig_b & INT64_MAX);
	__int128 distance = a > b ? a - b : b - a;

	return (se_a ^ se_b) >> 15 == 0 && distance <= 1;
}

static void compare_x87(struct comparison *k)
{
	const struct xsave_image *h = &k->host->after.fp, *e = &k->engine->after.fp;
	uint16_t status = UINT16_MAX;

	if (k->tolerance == LAST_BIT)
		status &= (uint16_t)~0x0200; /* C1 tells which way the result was rounded */
	compare_value(k, "fcw", h->fcw, e->fcw);
	compare_value(k, "fsw", h->fsw & status, e->fsw & status);
	compare_value(k, "ftw", h->ftw, e->ftw);
	for (unsigned n = 0; n < 8; n++) {
		if (k->tolerance == LAST_BIT &&
		    neighbours(h->st[n].sig, h->st[n].se, e->st[n].sig, e->st[n].se))
			continue;
		compare_indexed(k, "st.sig", n, h->st[n].sig, e->st[n].sig);
		compare_indexed(k, "st.se", n, h->st[n].se, e->st[n].se);
	}
}

static float as_float(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, 4);
	return f;
}

/* A subnormal estimate may be flushed to zero (SDM vol. 2 RCPPS, "tiny results"). */
static bool flushed(float x, float y)
{
	return x == 0 && __builtin_fabsf(y) <= 0x1.01p-126f;
}

static bool estimates_agree(uint64_t a, uint64_t b)
{
	for (unsigned shift = 0; shift < 64; shift += 32) {
		float x = as_float((uint32_t)(a >> shift)), y = as_float((uint32_t)(b >> shift));

		if (memcmp(&x, &y, 4) && !flushed(x, y) && !flushed(y, x) &&
		    !(__builtin_fabsf(x - y) <= __builtin_fabsf(x) * 0x3p-12f))
			return false;
	}
	return true;
}

static bool is_nan64(uint64_t bits)
{
	return (bits & INT64_MAX) > UINT64_C(0x7ff0000000000000);
}

static bool is_nan32(uint32_t bits)
{
	return (bits & INT32_MAX) > 0x7f800000;
}

static bool same_but_nan32(uint32_t a, uint32_t b)
{
	return a == b || (is_nan32(a) && is_nan32(b));
}

static bool within_tolerance(enum tolerance tolerance, uint64_t a, uint64_t b)
{
	switch (tolerance) {
	case ESTIMATE:
		return estimates_agree(a, b);
	case ANY_NAN32:
		return same_but_nan32((uint32_t)a, (uint32_t)b) &&
		       same_but_nan32((uint32_t)(a >> 32), (uint32_t)(b >> 32));
	case ANY_NAN64:
		return is_nan64(a) && is_nan64(b);
	default:
		return false;
	}
}

static void compare_lane(struct comparison *k, const char *kind, unsigned n, uint64_t host,
			 uint64_t engine)
{
	if (host != engine && !within_tolerance(k->tolerance, host, engine))
		compare_indexed(k, kind, n, host, engine);
}

static void compare_vectors(struct comparison *k)
{
	const struct xsave_image *h = &k->host->after.fp, *e = &k->engine->after.fp;
	unsigned count = k->c->size == CODE_64 ? 16 : 8;

	compare_value(k, "mxcsr", h->mxcsr, e->mxcsr);
	if (!memcmp(h->xmm, e->xmm, sizeof(h->xmm)) &&
	    !memcmp(h->ymm_high, e->ymm_high, sizeof(h->ymm_high)))
		return;
	for (unsigned n = 0; n < count; n++) {
		compare_lane(k, "vec.q0 ", n, h->xmm[n].q[0], e->xmm[n].q[0]);
		compare_lane(k, "vec.q1 ", n, h->xmm[n].q[1], e->xmm[n].q[1]);
		compare_lane(k, "vec.q2 ", n, h->ymm_high[n].q[0], e->ymm_high[n].q[0]);
		compare_lane(k, "vec.q3 ", n, h->ymm_high[n].q[1], e->ymm_high[n].q[1]);
	}
}

/* ---- Exceptions ---- */

static void describe_end(const struct outcome *o, char *buf, size_t len)
{
	if (o->hung)
		snprintf(buf, len, "did not end");
	else if (!o->excepted)
		snprintf(buf, len, "completed");
	else if (o->vector == VEC_PF)
		snprintf(buf, len, "#PF error %x cr2 %llx", o->error, (unsigned long long)o->cr2);
	else
		snprintf(buf, len, "exception %u error %x", o->vector, o->error);
}

/* Linux hides from programs what is mapped in its half: P is always set there. */
static uint32_t visible_error(const struct outcome *o)
{
	if (o->vector == VEC_PF && o->cr2 >= UINT64_C(0x7ffffffff000))
		return o->error | PF_PRESENT;
	return o->error;
}

static void compare_end(struct comparison *k)
{
	const struct outcome *h = k->host, *e = k->engine;
	bool same = h->excepted == e->excepted && h->hung == e->hung;
	struct difference *d;

	if (same && h->excepted)
		same = h->vector == e->vector && visible_error(h) == visible_error(e) &&
		       (h->vector != VEC_PF || h->cr2 == e->cr2);
	if (same)
		return;
	d = note(k, "end");
	describe_end(h, d->host, sizeof(d->host));
	describe_end(e, d->engine, sizeof(d->engine));
}

/* ---- Memory ---- */

static void describe_bytes(const uint8_t *p, unsigned n, char *buf, size_t len)
{
	int at = 0;

	for (unsigned k = 0; k < n; k++)
		at += snprintf(buf + at, len - (size_t)at, "%02x ", p[k]);
}

static bool same_memory(const struct comparison *k, const uint8_t *host, const uint8_t *engine)
{
	if (k->tolerance == NO_DESTINATION && k->c->insn.op[0].kind == OPK_MEM)
		return true;
	return !memcmp(host, engine, BOX_DATA_BYTES);
}

static void compare_memory(struct comparison *k, const uint8_t *host, const uint8_t *engine)
{
	char field[24];

	if (same_memory(k, host, engine))
		return;
	for (unsigned at = 0; at < BOX_DATA_BYTES; at += 16) {
		struct difference *d;

		if (!memcmp(host + at, engine + at, 16))
			continue;
		snprintf(field, sizeof(field), "[%x]", BOX_DATA + at);
		d = note(k, field);
		describe_bytes(host + at, 16, d->host, sizeof(d->host));
		describe_bytes(engine + at, 16, d->engine, sizeof(d->engine));
	}
}

bool outcomes_agree(const struct oracle_case *c, const struct outcome *host, const uint8_t *host_data,
		    const struct outcome *engine, const uint8_t *engine_data, struct verdict *v)
{
	struct comparison k = {
		.c = c, .host = host, .engine = engine, .v = v, .tolerance = result_tolerance(c),
	};

	if (v)
		v->count = 0;
	compare_end(&k);
	compare_system(&k);
	compare_gprs(&k);
	compare_x87(&k);
	compare_vectors(&k);
	compare_memory(&k, host_data, engine_data);
	return !k.differs;
}
