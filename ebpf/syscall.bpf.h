/* SPDX-License-Identifier: GPL-2.0 */
/* System calls: which ones matter, by any of their numbers, and their arguments. */
#ifndef SYSCALL_BPF_H
#define SYSCALL_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "compat.bpf.h"
#include "record.h"

enum call {
	CALL_UNWANTED,
	CALL_OPEN,
	CALL_OPENAT,
	CALL_OPENAT2,
	CALL_CREAT,
	CALL_UNLINK,
	CALL_UNLINKAT,
	CALL_LINK,
	CALL_LINKAT,
	CALL_RENAME,
	CALL_RENAMEAT,
	CALL_RENAMEAT2,
	CALL_MKNOD,
	CALL_MKNODAT,
	CALL_PTRACE,
	CALL_PROCESS_VM_READV,
	CALL_PROCESS_VM_WRITEV,
	CALL_PIDFD_GETFD,
	CALL_BPF,
	CALL_ACCEPT, /* and accept4 */
	CALL_SOCKETCALL,
	CALL_MAX,
};

#define CALL_NUMBERS 1024 /* more than the highest number of the tables below */

/*
 * Numbers of the native interface and of the 32-bit one: <asm/unistd_64.h> and
 * <asm/unistd_32.h> on x86, where those of x32 have bit 30 set and some of their own
 * above 511; <asm-generic/unistd.h> and <asm/unistd32.h> on arm64.
 */
#if defined(__TARGET_ARCH_x86)
#define X32_BIT 0x40000000
#define TS_COMPAT 0x0002

static const __u8 native_calls[CALL_NUMBERS] = {
	[2] = CALL_OPEN,
	[43] = CALL_ACCEPT,
	[82] = CALL_RENAME,
	[85] = CALL_CREAT,
	[86] = CALL_LINK,
	[87] = CALL_UNLINK,
	[101] = CALL_PTRACE,
	[133] = CALL_MKNOD,
	[257] = CALL_OPENAT,
	[259] = CALL_MKNODAT,
	[263] = CALL_UNLINKAT,
	[264] = CALL_RENAMEAT,
	[265] = CALL_LINKAT,
	[288] = CALL_ACCEPT,
	[310] = CALL_PROCESS_VM_READV,
	[311] = CALL_PROCESS_VM_WRITEV,
	[316] = CALL_RENAMEAT2,
	[321] = CALL_BPF,
	[437] = CALL_OPENAT2,
	[438] = CALL_PIDFD_GETFD,
	[521] = CALL_PTRACE,
	[539] = CALL_PROCESS_VM_READV,
	[540] = CALL_PROCESS_VM_WRITEV,
};

static const __u8 compat_calls[CALL_NUMBERS] = {
	[5] = CALL_OPEN,
	[8] = CALL_CREAT,
	[9] = CALL_LINK,
	[10] = CALL_UNLINK,
	[14] = CALL_MKNOD,
	[26] = CALL_PTRACE,
	[38] = CALL_RENAME,
	[102] = CALL_SOCKETCALL,
	[295] = CALL_OPENAT,
	[297] = CALL_MKNODAT,
	[301] = CALL_UNLINKAT,
	[302] = CALL_RENAMEAT,
	[303] = CALL_LINKAT,
	[347] = CALL_PROCESS_VM_READV,
	[348] = CALL_PROCESS_VM_WRITEV,
	[353] = CALL_RENAMEAT2,
	[357] = CALL_BPF,
	[364] = CALL_ACCEPT,
	[437] = CALL_OPENAT2,
	[438] = CALL_PIDFD_GETFD,
};

static __always_inline __u32 call_number(struct pt_regs *regs)
{
	return (__u32)regs->orig_ax & ~X32_BIT;
}

static __always_inline bool task_in_compat_call(struct task_struct *task)
{
	return KREAD(task, thread_info.status) & TS_COMPAT;
}

#define CALL_ARGUMENT(regs, compat, native_register, compat_register) \
	((compat) ? (__u64)(__u32)(regs)->compat_register : (regs)->native_register)
#define ARGUMENT_0(regs, compat) CALL_ARGUMENT(regs, compat, di, bx)
#define ARGUMENT_1(regs, compat) CALL_ARGUMENT(regs, compat, si, cx)
#define ARGUMENT_2(regs, compat) CALL_ARGUMENT(regs, compat, dx, dx)
#define ARGUMENT_3(regs, compat) CALL_ARGUMENT(regs, compat, r10, si)
#define ARGUMENT_4(regs, compat) CALL_ARGUMENT(regs, compat, r8, di)

#elif defined(__TARGET_ARCH_arm64)
#define TIF_32BIT 22

static const __u8 native_calls[CALL_NUMBERS] = {
	[33] = CALL_MKNODAT,
	[35] = CALL_UNLINKAT,
	[37] = CALL_LINKAT,
	[38] = CALL_RENAMEAT,
	[56] = CALL_OPENAT,
	[117] = CALL_PTRACE,
	[202] = CALL_ACCEPT,
	[242] = CALL_ACCEPT,
	[270] = CALL_PROCESS_VM_READV,
	[271] = CALL_PROCESS_VM_WRITEV,
	[276] = CALL_RENAMEAT2,
	[280] = CALL_BPF,
	[437] = CALL_OPENAT2,
	[438] = CALL_PIDFD_GETFD,
};

static const __u8 compat_calls[CALL_NUMBERS] = {
	[5] = CALL_OPEN,
	[8] = CALL_CREAT,
	[9] = CALL_LINK,
	[10] = CALL_UNLINK,
	[14] = CALL_MKNOD,
	[26] = CALL_PTRACE,
	[38] = CALL_RENAME,
	[285] = CALL_ACCEPT,
	[322] = CALL_OPENAT,
	[324] = CALL_MKNODAT,
	[328] = CALL_UNLINKAT,
	[329] = CALL_RENAMEAT,
	[330] = CALL_LINKAT,
	[366] = CALL_ACCEPT,
	[376] = CALL_PROCESS_VM_READV,
	[377] = CALL_PROCESS_VM_WRITEV,
	[382] = CALL_RENAMEAT2,
	[386] = CALL_BPF,
	[437] = CALL_OPENAT2,
	[438] = CALL_PIDFD_GETFD,
};

static __always_inline __u32 call_number(struct pt_regs *regs)
{
	return regs->syscallno;
}

static __always_inline bool task_in_compat_call(struct task_struct *task)
{
	return KREAD(task, thread_info.flags) >> TIF_32BIT & 1;
}

#define CALL_ARGUMENT(regs, compat, native_register) \
	((compat) ? (__u64)(__u32)(regs)->native_register : (regs)->native_register)
#define ARGUMENT_0(regs, compat) CALL_ARGUMENT(regs, compat, orig_x0)
#define ARGUMENT_1(regs, compat) CALL_ARGUMENT(regs, compat, regs[1])
#define ARGUMENT_2(regs, compat) CALL_ARGUMENT(regs, compat, regs[2])
#define ARGUMENT_3(regs, compat) CALL_ARGUMENT(regs, compat, regs[3])
#define ARGUMENT_4(regs, compat) CALL_ARGUMENT(regs, compat, regs[4])
#else
#error "system call numbers of this architecture are not known"
#endif

/* The call that `regs` belong to; most are unwanted, which two loads tell. */
static __always_inline enum call call_of(struct pt_regs *regs, bool *compat)
{
	__u32 number = call_number(regs);
	__u8 native, as_compat;

	if (number >= CALL_NUMBERS)
		return CALL_UNWANTED;
	barrier_var(number); /* keep the mask, which the verifier wants to see */
	number &= CALL_NUMBERS - 1;
	native = native_calls[number];
	as_compat = compat_calls[number];
	if (!(native | as_compat))
		return CALL_UNWANTED;
	*compat = task_in_compat_call((void *)bpf_get_current_task());
	return *compat ? as_compat : native;
}

/* Bit 1 << record type of each record that is wanted; set by user space at any time. */
__u64 wanted_records __weak = 0;
bool truncation_as_create __weak = 0;

#define RECORD_BIT(type) (1ULL << (type))
#define OPEN_RECORDS                                                           \
	(RECORD_BIT(RECORD_FILE_CREATE) | RECORD_BIT(RECORD_RAW_ACCESS_READ) | \
	 RECORD_BIT(RECORD_PROCESS_ACCESS))
#define NAME_RECORDS (RECORD_BIT(RECORD_FILE_CREATE) | RECORD_BIT(RECORD_FILE_DELETE))

static __always_inline bool is_wanted(__u64 records)
{
	return wanted_records & records;
}

#endif /* SYSCALL_BPF_H */
