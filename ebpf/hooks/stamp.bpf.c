// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files whose time of change a process puts back. hooks/syscall_exit.bpf.c calls time_set() when
 * utimensat(2) or one of its kind has succeeded. The inode and its time of before are noted while
 * the call runs: by the program here, or by those of hooks/changes.bpf.c. Record: time_set.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/file.bpf.h"
#include "kernel/path.bpf.h"
#include "kernel/task.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/record.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/changed_inodes.bpf.h"
#include "hooks/file_record.bpf.h"
#include "hooks/functions.bpf.h"

#define TIMES_UNDER_WAY 1024
#define SECOND_NS 1000000000LL
#define DAY_NS (24 * 3600 * SECOND_NS)

/* A file whose times a call is about to set. */
struct time_before {
	__u64 inode; /* address */
	__s64 mtime_ns; /* wall clock */
	__u64 boot_ns; /* when that was noted */
};

/* Times of before, by thread id. An entry lives until the call of the thread ends. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, TIMES_UNDER_WAY);
	__type(key, __u32);
	__type(value, struct time_before);
} times_before SEC(".maps");

/*
 * Note the time of an inode. The first note of a call counts: later ones have the new time. An
 * older note is of a call whose end was not seen.
 */
__noinline int time_note(__u64 inode_address)
{
	struct inode *inode = (void *)inode_address;
	__u32 thread = bpf_get_current_pid_tgid();
	struct time_before before = {.inode = inode_address}, *known;

	if (!inode || (KREAD(inode, i_mode) & S_IFMT) != S_IFREG)
		return 0;
	before.mtime_ns = inode_mtime_ns(inode);
	before.boot_ns = bpf_ktime_get_boot_ns();
	known = bpf_map_lookup_elem(&times_before, &thread);
	if (known && before.boot_ns - known->boot_ns < SECOND_NS)
		return 0;
	return bpf_map_update_elem(&times_before, &thread, &before, BPF_ANY);
}

/* Times of a file are about to be set. vfs_utimes() is no interface; all kernels have had it. */
SEC("?fentry/vfs_utimes")
int BPF_PROG(times_setting, const struct path *path)
{
	if (is_wanted(RECORD_BIT(RECORD_TIME_SET)))
		time_note((__u64)BPF_CORE_READ(path, dentry, d_inode));
	return 0;
}

/* Forget the note of the current thread: its call has failed. */
__noinline int time_forget(void)
{
	__u32 thread = bpf_get_current_pid_tgid();

	return bpf_map_delete_elem(&times_before, &thread);
}

static __always_inline __s64 birth_of(struct inode *inode)
{
	struct super_block *sb = KREAD(inode, i_sb);

	return inode_birth_ns(inode, KREAD(sb, s_magic));
}

/*
 * Returns whether a new time is not that of work on the file: it lies before the file was made, or
 * a day ago and more. The call has just set the time of the inode's own change to now.
 */
static __always_inline bool is_put_back(struct inode *inode, const struct time_before *before)
{
	__s64 now = inode_ctime_ns(inode), new = inode_mtime_ns(inode), birth = birth_of(inode);

	if (new == before->mtime_ns)
		return false;
	return new < now - DAY_NS || (birth && new < birth - SECOND_NS);
}

/* Send the record of a file: by its descriptor where `string` is 0, else by the caller's string. */
static __always_inline void time_send(struct scratch *scratch, struct inode *inode,
				      const struct time_before *before, __s32 descriptor,
				      __u64 string)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file *file = task_file(task, descriptor);
	struct time_set *r = record_begin(scratch, task, RECORD_TIME_SET, time_set);

	r->mount_namespace = task_mount_namespace(task);
	r->mode = KREAD(inode, i_mode);
	r->mtime_ns = inode_mtime_ns(inode);
	r->previous_ns = before->mtime_ns;
	r->birth_ns = birth_of(inode);
	if (!string) {
		record_append_dentry(scratch, &r->path, KREAD(file, f_path.dentry),
				     KREAD(file, f_path.mnt), &r->flags, RECORD_PATH_TRUNCATED,
				     RECORD_PATH_SHORTENED);
		record_finish(scratch, RECORD_TIME_SET, HASTE_NONE);
		return;
	}
	r->flags |= RECORD_PATH_GIVEN;
	if (!path_read(&scratch->path, (void *)string, false))
		r->flags |= RECORD_PATH_UNREADABLE;
	record_append_path(scratch, &r->path, &scratch->path, &r->flags, RECORD_PATH_SHORTENED);
	if (!r->path.length || scratch->data[r->path.offset & (STRINGS_SIZE - 1)] != '/')
		append_base(scratch, &r->base, &r->flags, descriptor);
	append_root(scratch, &r->root, &r->flags);
	record_finish(scratch, RECORD_TIME_SET, HASTE_SOON);
}

/* Returns whether the time of a file was put back, and is to be told. `before` may be empty. */
static __always_inline bool is_time_told(struct inode *inode, const struct time_before *before)
{
	return (KREAD(inode, i_mode) & S_IFMT) == S_IFREG && KREAD(inode, __i_nlink) &&
	       is_put_back(inode, before) && !is_file_made_here((__u64)inode);
}

/* Times were set: of the file behind a descriptor where `string` is 0. */
__noinline int time_set(__s32 descriptor, __u64 string)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct time_before *noted = bpf_map_lookup_elem(&times_before, &thread), before = {};
	struct scratch *scratch = task_scratch_get();
	struct inode *inode;

	if (!noted || is_own())
		return 0;
	before = *noted;
	bpf_map_delete_elem(&times_before, &thread);
	inode = (void *)before.inode;
	if (!is_time_told(inode, &before))
		return 0;
	count_seen(RECORD_TIME_SET);
	if (actor_excluded(FILTER_FILE_TIME)) {
		count_filtered(RECORD_TIME_SET);
		return 0;
	}
	if (!scratch) {
		count_lost(RECORD_TIME_SET, LOSS_UNREADABLE);
		return 0;
	}
	time_send(scratch, inode, &before, descriptor, string);
	return 0;
}
