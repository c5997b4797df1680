/* SPDX-License-Identifier: GPL-2.0-only */
/* Readers of struct cgroup: which control group tells the container of a task. */
#ifndef KERNEL_CGROUP_BPF_H
#define KERNEL_CGROUP_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/compat.bpf.h"

/* The hierarchy of version 2 has number 0, those of version 1 have others. */
#define CGROUP_HIERARCHY_SHIFT 56

/*
 * Number of a control group, never used again: kernfs counts generations in its upper half. Each
 * hierarchy counts for itself, so the highest byte says which one. User space takes it apart.
 */
static __always_inline __u64 cgroup_number(struct cgroup *cgroup)
{
	__u64 hierarchy = BPF_CORE_READ(cgroup, root, hierarchy_id);

	return BPF_CORE_READ(cgroup, kn, id) | hierarchy << CGROUP_HIERARCHY_SHIFT;
}

/* Bit of a controller in cgroup_root.subsys_mask; 0: this kernel is built without it. */
#define CONTROLLER_BIT(id)                                              \
	(bpf_core_enum_value_exists(enum cgroup_subsys_id, id)          \
		 ? 1U << bpf_core_enum_value(enum cgroup_subsys_id, id) \
		 : 0)

/* Returns whether task_cgroup() may choose control groups of this hierarchy. */
static __always_inline bool cgroup_root_tells(struct cgroup_root *root)
{
	__u32 controllers = CONTROLLER_BIT(memory_cgrp_id) | CONTROLLER_BIT(pids_cgrp_id);

	return !BPF_CORE_READ(root, hierarchy_id) || BPF_CORE_READ(root, subsys_mask) & controllers;
}

/* The control group of a controller: in a hierarchy of version 1, and not its root; else NULL. */
static __always_inline struct cgroup *cgroup_of_version_1(struct css_set *groups, __u32 controller)
{
	struct cgroup_subsys_state **each, *state = NULL;
	struct cgroup *cgroup;

	each = (void *)groups + bpf_core_field_offset(groups->subsys);
	bpf_probe_read_kernel(&state, sizeof(state), each + controller);
	cgroup = BPF_CORE_READ(state, cgroup);
	if (!BPF_CORE_READ(cgroup, root, hierarchy_id) || !BPF_CORE_READ(cgroup, level))
		return NULL;
	return cgroup;
}

/*
 * The control group by which user space tells the container of a task. Container runtimes use the
 * hierarchies of version 1 where these have the controllers, whatever is in that of version 2.
 */
static __always_inline struct cgroup *task_cgroup(struct task_struct *task)
{
	struct css_set *groups = BPF_CORE_READ(task, cgroups);
	struct cgroup *cgroup = NULL;

	if (CONTROLLER_BIT(memory_cgrp_id))
		cgroup = cgroup_of_version_1(
			groups, bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id));
	if (!cgroup && CONTROLLER_BIT(pids_cgrp_id))
		cgroup = cgroup_of_version_1(
			groups, bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id));
	return cgroup ? cgroup : BPF_CORE_READ(groups, dfl_cgrp);
}

#endif /* KERNEL_CGROUP_BPF_H */
