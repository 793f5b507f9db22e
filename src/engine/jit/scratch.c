/*
 * The two scratch registers of translated code. An addend stays in one for as long as its group has
 * members and nobody else needs the register; then it moves to the group's slot of the state page.
 */
#include "engine/jit/translation.h"

static unsigned next_use(const struct translation *t, int group)
{
	unsigned k = t->now;

	while (k < t->count && t->item[k].access.group != group)
		k++;
	return k;
}

static int8_t *held(struct translation *t, unsigned reg)
{
	return &t->held[reg - H10];
}

bool scratch_is_held(const struct translation *t, unsigned reg)
{
	int group = t->held[reg - H10];

	return group != NO_GROUP && t->group[group].last >= t->now;
}

void scratch_free(struct translation *t, unsigned reg)
{
	int group = *held(t, reg);

	if (scratch_is_held(t, reg) && !t->group[group].stored) {
		emit_store_gs(&t->e, reg, JS_ADDEND(group));
		t->group[group].stored = true;
	}
	*held(t, reg) = NO_GROUP;
}

void scratch_free_all(struct translation *t)
{
	scratch_free(t, H10);
	scratch_free(t, H11);
}

/* The one whose addend is needed later. */
static unsigned choose_victim(const struct translation *t)
{
	return next_use(t, t->held[0]) > next_use(t, t->held[1]) ? H10 : H11;
}

unsigned scratch_take(struct translation *t, unsigned but)
{
	unsigned reg;

	if (but != NO_REG)
		reg = but == H10 ? H11 : H10;
	else if (!scratch_is_held(t, H11))
		reg = H11;
	else if (!scratch_is_held(t, H10))
		reg = H10;
	else
		reg = choose_victim(t);
	scratch_free(t, reg);
	return reg;
}

void scratch_hold(struct translation *t, unsigned reg, int group)
{
	*held(t, reg) = (int8_t)group;
}

unsigned scratch_addend(struct translation *t, int group)
{
	unsigned reg;

	if (*held(t, H10) == group)
		return H10;
	if (*held(t, H11) == group)
		return H11;
	reg = scratch_take(t, NO_REG);
	emit_load_gs(&t->e, reg, JS_ADDEND(group));
	scratch_hold(t, reg, group);
	return reg;
}

unsigned scratch_spare(const struct translation *t, struct place m)
{
	for (unsigned reg = H10; reg <= H11; reg++)
		if (reg != m.base && reg != m.index && !scratch_is_held(t, reg))
			return reg;
	return NO_REG;
}
