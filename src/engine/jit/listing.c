/*
 * What the translator made of a block: guest instructions, what was decided about each, and the host's
 * code (--dump-block), and where each block's code is, for perf (--perf-map).
 */
#include <inttypes.h>
#include <stdio.h>

#include "engine/jit/translation.h"

#define TEXT_MAX 128

static const char *const class_name[] = {
	[JIT_INTERP] = "interpreter",	[JIT_COPY] = "copy",
	[JIT_SKIP] = "nothing",		[JIT_PUSH] = "push",
	[JIT_POP] = "pop",		[JIT_LEAVE] = "leave",
	[JIT_BITS] = "bit string",	[JIT_JUMP] = "jump",
	[JIT_JCC] = "branch",		[JIT_LOOP] = "branch",
	[JIT_CALL] = "call",		[JIT_RET] = "return",
	[JIT_PUSHF] = "push flags",	[JIT_READ_BASE] = "read base",
	[JIT_READ_SELECTOR] = "read selector", [JIT_HELPER] = "helper",
	[JIT_CLI] = "clear IF",		[JIT_STI] = "set IF",
	[JIT_SWAPGS] = "swap bases",	[JIT_READ_CR2] = "read CR2",
	[JIT_HELPER_CPL0] = "helper",
};

static void list_guest(FILE *out, const struct translation *t, const struct item *it, uint64_t page)
{
	const struct access *a = &it->access;
	char text[TEXT_MAX];

	insn_format(&it->i, t->word == 8 ? CODE_64 : CODE_32, page + it->rip, text, sizeof(text));
	fprintf(out, "%016" PRIx64 "  %-44s ; %s", page + it->rip, text, class_name[it->class]);
	if (it->flags_live_in)
		fputs(", flags live", out);
	if (a->size && a->group != NO_GROUP && a->leader)
		fprintf(out, ", checks group %d: %u bytes%s", a->group, t->group[a->group].span,
			t->group[a->group].write ? ", written" : "");
	else if (a->size && a->group != NO_GROUP)
		fprintf(out, ", of group %d", a->group);
	fputc('\n', out);
}

static void list_host(FILE *out, const struct translation *t, uint64_t from, uint64_t to)
{
	const struct jit_block *b = t->block;

	while (from < to) {
		ZydisDisassembledInstruction d;
		const uint8_t *at = b->code + from - t->e.to_exec;

		if (!ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64,
							(uintptr_t)(b->code + from), at, 15, &d))) {
			fprintf(out, "    %6" PRIx64 "  (%02x)\n", from, *at);
			from++;
			continue;
		}
		fprintf(out, "    %6" PRIx64 "  %s\n", from, d.text);
		from += d.info.length;
	}
}

static void list_block(FILE *out, const struct translation *t, uint64_t page)
{
	const struct jit_block *b = t->block;
	uint64_t end = (uint64_t)(b->code_end - b->code);

	fprintf(out, "block at %016" PRIx64 ", physical %" PRIx64 ", mode %x: %u instructions, %" PRIu64 " bytes\n",
		page + (b->gpa & PAGE_MASK), b->gpa, b->mode, b->insns, end);
	for (unsigned k = 0; k < b->insns; k++) {
		list_guest(out, t, &t->item[k], page);
		list_host(out, t, k ? b->info[k].host : 0, k + 1 < b->insns ? b->info[k + 1].host : end);
	}
	fflush(out);
}

static bool covers(const struct translation *t, uint64_t page, uint64_t gva)
{
	const struct item *last = &t->item[t->count - 1];

	return gva >= page + t->item[0].rip && gva < page + last->rip + last->i.length;
}

void list_translation(const struct translation *t)
{
	const struct x86_cpu *c = t->j->c;
	const struct x86_listing *l = &c->sys->listing;
	uint64_t page = c->s.rip & ~PAGE_MASK;
	const struct jit_block *b = t->block;

	if (l->blocks && covers(t, page, l->block))
		list_block(l->blocks, t, page);
	if (l->perf_map)
		fprintf(l->perf_map, "%" PRIxPTR " %" PRIxPTR " guest_%" PRIx64 "\n", (uintptr_t)b->code,
			(uintptr_t)(b->code_end - b->code), c->s.rip);
}
