/* SPDX-License-Identifier: GPL-2.0-only */
/* Readers of system calls: which call it is, and its arguments. */
#ifndef KERNEL_SYSCALL_BPF_H
#define KERNEL_SYSCALL_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/syscall_numbers.bpf.h"

#if defined(__TARGET_ARCH_x86)
#define X32_BIT 0x40000000
#define TS_COMPAT 0x0002

static __always_inline __u32 call_number(struct pt_regs *regs)
{
	return (__u32)regs->orig_ax & ~X32_BIT;
}

static __always_inline bool task_in_compat_call(struct task_struct *task)
{
	return KREAD(task, thread_info.status) & TS_COMPAT;
}

/* Returns whether pointers within the structs of the caller have 4 bytes. */
static __always_inline bool has_short_pointers(struct pt_regs *regs, bool compat)
{
	return compat || regs->orig_ax & X32_BIT;
}

#ifdef WITHOUT_BPF_LOOP
#define STACK_BYTES 16384 /* THREAD_SIZE, without KASAN */

/*
 * Read the registers with which a task entered its system call, for kernels without
 * bpf_task_pt_regs(), before v5.15. They lie at the end of its stack. Returns false if what lies
 * there is not of user space.
 */
static __always_inline bool task_registers_read(struct task_struct *task, struct pt_regs *regs)
{
	const void *end = KREAD(task, stack) + STACK_BYTES;

	return !bpf_probe_read_kernel(regs, sizeof(*regs), end - sizeof(*regs)) &&
	       (regs->cs & 3) == 3;
}
#endif

#define INSTRUCTION_POINTER(registers) KREAD(registers, ip)
/* Bytes of the general registers at the beginning of what PTRACE_POKEUSR writes into. */
#define USER_REGISTERS_SIZE(compat) ((compat) ? 17 * 4 : 27 * 8)

#define CALL_ARGUMENT(regs, compat, native_register, compat_register) \
	((compat) ? (__u64)(__u32)(regs)->compat_register : (regs)->native_register)
#define ARGUMENT_0(regs, compat) CALL_ARGUMENT(regs, compat, di, bx)
#define ARGUMENT_1(regs, compat) CALL_ARGUMENT(regs, compat, si, cx)
#define ARGUMENT_2(regs, compat) CALL_ARGUMENT(regs, compat, dx, dx)
#define ARGUMENT_3(regs, compat) CALL_ARGUMENT(regs, compat, r10, si)
#define ARGUMENT_4(regs, compat) CALL_ARGUMENT(regs, compat, r8, di)

#elif defined(__TARGET_ARCH_arm64)
#define TIF_32BIT 22

static __always_inline __u32 call_number(struct pt_regs *regs)
{
	return regs->syscallno;
}

static __always_inline bool task_in_compat_call(struct task_struct *task)
{
	return KREAD(task, thread_info.flags) >> TIF_32BIT & 1;
}

static __always_inline bool has_short_pointers(struct pt_regs *regs, bool compat)
{
	return compat;
}

#define INSTRUCTION_POINTER(registers) KREAD(registers, pc)
#define USER_REGISTERS_SIZE(compat) ((compat) ? 18 * 4 : 0)

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

/*
 * The calls that the number in `regs` stands for, one for each interface; 0: none that is wanted.
 * One load is enough to dismiss most calls.
 */
static __always_inline __u32 calls_of(struct pt_regs *regs)
{
	__u32 number = call_number(regs);

	if (number >= CALL_NUMBERS)
		return 0;
	barrier_var(number); /* keep the mask, which the verifier wants to see */
	number &= CALL_NUMBERS - 1;
	return calls[number];
}

/* The call among them that was made through this interface. */
static __always_inline enum call call_among(__u32 calls, bool compat)
{
	return (compat ? calls >> COMPAT_SHIFT : calls) & CALL_MASK;
}

/*
 * Returns whether an open may make a file. The flags of openat2() are not read: they are in the
 * caller's memory and may have changed.
 */
static __always_inline bool may_make_file(enum call call, struct pt_regs *regs, bool compat)
{
	if (call == CALL_OPEN)
		return ARGUMENT_1(regs, compat) & O_CREAT;
	if (call == CALL_OPENAT)
		return ARGUMENT_2(regs, compat) & O_CREAT;
	return call == CALL_OPENAT2 || call == CALL_CREAT;
}

#endif /* KERNEL_SYSCALL_BPF_H */
