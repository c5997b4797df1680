/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Notes about the inodes whose ctime one call has set. They tell the type of the file that got a
 * name, and whether an open made a file though it failed. They serve on kernels where no hook that
 * is given the directory entry can be attached.
 */
#ifndef HOOKS_CHANGED_INODES_BPF_H
#define HOOKS_CHANGED_INODES_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"

#define KIND(mode) (1U << ((mode)&S_IFMT) / S_IFIFO)
#define KIND_OF_FILE KIND(S_IFREG)
#define KIND_OF_DIRECTORY KIND(S_IFDIR)

/* The inodes that one call has changed so far. */
struct changes {
	__u64 file; /* address of the last regular file's inode; 0: none */
	__s64 birth_ns; /* of this file, wall clock; 0: unknown */
	__u32 kinds; /* bits KIND(mode) of all inodes */
	__u32 mode; /* of the last inode that is no directory; 0: none */
	bool has_more_files;
	__u8 pad[7];
};

/*
 * Returns whether a file system sets the ctime of the file that is linked or renamed, and of the
 * directories, in each call that succeeds. Observed on v6.18 for each one here. On overlayfs, a
 * link changes the directory alone.
 */
static __always_inline bool tells_changes(__u64 magic)
{
	return magic == EXT4_SUPER_MAGIC || magic == TMPFS_MAGIC || magic == XFS_SUPER_MAGIC ||
	       magic == BTRFS_SUPER_MAGIC || magic == OVERLAYFS_SUPER_MAGIC;
}

static __always_inline __s64 inode_birth_ns(struct inode *inode, __u64 magic)
{
	if (magic == EXT4_SUPER_MAGIC)
		return ext4_inode_birth_ns(inode);
	return magic == TMPFS_MAGIC ? shmem_inode_birth_ns(inode) : 0;
}

static __always_inline void changes_add(struct changes *changes, struct inode *inode, __u64 magic)
{
	__u32 mode = KREAD(inode, i_mode), kind = KIND(mode);

	changes->kinds |= kind;
	if (kind != KIND_OF_DIRECTORY)
		changes->mode = mode;
	if (kind != KIND_OF_FILE || changes->file == (__u64)inode)
		return;
	changes->has_more_files |= changes->file != 0;
	changes->file = (__u64)inode;
	changes->birth_ns = inode_birth_ns(inode, magic);
}

/*
 * The type of the file that got a name; 0: not proved. Two types of files are no proof, because one
 * of the inodes may be the file that a rename has replaced. Neither is no inode at all. If all
 * inodes are directories, a directory was renamed.
 */
static __always_inline __u32 changes_mode(const struct changes *changes, bool by_link)
{
	__u32 kinds = changes->kinds & ~KIND_OF_DIRECTORY;

	if (kinds == KIND_OF_FILE)
		return S_IFREG;
	if (kinds & KIND_OF_FILE)
		return 0;
	if (kinds)
		return kinds & KIND(S_IFLNK) ? S_IFLNK : S_IFIFO; /* or any other kind */
	return changes->kinds && !by_link ? S_IFDIR : 0;
}

/* Returns whether a file was made: a regular file and a directory have changed. */
static __always_inline bool changes_made_file(const struct changes *changes)
{
	return (changes->kinds & KIND_OF_FILE) && (changes->kinds & KIND_OF_DIRECTORY);
}

/* Time of birth of the file that got a name; 0: unknown, or it may be another file's. */
static __always_inline __s64 changes_birth_ns(const struct changes *changes)
{
	__u32 others = changes->kinds & ~(KIND_OF_FILE | KIND_OF_DIRECTORY);

	return others || changes->has_more_files ? 0 : changes->birth_ns;
}

#endif /* HOOKS_CHANGED_INODES_BPF_H */
