// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files of which a process can run code: libraries, and whatever else is mapped so.
 * hooks/memory.bpf.c finds them. The program and its interpreter, which the kernel maps itself in
 * execve(2), do not come here. Record: library_load.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/file.bpf.h"
#include "kernel/file_identity.bpf.h"
#include "kernel/path.bpf.h"
#include "kernel/task.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/record.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/functions.bpf.h"

#define LIBRARIES_TOLD 16384
#define PLACES_EXCLUDED 8192

/* A library that an image of a process has mapped before. */
struct library_told {
	__u64 image_id;
	__u64 inode;
	__s64 ctime_ns;
	__u64 name; /* name_number() */
	__u32 device;
	__u32 generation; /* of the rules: under others the file is told anew */
};

/* If it is full, the entry used longest ago makes room, and its file may be told again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LIBRARIES_TOLD);
	__type(key, struct library_told);
	__type(value, __u8);
} libraries_told SEC(".maps");

/* Generation of the rules in force; 0: there are none in the kernel. */
static __always_inline __u64 rules_generation(void)
{
#ifndef WITHOUT_BPF_LOOP
	struct filter_rules *rules = filter_rules_get();

	if (rules)
		return rules->generation;
#endif
	return 0;
}

#ifdef WITHOUT_BPF_LOOP

/* The kernel judges nothing here. */
struct place {
	__u64 hash;
	__u64 generation;
};

#define place_is_excluded(scratch, file, place) false
#define path_is_excluded(scratch, place) false

#else

/*
 * Where a file is: a hash over the directory entries and mounts up to the root, by their addresses
 * and names. No walk over bytes is needed for it, and it is another one as soon as a name on the
 * way is.
 */
struct place_walk {
	__u64 dentry;
	__u64 mount;
	__u64 hash;
};

/* A place whose path alone is excluded, by the rules of that generation. */
struct place {
	__u64 hash;
	__u64 generation;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PLACES_EXCLUDED);
	__type(key, struct place);
	__type(value, __u8);
} places_excluded SEC(".maps");

#define PLACE_PRIME 0x9e3779b97f4a7c15ULL

static __always_inline void place_add(struct place_walk *walk, __u64 word)
{
	walk->hash = (walk->hash ^ word) * PLACE_PRIME;
	walk->hash ^= walk->hash >> 29;
}

/* Go up by one entry or one mount. Returns 1 at the root, as bpf_loop() wants. */
static long place_step(__u32 index, struct place_walk **of)
{
	struct place_walk *walk = *of;
	struct dentry *dentry = (void *)walk->dentry;
	struct mount *mount = (void *)walk->mount;
	struct dentry *parent = KREAD(dentry, d_parent);
	struct mount *above;

	place_add(walk, walk->dentry);
	if (dentry == parent || dentry == KREAD(mount, mnt.mnt_root)) {
		above = KREAD(mount, mnt_parent);
		place_add(walk, walk->mount);
		walk->dentry = (__u64)KREAD(mount, mnt_mountpoint);
		walk->mount = (__u64)above;
		return above == mount;
	}
	place_add(walk, KREAD(dentry, d_name.hash_len));
	walk->dentry = (__u64)parent;
	return 0;
}

/* Returns the hash of the place. The walk lies in scratch, where a record was that was sent. */
static __always_inline __u64 place_hash(struct scratch *scratch, struct file *file)
{
	struct place_walk *walk = (void *)scratch->data;
	struct dentry *dentry = KREAD(file, f_path.dentry);
	struct vfsmount *mnt = KREAD(file, f_path.mnt);

	walk->dentry = (__u64)dentry;
	walk->mount = (__u64)container_of(mnt, struct mount, mnt);
	walk->hash = dentry_is_unhashed(dentry);
	bpf_loop(PATH_STEPS, place_step, &walk, 0);
	return walk->hash;
}

/*
 * Returns whether the path of a file alone excludes it: known from before, or found out now. The
 * path is in scratch then. A verdict is kept only if the rules are the same before and after.
 */
static __always_inline bool path_is_excluded(struct scratch *scratch, const struct place *place)
{
	__u8 known = 1;

	if (!library_path_excluded(&scratch->path))
		return false;
	if (rules_generation() == place->generation)
		bpf_map_update_elem(&places_excluded, place, &known, BPF_ANY);
	return true;
}

/* Returns whether the place of a file was found excluded before. Fills `place`. */
static __always_inline bool place_is_excluded(struct scratch *scratch, struct file *file,
					      struct place *place)
{
	place->hash = place_hash(scratch, file);
	return bpf_map_lookup_elem(&places_excluded, place);
}

#endif

/* Returns whether a file is neither the program itself nor something else than a file. */
static __always_inline bool is_library(struct task_struct *task, struct inode *inode)
{
	return (KREAD(inode, i_mode) & S_IFMT) == S_IFREG &&
	       inode != BPF_CORE_READ(task, mm, exe_file, f_inode);
}

static __always_inline void library_told_fill(struct library_told *told, struct file *file,
					      __u64 generation)
{
	struct inode *inode = KREAD(file, f_inode);
	struct super_block *sb = KREAD(inode, i_sb);

	told->image_id = image_id_of_task((void *)bpf_get_current_task());
	told->inode = KREAD(inode, i_ino);
	told->name = name_number(file);
	told->ctime_ns = inode_ctime_ns(inode);
	told->device = KREAD(sb, s_dev);
	told->generation = generation;
}

/*
 * Returns whether the file was told for the current image of the process. `now`: it is told now. A
 * function of its own: with the key in the frame of library_found(), the stack would not suffice.
 */
static __noinline bool library_is_told(__u64 file_address, __u64 generation, bool now)
{
	struct library_told told = {};
	__u8 known = 1;

	library_told_fill(&told, (void *)file_address, generation);
	if (now)
		bpf_map_update_elem(&libraries_told, &told, &known, BPF_ANY);
	return now || bpf_map_lookup_elem(&libraries_told, &told);
}

/* Build the record in scratch as far as the rules ask it. Returns whether they exclude it. */
static __always_inline bool library_is_excluded(struct scratch *scratch, struct file *file,
						struct place *place)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct library_load *r;

	if (library_actor_excluded() || place_is_excluded(scratch, file, place))
		return true;
	r = record_begin(scratch, task, RECORD_LIBRARY_LOAD, library_load);
	record_append_dentry(scratch, &r->path, KREAD(file, f_path.dentry), KREAD(file, f_path.mnt),
			     &r->flags, RECORD_PATH_TRUNCATED, RECORD_PATH_SHORTENED);
	return path_is_excluded(scratch, place) || library_excluded(&scratch->path);
}

/* Report a file, once for each image of a process. */
__noinline int library_found(__u64 file_address)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct place place = {.generation = rules_generation()};
	struct scratch *scratch = task_scratch_get();
	struct file *file = (void *)file_address;
	struct inode *inode = KREAD(file, f_inode);
	struct library_load *r;

	if (!file || !scratch || is_own() || !is_library(task, inode))
		return 0;
	if (library_is_told(file_address, place.generation, false))
		return 0;
	count_seen(RECORD_LIBRARY_LOAD);
	if (library_is_excluded(scratch, file, &place)) {
		count_filtered(RECORD_LIBRARY_LOAD);
		return 0;
	}
	library_is_told(file_address, place.generation, true);
	r = (void *)scratch->data;
	file_identify(&r->file, inode);
	r->mount_namespace = task_mount_namespace(task);
	record_finish(scratch, RECORD_LIBRARY_LOAD, false);
	return 0;
}
