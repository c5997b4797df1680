/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The mapping (struct vm_area_struct) at an address of a process. The tree of mappings is read
 * without its lock, which somebody may hold for long; bpf_find_vma() would fail then. Therefore a
 * mapping is believed only if its own bounds contain the address.
 */
#ifndef KERNEL_MAPPING_BPF_H
#define KERNEL_MAPPING_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"

/* Numbers of the kernel's maple tree, <linux/maple_tree.h> and lib/maple_tree.c. */
#define MAPLE_NODE_MASK 255ULL
#define MAPLE_ENTRY_KIND 3
#define MAPLE_ROOT 2 /* of the root alone, if it is a node */
#define MAPLE_TYPE(entry) ((entry) >> 3 & 15)
#define MAPLE_LEVELS 8 /* ten children and more a node: 4 levels hold 65,530 mappings */
#define MAPLE_PIVOTS 15 /* of the node that has most */

#define TREE_LEVELS 34 /* of a red-black tree of 65,530 mappings, at most */

/* Before v6.1, 524e00b36e8c ("mm: remove rb tree"). */
struct mm_struct___tree {
	struct rb_root mm_rb;
} __attribute__((preserve_access_index));

struct vm_area_struct___tree {
	struct rb_node vm_rb;
} __attribute__((preserve_access_index));

struct backing_file___user {
	struct path user_path;
} __attribute__((preserve_access_index));

/* Returns the child of a node in whose range the address lies; 0: none. */
static __always_inline __u64 maple_child(__u64 entry, __u64 address)
{
	struct maple_arange_64 *wide = NULL;
	struct maple_range_64 *node = NULL;
	bool is_wide = MAPLE_TYPE(entry) == maple_arange_64;
	__u64 at = entry & ~MAPLE_NODE_MASK, pivots, slots, pivot;
	__u32 count = is_wide ? sizeof(wide->pivot) / sizeof(wide->pivot[0]) : MAPLE_PIVOTS, i;

	pivots = at + (is_wide ? bpf_core_field_offset(wide->pivot)
			       : bpf_core_field_offset(node->pivot));
	slots = at +
		(is_wide ? bpf_core_field_offset(wide->slot) : bpf_core_field_offset(node->slot));
	for (i = 0; i < MAPLE_PIVOTS && i < count; i++) {
		pivot = KREAD_WORD(pivots + i * 8);
		if (pivot >= address || (i && !pivot))
			break;
	}
	return KREAD_WORD(slots + i * 8);
}

/* The mapping that a red-black tree has at the address, or the last one on the way to it. */
static __always_inline __u64 mapping_in_tree(struct mm_struct___tree *mm, __u64 address)
{
	__u32 offset = bpf_core_field_offset(((struct vm_area_struct___tree *)NULL)->vm_rb);
	struct rb_node *node = KREAD(mm, mm_rb.rb_node);
	struct vm_area_struct *mapping = NULL;

	for (int i = 0; i < TREE_LEVELS && node; i++) {
		mapping = (void *)node - offset;
		if (KREAD(mapping, vm_end) <= address)
			node = KREAD(node, rb_right);
		else if (KREAD(mapping, vm_start) > address)
			node = KREAD(node, rb_left);
		else
			break;
	}
	return (__u64)mapping;
}

/* A walk down a maple tree. */
struct maple_walk {
	__u64 entry; /* node, or the mapping in the end */
	__u64 address;
};

/* Go down by one level. Returns 1 at the end, as bpf_loop() wants. */
static long maple_step(__u32 index, struct maple_walk *walk)
{
	__u64 entry = walk->entry;

	walk->entry = maple_child(entry, walk->address);
	return MAPLE_TYPE(entry) == maple_leaf_64 || !walk->entry;
}

/* The mapping that a maple tree has at the address; 0: none. */
static __always_inline __u64 mapping_in_maple_tree(struct mm_struct *mm, __u64 address)
{
	struct maple_walk walk = {.entry = (__u64)KREAD(mm, mm_mt.ma_root), .address = address};

	if ((walk.entry & MAPLE_ENTRY_KIND) != MAPLE_ROOT)
		return 0;
	if (has_bpf_loop) {
		bpf_loop(MAPLE_LEVELS, maple_step, &walk, 0);
		return walk.entry;
	}
	for (int i = 0; i < MAPLE_LEVELS; i++)
		if (maple_step(i, &walk))
			break;
	return walk.entry;
}

static __always_inline struct vm_area_struct *mapping_of(struct mm_struct *mm, __u64 address)
{
	struct mm_struct___tree *older = (void *)mm;
	struct vm_area_struct *mapping;
	__u64 entry = 0;

	if (!mm)
		return NULL;
	barrier_var(mm); /* no offset of an unknown type in front of the question */
	if (bpf_core_field_exists(mm->mm_mt)) {
		entry = mapping_in_maple_tree(mm, address);
	} else if (bpf_core_field_exists(older->mm_rb)) {
		barrier_var(older);
		entry = mapping_in_tree(older, address);
	}
	mapping = (void *)entry;
	if (!mapping || entry & MAPLE_ENTRY_KIND || KREAD(mapping, vm_mm) != mm ||
	    KREAD(mapping, vm_start) > address || KREAD(mapping, vm_end) <= address)
		return NULL;
	return mapping;
}

/* Returns whether a mount is in no namespace: the kernel, or a file system, has it for itself. */
static __always_inline bool is_private_mount(struct vfsmount *mnt)
{
	struct mount *mount = container_of(mnt, struct mount, mnt);
	__u64 namespace = (__u64)KREAD(mount, mnt_ns);

	return !namespace || namespace >= -4095ULL;
}

/*
 * The path of a mapped file, as /proc/PID/maps shows it. On overlayfs the mapping is of a file in a
 * layer. Since v6.8, def3ae83da02 ("fs: store real path instead of fake path in backing file
 * f_path"), the path in the overlay stands behind this file. The flag that says so has another
 * number in each kernel, so what stands there is believed if it is on overlayfs.
 */
static __always_inline struct path *path_of_mapping(struct vm_area_struct *mapping)
{
	struct file *file = mapping ? KREAD(mapping, vm_file) : NULL;
	struct backing_file___user *backing = NULL;
	struct super_block *sb;
	struct dentry *dentry;
	struct path *path;

	if (!file)
		return NULL;
	if (bpf_core_field_exists(backing->user_path) &&
	    is_private_mount(KREAD(file, f_path.mnt))) {
		barrier_var(file); /* as above */
		path = (void *)file + bpf_core_field_offset(backing->user_path);
		dentry = KREAD(path, dentry);
		sb = KREAD(dentry, d_sb);
		if (KREAD(sb, s_magic) == OVERLAYFS_SUPER_MAGIC)
			return path;
	}
	return (void *)file + bpf_core_field_offset(file->f_path);
}

#endif /* KERNEL_MAPPING_BPF_H */
