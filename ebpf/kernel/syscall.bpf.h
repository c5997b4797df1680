/* SPDX-License-Identifier: GPL-2.0-only */
/* System calls: which ones matter, by any of their numbers, and their arguments. */
#ifndef KERNEL_SYSCALL_BPF_H
#define KERNEL_SYSCALL_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/compat.bpf.h"
#include "kernel/file.bpf.h"
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

/* One table for both interfaces: one load tells of a call that nobody wants it. */
#define CALL_MASK 0xff
#define COMPAT_SHIFT 8
#define NATIVE(call) (call)
#define COMPAT(call) ((call) << COMPAT_SHIFT)

/*
 * Numbers of the native interface and of the 32-bit one: <asm/unistd_64.h> and
 * <asm/unistd_32.h> on x86, where those of x32 have bit 30 set and some of their own
 * above 511; <asm-generic/unistd.h> and <asm/unistd32.h> on arm64.
 */
#if defined(__TARGET_ARCH_x86)
#define X32_BIT 0x40000000
#define TS_COMPAT 0x0002

static const __u16 calls[CALL_NUMBERS] = {
	[2] = NATIVE(CALL_OPEN),
	[5] = COMPAT(CALL_OPEN),
	[8] = COMPAT(CALL_CREAT),
	[9] = COMPAT(CALL_LINK),
	[10] = COMPAT(CALL_UNLINK),
	[14] = COMPAT(CALL_MKNOD),
	[26] = COMPAT(CALL_PTRACE),
	[38] = COMPAT(CALL_RENAME),
	[43] = NATIVE(CALL_ACCEPT),
	[82] = NATIVE(CALL_RENAME),
	[85] = NATIVE(CALL_CREAT),
	[86] = NATIVE(CALL_LINK),
	[87] = NATIVE(CALL_UNLINK),
	[101] = NATIVE(CALL_PTRACE),
	[102] = COMPAT(CALL_SOCKETCALL),
	[133] = NATIVE(CALL_MKNOD),
	[257] = NATIVE(CALL_OPENAT),
	[259] = NATIVE(CALL_MKNODAT),
	[263] = NATIVE(CALL_UNLINKAT),
	[264] = NATIVE(CALL_RENAMEAT),
	[265] = NATIVE(CALL_LINKAT),
	[288] = NATIVE(CALL_ACCEPT),
	[295] = COMPAT(CALL_OPENAT),
	[297] = COMPAT(CALL_MKNODAT),
	[301] = COMPAT(CALL_UNLINKAT),
	[302] = COMPAT(CALL_RENAMEAT),
	[303] = COMPAT(CALL_LINKAT),
	[310] = NATIVE(CALL_PROCESS_VM_READV),
	[311] = NATIVE(CALL_PROCESS_VM_WRITEV),
	[316] = NATIVE(CALL_RENAMEAT2),
	[321] = NATIVE(CALL_BPF),
	[347] = COMPAT(CALL_PROCESS_VM_READV),
	[348] = COMPAT(CALL_PROCESS_VM_WRITEV),
	[353] = COMPAT(CALL_RENAMEAT2),
	[357] = COMPAT(CALL_BPF),
	[364] = COMPAT(CALL_ACCEPT),
	[437] = NATIVE(CALL_OPENAT2) | COMPAT(CALL_OPENAT2),
	[438] = NATIVE(CALL_PIDFD_GETFD) | COMPAT(CALL_PIDFD_GETFD),
	[521] = NATIVE(CALL_PTRACE),
	[539] = NATIVE(CALL_PROCESS_VM_READV),
	[540] = NATIVE(CALL_PROCESS_VM_WRITEV),
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

static const __u16 calls[CALL_NUMBERS] = {
	[5] = COMPAT(CALL_OPEN),
	[8] = COMPAT(CALL_CREAT),
	[9] = COMPAT(CALL_LINK),
	[10] = COMPAT(CALL_UNLINK),
	[14] = COMPAT(CALL_MKNOD),
	[26] = COMPAT(CALL_PTRACE),
	[33] = NATIVE(CALL_MKNODAT),
	[35] = NATIVE(CALL_UNLINKAT),
	[37] = NATIVE(CALL_LINKAT),
	[38] = NATIVE(CALL_RENAMEAT) | COMPAT(CALL_RENAME),
	[56] = NATIVE(CALL_OPENAT),
	[117] = NATIVE(CALL_PTRACE),
	[202] = NATIVE(CALL_ACCEPT),
	[242] = NATIVE(CALL_ACCEPT),
	[270] = NATIVE(CALL_PROCESS_VM_READV),
	[271] = NATIVE(CALL_PROCESS_VM_WRITEV),
	[276] = NATIVE(CALL_RENAMEAT2),
	[280] = NATIVE(CALL_BPF),
	[285] = COMPAT(CALL_ACCEPT),
	[322] = COMPAT(CALL_OPENAT),
	[324] = COMPAT(CALL_MKNODAT),
	[328] = COMPAT(CALL_UNLINKAT),
	[329] = COMPAT(CALL_RENAMEAT),
	[330] = COMPAT(CALL_LINKAT),
	[366] = COMPAT(CALL_ACCEPT),
	[376] = COMPAT(CALL_PROCESS_VM_READV),
	[377] = COMPAT(CALL_PROCESS_VM_WRITEV),
	[382] = COMPAT(CALL_RENAMEAT2),
	[386] = COMPAT(CALL_BPF),
	[437] = NATIVE(CALL_OPENAT2) | COMPAT(CALL_OPENAT2),
	[438] = NATIVE(CALL_PIDFD_GETFD) | COMPAT(CALL_PIDFD_GETFD),
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

/* The calls that the number of `regs` may stand for; 0: none, as of most. */
static __always_inline __u32 calls_of(struct pt_regs *regs)
{
	__u32 number = call_number(regs);

	if (number >= CALL_NUMBERS)
		return 0;
	barrier_var(number); /* keep the mask, which the verifier wants to see */
	number &= CALL_NUMBERS - 1;
	return calls[number];
}

/* Which of them it is. */
static __always_inline enum call call_among(__u32 calls, bool compat)
{
	return (compat ? calls >> COMPAT_SHIFT : calls) & CALL_MASK;
}

/* Whether an open may make a file. Of openat2() the caller's memory knows, now or not any more. */
static __always_inline bool may_make_file(enum call call, struct pt_regs *regs, bool compat)
{
	if (call == CALL_OPEN)
		return ARGUMENT_1(regs, compat) & O_CREAT;
	if (call == CALL_OPENAT)
		return ARGUMENT_2(regs, compat) & O_CREAT;
	return call == CALL_OPENAT2 || call == CALL_CREAT;
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

#endif /* KERNEL_SYSCALL_BPF_H */
