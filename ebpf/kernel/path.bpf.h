/* SPDX-License-Identifier: GPL-2.0-only */
/* Absolute paths, built from a dentry and its mount up to the root of the mount namespace. */
#ifndef KERNEL_PATH_BPF_H
#define KERNEL_PATH_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"

#define PATH_SIZE 4096 /* PATH_MAX: a path with its NUL */
#define NAME_SIZE 4096 /* FUSE takes names of PATH_MAX - 1 bytes, others of NAME_MAX */
#define ROOM_WORDS 2 /* words in front of the bytes */
#define PATH_GIVEN_AT 8 /* where a path as given begins: a search may read the word in front */
#define PATH_STEPS 2048 /* more components than PATH_SIZE bytes can hold */
#define PATH_STEPS_WITHOUT_LOOP 96 /* 64 components, and mounts between them */

#define DELETED " (deleted)"
#define DELETED_LENGTH 10

/*
 * A path: the bytes from `at` to `end`. A path that was built from a dentry ends at PATH_SIZE. A
 * path as given, which is the caller's string, begins at PATH_GIVEN_AT.
 */
struct path_buffer {
	struct dentry *dentry; /* the walk up has come to here */
	struct mount *mount;
	__u32 at;
	__u32 end;
	bool whole; /* the walk has reached the root of a mount namespace */
	bool given; /* the caller's string, not resolved */
	__u8 pad[6];
	__u64 room[ROOM_WORDS]; /* path_copy_short() may write here */
	__u8 bytes[PATH_SIZE + NAME_SIZE];
};

/*
 * Copy a name of 16 bytes at most by whole words, which end where the name ends. Bytes that this
 * writes in front of the name are overwritten by the slash and the parents.
 */
static __always_inline void path_copy_short(struct path_buffer *path, __u32 at, __u32 length,
					    const unsigned char *name)
{
	__u8 *end = (__u8 *)(path->room + ROOM_WORDS) + (at & (PATH_SIZE - 1)) + length;

	*(__u64 *)(end - 8) = KREAD_WORD(name + length - 8);
	if (length > 8)
		*(__u64 *)(end - 16) = KREAD_WORD(name + length - 16);
}

/* Put a slash and a name of the kernel's memory in front. Returns false if there is no room. */
static __always_inline bool path_prepend_name(struct path_buffer *path, const unsigned char *name,
					      __u32 length)
{
	__u32 at = path->at;

	if (at < length + 2)
		return false;
	at -= length;
	barrier_var(at); /* keep the masks below, which the verifier needs */
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

/* Put the name of one directory entry in front. Returns false if there is no room. */
static __always_inline bool path_prepend(struct path_buffer *path, struct dentry *dentry)
{
	return path_prepend_name(path, KREAD(dentry, d_name.name),
				 KREAD(dentry, d_name.len) & (NAME_SIZE - 1));
}

/*
 * Returns whether a mount that has none above it is the root of a mount namespace. Otherwise it is
 * mounted nowhere: open_tree(2) gives any user one who is root of a user namespace, and whoever has
 * its descriptor uses it. Mounts of the kernel's own have an error in the place of a namespace.
 */
static __always_inline bool is_root_of_namespace(struct mount *mount)
{
	struct mnt_namespace *namespace = KREAD(mount, mnt_ns);
	__u32 number = KREAD(namespace, ns.inum);

	if ((__u64) namespace >= -4095ULL)
		return true;
	return namespace && number && number != MNT_NS_ANON_INO;
}

/*
 * Put one component in front, or cross one mount. Returns 1 at the end, as bpf_loop() wants. All
 * state is in a map: of a state on the stack, the verifier would follow the values through each
 * step.
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
		path->whole = above == mount && is_root_of_namespace(mount);
		return above == mount;
	}
	path->dentry = parent;
	return !path_prepend(path, dentry);
}

static long path_loop_step(__u32 index, struct path_buffer **path)
{
	return path_step(*path);
}

/*
 * Called, not inlined: v5.10 accepts a loop only if a jump closes it, and clang lets a long body
 * fall through to its start.
 */
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

/* Write " (deleted)" at the end, as d_path() does for a name that was removed. */
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

/* Write all components from the walk's start up. Returns false if the front is missing. */
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

/* emit/scratch.bpf.h: the same for the path in scratch. */
int scratch_climb(void);

/*
 * The same. Without bpf_loop() the verifier follows each step of a walk, at every call. A walk in
 * scratch is a function that it checks once.
 */
static __always_inline bool path_climb_in(struct path_buffer *path, bool in_scratch)
{
	return in_scratch && !has_bpf_loop ? scratch_climb() : path_climb(path);
}

/* Build the path of (mnt, dentry) in `path`. A name that was removed is not marked. */
static __always_inline bool path_build_name(struct path_buffer *path, struct dentry *dentry,
					    struct vfsmount *mnt)
{
	path_begin(path, dentry, mnt);
	return path_climb(path);
}

/*
 * Build the path of (mnt, dentry) in `path` as /proc/PID/exe shows it, with " (deleted)" behind a
 * name that was removed. It differs in a chroot: the path begins at the root of the mount
 * namespace. Returns false if the front is missing. `in_scratch`: see path_climb_in().
 */
static __always_inline bool path_build_in(struct path_buffer *path, struct dentry *dentry,
					  struct vfsmount *mnt, bool in_scratch)
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
	return path_climb_in(path, in_scratch);
}

#endif /* KERNEL_PATH_BPF_H */
