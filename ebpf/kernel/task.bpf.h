/* SPDX-License-Identifier: GPL-2.0-only */
/* Inline readers of struct task_struct. */
#ifndef KERNEL_TASK_BPF_H
#define KERNEL_TASK_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/compat.bpf.h"
#include "emit/flood.bpf.h"
#include "emit/maps.bpf.h"
#include "record.h"

#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000

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

/* Fill the header with the process of `task`; size and time are set when it is whole. */
static __always_inline void record_header_begin(struct record_header *header,
						struct task_struct *task, enum record_type type)
{
	struct task_struct *leader = KREAD(task, group_leader);
	const struct cred *cred = KREAD(task, cred);

	header->start_boot_ns = KREAD(leader, start_boottime);
	header->type = type;
	header->tgid = KREAD(task, tgid);
	header->tid = KREAD(task, pid);
	header->uid = KREAD(cred, uid.val);
	header->exec_id = KREAD(task, self_exec_id);
}

/* The same for a record of fixed size, which is whole at once. */
static __always_inline void record_header_fill(struct record_header *header,
					       struct task_struct *task, enum record_type type)
{
	record_header_begin(header, task, type);
	header->boot_ns = bpf_ktime_get_boot_ns();
}

/* A file system works below itself with other rights than those of the caller. */
static __always_inline bool acts_for_a_file_system(struct task_struct *task)
{
	return task->cred != task->real_cred;
}

/* Start a record of `size` fixed bytes in scratch, zeroed but for its header. */
#define record_begin(scratch, task, type, record_struct)                  \
	({                                                                \
		struct record_struct *__record = (void *)(scratch)->data; \
		__builtin_memset(__record, 0, sizeof(*__record));         \
		record_header_begin(&__record->header, (task), (type));   \
		(scratch)->used = sizeof(*__record);                      \
		__record;                                                 \
	})

/* Send what was built in scratch. */
static __always_inline void record_finish(struct scratch *scratch, enum record_type type,
					  bool urgent)
{
	struct record_header *header = (void *)scratch->data;
	__u32 used = scratch->used & (STRINGS_SIZE + ARGS_SIZE - 1);

	header->boot_ns = bpf_ktime_get_boot_ns();
	header->size = used;
	if (flood_leaves_out_built(scratch, type))
		return;
	record_send(scratch->data, used, type, urgent);
}

#endif /* KERNEL_TASK_BPF_H */
