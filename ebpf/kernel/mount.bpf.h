/* SPDX-License-Identifier: GPL-2.0-only */
/* From a dentry to a mount through which the current task sees it. */
#ifndef KERNEL_MOUNT_BPF_H
#define KERNEL_MOUNT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/compat.bpf.h"

#define MOUNTS_TRIED 64 /* mounts of one file system that are looked at */
#define LEVELS_TRIED 2048 /* directories that are climbed */

struct climb {
	struct dentry *dentry;
	struct dentry *wanted;
	bool found;
};

static long climb_step(__u32 index, struct climb *climb)
{
	struct dentry *dentry = climb->dentry, *parent = KREAD(dentry, d_parent);

	if (dentry == climb->wanted) {
		climb->found = true;
		return 1;
	}
	if (parent == dentry)
		return 1;
	climb->dentry = parent;
	return 0;
}

/*
 * Returns whether `dentry` is at or below the root of `mnt`. A bind mount shows only a part of its
 * file system.
 */
static __always_inline bool mount_shows(struct vfsmount *mnt, struct dentry *dentry)
{
	struct super_block *sb = KREAD(dentry, d_sb);
	struct climb climb = {.dentry = dentry, .wanted = KREAD(mnt, mnt_root)};

	if (!mnt || KREAD(mnt, mnt_sb) != sb)
		return false;
	if (climb.wanted == KREAD(sb, s_root))
		return true;
	if (has_bpf_loop)
		bpf_loop(LEVELS_TRIED, climb_step, &climb, 0);
	return climb.found;
}

struct mount_search {
	struct dentry *dentry;
	struct mnt_namespace *namespace;
	struct mount *mount;
	struct vfsmount *found;
};

static __always_inline long mount_try(struct mount_search *search)
{
	struct dentry *dentry = search->dentry;
	struct mount *mount = search->mount;
	struct vfsmount *mnt = (void *)mount + bpf_core_field_offset(mount->mnt);

	if (!mount)
		return 1;
	if (KREAD(mount, mnt_ns) == search->namespace && mount_shows(mnt, dentry)) {
		search->found = mnt;
		return 1;
	}
	search->mount = next_mount(KREAD(dentry, d_sb), mount);
	return 0;
}

static long mount_loop_step(__u32 index, struct mount_search *search)
{
	return mount_try(search);
}

/* Returns `start` if it shows the dentry, else another mount of the task's namespace or NULL. */
static __always_inline struct vfsmount *mount_with(struct vfsmount *start, struct dentry *dentry)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct mount_search search = {
		.dentry = dentry,
		.namespace = BPF_CORE_READ(task, nsproxy, mnt_ns),
		.mount = first_mount(KREAD(dentry, d_sb)),
	};

	if (mount_shows(start, dentry))
		return start;
	if (has_bpf_loop)
		bpf_loop(MOUNTS_TRIED, mount_loop_step, &search, 0);
	else
		for (int i = 0; i < MOUNTS_TRIED && !mount_try(&search); i++)
			;
	return search.found;
}

#endif /* KERNEL_MOUNT_BPF_H */
