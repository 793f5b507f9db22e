/* Instructions that are not compared with the host, each with the reason. */
#include <Zydis/Zydis.h>
#include <stddef.h>

#include "base/bits.h"
#include "forms.h"

static const char host_value[] = "its result is a property of this host";
static const char enters_kernel[] = "it enters the host's kernel or hypervisor";
static const char linux_emulates[] = "Linux emulates it where UMIP forbids it";
static const char host_gdt[] = "its result depends on the host's descriptor tables";
static const char hypervisors[] = "hypervisors report it with another return address";
static const char vendors_differ[] = "Intel and AMD define it differently";

static const struct {
	uint16_t mnemonic;
	const char *reason;
} rows[] = {
	{ ZYDIS_MNEMONIC_CPUID, host_value },
	{ ZYDIS_MNEMONIC_RDTSC, host_value },
	{ ZYDIS_MNEMONIC_RDTSCP, host_value },
	{ ZYDIS_MNEMONIC_RDPID, host_value },
	{ ZYDIS_MNEMONIC_RDPMC, host_value },
	{ ZYDIS_MNEMONIC_RDRAND, host_value },
	{ ZYDIS_MNEMONIC_RDSEED, host_value },
	{ ZYDIS_MNEMONIC_XGETBV, host_value },
	{ ZYDIS_MNEMONIC_SYSCALL, enters_kernel },
	{ ZYDIS_MNEMONIC_SYSENTER, enters_kernel },
	{ ZYDIS_MNEMONIC_VMCALL, enters_kernel },
	{ ZYDIS_MNEMONIC_VMMCALL, enters_kernel },
	{ ZYDIS_MNEMONIC_SGDT, linux_emulates },
	{ ZYDIS_MNEMONIC_SIDT, linux_emulates },
	{ ZYDIS_MNEMONIC_SLDT, linux_emulates },
	{ ZYDIS_MNEMONIC_STR, linux_emulates },
	{ ZYDIS_MNEMONIC_SMSW, linux_emulates },
	{ ZYDIS_MNEMONIC_LAR, host_gdt },
	{ ZYDIS_MNEMONIC_LSL, host_gdt },
	{ ZYDIS_MNEMONIC_VERR, host_gdt },
	{ ZYDIS_MNEMONIC_VERW, host_gdt },
	{ ZYDIS_MNEMONIC_LDS, host_gdt },
	{ ZYDIS_MNEMONIC_LES, host_gdt },
	{ ZYDIS_MNEMONIC_LSS, host_gdt },
	{ ZYDIS_MNEMONIC_LFS, host_gdt },
	{ ZYDIS_MNEMONIC_LGS, host_gdt },
	{ ZYDIS_MNEMONIC_IRET, host_gdt },
	{ ZYDIS_MNEMONIC_IRETD, host_gdt },
	{ ZYDIS_MNEMONIC_IRETQ, host_gdt },
	{ ZYDIS_MNEMONIC_INT1, hypervisors },
	{ ZYDIS_MNEMONIC_SYSRET, vendors_differ },
	{ ZYDIS_MNEMONIC_SYSEXIT, vendors_differ },
};

static bool loads_segment(const struct insn *i)
{
	return i->op_count && i->op[0].kind == OPK_SEG &&
	       (i->mnemonic == ZYDIS_MNEMONIC_MOV || i->mnemonic == ZYDIS_MNEMONIC_POP);
}

static bool is_far_transfer(const struct insn *i)
{
	bool one_byte = i->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT;
	unsigned reg = i->modrm >> 3 & 7;

	if (!one_byte)
		return false;
	switch (i->opcode) {
	case 0x9a:
	case 0xea:
	case 0xca:
	case 0xcb:
		return true;
	case 0xff:
		return reg == 3 || reg == 5;
	default:
		return false;
	}
}

/* In 64-bit mode Intel ignores 66 before a near branch, AMD cuts the target to 16 bits. */
static bool is_short_near_branch(const struct insn *i, enum x86_code_size size)
{
	bool branches = i->op_count && i->op[0].kind == OPK_REL;
	bool prefixed = false;

	for (unsigned k = 0; k < i->length && !prefixed; k++)
		prefixed = i->bytes[k] == 0x66;
	branches |= i->mnemonic == ZYDIS_MNEMONIC_RET || i->mnemonic == ZYDIS_MNEMONIC_CALL ||
		    i->mnemonic == ZYDIS_MNEMONIC_JMP;
	return size == CODE_64 && branches && prefixed;
}

/* PREFETCH with a register: no operation for Intel, #UD for AMD. */
static bool is_register_prefetch(const struct insn *i)
{
	return i->opcode_map == ZYDIS_OPCODE_MAP_0F && i->opcode == 0x0d && i->modrm >= 0xc0;
}

const char *excluded_reason(const struct insn *i, enum x86_code_size size)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(rows); k++)
		if (rows[k].mnemonic == i->mnemonic)
			return rows[k].reason;
	if (loads_segment(i) || is_far_transfer(i))
		return host_gdt;
	if (i->mnemonic == ZYDIS_MNEMONIC_INT && (i->imm & 0xff) == 0x80)
		return enters_kernel;
	if (is_short_near_branch(i, size) || is_register_prefetch(i))
		return vendors_differ;
	return NULL;
}
