/* SPDX-License-Identifier: GPL-2.0 */
/* Absolute paths: from a dentry and its mount up to the root of the mount namespace. */
#ifndef PATH_BPF_H
#define PATH_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "compat.bpf.h"
#include "maps.bpf.h"

#define PATH_STEPS 2048 /* more components than PATH_SIZE bytes can hold */
#define PATH_STEPS_WITHOUT_LOOP 64

#define DELETED " (deleted)"
#define DELETED_LENGTH 10

struct path_walk {
	struct dentry *dentry;
	struct mount *mount;
	struct path_buffer *path;
	__u32 at; /* in path->bytes: the first byte written */
	bool done;
	bool full;
};

/* Put "/name" in front of what is written. */
static __always_inline bool path_prepend(struct path_walk *walk, struct dentry *dentry)
{
	const unsigned char *name = KREAD(dentry, d_name.name);
	__u32 length = KREAD(dentry, d_name.len) & (NAME_SIZE - 1);

	__u32 at = walk->at;

	if (at < length + 2)
		return false;
	at -= length;
	barrier_var(at); /* keep the mask below, which the verifier wants to see */
	bpf_probe_read_kernel(&walk->path->bytes[at & (PATH_SIZE - 1)], length, name);
	at--;
	walk->path->bytes[at & (PATH_SIZE - 1)] = '/';
	walk->at = at;
	return true;
}

/* One component or one mount crossing; returns 1 at the end, as bpf_loop() wants. */
static long path_step(__u32 index, struct path_walk *walk)
{
	struct dentry *dentry = walk->dentry;
	struct dentry *parent = KREAD(dentry, d_parent);
	struct mount *mount = walk->mount;

	if (dentry == parent || dentry == KREAD(mount, mnt.mnt_root)) {
		struct mount *above = KREAD(mount, mnt_parent);

		if (above == mount) {
			walk->done = true;
			return 1;
		}
		walk->dentry = KREAD(mount, mnt_mountpoint);
		walk->mount = above;
		return 0;
	}
	if (!path_prepend(walk, dentry)) {
		walk->full = true;
		return 1;
	}
	walk->dentry = parent;
	return 0;
}

static __noinline void path_walk_bounded(struct path_walk *walk)
{
	if (!walk)
		return;
	for (__u32 i = 0; i < PATH_STEPS_WITHOUT_LOOP; i++)
		if (path_step(i, walk))
			break;
}

/* Write " (deleted)" at the end, as d_path() does for a name that is gone. */
static __always_inline void path_mark_deleted(struct path_walk *walk)
{
	walk->at -= DELETED_LENGTH;
	__builtin_memcpy(&walk->path->bytes[PATH_SIZE - DELETED_LENGTH], DELETED, DELETED_LENGTH);
}

static __always_inline bool dentry_is_unhashed(struct dentry *dentry)
{
	return !BPF_CORE_READ(dentry, d_hash.pprev);
}

/* Write what is above the walk's start. Returns false when the front is missing. */
static __always_inline bool path_climb(struct path_walk *walk)
{
	if (has_bpf_loop)
		bpf_loop(PATH_STEPS, path_step, walk, 0);
	else
		path_walk_bounded(walk);
	if (walk->at == PATH_SIZE && walk->done)
		walk->path->bytes[--walk->at] = '/';
	walk->path->at = walk->at;
	return walk->done;
}

/* Build the path of (mnt, dentry) in `path`, whether the name is still there or not. */
static __always_inline bool path_build_name(struct path_buffer *path, struct dentry *dentry,
					    struct vfsmount *mnt)
{
	struct path_walk walk = {
		.dentry = dentry,
		.mount = container_of(mnt, struct mount, mnt),
		.path = path,
		.at = PATH_SIZE,
	};

	return path_climb(&walk);
}

/*
 * Build the path of (mnt, dentry) in `path`, as /proc/PID/exe shows it, except that it
 * goes up to the root of the mount namespace: a chroot shows its prefix.
 * Returns false when the front is missing.
 */
static __always_inline bool path_build(struct path_buffer *path, struct dentry *dentry,
				       struct vfsmount *mnt)
{
	struct path_walk walk = {
		.dentry = dentry,
		.mount = container_of(mnt, struct mount, mnt),
		.path = path,
		.at = PATH_SIZE,
	};
	bool is_root = BPF_CORE_READ(dentry, d_parent) == dentry;

	if (is_root && dentry != BPF_CORE_READ(mnt, mnt_root)) {
		path_mark_deleted(&walk); /* memfd: a name without a tree */
		path_prepend(&walk, dentry);
		path->at = walk.at;
		return true;
	}
	if (!is_root && dentry_is_unhashed(dentry))
		path_mark_deleted(&walk);
	return path_climb(&walk);
}

/* Append a path to the record; not more than STRINGS_SIZE holds. */
static __always_inline void record_append_path(struct scratch *scratch, struct varlen *string,
					       struct path_buffer *path)
{
	__u32 at = path->at & (PATH_SIZE - 1);
	__u32 length = (PATH_SIZE - at) & (PATH_SIZE - 1);
	__u32 used = scratch->used & (STRINGS_SIZE - 1);

	bpf_probe_read_kernel(&scratch->data[used], length, &path->bytes[at]);
	string->offset = used;
	string->length = length;
	scratch->used = used + length;
}

/* Append the path of (mnt, dentry). Returns false when its front is missing. */
static __always_inline bool record_append_dentry(struct scratch *scratch, struct varlen *string,
						 struct dentry *dentry, struct vfsmount *mnt)
{
	bool whole = path_build(&scratch->path, dentry, mnt);

	record_append_path(scratch, string, &scratch->path);
	return whole;
}

/* The same for a name, without " (deleted)". */
static __always_inline bool record_append_name(struct scratch *scratch, struct varlen *string,
					       struct dentry *dentry, struct vfsmount *mnt)
{
	bool whole = path_build_name(&scratch->path, dentry, mnt);

	record_append_path(scratch, string, &scratch->path);
	return whole;
}

/* Which file this is, and in which state. */
static __always_inline void file_identify(struct file_identity *identity, struct inode *inode)
{
	identity->inode = BPF_CORE_READ(inode, i_ino);
	identity->size = BPF_CORE_READ(inode, i_size);
	identity->mtime_ns = inode_mtime_ns(inode);
	identity->ctime_ns = inode_ctime_ns(inode);
	identity->device = BPF_CORE_READ(inode, i_sb, s_dev);
	identity->mode = BPF_CORE_READ(inode, i_mode);
}

#endif /* PATH_BPF_H */
