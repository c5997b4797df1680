/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Objects on the kernel stack of a call that gives or takes a name: the directory with the mount
 * through which the call came, the directory entries, and the kernel's copy of the caller's string.
 * Each is found by its shape, and a shape proves itself: its members point to each other. Words of
 * earlier calls lie above the frames of this call, because the kernel moves each call's frames by a
 * random distance. Therefore the search begins at the innermost frame and takes what it finds
 * first.
 */
#ifndef KERNEL_FRAMES_BPF_H
#define KERNEL_FRAMES_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/compat.bpf.h"
#include "kernel/path.bpf.h"

#define FRAME_WORDS 32 /* words that are looked at in one step */
#define FRAME_LEAD 8 /* words below, which are members of the same struct */
#define FRAME_STEPS 32 /* 8 KiB: half of a kernel stack */
#define FRAME_CHILDREN 8 /* entries of the directory that are remembered */
#define SLAB_RANGE (1ULL << 42) /* bytes; no object is farther away from a directory entry */

struct frame_search {
	__u64 at; /* address of the next word */
	__u64 end; /* the registers of the caller, where the stack begins */
	__u64 low; /* lowest address at which objects are looked for */
	/* What to search. */
	__u64 directory; /* struct dentry */
	__u64 super_block; /* of the directory */
	__u64 string; /* address in the caller's memory; 0: `filename` is known */
	bool is_rename;
	__u8 pad[3];
	/* What was found; 0: not yet. */
	__u32 children; /* entries of the directory that were met */
	__u64 mnt; /* struct vfsmount */
	__u64 filename; /* struct filename */
	__u64 text; /* the string in it */
	__u32 length; /* of the string, bytes */
	__u32 name_length; /* of its last component, bytes */
	__u64 old_dentry; /* of a rename */
	__u64 new_dentry;
	__u64 child[FRAME_CHILDREN];
	__u64 words[FRAME_LEAD + FRAME_WORDS];
	__u8 copy[PATH_SIZE]; /* of the string, to measure it */
};

struct renamedata___parents { /* v6.17: bc9241367aac ("VFS: change old_dir and new_dir in struct
				 renamedata to dentrys") */
	struct dentry *old_parent;
	struct dentry *old_dentry;
	struct dentry *new_parent;
	struct dentry *new_dentry;
} __attribute__((preserve_access_index));

struct renamedata___inodes {
	struct inode *old_dir;
	struct inode *new_dir;
} __attribute__((preserve_access_index));

/* Distance of a member below new_dentry, words. */
#define RENAME_DISTANCE(type, member)                                      \
	((bpf_core_field_offset(struct renamedata___parents, new_dentry) - \
	  bpf_core_field_offset(type, member)) /                           \
	 sizeof(__u64))

/*
 * Returns whether a word may be the address of an object. A word that is no multiple of 8 has its
 * lowest bits above all others here: one comparison, which the processor guesses better than two.
 */
static __always_inline bool is_object(const struct frame_search *search, __u64 word)
{
	__u64 distance = word - search->low;

	return (distance >> 3 | distance << 61) < 2 * SLAB_RANGE >> 3;
}

/*
 * Returns whether a word may be one that the search takes. In a rename, a pointer to an object
 * stands in front of both: of new_dentry its directory, of the directory the mount. The first test
 * dismisses most words.
 */
static __always_inline bool may_be_taken(const struct frame_search *search, __u32 i)
{
	const __u32 to_new = bpf_core_field_exists(((struct renamedata___parents *)0)->new_parent)
				     ? RENAME_DISTANCE(struct renamedata___parents, new_parent)
				     : RENAME_DISTANCE(struct renamedata___inodes, new_dir);

	if (!is_object(search, search->words[i]))
		return false;
	return !search->is_rename || to_new != 1 || is_object(search, search->words[i - 1]);
}

static __always_inline bool is_parent_of(__u64 parent, __u64 entry)
{
	struct renamedata___parents *now = NULL;
	__u64 real = (__u64)KREAD((struct dentry *)entry, d_parent);

	if (bpf_core_field_exists(now->new_parent))
		return real == parent;
	return (__u64)KREAD((struct dentry *)real, d_inode) == parent;
}

/* The word at `i`, which may be new_dentry of a struct renamedata. */
static __always_inline void rename_seen(struct frame_search *search, __u32 i)
{
	struct renamedata___parents *now = NULL;
	bool has_parents = bpf_core_field_exists(now->new_parent);
	__u64 new_parent, old_parent, old_dentry, new_dentry = search->words[i];
	__u32 to_new = has_parents ? RENAME_DISTANCE(struct renamedata___parents, new_parent)
				   : RENAME_DISTANCE(struct renamedata___inodes, new_dir);
	__u32 to_old = has_parents ? RENAME_DISTANCE(struct renamedata___parents, old_parent)
				   : RENAME_DISTANCE(struct renamedata___inodes, old_dir);
	__u32 to_entry = RENAME_DISTANCE(struct renamedata___parents, old_dentry);

	new_parent = search->words[i - (to_new & (FRAME_LEAD - 1))];
	if (!is_object(search, new_parent) || !is_parent_of(new_parent, new_dentry))
		return;
	old_parent = search->words[i - (to_old & (FRAME_LEAD - 1))];
	old_dentry = search->words[i - (to_entry & (FRAME_LEAD - 1))];
	if (!is_object(search, old_parent) || !is_object(search, old_dentry) ||
	    old_dentry == new_dentry || !is_parent_of(old_parent, old_dentry) ||
	    (__u64)KREAD((struct dentry *)new_dentry, d_sb) != search->super_block ||
	    (__u64)KREAD((struct dentry *)old_dentry, d_sb) != search->super_block)
		return;
	search->old_dentry = old_dentry;
	search->new_dentry = new_dentry;
}

static __always_inline void child_seen(struct frame_search *search, __u64 entry)
{
	__u32 count = search->children;

	if (count && search->child[(count - 1) & (FRAME_CHILDREN - 1)] == entry)
		return;
	search->child[count & (FRAME_CHILDREN - 1)] = entry;
	search->children = count + 1;
}

/* Look at the word number `at` of this step, which may be the address of an object. */
VERIFIED_ONCE int object_seen(struct frame_search *search, __u32 at)
{
	__u32 i = FRAME_LEAD + (at & (FRAME_WORDS - 1));
	__u64 word, below;

	if (!search)
		return 0;
	word = search->words[i];
	if (word == search->directory) {
		below = search->words[i - 1];
		if (!search->mnt && is_object(search, below) &&
		    (__u64)KREAD((struct vfsmount *)below, mnt_sb) == search->super_block)
			search->mnt = below;
		return 0;
	}
	if (search->is_rename) {
		if (!search->new_dentry)
			rename_seen(search, i);
		return 0;
	}
	if (!search->filename && (__u64)KREAD((struct filename *)word, uptr) == search->string)
		search->filename = word;
	if ((__u64)KREAD((struct dentry *)word, d_parent) == search->directory)
		child_seen(search, word);
	return 0;
}

/* Measure the string. Its last component is the name: no call here follows a link at the end. */
static __always_inline void string_measure(struct frame_search *search)
{
	struct filename *filename = (void *)search->filename;
	long size;

	search->text = (__u64)KREAD(filename, name);
	size = bpf_probe_read_kernel_str(search->copy, sizeof(search->copy), (void *)search->text);
	search->length = size > 0 ? size - 1 : 0;
}

/*
 * Returns whether the entry has the name at the end of the string. Of names longer than 16 bytes
 * the middle is not compared: the name is taken from the string.
 */
static __always_inline bool string_ends_with(const struct frame_search *search,
					     struct dentry *entry)
{
	const unsigned char *name = KREAD(entry, d_name.name);
	__u32 length = KREAD(entry, d_name.len);
	__u64 end = search->text + search->length, start = end - length;
	__u64 mask = length < 8 ? (1ULL << length * 8) - 1 : ~0ULL;

	if (!length || length > search->length || ((KREAD_WORD(start) ^ KREAD_WORD(name)) & mask))
		return false;
	if (length > 8 && KREAD_WORD(end - 8) != KREAD_WORD(name + length - 8))
		return false;
	return length == search->length || (KREAD_WORD(start - 1) & 0xff) == '/';
}

/* Look whether an entry of the directory has the name that the string tells. */
VERIFIED_ONCE int name_prove(struct frame_search *search)
{
	if (!search)
		return 0;
	if (!search->text)
		string_measure(search);
	for (__u32 i = 0; i < FRAME_CHILDREN && !search->name_length; i++) {
		struct dentry *child = (void *)search->child[i];

		if (child && string_ends_with(search, child))
			search->name_length = KREAD(child, d_name.len);
	}
	return 0;
}

static __always_inline bool frames_are_known(const struct frame_search *search)
{
	return search->mnt && (search->is_rename ? search->new_dentry : search->name_length);
}

/* Look at the next words. Returns 1 at the end of the search. */
VERIFIED_ONCE int words_seen(struct frame_search *search)
{
	if (!search)
		return 1;
	if (bpf_probe_read_kernel(search->words, sizeof(search->words),
				  (void *)(search->at - FRAME_LEAD * sizeof(__u64))))
		return 1;
	for (__u32 at = 0; at < FRAME_WORDS; at++)
		if (may_be_taken(search, FRAME_LEAD + at))
			object_seen(search, at);
	if (search->filename && search->children && !search->name_length)
		name_prove(search);
	search->at += FRAME_WORDS * sizeof(__u64);
	return search->at >= search->end || frames_are_known(search);
}

static long frame_step(__u32 index, struct frame_search **search)
{
	return words_seen(*search) != 0; /* the verifier wants 0 or 1 */
}

/*
 * Search the frames between `at` and `end` for what `search` asks. The caller has filled it but
 * for `low`.
 */
static __always_inline bool frames_search(struct frame_search *search)
{
	search->low = search->directory - SLAB_RANGE;
	bpf_loop(FRAME_STEPS, frame_step, &search, 0);
	return frames_are_known(search);
}

#endif /* KERNEL_FRAMES_BPF_H */
