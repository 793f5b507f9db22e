/* First in, first out: items that are linked by themselves. No locks. */
#ifndef LM_BASE_QUEUE_H
#define LM_BASE_QUEUE_H

#include <stddef.h>

struct queue_item {
	struct queue_item *next; /* the queue's, while it is in one */
};

/* All zero where it is empty. */
struct queue {
	struct queue_item *first, *last; /* last: only where there is a first */
};

static inline void queue_push(struct queue *q, struct queue_item *item)
{
	item->next = NULL;
	if (q->first)
		q->last->next = item;
	else
		q->first = item;
	q->last = item;
}

/* NULL where it is empty. */
static inline struct queue_item *queue_pop(struct queue *q)
{
	struct queue_item *item = q->first;

	if (item)
		q->first = item->next;
	return item;
}

#endif
