/* Requests in a row, linked by themselves. */
#ifndef LM_BACKEND_BLOCK_LIST_H
#define LM_BACKEND_BLOCK_LIST_H

#include <stddef.h>

#include "dev/blockdev.h"

struct block_list {
	struct block_request *first, *last;
};

static inline void block_list_init(struct block_list *list)
{
	*list = (struct block_list){NULL, NULL};
}

static inline void block_list_push(struct block_list *list, struct block_request *req)
{
	req->next = NULL;
	if (list->first)
		list->last->next = req;
	else
		list->first = req;
	list->last = req;
}

static inline struct block_request *block_list_pop(struct block_list *list)
{
	struct block_request *req = list->first;

	if (req)
		list->first = req->next;
	return req;
}

#endif
