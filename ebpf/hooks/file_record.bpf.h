/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Records of files that got or lost a name: by the file's dentry, by a name that a hook has kept,
 * or by the caller's string.
 */
#ifndef HOOKS_FILE_RECORD_BPF_H
#define HOOKS_FILE_RECORD_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/task.bpf.h"
#include "kernel/file.bpf.h"
#include "kernel/path.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/record.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/changed_inodes.bpf.h"

#define NAMES_UNDER_WAY 1024

/* A name that a call is about to give or take, resolved by a hook that is given the dentry. */
struct name_under_way {
	__u32 mode; /* of the file that gets or loses the name */
	__u32 replaced_mode; /* of the file that loses it to a rename; 0: none */
	struct path_buffer path;
};

/*
 * Key: thread id, with a bit of its own for the second name of a call. An entry lives from the hook
 * that resolves the name to the end of the call.
 */
#define OTHER_NAME_OF(thread) ((__u32)(thread) | 1U << 31)

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NAMES_UNDER_WAY);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct name_under_way);
} names_under_way SEC(".maps");

/* Key: id of a thread whose unlink has been reported by the file system. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NAMES_UNDER_WAY);
	__type(key, __u32);
	__type(value, __u8);
} reported SEC(".maps");

/* They spare the search in a map that is not used. */
bool names_are_kept; /* names_under_way has had an entry */
__s64 unlinks_reported; /* entries of `reported`; may be too high, never too low */

/* Note that the current thread's unlink has been reported. */
static __always_inline bool reported_add(void)
{
	__u32 thread = bpf_get_current_pid_tgid();
	__u8 yes = 1;

	__sync_fetch_and_add(&unlinks_reported, 1); /* before the entry: never too low */
	if (!bpf_map_update_elem(&reported, &thread, &yes, BPF_NOEXIST))
		return true;
	__sync_fetch_and_add(&unlinks_reported, -1);
	return !bpf_map_update_elem(&reported, &thread, &yes, BPF_EXIST);
}

/* Returns whether the current thread's unlink has been reported. Deletes the note. */
static __always_inline bool reported_take(void)
{
	__u32 thread = bpf_get_current_pid_tgid();

	if (unlinks_reported <= 0 || bpf_map_delete_elem(&reported, &thread))
		return false;
	__sync_fetch_and_add(&unlinks_reported, -1);
	return true;
}

/* Begin a record of the file at `path`. */
static __always_inline struct file_event *
file_event_begin(struct scratch *scratch, enum record_type type, struct path_buffer *path)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file_event *r = record_begin(scratch, task, type, file_event);

	if (path->given)
		r->flags = RECORD_PATH_GIVEN;
	else if (!path->whole)
		r->flags = RECORD_PATH_TRUNCATED;
	record_append_path(scratch, &r->path, path, &r->flags, RECORD_PATH_SHORTENED);
	return r;
}

/*
 * User space looks up the directory of a name as it was given, and the birth of a file that the
 * record does not tell: soon, before others change them.
 */
static __always_inline enum haste file_event_haste(const struct file_event *r,
						   enum record_type type)
{
	bool is_told = type != RECORD_FILE_CREATE || r->created_ns;

	return is_told && !(r->flags & RECORD_PATH_GIVEN) ? HASTE_NONE : HASTE_SOON;
}

/* Send the record in scratch. */
static __always_inline void file_event_finish(struct scratch *scratch, enum record_type type)
{
	record_finish(scratch, type, file_event_haste((void *)scratch->data, type));
}

/* Report a file by its dentry, with these flags of the record. Returns whether it was sent. */
static __always_inline bool file_event_of_dentry(enum record_type type, struct dentry *dentry,
						 struct vfsmount *mnt, __u32 mode, __u32 flags,
						 __s64 created_ns)
{
	struct scratch *scratch = task_scratch_get();
	struct file_event *r;

	count_seen(type);
	if (file_actor_excluded(type)) {
		count_filtered(type);
		return false;
	}
	if (!scratch) {
		count_lost(type, LOSS_UNREADABLE);
		return false;
	}
	scratch_path_build_name(scratch, dentry, mnt);
	if (file_event_excluded(type, mode, &scratch->path)) {
		count_filtered(type);
		return false;
	}
	r = file_event_begin(scratch, type, &scratch->path);
	r->flags |= flags;
	r->mode = mode;
	r->created_ns = created_ns;
	file_event_finish(scratch, type);
	return true;
}

/* Report a file by its resolved name. `flags` are those of the record. */
VERIFIED_ONCE int file_event_of_path(__u64 type, struct path_buffer *path, __u32 mode,
				     __s64 created_ns, __u32 flags)
{
	struct scratch *scratch;
	struct file_event *r;

	if (!path || type >= RECORD_TYPE_MAX)
		return 0;
	count_seen(type);
	if (file_actor_excluded(type) || file_event_excluded(type, mode, path)) {
		count_filtered(type);
		return 0;
	}
	scratch = task_scratch_get();
	if (!scratch) {
		count_lost(type, LOSS_UNREADABLE);
		return 0;
	}
	r = file_event_begin(scratch, type, path);
	r->mode = mode;
	r->created_ns = created_ns;
	r->flags |= flags;
	r->mount_namespace = task_mount_namespace((void *)bpf_get_current_task());
	file_event_finish(scratch, type);
	return 0;
}

/* Read a string from user memory or kernel memory. Returns false if that fails. */
static __always_inline bool path_read(struct path_buffer *path, const char *from, bool in_kernel)
{
	__u8 *to = &path->bytes[PATH_GIVEN_AT];
	long size = in_kernel ? bpf_probe_read_kernel_str(to, PATH_SIZE, from)
			      : bpf_probe_read_user_str(to, PATH_SIZE, from);

	path->given = true;
	path->whole = false;
	path->at = PATH_GIVEN_AT;
	path->end = PATH_GIVEN_AT + (size > 0 ? size - 1 : 0);
	return size > 0;
}

/* Append the directory at which a relative name begins. */
static __always_inline void append_base(struct scratch *scratch, struct varlen *base, __u32 *flags,
					__s32 dirfd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
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
	record_append_dentry(scratch, base, dentry, mnt, flags, 0, RECORD_PATH_SHORTENED);
}

/* Append the root of the process, unless it is that of the mount namespace. */
static __always_inline void append_root(struct scratch *scratch, struct varlen *root, __u32 *flags)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fs_struct *fs = KREAD(task, fs);

	scratch_path_build_name(scratch, KREAD(fs, root.dentry), KREAD(fs, root.mnt));
	if (scratch->path.at != PATH_SIZE - 1) /* not just "/" */
		record_append_path(scratch, root, &scratch->path, flags, RECORD_PATH_SHORTENED);
}

/*
 * Begin a record of a file by the caller's string, which is in scratch->path. User space resolves
 * it: the record has the directory of `dirfd`, too.
 */
static __always_inline void file_event_begin_given(struct scratch *scratch, __u32 type, __s32 dirfd,
						   __u32 flags)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file_event *r = file_event_begin(scratch, type, &scratch->path);

	r->flags |= flags;
	r->mount_namespace = task_mount_namespace(task);
	if (!r->path.length || scratch->data[r->path.offset & (STRINGS_SIZE - 1)] != '/')
		append_base(scratch, &r->base, &r->flags, dirfd);
	append_root(scratch, &r->root, &r->flags);
}

/*
 * Report a file by the caller's string. The upper half of `mode_and_flags` is the mode of the file,
 * 0 if it is not known; the lower half, flags of the record. `created_ns` is 0 if it is not known.
 */
__noinline int file_event_of_string(__s32 dirfd, __u64 string, __u64 type, __u64 mode_and_flags,
				    __s64 created_ns)
{
	struct scratch *scratch = task_scratch_get();
	__u32 mode = mode_and_flags >> 32, flags = mode_and_flags;
	struct file_event *r;

	if (type >= RECORD_TYPE_MAX)
		return 0;
	count_seen(type);
	if (file_actor_excluded(type)) {
		count_filtered(type);
		return 0;
	}
	if (!scratch) {
		count_lost(type, LOSS_UNREADABLE);
		return 0;
	}
	if (!path_read(&scratch->path, (void *)string, false))
		flags |= RECORD_PATH_UNREADABLE;
	if (file_event_excluded(type, mode, &scratch->path)) {
		count_filtered(type);
		return 0;
	}
	file_event_begin_given(scratch, type, dirfd, flags);
	r = (void *)scratch->data;
	r->mode = mode;
	r->created_ns = created_ns;
	file_event_finish(scratch, type);
	return 0;
}

#define MODE_AND_FLAGS(mode, flags) ((__u64)(mode) << 32 | (flags))

/*
 * A file got a name. Its type is known from the hooks that are given the dentry, or else from the
 * inodes that have changed.
 */
static __always_inline int name_given(struct name_under_way *name, const struct changes *changes,
				      __s32 dirfd, __u64 string, bool by_link)
{
	__u32 how = by_link ? RECORD_BY_LINK : RECORD_BY_RENAME;

	if (!name)
		return is_wanted(RECORD_BIT(RECORD_FILE_CREATE))
			       ? file_event_of_string(
					 dirfd, string, RECORD_FILE_CREATE,
					 MODE_AND_FLAGS(changes_mode(changes, by_link), how),
					 changes_birth_ns(changes))
			       : 0;
	if (name->replaced_mode && is_wanted(RECORD_BIT(RECORD_FILE_DELETE)))
		file_event_of_path(RECORD_FILE_DELETE, &name->path, name->replaced_mode, 0, 0);
	if (name->mode && is_wanted(RECORD_BIT(RECORD_FILE_CREATE)))
		file_event_of_path(RECORD_FILE_CREATE, &name->path, name->mode, 0, how);
	return 0;
}

/* mknod(2) has made a regular file. */
static __always_inline int file_made(__s32 dirfd, __u64 string)
{
	if (!is_wanted(RECORD_BIT(RECORD_FILE_CREATE)))
		return 0;
	return file_event_of_string(dirfd, string, RECORD_FILE_CREATE,
				    MODE_AND_FLAGS(S_IFREG, RECORD_FILE_IS_NEW), 0);
}

/* A file lost a name. */
static __always_inline int name_taken(struct name_under_way *name, __s32 dirfd, __u64 string)
{
	if (reported_take())
		return 0;
	if (name)
		return file_event_of_path(RECORD_FILE_DELETE, &name->path, name->mode, 0, 0);
	return file_event_of_string(dirfd, string, RECORD_FILE_DELETE, 0, 0);
}

#endif /* HOOKS_FILE_RECORD_BPF_H */
