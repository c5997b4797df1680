/* SPDX-License-Identifier: GPL-2.0-only */
/* Reader of file descriptors. */
#ifndef KERNEL_FILE_BPF_H
#define KERNEL_FILE_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"

/* The file behind descriptor `fd` of `task`; NULL: there is none. */
static __always_inline struct file *task_file(struct task_struct *task, __u32 fd)
{
	struct files_struct *files = KREAD(task, files);
	struct fdtable *table = KREAD(files, fdt);
	struct file **slots = KREAD(table, fd);

	return fd < KREAD(table, max_fds) ? (struct file *)KREAD_WORD(slots + fd) : NULL;
}

/*
 * A number by which two files differ that have one inode number. On a file system of user space its
 * server chooses inode numbers, and on btrfs each subvolume has its own. There this number is made
 * of the name and its directory; elsewhere it is 0.
 */
static __always_inline __u64 name_number(struct file *file)
{
	struct dentry *dentry = KREAD(file, f_path.dentry);
	struct super_block *sb = KREAD(dentry, d_sb);
	__u64 magic = KREAD(sb, s_magic);

	if (magic == EXT4_SUPER_MAGIC || magic == TMPFS_MAGIC || magic == XFS_SUPER_MAGIC)
		return 0;
	return KREAD(dentry, d_name.hash_len);
}

#endif /* KERNEL_FILE_BPF_H */
