/* struct native_frame as native_entry.S sees it. */
#ifndef ORACLE_NATIVE_FRAME_H
#define ORACLE_NATIVE_FRAME_H

#define NF_GPR        0   /* registers to load */
#define NF_IRET       128 /* rip, cs, rflags, rsp, ss */
#define NF_FS_BASE    168
#define NF_GS_BASE    176
#define NF_IMAGE_IN   184 /* pointer to the XSAVE area to load */
#define NF_IMAGE_OUT  192 /* pointer to the one to fill */
#define NF_DATA_SEGS  200 /* selector for DS and ES */
#define NF_OUT_GPR    208
#define NF_OUT_FLAGS  336
#define NF_OUT_FS     344
#define NF_OUT_GS     352
#define NF_HOST_RSP   360
#define NF_HOST_FS    368
#define NF_STACK      384 /* scratch stack for the way out */
#define NF_STACK_TOP  512
#define NF_OUT_DS     512 /* selectors after: ds, es, fs, gs, ss as 16-bit words */
#define NF_BYTES      528

#define XSTATE_ALL    7   /* x87, SSE, AVX */

#endif
