/* SPDX-License-Identifier: GPL-2.0 */
/* From a dentry to a mount that the current task sees it through. */
#ifndef MOUNT_BPF_H
#define MOUNT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "compat.bpf.h"

#define MOUNTS_TRIED 64 /* of one file system */
#define LEVELS_TRIED 2048

struct climb {
	struct dentry *dentry;
	struct dentry *wanted;
	bool found;
};

static long climb_step(__u32 index, struct climb *climb)
{
	struct dentry *parent;

	if (climb->dentry == climb->wanted) {
		climb->found = true;
		return 1;
	}
	parent = KREAD(climb->dentry, d_parent);
	if (parent == climb->dentry)
		return 1;
	climb->dentry = parent;
	return 0;
}

/* Whether `dentry` is below the root of `mnt`, which may be a part of the file system. */
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

/* Return `start` where it shows the dentry, else another mount of the task's namespace. */
static __always_inline struct vfsmount *mount_with(struct vfsmount *start, struct dentry *dentry)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct mnt_namespace *namespace = BPF_CORE_READ(task, nsproxy, mnt_ns);
	struct mount *mount;

	if (mount_shows(start, dentry))
		return start;
	mount = first_mount(KREAD(dentry, d_sb));
	for (int i = 0; i < MOUNTS_TRIED && mount; i++) {
		if (KREAD(mount, mnt_ns) == namespace &&
		    mount_shows((void *)mount + bpf_core_field_offset(mount->mnt), dentry))
			return (void *)mount + bpf_core_field_offset(mount->mnt);
		mount = next_mount(KREAD(dentry, d_sb), mount);
	}
	return NULL;
}

#endif /* MOUNT_BPF_H */
