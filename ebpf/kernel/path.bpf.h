/* SPDX-License-Identifier: GPL-2.0-only */
/* Absolute paths: from a dentry and its mount up to the root of the mount namespace. */
#ifndef KERNEL_PATH_BPF_H
#define KERNEL_PATH_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/compat.bpf.h"

#define PATH_SIZE 4096 /* PATH_MAX: a path with its NUL */
#define NAME_SIZE 256 /* NAME_MAX + 1 */
#define ROOM_WORDS 2
#define PATH_GIVEN_AT 8
#define PATH_STEPS 2048 /* more components than PATH_SIZE bytes can hold */
#define PATH_STEPS_WITHOUT_LOOP 96 /* 64 components, and mounts between them \ */

#define DELETED " (deleted)"
#define DELETED_LENGTH 10

/*
 * A path: the bytes from `at` to `end`. One that was walked fills the first PATH_SIZE bytes from
 * their end; one that was given, as the caller wrote it, begins behind PATH_GIVEN_AT.
 */
struct path_buffer {
	struct dentry *dentry; /* where the walk up has come to */
	struct mount *mount;
	__u32 at;
	__u32 end;
	bool whole; /* the walk has reached the very root */
	bool given;
	__u8 pad[6];
	__u64 room[ROOM_WORDS]; /* in front of the bytes: see path_copy_short() */
	__u8 bytes[PATH_SIZE + NAME_SIZE];
};

/*
 * Copy a name of two words at most, its end first: what that writes too much is in front,
 * where the slash and the parents will be.
 */
static __always_inline void path_copy_short(struct path_buffer *path, __u32 at, __u32 length,
					    const unsigned char *name)
{
	__u8 *end = (__u8 *)(path->room + ROOM_WORDS) + (at & (PATH_SIZE - 1)) + length;

	*(__u64 *)(end - 8) = KREAD_WORD(name + length - 8);
	if (length > 8)
		*(__u64 *)(end - 16) = KREAD_WORD(name + length - 16);
}

/* Put "/name" in front of what is written. */
static __always_inline bool path_prepend(struct path_buffer *path, struct dentry *dentry)
{
	const unsigned char *name = KREAD(dentry, d_name.name);
	__u32 length = KREAD(dentry, d_name.len) & (NAME_SIZE - 1);

	__u32 at = path->at;

	if (at < length + 2)
		return false;
	at -= length;
	barrier_var(at); /* keep the masks below, which the verifier wants to see */
	barrier_var(length);
	length &= NAME_SIZE - 1;
	if (has_rdonly_cast && length <= ROOM_WORDS * 8)
		path_copy_short(path, at, length, name);
	else
		bpf_probe_read_kernel(&path->bytes[at & (PATH_SIZE - 1)], length, name);
	at--;
	path->bytes[at & (PATH_SIZE - 1)] = '/';
	path->at = at;
	return true;
}

/*
 * One component or one mount crossing; returns 1 at the end, as bpf_loop() wants. All state
 * is in the map: on the stack, the verifier would follow its values through every step.
 */
static __always_inline long path_step(struct path_buffer *path)
{
	struct dentry *dentry = path->dentry;
	struct dentry *parent = KREAD(dentry, d_parent);
	struct mount *mount = path->mount;

	if (dentry == parent || dentry == KREAD(mount, mnt.mnt_root)) {
		struct mount *above = KREAD(mount, mnt_parent);

		path->dentry = KREAD(mount, mnt_mountpoint);
		path->mount = above;
		path->whole = above == mount;
		return above == mount;
	}
	path->dentry = parent;
	return !path_prepend(path, dentry);
}

static long path_loop_step(__u32 index, struct path_buffer **path)
{
	return path_step(*path);
}

/* Called, not inlined: v5.10 wants a loop to end in a jump, which a long body lacks. */
static __noinline long path_called_step(struct path_buffer *path)
{
	return path_step(path);
}

static __noinline long path_walk_bounded(struct path_buffer *path)
{
	long ended = 0;

	for (int i = 0; i < PATH_STEPS_WITHOUT_LOOP && !ended; i++)
		ended = path_called_step(path);
	return ended;
}

/* Write " (deleted)" at the end, as d_path() does for a name that is gone. */
static __always_inline void path_mark_deleted(struct path_buffer *path)
{
	path->at -= DELETED_LENGTH;
	__builtin_memcpy(&path->bytes[PATH_SIZE - DELETED_LENGTH], DELETED, DELETED_LENGTH);
}

static __always_inline bool dentry_is_unhashed(struct dentry *dentry)
{
	return !KREAD(dentry, d_hash.pprev);
}

static __always_inline void path_begin(struct path_buffer *path, struct dentry *dentry,
				       struct vfsmount *mnt)
{
	path->dentry = dentry;
	path->mount = container_of(mnt, struct mount, mnt);
	path->at = path->end = PATH_SIZE;
	path->whole = path->given = false;
}

/* Write what is above the walk's start. Returns false when the front is missing. */
static __always_inline bool path_climb(struct path_buffer *path)
{
	if (has_bpf_loop)
		bpf_loop(PATH_STEPS, path_loop_step, &path, 0);
	else
		path_walk_bounded(path);
	if (path->at == PATH_SIZE && path->whole)
		path->bytes[--path->at & (PATH_SIZE - 1)] = '/';
	return path->whole;
}

/* Build the path of (mnt, dentry) in `path`, whether the name is still there or not. */
static __always_inline bool path_build_name(struct path_buffer *path, struct dentry *dentry,
					    struct vfsmount *mnt)
{
	path_begin(path, dentry, mnt);
	return path_climb(path);
}

/*
 * Build the path of (mnt, dentry) in `path`, as /proc/PID/exe shows it, except that it
 * goes up to the root of the mount namespace: a chroot shows its prefix.
 * Returns false when the front is missing.
 */
static __always_inline bool path_build(struct path_buffer *path, struct dentry *dentry,
				       struct vfsmount *mnt)
{
	bool is_root = KREAD(dentry, d_parent) == dentry;

	path_begin(path, dentry, mnt);
	if (is_root && dentry != KREAD(mnt, mnt_root)) {
		path_mark_deleted(path); /* memfd: a name without a tree */
		path_prepend(path, dentry);
		return true;
	}
	if (!is_root && dentry_is_unhashed(dentry))
		path_mark_deleted(path);
	return path_climb(path);
}

#endif /* KERNEL_PATH_BPF_H */
