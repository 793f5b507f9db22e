/* Addresses of different worlds, not silently interchangeable. */
#ifndef LM_MEM_ADDR_H
#define LM_MEM_ADDR_H

#include <stdint.h>

/* Guest-physical address. */
typedef struct {
	uint64_t v;
} gpa_t;

/* Guest-virtual (linear) address: after segmentation, before paging. */
typedef struct {
	uint64_t v;
} gva_t;

#define GPA(x)     ((gpa_t){ (x) })
#define GVA(x)     ((gva_t){ (x) })

#define PAGE_SHIFT 12
#define PAGE_SIZE  (UINT64_C(1) << PAGE_SHIFT)
#define PAGE_MASK  (PAGE_SIZE - 1)

#endif
