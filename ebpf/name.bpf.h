/* SPDX-License-Identifier: GPL-2.0 */
/* Records of files, by the file in hand, by a stored name, or by the caller's string. */
#ifndef NAME_BPF_H
#define NAME_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "compat.bpf.h"
#include "fd.bpf.h"
#include "maps.bpf.h"
#include "path.bpf.h"
#include "record.h"
#include "task.bpf.h"
#include "verdict.bpf.h"

#define NAMES_UNDER_WAY 1024

/* A name that a call is about to give or take, from a hook that has the dentry. */
struct name_under_way {
	__u32 mode; /* of the file that gets or loses the name */
	__u32 replaced_mode; /* of the file that loses it to a rename; 0: none */
	bool whole; /* path is from the very root */
	__u8 pad[3];
	struct path_buffer path;
};

/* Key: thread. An entry lives from the security hook to the end of the call. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NAMES_UNDER_WAY);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct name_under_way);
} names_under_way __weak SEC(".maps");

/* Threads whose unlink has been reported by the file system. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NAMES_UNDER_WAY);
	__type(key, __u32);
	__type(value, __u8);
} reported __weak SEC(".maps");

/* Nobody looks into the first map before it was used, into the second while it is empty. */
bool names_are_kept __weak;
__s64 unlinks_reported __weak; /* entries, or more */

/* Note that the current thread's unlink has been reported. */
static __always_inline bool reported_add(void)
{
	__u32 thread = bpf_get_current_pid_tgid();
	__u8 yes = 1;

	__sync_fetch_and_add(&unlinks_reported, 1); /* first: never too low */
	if (!bpf_map_update_elem(&reported, &thread, &yes, BPF_NOEXIST))
		return true;
	__sync_fetch_and_add(&unlinks_reported, -1);
	return !bpf_map_update_elem(&reported, &thread, &yes, BPF_EXIST);
}

/* Whether it has; forgets it. */
static __always_inline bool reported_take(void)
{
	__u32 thread = bpf_get_current_pid_tgid();

	if (unlinks_reported <= 0 || bpf_map_delete_elem(&reported, &thread))
		return false;
	__sync_fetch_and_add(&unlinks_reported, -1);
	return true;
}

static __always_inline bool is_own(void)
{
	return bpf_get_current_pid_tgid() >> 32 == own_tgid;
}

static __always_inline struct file_event *file_event_begin(struct scratch *scratch,
							   enum record_type type)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return record_begin(scratch, task, type, file_event);
}

/* Report a file by its dentry. */
static __always_inline int file_event_of_dentry(enum record_type type, struct dentry *dentry,
						struct vfsmount *mnt, __u32 mode, __s64 created_ns)
{
	struct scratch *scratch = task_scratch_get();
	struct file_event *r;

	count_seen(type);
	if (!scratch) {
		count_lost(type, LOSS_UNREADABLE);
		return 0;
	}
	r = file_event_begin(scratch, type);
	r->mode = mode;
	r->created_ns = created_ns;
	if (!record_append_name(scratch, &r->path, dentry, mnt))
		r->flags |= RECORD_PATH_TRUNCATED;
	if (file_event_excluded(type)) {
		count_filtered(type);
		return 0;
	}
	record_finish(scratch, type, false);
	return 0;
}

/* Report a file by the name that a security hook has resolved. */
static __always_inline int file_event_of_name(enum record_type type, struct name_under_way *name,
					      __u32 mode)
{
	struct scratch *scratch = task_scratch_get();
	struct file_event *r;

	count_seen(type);
	if (!scratch) {
		count_lost(type, LOSS_UNREADABLE);
		return 0;
	}
	r = file_event_begin(scratch, type);
	r->mode = mode;
	r->mount_namespace = task_mount_namespace((void *)bpf_get_current_task());
	if (!name->whole)
		r->flags |= RECORD_PATH_TRUNCATED;
	record_append_path(scratch, &r->path, &name->path);
	if (file_event_excluded(type)) {
		count_filtered(type);
		return 0;
	}
	record_finish(scratch, type, false);
	return 0;
}

/* Append a string of user memory, or of the kernel's. */
static __always_inline long record_append_string(struct scratch *scratch, struct varlen *string,
						 const char *from, bool in_kernel)
{
	__u32 used = scratch->used & (STRINGS_SIZE - 1);
	long size;

	if (in_kernel)
		size = bpf_probe_read_kernel_str(&scratch->data[used], PATH_SIZE, from);
	else
		size = bpf_probe_read_user_str(&scratch->data[used], PATH_SIZE, from);
	if (size <= 0)
		return size;
	string->offset = used;
	string->length = size - 1;
	scratch->used = used + size - 1;
	return size;
}

/* The directory that a relative name begins at. */
static __always_inline void append_base(struct scratch *scratch, struct file_event *r,
					struct task_struct *task, __s32 dirfd)
{
	struct fs_struct *fs = KREAD(task, fs);
	struct dentry *dentry;
	struct vfsmount *mnt;
	struct file *file;

	if (dirfd == AT_FDCWD) {
		dentry = KREAD(fs, pwd.dentry);
		mnt = KREAD(fs, pwd.mnt);
	} else {
		file = task_file(task, dirfd);
		dentry = KREAD(file, f_path.dentry);
		mnt = KREAD(file, f_path.mnt);
	}
	record_append_dentry(scratch, &r->base, dentry, mnt);
}

/* The root of the process. */
static __always_inline void append_root(struct scratch *scratch, struct file_event *r,
					struct task_struct *task)
{
	struct fs_struct *fs = KREAD(task, fs);

	path_build_name(&scratch->path, KREAD(fs, root.dentry), KREAD(fs, root.mnt));
	if (scratch->path.at != PATH_SIZE - 1) /* not just "/" */
		record_append_path(scratch, &r->root, &scratch->path);
}

/*
 * Begin a record of a file by the string that the caller gave; user space resolves it.
 * `in_kernel`: the string is the kernel's own copy. What else that takes is added below,
 * once the rules have let the string pass.
 */
static __always_inline void file_event_begin_given(struct scratch *scratch, __u64 string,
						   __u32 type, __u32 flags, bool in_kernel)
{
	struct file_event *r = file_event_begin(scratch, type);

	r->flags = RECORD_PATH_GIVEN | flags;
	if (record_append_string(scratch, &r->path, (void *)string, in_kernel) <= 0)
		r->flags |= RECORD_PATH_UNREADABLE;
}

/* Where the string is to be looked up. */
static __always_inline void file_event_append_place(struct scratch *scratch, __s32 dirfd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file_event *r = (void *)scratch->data;

	r->mount_namespace = task_mount_namespace(task);
	if (!r->path.length || scratch->data[r->path.offset & (STRINGS_SIZE - 1)] != '/')
		append_base(scratch, r, task, dirfd);
	append_root(scratch, r, task);
}

/* Report a file by the string that the caller gave. */
static __noinline int file_event_of_string(__s32 dirfd, __u64 string, __u32 type, __u32 flags)
{
	struct scratch *scratch = task_scratch_get();

	count_seen(type);
	if (!scratch) {
		count_lost(type, LOSS_UNREADABLE);
		return 0;
	}
	file_event_begin_given(scratch, string, type, flags, false);
	if (file_event_excluded(type)) {
		count_filtered(type);
		return 0;
	}
	file_event_append_place(scratch, dirfd);
	record_finish(scratch, type, false);
	return 0;
}

#endif /* NAME_BPF_H */
