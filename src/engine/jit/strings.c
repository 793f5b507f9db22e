/* String instructions, by the host's own on host addresses, page by page. Helpers; see helper.h. */
#include "engine/jit/helper.h"

/* So many bytes before translated code looks whether something wants attention. */
#define BATCH (UINT64_C(64) << 10)

/* Whole elements up to the end of gva's page; size is a power of two. */
static uint64_t elements_in_page(uint64_t gva, uint64_t count, unsigned size)
{
	return LM_MIN(count, (PAGE_SIZE - (gva & PAGE_MASK)) >> __builtin_ctz(size));
}

static void copy(uint8_t *to, const uint8_t *from, uint64_t n, unsigned size)
{
	switch (size) {
	case 1:
		__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
		break;
	case 2:
		__asm__ volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
		break;
	case 4:
		__asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
		break;
	default:
		__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
		break;
	}
}

static void fill(uint8_t *to, uint64_t value, uint64_t n, unsigned size)
{
	switch (size) {
	case 1:
		__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
		break;
	case 2:
		__asm__ volatile("rep stosw" : "+D"(to), "+c"(n) : "a"(value) : "memory");
		break;
	case 4:
		__asm__ volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(value) : "memory");
		break;
	default:
		__asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(value) : "memory");
		break;
	}
}

/* Counted runs count pieces as the interpreter does, which moves single elements by iterations. */
static bool too_small(const struct jit *j, uint64_t n)
{
	return n < (j->counted && helper_repeats(j->js) ? 2 : 1);
}

static void advance(struct jit *j, unsigned reg, uint64_t bytes)
{
	uint64_t *gpr = &j->js->gpr[reg];

	*gpr = j->c->code_size == CODE_64 ? *gpr + bytes : (uint32_t)(*gpr + bytes);
}

/* One piece, which ends where a page does. Iterations done; 0: the next is the interpreter's. */
static uint64_t move_piece(struct jit *j, uint64_t count, unsigned size)
{
	uint64_t *gpr = j->js->gpr;
	uint64_t n = elements_in_page(gpr[RDI], elements_in_page(gpr[RSI], count, size), size);
	const uint8_t *from = too_small(j, n) ? NULL : helper_host(j, gpr[RSI], false);
	uint8_t *to = from ? helper_host(j, gpr[RDI], true) : NULL;

	if (!to)
		return 0;
	copy(to, from, n, size);
	advance(j, RSI, n * size);
	advance(j, RDI, n * size);
	return n;
}

static uint64_t store_piece(struct jit *j, uint64_t count, unsigned size)
{
	uint64_t *gpr = j->js->gpr;
	uint64_t n = elements_in_page(gpr[RDI], count, size);
	uint8_t *to = too_small(j, n) ? NULL : helper_host(j, gpr[RDI], true);

	if (!to)
		return 0;
	fill(to, gpr[RAX], n, size);
	advance(j, RDI, n * size);
	return n;
}

typedef uint64_t (*piece_fn)(struct jit *j, uint64_t count, unsigned size);

static bool once(struct jit *j, piece_fn piece)
{
	if (!piece(j, 1, helper_operand_size(j->js)))
		return false;
	j->js->rip += helper_length(j->js);
	return true;
}

static bool repeat(struct jit *j, piece_fn piece)
{
	struct jit_state *js = j->js;
	unsigned size = helper_operand_size(js);
	uint64_t batch = j->counted ? 1 : BATCH;

	for (uint64_t done = 0; js->gpr[RCX] && done < batch;) {
		uint64_t n = piece(j, js->gpr[RCX], size);

		if (!n)
			return false;
		js->gpr[RCX] -= n;
		done += n * size;
	}
	if (!js->gpr[RCX])
		js->rip += helper_length(js);
	return true;
}

static bool string(struct jit *j, piece_fn piece)
{
	return helper_repeats(j->js) ? repeat(j, piece) : once(j, piece);
}

bool helper_movs(struct jit *j)
{
	return string(j, move_piece);
}

bool helper_stos(struct jit *j)
{
	return string(j, store_piece);
}

/* The prefix would do nothing but repeat it. */
bool helper_lods(struct jit *j)
{
	struct jit_state *js = j->js;
	unsigned size = helper_operand_size(js);
	const uint8_t *from = elements_in_page(js->gpr[RSI], 1, size) ? helper_host(j, js->gpr[RSI], false) : NULL;
	uint64_t value = 0;

	if (!from || helper_repeats(js))
		return false;
	__builtin_memcpy(&value, from, size);
	js->gpr[RAX] = size < 4 ? (js->gpr[RAX] & ~mask_bytes(size)) | value : value;
	advance(j, RSI, size);
	js->rip += helper_length(js);
	return true;
}

/* ---- Comparisons ---- */

struct comparison {
	const uint8_t *from, *to; /* SCAS: `to` alone */
	uint64_t n, value;        /* elements left; AL to RAX, afterwards flags as js->save_flags has them */
};

#define COMPARE(name, text)                                                                        \
	static void name(struct comparison *c)                                                     \
	{                                                                                          \
		__asm__ volatile(text "; lahf; seto %%al"                                          \
				 : "+D"(c->to), "+S"(c->from), "+c"(c->n), "+a"(c->value)          \
				 :                                                                 \
				 : "cc", "memory");                                                \
	}
#define COMPARE_ALL(name, text)                                                                    \
	COMPARE(name##b, text "b") COMPARE(name##w, text "w") COMPARE(name##l, text "l")           \
	COMPARE(name##q, text "q")

COMPARE_ALL(repe_scas, "repe scas")
COMPARE_ALL(repne_scas, "repne scas")
COMPARE_ALL(repe_cmps, "repe cmps")
COMPARE_ALL(repne_cmps, "repne cmps")

typedef void (*compare_fn)(struct comparison *c);

/* By REPNE, and log2 of the element's size. */
static const compare_fn scas[2][4] = {
	{ repe_scasb, repe_scasw, repe_scasl, repe_scasq },
	{ repne_scasb, repne_scasw, repne_scasl, repne_scasq },
};
static const compare_fn cmps[2][4] = {
	{ repe_cmpsb, repe_cmpsw, repe_cmpsl, repe_cmpsq },
	{ repne_cmpsb, repne_cmpsw, repne_cmpsl, repne_cmpsq },
};

/* One piece, which ends where a page does. Iterations done, with their flags; 0: the next is the interpreter's. */
static uint64_t compare_piece(struct jit *j, uint64_t count, bool both, uint64_t *flags)
{
	uint64_t *gpr = j->js->gpr, n;
	unsigned size = helper_operand_size(j->js);
	bool until_equal = helper_prefix(j->js) == REP_F2;
	struct comparison c = { .value = gpr[RAX] };

	c.n = elements_in_page(gpr[RDI], count, size);
	c.n = both ? elements_in_page(gpr[RSI], c.n, size) : c.n;
	c.to = c.n ? helper_host(j, gpr[RDI], false) : NULL;
	c.from = c.to && both ? helper_host(j, gpr[RSI], false) : c.to;
	if (!c.to || !c.from)
		return 0;
	n = c.n;
	(both ? cmps : scas)[until_equal][__builtin_ctz(size)](&c);
	n -= c.n;
	advance(j, RDI, n * size);
	if (both)
		advance(j, RSI, n * size);
	*flags = c.value & 0xffff;
	return n;
}

static bool is_equal(uint64_t flags)
{
	return flags >> 8 & FLAG_ZF;
}

/* Flags change when the repetition ends, and not before (sem/string.c). Counted runs count iterations. */
static bool compare(struct jit *j, bool both)
{
	struct jit_state *js = j->js;
	uint64_t flags = js->save_flags;
	bool repeats = helper_repeats(js), ended = false;

	if (repeats && j->counted)
		return false;
	for (uint64_t done = 0; !ended && (repeats ? js->gpr[RCX] : 1) && done < BATCH;) {
		uint64_t n = compare_piece(j, repeats ? js->gpr[RCX] : 1, both, &flags);

		if (!n)
			return false;
		if (repeats)
			js->gpr[RCX] -= n;
		ended = !repeats || is_equal(flags) != (helper_prefix(js) == REP_F3);
		done += n;
	}
	if (ended || !js->gpr[RCX]) {
		js->save_flags = flags;
		js->rip += helper_length(js);
	}
	return true;
}

bool helper_scas(struct jit *j)
{
	return compare(j, false);
}

bool helper_cmps(struct jit *j)
{
	return compare(j, true);
}
