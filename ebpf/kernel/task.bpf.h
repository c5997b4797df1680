/* SPDX-License-Identifier: GPL-2.0-only */
/* Readers of struct task_struct. */
#ifndef KERNEL_TASK_BPF_H
#define KERNEL_TASK_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"

/*
 * The current task, of which pid and tgid are read. Before v6.10 programs on packets may not call
 * the helper for these: eb166e522c77 ("bpf: Allow helper bpf_get_[ns_]current_pid_tgid() for all
 * prog types").
 */
static __always_inline struct task_struct *current_task(void)
{
	return (void *)bpf_get_current_task();
}

static __always_inline __u32 task_flags(struct task_struct *task)
{
	return KREAD(task, flags) & PF_KTHREAD ? RECORD_KERNEL_THREAD : 0;
}

static __always_inline __u32 task_mount_namespace(struct task_struct *task)
{
	struct nsproxy *nsproxy = KREAD(task, nsproxy);
	struct mnt_namespace *namespace = KREAD(nsproxy, mnt_ns);

	return KREAD(namespace, ns.inum);
}

/*
 * Returns whether a file system that stacks on another one acts here, with its own rights. It reads
 * by KREAD although the verifier knows the task: for each pointer in a struct that it trusts, the
 * verifier (v6.18) searches all types of the kernel by name.
 */
static __always_inline bool acts_for_a_file_system(struct task_struct *task)
{
	return KREAD(task, cred) != KREAD(task, real_cred);
}

#endif /* KERNEL_TASK_BPF_H */
