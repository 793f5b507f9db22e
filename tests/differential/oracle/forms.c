#include "forms.h"

#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/bug.h"

/* One encoding to be tried. */
struct attempt {
	struct form f;
	uint8_t modrm;
	uint8_t bytes[16];
	unsigned modrm_at; /* where ModRM would stand */
};

static const struct {
	uint8_t p66, rep;
} legacy_prefixes[] = { { 0, 0 }, { 1, 0 }, { 0, 0xf3 }, { 0, 0xf2 }, { 1, 0xf3 }, { 1, 0xf2 } };

/* ---- Encoding an attempt ---- */

static unsigned put_legacy(const struct form *f, uint8_t *b, enum x86_code_size size)
{
	unsigned n = 0;

	if (f->prefix66)
		b[n++] = 0x66;
	if (f->prefix_rep)
		b[n++] = f->prefix_rep;
	if (f->w && size == CODE_64)
		b[n++] = 0x48;
	if (f->map)
		b[n++] = 0x0f;
	if (f->map == 2)
		b[n++] = 0x38;
	else if (f->map == 3)
		b[n++] = 0x3a;
	b[n++] = f->opcode;
	return n;
}

static unsigned put_vex(const struct form *f, uint8_t *b)
{
	b[0] = 0xc4;
	b[1] = 0xe0 | f->map;
	b[2] = (uint8_t)(f->w << 7 | (f->vvvv_free ? 0x5 : 0xf) << 3 | f->vex_l << 2 | f->vex_pp);
	b[3] = f->opcode;
	return 4;
}

/* Memory operands are [rdx] ([bp + si] with 16-bit addresses), or [rdx + xmm1] where VSIB is needed. */
static void put_attempt(struct attempt *a)
{
	unsigned n;

	memset(a->bytes, 0, sizeof(a->bytes));
	n = a->f.key.vex ? put_vex(&a->f, a->bytes) : put_legacy(&a->f, a->bytes, a->f.size);
	a->modrm_at = n;
	a->bytes[n++] = a->modrm;
	if (a->f.vsib)
		a->bytes[n++] = 0x0a;
	memset(a->bytes + n, 0x11, 16 - n);
}

/* ---- What an encoding means ---- */

static enum element element_of(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops)
{
	for (unsigned n = 0; n < z->operand_count; n++) {
		switch (ops[n].element_type) {
		case ZYDIS_ELEMENT_TYPE_FLOAT16:
			return EL_F16;
		case ZYDIS_ELEMENT_TYPE_FLOAT32:
			return EL_F32;
		case ZYDIS_ELEMENT_TYPE_FLOAT64:
			return EL_F64;
		case ZYDIS_ELEMENT_TYPE_FLOAT80:
			return EL_F80;
		case ZYDIS_ELEMENT_TYPE_LONGBCD:
			return EL_BCD;
		default:
			break;
		}
	}
	return EL_INT;
}

static ZydisDecoder *decoder_for(enum x86_code_size size)
{
	static ZydisDecoder d;

	ZydisDecoderInit(&d, size == CODE_64 ? ZYDIS_MACHINE_MODE_LONG_64 : ZYDIS_MACHINE_MODE_LEGACY_32,
			 size == CODE_64 ? ZYDIS_STACK_WIDTH_64 : ZYDIS_STACK_WIDTH_32);
	return &d;
}

static bool repeats(const ZydisDecodedInstruction *z)
{
	return z->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
}

static bool set_key(struct form *f, const struct insn *i, const ZydisDecodedInstruction *z)
{
	struct form_key *k = &f->key;

	memset(k->op, 0, sizeof(k->op));
	k->mnemonic = i->mnemonic;
	k->opcode = f->opcode;
	k->map = f->map;
	k->vex = i->vex;
	k->vlen = i->vex ? i->vlen : 0;
	k->osz = i->osz;
	k->repeat = repeats(z) ? i->rep : 0;
	k->op_count = i->op_count;
	for (unsigned n = 0; n < i->op_count; n++) {
		k->op[n].kind = i->op[n].kind;
		k->op[n].size = (uint8_t)LM_MIN(i->op[n].size, 255);
	}
	return i->vex == (f->key.vex != 0);
}

static bool has_moffs(const ZydisDecodedInstruction *z)
{
	return !(z->attributes & ZYDIS_ATTRIB_HAS_MODRM) && z->raw.disp.size != 0;
}

/* Fills the form from the decoders; false when there is no such instruction in the model. */
static bool examine(struct attempt *a, const ZydisDecoder *d, const struct x86_model *model)
{
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	struct form *f = &a->f;
	struct insn i;

	put_attempt(a);
	if (insn_decode(&i, a->bytes, INSN_MAX_LENGTH, f->size, false, model) != DECODE_OK)
		return false;
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(d, a->bytes, INSN_MAX_LENGTH, &z, ops)))
		return false;
	if (z.opcode != f->opcode || !set_key(f, &i, &z))
		return false;
	f->group = ZydisISASetGetString(z.meta.isa_set);
	f->element = element_of(&z, ops);
	f->has_modrm = z.attributes & ZYDIS_ATTRIB_HAS_MODRM;
	f->memory = f->has_modrm && a->modrm < 0xc0;
	f->far_address = has_moffs(&z);
	f->lockable = z.attributes & ZYDIS_ATTRIB_ACCEPTS_LOCK && f->memory;
	f->general = !i.guard;
	f->branch = z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
	f->tail = (uint8_t)(z.length - a->modrm_at - (f->has_modrm ? 1 : 0) - (f->vsib ? 1 : 0) -
			    (f->far_address ? z.raw.disp.size / 8 : 0));
	f->excluded = excluded_reason(&i, f->size);
	return true;
}

/* ---- The table ---- */

static bool same_form(const struct form *a, const struct form *b)
{
	return !memcmp(&a->key, &b->key, sizeof(a->key)) && a->memory == b->memory;
}

/* Joins the encoding with an equal form among those from `first` on, or appends it. */
static void add_form(struct form_table *t, size_t first, const struct form *f)
{
	for (size_t k = first; k < t->count; k++) {
		struct form *g = &t->form[k];

		if (!same_form(g, f))
			continue;
		if (g->prefix66 == f->prefix66 && g->prefix_rep == f->prefix_rep && g->w == f->w &&
		    g->vex_pp == f->vex_pp)
			g->modrm |= f->modrm;
		return;
	}
	if (t->count == t->room) {
		t->room = t->room ? 2 * t->room : 1024;
		t->form = realloc(t->form, t->room * sizeof(*t->form));
		if (!t->form)
			LM_BUG("no memory for the table of forms");
	}
	t->form[t->count++] = *f;
}

/* Tries all ModRM bytes that matter: register and memory, each reg; for registers each rm. */
static void try_modrms(struct form_table *t, size_t first, const struct form *base,
		       const ZydisDecoder *d, const struct x86_model *model)
{
	struct attempt a;

	for (unsigned modrm = 0xc0; modrm < 0x100; modrm++) {
		a = (struct attempt){ .f = *base, .modrm = (uint8_t)modrm };
		a.f.modrm = LM_BIT(modrm & 63);
		if (!examine(&a, d, model))
			continue;
		add_form(t, first, &a.f);
		if (!a.f.has_modrm)
			return;
	}
	for (unsigned reg = 0; reg < 8; reg++) {
		a = (struct attempt){ .f = *base, .modrm = (uint8_t)(reg << 3 | 2) };
		a.f.modrm = LM_BIT(8 * reg);
		if (!examine(&a, d, model)) {
			a.f.vsib = true;
			a.modrm = (uint8_t)(reg << 3 | 4);
			if (!base->key.vex || base->map != 2 || !examine(&a, d, model))
				continue;
		}
		add_form(t, first, &a.f);
	}
}

static void find_legacy(struct form_table *t, enum x86_code_size size, const struct x86_model *model)
{
	const ZydisDecoder *d = decoder_for(size);

	for (unsigned op = 0; op < 4 * 256; op++) {
		size_t first = t->count;

		for (unsigned p = 0; p < LM_ARRAY_SIZE(legacy_prefixes); p++) {
			for (unsigned w = 0; w < (size == CODE_64 ? 2 : 1); w++) {
				struct form f = {
					.size = size, .map = (uint8_t)(op >> 8), .opcode = (uint8_t)op,
					.prefix66 = legacy_prefixes[p].p66,
					.prefix_rep = legacy_prefixes[p].rep, .w = w,
				};

				try_modrms(t, first, &f, d, model);
			}
		}
	}
}

/* vvvv must be 1111 where it names no register: what accepts another value has it free. */
static void find_vex(struct form_table *t, enum x86_code_size size, const struct x86_model *model)
{
	const ZydisDecoder *d = decoder_for(size);

	for (unsigned op = 256; op < 4 * 256; op++) {
		size_t first = t->count;

		for (unsigned k = 0; k < 32; k++) {
			struct form f = {
				.size = size, .map = (uint8_t)(op >> 8), .opcode = (uint8_t)op,
				.key.vex = true, .vex_pp = k & 3, .vex_l = k >> 2 & 1, .w = k >> 3 & 1,
				.vvvv_free = !(k >> 4),
			};

			if (f.w && size != CODE_64)
				continue;
			try_modrms(t, first, &f, d, model);
		}
	}
}

void forms_find(struct form_table *t, enum x86_code_size size, const struct x86_model *model)
{
	find_legacy(t, size, model);
	find_vex(t, size, model);
}

/* ---- Names ---- */

static int describe_operand(const struct form *f, unsigned n, char *buf, size_t len)
{
	static const char *const names[] = {
		[OPK_NONE] = "none", [OPK_GPR] = "r", [OPK_GPR_HIGH] = "rh", [OPK_SEG] = "sreg",
		[OPK_CR] = "cr", [OPK_DR] = "dr", [OPK_MMX] = "mm", [OPK_VEC] = "v", [OPK_ST] = "st",
		[OPK_MEM] = "m", [OPK_IMM] = "imm", [OPK_REL] = "rel", [OPK_FAR] = "ptr",
	};

	return snprintf(buf, len, "%s%s%u", n ? "," : " ", names[f->key.op[n].kind],
			8 * f->key.op[n].size);
}

static int describe_encoding(const struct form *f, char *buf, size_t len)
{
	static const char *const maps[] = { "", "0f ", "0f38 ", "0f3a " };
	static const char *const pps[] = { "np", "66", "f3", "f2" };

	if (f->key.vex)
		return snprintf(buf, len, " {vex.%u.%s.w%u %s%02x}", f->vex_l ? 256 : 128,
				pps[f->vex_pp], f->w, maps[f->map], f->opcode);
	return snprintf(buf, len, " {%s%s%s%s%02x}", f->prefix66 ? "66 " : "",
			f->prefix_rep == 0xf3   ? "f3 "
			: f->prefix_rep == 0xf2 ? "f2 "
						: "",
			f->w ? "rex.w " : "", maps[f->map], f->opcode);
}

void form_describe(const struct form *f, char *buf, size_t len)
{
	int n = snprintf(buf, len, "%u: %s%s", 8 * (unsigned)f->size,
			 f->key.repeat ? f->key.repeat == REP_F3 ? "rep " : "repne " : "",
			 insn_mnemonic_name(f->key.mnemonic));

	for (unsigned k = 0; k < f->key.op_count; k++)
		n += describe_operand(f, k, buf + n, len - (size_t)n);
	describe_encoding(f, buf + n, len - (size_t)n);
}
