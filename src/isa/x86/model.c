/* The default CPU model. */
#include "isa/x86/model.h"

#include "base/bits.h"

/*
 * RAM may be 1 TiB (RAM_MAX) and continues above 4 GiB, and 64-bit PCI windows lie above RAM: 40
 * bits would be too few. 46 is what server CPUs of the generation report; PTE bits 46 to 51 stay
 * reserved, as there.
 */
#define PHYSICAL_BITS 46

/* IA32_ARCH_CAPABILITIES (SDM vol. 4 table 2-2). An interpreter speculates on nothing. */
#define ARCH_CAP_RDCL_NO       LM_BIT(0)
#define ARCH_CAP_IBRS_ALL      LM_BIT(1)
#define ARCH_CAP_SKIP_L1DFL    LM_BIT(3)
#define ARCH_CAP_SSB_NO        LM_BIT(4)
#define ARCH_CAP_MDS_NO        LM_BIT(5)
#define ARCH_CAP_PSCHANGE_NO   LM_BIT(6)
#define ARCH_CAP_TAA_NO        LM_BIT(8)
#define ARCH_CAP_SBDR_SSDP_NO  LM_BIT(13)
#define ARCH_CAP_FBSDP_NO      LM_BIT(14)
#define ARCH_CAP_PSDP_NO       LM_BIT(15)
#define ARCH_CAP_BHI_NO        LM_BIT(20)
#define ARCH_CAP_PBRSB_NO      LM_BIT(24)
#define ARCH_CAP_GDS_NO        LM_BIT(26)
#define ARCH_CAP_RFDS_NO       LM_BIT(27)
#define ARCH_CAP_ITS_NO        LM_BIT(62)
#define ARCH_CAPABILITIES                                                                          \
	(ARCH_CAP_RDCL_NO | ARCH_CAP_IBRS_ALL | ARCH_CAP_SKIP_L1DFL | ARCH_CAP_SSB_NO |            \
	 ARCH_CAP_MDS_NO | ARCH_CAP_PSCHANGE_NO | ARCH_CAP_TAA_NO | ARCH_CAP_SBDR_SSDP_NO |        \
	 ARCH_CAP_FBSDP_NO | ARCH_CAP_PSDP_NO | ARCH_CAP_BHI_NO | ARCH_CAP_PBRSB_NO |              \
	 ARCH_CAP_GDS_NO | ARCH_CAP_RFDS_NO | ARCH_CAP_ITS_NO)

void model_default(struct x86_model *m, unsigned cpu_count, uint64_t tsc_hz)
{
	*m = (struct x86_model){
		.name = "default",
		.features = LM_BIT(F_COUNT) - 1,
		.physical_bits = PHYSICAL_BITS,
		.tsc_hz = tsc_hz,
		.cpu_count = cpu_count,
		.arch_capabilities = ARCH_CAPABILITIES,
	};
}
