/* SPDX-License-Identifier: GPL-2.0-only */
/* Identity of a file, from its inode: no two files have the same. */
#ifndef KERNEL_FILE_IDENTITY_BPF_H
#define KERNEL_FILE_IDENTITY_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"

#define LAYERS_MAX 2 /* FILESYSTEM_MAX_STACK_DEPTH: at most an overlay of overlays */

/* Note facts of one super block on the way down; returns whether it is overlayfs. */
static __always_inline bool identify_super_block(struct file_identity *identity,
						 struct super_block *sb)
{
	if (BPF_CORE_READ(sb, s_user_ns, level) > 0)
		identity->in_user_namespace = true;
	identity->device = BPF_CORE_READ(sb, s_dev);
	identity->filesystem = BPF_CORE_READ(sb, s_magic);
	return identity->filesystem == OVERLAYFS_SUPER_MAGIC;
}

/* Go down through overlays. Returns the inode that holds the data. */
static __always_inline struct inode *inode_below(struct file_identity *identity,
						 struct inode *inode)
{
	for (int i = 0; i < LAYERS_MAX; i++) {
		struct inode *below;

		if (!identify_super_block(identity, BPF_CORE_READ(inode, i_sb)))
			return inode;
		below = overlay_data_inode(inode);
		if (!below) {
			identity->is_layered = true;
			return inode;
		}
		inode = below;
	}
	identity->is_layered = identify_super_block(identity, BPF_CORE_READ(inode, i_sb));
	return inode;
}

/* Fill `identity`, which the caller has zeroed. */
static __always_inline void file_identify(struct file_identity *identity, struct inode *inode)
{
	inode = inode_below(identity, inode);
	if (identity->filesystem == BTRFS_SUPER_MAGIC)
		identity->subvolume = btrfs_subvolume(inode);
	identity->inode = BPF_CORE_READ(inode, i_ino);
	identity->size = BPF_CORE_READ(inode, i_size);
	identity->mtime_ns = inode_mtime_ns(inode);
	identity->ctime_ns = inode_ctime_ns(inode);
	identity->mode = BPF_CORE_READ(inode, i_mode);
}

#endif /* KERNEL_FILE_IDENTITY_BPF_H */
