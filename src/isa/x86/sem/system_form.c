/* Which instructions are system forms of an everyday mnemonic. */
#include "isa/x86/sem/sem.h"
#include "isa/x86/sem/system.h"

enum { MAP_ONE_BYTE, MAP_0F }; /* insn.opcode_map, as in SDM vol. 2 appendix A */

static insn_exec_fn one_byte_form(const struct insn *i)
{
	switch (i->opcode) {
	case 0x07: /* POP ES, SS, DS */
	case 0x17:
	case 0x1f:
		return pop_segment;
	case 0x8e: /* MOV Sreg, r/m16 */
		return mov_to_segment;
	case 0x9a: /* CALL ptr16:16/32 */
		return far_call;
	case 0xca: /* RETF */
	case 0xcb:
		return far_ret;
	case 0xea: /* JMP ptr16:16/32 */
		return far_jmp;
	case 0xff: /* CALL and JMP m16:16/32/64 */
		if ((i->modrm >> 3 & 7) == 3)
			return far_call;
		return (i->modrm >> 3 & 7) == 5 ? far_jmp : NULL;
	default:
		return NULL;
	}
}

static insn_exec_fn two_byte_form(const struct insn *i)
{
	switch (i->opcode) {
	case 0x20: /* MOV from and to CRn */
	case 0x22:
		return mov_control;
	case 0x21: /* MOV from and to DRn */
	case 0x23:
		return mov_debug;
	case 0xa1: /* POP FS, GS */
	case 0xa9:
		return pop_segment;
	default:
		return NULL;
	}
}

insn_exec_fn sem_system_form(const struct insn *i)
{
	if (i->vex)
		return NULL;
	if (i->opcode_map == MAP_ONE_BYTE)
		return one_byte_form(i);
	return i->opcode_map == MAP_0F ? two_byte_form(i) : NULL;
}
