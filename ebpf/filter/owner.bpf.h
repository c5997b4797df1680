/* SPDX-License-Identifier: GPL-2.0-only */
/* The process that a connection belongs to, with the answers of the rules about its image. */
#ifndef FILTER_OWNER_BPF_H
#define FILTER_OWNER_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "kernel/compat.bpf.h"
#include "kernel/task.bpf.h"
#include "emit/flood.bpf.h"
#include "filter/rules.bpf.h"

/* One image of one process, with thread and user at the time of the call. */
struct owner {
	__u64 start_boot_ns;
	__u32 tgid;
	__u32 exec_id;
	__u32 tid;
	__u32 uid;
	__u64 image; /* flood_image() of the task; 0: unknown */
	struct filter_answers answers; /* generation 0: unknown */
};

/* Fill `owner` from the current task: not in softirq, where that is any task. */
static __always_inline void owner_fill(struct owner *owner)
{
	struct task_struct *task = current_task();
	struct task_struct *leader = KREAD(task, group_leader);
	const struct cred *cred = KREAD(task, cred);

	owner->start_boot_ns = KREAD(leader, start_boottime);
	owner->tgid = KREAD(task, tgid);
	owner->tid = KREAD(task, pid);
	owner->uid = KREAD(cred, uid.val); /* real user id, as in the initial namespace */
	owner->exec_id = KREAD(task, self_exec_id);
	owner->image = flood_image(task);
	owner->answers.generation = 0;
}

#endif /* FILTER_OWNER_BPF_H */
