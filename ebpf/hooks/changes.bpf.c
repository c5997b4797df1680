// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inodes whose ctime is set in a call that gives a name: they prove which file got it. The programs
 * send no record: hooks/syscall_exit.bpf.c and hooks/io_uring.bpf.c read their notes at the end of
 * the call. For each change one of three tracepoints fires. They exist since v6.13, 4e40eff0b573
 * ("fs: add infrastructure for multigrain timestamps").
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/task.bpf.h"
#include "kernel/syscall_numbers.bpf.h"
#include "kernel/syscall.bpf.h"
#include "emit/wanted.bpf.h"
#include "hooks/changes.bpf.h"
#include "hooks/request.bpf.h"

#ifndef WITHOUT_BPF_LOOP

/* io_uring runs each request that gives a name in a worker, which points to its request. */
static __always_inline struct changes *changes_of_worker(struct task_struct *task)
{
	struct io_worker *worker = (void *)KREAD(task, worker_private);
	struct io_wq_work *work = worker ? KREAD(worker, cur_work) : NULL;

	return work ? request_changes((__u64)container_of(work, struct io_kiocb, work)) : NULL;
}

/* The place for notes about the current call; NULL: this call gives no name. */
static __always_inline struct changes *changes_of_call(struct task_struct *task,
						       struct pt_regs *regs)
{
	bool compat = task_in_compat_call(task);
	enum call call = call_among(calls_of(regs), compat);

	if ((call < CALL_LINK || call > CALL_RENAMEAT2) && !may_make_file(call, regs, compat))
		return NULL;
	return bpf_task_storage_get(&changes_of_threads, task, NULL,
				    BPF_LOCAL_STORAGE_GET_F_CREATE);
}

static __always_inline int inode_changed(struct inode *inode)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	bool is_worker = task->flags & PF_IO_WORKER;
	struct changes *changes;
	__u64 magic;

	/* This test dismisses most changes: write(2), chmod(2), mkdir(2). It is first. */
	if ((!is_worker && !calls_of(regs)) || !is_wanted(RECORD_BIT(RECORD_FILE_CREATE)))
		return 0;
	magic = inode->i_sb->s_magic;
	if (!tells_changes(magic))
		return 0;
	if (magic != OVERLAYFS_SUPER_MAGIC && acts_for_a_file_system(task))
		return 0;
	changes = is_worker ? changes_of_worker(task) : changes_of_call(task, regs);
	if (changes)
		changes_add(changes, inode, magic);
	return 0;
}

/* v6.13: the ctime is set to a given time. */
SEC("?tp_btf/inode_set_ctime_to_ts")
int BPF_PROG(ctime_set, struct inode *inode)
{
	return inode_changed(inode);
}

/* v6.13: the ctime is set to the current time. */
SEC("?tp_btf/ctime_ns_xchg")
int BPF_PROG(ctime_exchanged, struct inode *inode)
{
	return inode_changed(inode);
}

/* v6.13: the ctime is the current time already. */
SEC("?tp_btf/ctime_xchg_skip")
int BPF_PROG(ctime_kept, struct inode *inode)
{
	return inode_changed(inode);
}

#endif /* WITHOUT_BPF_LOOP */
