/* The default CPU model. */
#include "isa/x86/model.h"

#include "base/bits.h"

/*
 * RAM may be 1 TiB (RAM_MAX) and continues above 4 GiB, and 64-bit PCI windows lie above RAM: 40
 * bits would be too few. 46 is what server CPUs of the generation report; PTE bits 46 to 51 stay
 * reserved, as there.
 */
#define PHYSICAL_BITS 46

void model_default(struct x86_model *m, unsigned cpu_count, uint64_t tsc_hz)
{
	*m = (struct x86_model){
		.name = "default",
		.features = LM_BIT(F_COUNT) - 1,
		.physical_bits = PHYSICAL_BITS,
		.tsc_hz = tsc_hz,
		.cpu_count = cpu_count,
	};
}
