/* SPDX-License-Identifier: GPL-2.0-only */
/* From a process id, a struct pid or a pidfd to the task. */
#ifndef KERNEL_PID_BPF_H
#define KERNEL_PID_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"

/* Numbers of the kernel's xarray, <linux/xarray.h>: a level stands for XA_CHUNK_SHIFT bits. */
#define XA_INTERNAL 2
#define XA_CHUNK_SHIFT 6
#define XA_LEVELS 6

/*
 * The task of `pid`; NULL: it has ended. For the verifier it is a number, which global functions
 * take, too.
 */
static __always_inline struct task_struct *task_of_pid(struct pid *pid)
{
	struct hlist_node *first;

	first = pid ? (void *)KREAD_WORD(&pid->tasks[PIDTYPE_PID].first) : NULL;
	return first ? container_of(first, struct task_struct, pid_links[PIDTYPE_PID]) : NULL;
}

/*
 * The task whose id is `nr` in the pid namespace of the current task; NULL: there is none. It walks
 * as idr_find() does, because the kfunc bpf_task_from_vpid() came with v6.13 only.
 */
static __always_inline struct task_struct *task_by_vpid(__u32 nr)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pid *pid = KREAD(task, thread_pid);
	__u32 level = KREAD(pid, level), shift;
	struct xa_node *node;
	struct upid upid;
	void *entry;

	bpf_core_read(&upid, sizeof(upid), &pid->numbers[level]);
	entry = KREAD(upid.ns, idr.idr_rt.xa_head);
	for (int i = 0; i < XA_LEVELS && ((__u64)entry & 3) == XA_INTERNAL; i++) {
		node = (void *)((__u64)entry - XA_INTERNAL);
		shift = KREAD(node, shift);
		if (i == 0 && nr >> shift >> XA_CHUNK_SHIFT)
			return NULL;
		bpf_core_read(&entry, sizeof(entry),
			      &node->slots[nr >> shift & ((1 << XA_CHUNK_SHIFT) - 1)]);
	}
	return task_of_pid(entry);
}

/* Since v6.9, cb12fd8e0dab ("pidfd: add pidfs"), the inode has the pid; before, the file. */
static __always_inline struct pid *pid_of_pidfd(struct file *file)
{
	struct inode *inode = KREAD(file, f_inode);

	if (BPF_CORE_READ(inode, i_sb, s_magic) == PID_FS_MAGIC)
		return KREAD(inode, i_private);
	return KREAD(file, private_data);
}

#endif /* KERNEL_PID_BPF_H */
