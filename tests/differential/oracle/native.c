/*
 * Runs a case on the host CPU: loads its state, jumps into the sandbox, and collects the state
 * either at the landing jump or, after an exception, from the signal's context.
 *
 * Linux, x86-64. No system call is made for a case that raises no exception.
 */
#include "native.h"

#include <Zydis/Zydis.h>
#include <cpuid.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>

#include "native_frame.h"
#include "sandbox.h"
#include "signals.h"

struct native_frame {
	uint64_t gpr[16];
	struct {
		uint64_t rip, cs, rflags, rsp, ss;
	} iret;
	uint64_t fs_base, gs_base;
	const struct xsave_image *image_in;
	struct xsave_image *image_out;
	uint64_t data_segs;
	uint64_t out_gpr[16];
	uint64_t out_flags, out_fs, out_gs;
	uint64_t host_rsp, host_fs, reserved;
	uint8_t stack[128];
	uint16_t out_ds[8];
} __attribute__((aligned(64)));

_Static_assert(offsetof(struct native_frame, iret) == NF_IRET, "frame");
_Static_assert(offsetof(struct native_frame, image_in) == NF_IMAGE_IN, "frame");
_Static_assert(offsetof(struct native_frame, data_segs) == NF_DATA_SEGS, "frame");
_Static_assert(offsetof(struct native_frame, out_gpr) == NF_OUT_GPR, "frame");
_Static_assert(offsetof(struct native_frame, out_flags) == NF_OUT_FLAGS, "frame");
_Static_assert(offsetof(struct native_frame, host_rsp) == NF_HOST_RSP, "frame");
_Static_assert(offsetof(struct native_frame, stack) == NF_STACK, "frame");
_Static_assert(offsetof(struct native_frame, out_ds) == NF_OUT_DS, "frame");
_Static_assert(sizeof(struct xsave_image) == 832, "XSAVE area");

extern struct native_frame native_frame;
struct native_frame native_frame;

/* Linux's selectors for user mode. */
#define SEL_CS32 0x23
#define SEL_DATA 0x2b
#define SEL_CS64 0x33

#define HWCAP2_FSGSBASE_BIT 2

/* What the handler tells the case that was running. */
static struct {
	volatile bool running;
	volatile uint64_t cases; /* for the watchdog */
	const struct oracle_case *c;
	struct outcome *o;
} now;

/* ---- Collecting the state ---- */

/* Components in their initial state may stand in the area as anything (SDM vol. 1 §13.6). */
static void complete_image(struct xsave_image *x)
{
	if (!(x->xstate_bv & XCR0_X87)) {
		x->fcw = 0x37f;
		x->fsw = x->fop = 0;
		x->ftw = 0;
		x->fip = x->fdp = 0;
		memset(x->st, 0, sizeof(x->st));
	}
	if (!(x->xstate_bv & XCR0_SSE))
		memset(x->xmm, 0, sizeof(x->xmm));
	if (!(x->xstate_bv & XCR0_AVX))
		memset(x->ymm_high, 0, sizeof(x->ymm_high));
}

static void collect_segments(struct registers *r)
{
	static const uint8_t order[] = { DS, ES, FS, GS, SS };

	for (unsigned k = 0; k < sizeof(order); k++)
		r->sreg[order[k]] = native_frame.out_ds[k];
	r->fs_base = native_frame.out_fs;
	r->gs_base = native_frame.out_gs;
}

static void collect_landed(const struct oracle_case *c, struct outcome *o)
{
	memcpy(o->after.gpr, native_frame.out_gpr, sizeof(o->after.gpr));
	o->after.rflags = native_frame.out_flags;
	o->after.rip = c->in.rip + c->length;
	o->after.sreg[CS] = c->size == CODE_64 ? SEL_CS64 : SEL_CS32;
}

static void collect_context(const struct host_context *h, struct outcome *o)
{
	memcpy(o->after.gpr, h->gpr, sizeof(o->after.gpr));
	o->after.rip = h->rip;
	o->after.rflags = h->rflags;
	o->after.sreg[CS] = h->cs;
	memcpy(&o->after.fp, h->fp, sizeof(o->after.fp));
	o->vector = h->vector;
	o->error = h->error;
	o->cr2 = h->cr2;
	o->excepted = true;
}

static bool is_breakpoint(const struct oracle_case *c)
{
	return c->decodes && (c->insn.mnemonic == ZYDIS_MNEMONIC_INT3 ||
			      c->insn.mnemonic == ZYDIS_MNEMONIC_INT);
}

/*
 * Exceptions that mean the instruction has completed: it went to an int3 of the filling, to a page
 * without code, or to the landing jump with TF set by itself.
 */
static void recognize_completion(const struct oracle_case *c, struct outcome *o)
{
	uint64_t rip = o->after.rip;

	if (o->vector == VEC_BP && !(is_breakpoint(c) && rip == c->in.rip + c->insn.length)) {
		o->excepted = false;
		o->after.rip = rip - 1;
	} else if (o->vector == VEC_PF && o->error & 0x10 && rip == o->cr2 && rip != c->in.rip) {
		o->excepted = false;
		o->after.rflags &= ~(uint64_t)FLAG_RF;
	} else if (o->vector == VEC_DB && !(c->in.rflags & FLAG_TF) &&
		   (rip == (uintptr_t)native_landed || rip == BOX_EXIT_FAR)) {
		o->excepted = false;
		o->after.rip = c->in.rip + c->length;
		o->after.sreg[CS] = c->size == CODE_64 ? SEL_CS64 : SEL_CS32;
	}
}

/* ---- Signals ---- */

bool native_caught(const struct host_context *h)
{
	if (!now.running)
		return false;
	now.running = false;
	collect_context(h, now.o);
	now.o->hung = h->hung;
	if (!h->hung)
		recognize_completion(now.c, now.o);
	native_leave();
}

bool native_stuck(void)
{
	static uint64_t seen;
	uint64_t then = seen;

	seen = now.cases;
	return now.running && seen == then;
}

/* ---- Running ---- */

static void native_execute(const struct oracle_case *c, struct outcome *o)
{
	struct native_frame *f = &native_frame;

	sandbox_place(c, sandbox.code, sandbox.data);
	memcpy(f->gpr, c->in.gpr, sizeof(f->gpr));
	f->iret.rip = c->in.rip;
	f->iret.cs = c->size == CODE_64 ? SEL_CS64 : SEL_CS32;
	f->iret.rflags = c->in.rflags;
	f->iret.rsp = c->in.gpr[RSP];
	f->iret.ss = SEL_DATA;
	f->fs_base = c->in.fs_base;
	f->gs_base = c->in.gs_base;
	f->data_segs = c->size == CODE_64 ? 0 : SEL_DATA;
	f->image_in = &c->in.fp;
	f->image_out = &o->after.fp;
	o->excepted = o->hung = false;
	now.c = c;
	now.o = o;
	now.cases++;
	now.running = true;
	native_enter();
	if (now.running)
		collect_landed(c, o);
	now.running = false;
	collect_segments(&o->after);
	complete_image(&o->after.fp);
}

static void native_restore(const struct oracle_case *c)
{
	sandbox_clear(c, sandbox.code, sandbox.data);
}

const struct executor native_executor = {
	.name = "host",
	.execute = native_execute,
	.data = (uint8_t *)(uintptr_t)BOX_DATA,
	.restore = native_restore,
};

/* ---- Setting up ---- */

const char *native_unsupported(void)
{
	unsigned a, b, c, d;

	__cpuid(1, a, b, c, d);
	if (!(c & bit_OSXSAVE) || !(c & bit_AVX))
		return "the host has no AVX state";
	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT))
		return "the host does not let programs set their FS base";
	__cpuid_count(13, 2, a, b, c, d);
	if (b != offsetof(struct xsave_image, ymm_high))
		return "the host keeps AVX state at an unusual place";
	return NULL;
}

int native_init(struct lm_err *err)
{
	int r;

	__asm__("rdfsbase %0" : "=r"(native_frame.host_fs));
	r = signals_init();
	return r ? lm_err_errno(err, r, "cannot catch signals") : 0;
}

bool native_runs_32bit(void)
{
	static struct oracle_case nop = {
		.size = CODE_32, .landing = true, .bytes = { 0x90 }, .length = 1,
		.in = { .rip = BOX_CODE, .rflags = FLAG_FIXED | FLAG_IF,
			.fp = { .fcw = 0x37f, .mxcsr = 0x1f80 } },
	};
	static struct outcome o;

	native_execute(&nop, &o);
	native_restore(&nop);
	return !o.excepted;
}
