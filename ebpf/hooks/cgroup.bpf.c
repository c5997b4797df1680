// SPDX-License-Identifier: GPL-2.0-only
/* Control groups that are made: their paths, before they can be gone. Record: cgroup_create. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "record.h"
#include "kernel/cgroup.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/record.bpf.h"

/* mkdir in cgroupfs. `path` begins at the root of its hierarchy, whoever sees less of it. */
SEC("?tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_created, struct cgroup *cgroup, const char *path)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct scratch *scratch = task_scratch_get();
	struct cgroup_create *r;
	long length;

	if (!cgroup_root_tells(cgroup->root))
		return 0;
	count_seen(RECORD_CGROUP_CREATE);
	if (!scratch) {
		count_lost(RECORD_CGROUP_CREATE, LOSS_UNREADABLE);
		return 0;
	}
	r = record_begin(scratch, task, RECORD_CGROUP_CREATE, cgroup_create);
	r->cgroup_id = cgroup_number(cgroup);
	length = bpf_probe_read_kernel_str(&scratch->data[sizeof(*r)], PATH_SIZE, path);
	if (length < 1) {
		count_lost(RECORD_CGROUP_CREATE, LOSS_UNREADABLE);
		return 0;
	}
	r->path.offset = sizeof(*r);
	r->path.length = (length - 1) & (PATH_SIZE - 1);
	scratch->used = sizeof(*r) + r->path.length;
	record_finish(scratch, RECORD_CGROUP_CREATE, false);
	return 0;
}
