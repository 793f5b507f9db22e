/*
 * Where the guest's arithmetic flags are: in EFLAGS, parked in the state page, or in both. Code that the
 * translator adds may change EFLAGS where they are parked or dead; a guest instruction that needs them
 * gets them back. They stay parked until one writes flags, so that checks in a row cost one parking.
 *
 * Every jump by lookup passes them parked, and chained jumps as they are (struct jit_block).
 */
#include "engine/jit/translation.h"

static void emit_keep_rax(struct emit *e, unsigned temp)
{
	if (temp == NO_REG)
		emit_store_gs(e, RAX, JS(save_rax));
	else
		emit_mov(e, temp, RAX);
}

static void emit_get_rax(struct emit *e, unsigned temp)
{
	if (temp == NO_REG)
		emit_load_gs(e, RAX, JS(save_rax));
	else
		emit_mov(e, RAX, temp);
}

void emit_store_flags(struct emit *e, unsigned temp)
{
	emit_keep_rax(e, temp);
	EMIT(e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
	emit_store_gs(e, RAX, JS(save_flags));
	emit_get_rax(e, temp);
}

void emit_load_flags(struct emit *e, unsigned temp)
{
	emit_keep_rax(e, temp);
	emit_load_gs(e, RAX, JS(save_flags));
	EMIT(e, 0x04, 0x7f, 0x9e); /* add al, 0x7f; sahf */
	emit_get_rax(e, temp);
}

void flags_park(struct translation *t, unsigned temp)
{
	if (!t->flags.parked)
		emit_store_flags(&t->e, temp);
	t->flags.parked = true;
}

void flags_clobber(struct translation *t, unsigned temp)
{
	if (t->item[t->now].flags_live_in)
		flags_park(t, temp);
	t->flags.here = false;
}

void flags_provide(struct translation *t, const struct item *it, unsigned temp)
{
	if (!it->flags_needed || t->flags.here)
		return;
	emit_load_flags(&t->e, temp);
	t->flags.here = true;
}

void flags_after(struct translation *t, const struct item *it)
{
	if (it->flags_written)
		t->flags = (struct flags){ .here = true };
}

/* ---- Where a block gets them ---- */

static bool is_checked(const struct translation *t, unsigned k)
{
	const struct item *it = &t->item[k];

	return has_group_check(t, k) || it->access.size || memory_operand(it);
}

/* The first thing that happens to them is that an instruction reads them. */
static bool begins_with_reader(const struct translation *t)
{
	for (unsigned k = 0; k < t->count; k++) {
		const struct item *it = &t->item[k];

		if (is_checked(t, k))
			return false;
		if (it->flags_needed || it->flags_written)
			return it->flags_needed;
	}
	return false;
}

/*
 * The block's body begins with them here or parked; an entry that has them in the other form converts
 * them. Where they are dead they are in neither, and both entries are the same.
 */
void emit_entries(struct translation *t)
{
	struct jit_block *b = t->block;

	t->flags = (struct flags){ .here = false };
	b->chained_parked = b->chained = t->e.p + t->e.to_exec;
	b->starts_parked = true;
	if (!t->item[0].flags_live_in)
		return;
	if (!begins_with_reader(t)) {
		t->flags.parked = true;
		b->chained = NULL;
		return;
	}
	emit_load_flags(&t->e, H11);
	b->chained = t->e.p + t->e.to_exec;
	b->starts_parked = false;
	t->flags.here = true;
}

void emit_cold_entry(struct translation *t)
{
	struct jit_block *b = t->block;

	if (b->chained)
		return;
	b->chained = t->e.p + t->e.to_exec;
	emit_store_flags(&t->e, H11);
	emit_jmp(&t->e, b->chained_parked);
}
