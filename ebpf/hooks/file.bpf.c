// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files that were opened: made by that, truncated, a block device, the memory of a process.
 * hooks/syscall_exit.bpf.c and hooks/io_uring.bpf.c call file_opened(). Records: file_create,
 * raw_access_read.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/path.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/record.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/file_names.bpf.h"
#include "hooks/functions.bpf.h"

static __always_inline int device_opened(struct file *file, struct inode *inode)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct scratch *scratch = task_scratch_get();
	struct raw_access_read *r;

	count_seen(RECORD_RAW_ACCESS_READ);
	if (!scratch) {
		count_lost(RECORD_RAW_ACCESS_READ, LOSS_UNREADABLE);
		return 0;
	}
	path_build_name(&scratch->path, KREAD(file, f_path.dentry), KREAD(file, f_path.mnt));
	if (raw_access_excluded(&scratch->path)) {
		count_filtered(RECORD_RAW_ACCESS_READ);
		return 0;
	}
	r = record_begin(scratch, task, RECORD_RAW_ACCESS_READ, raw_access_read);
	r->device = KREAD(inode, i_rdev);
	if (!scratch->path.whole)
		r->flags |= RECORD_PATH_TRUNCATED;
	record_append_path(scratch, &r->path, &scratch->path, &r->flags, RECORD_PATH_SHORTENED);
	record_finish(scratch, RECORD_RAW_ACCESS_READ, false);
	return 0;
}

/* Report a regular file as created. With created_ns 0 user space finds the time of birth. */
static __noinline int file_created(struct file *file, __s64 created_ns)
{
	struct inode *inode = KREAD(file, f_inode);

	return file_event_of_dentry(RECORD_FILE_CREATE, KREAD(file, f_path.dentry),
				    KREAD(file, f_path.mnt), KREAD(inode, i_mode), created_ns);
}

/* A file that existed was opened. It matters as device, as truncated, or as a process's memory. */
static __always_inline int existing_opened(struct file *file, __u32 f_mode, bool truncated)
{
	struct inode *inode = KREAD(file, f_inode);
	__u32 kind = KREAD(inode, i_mode) & S_IFMT;
	struct super_block *sb = KREAD(inode, i_sb);

	if (f_mode & FMODE_PATH)
		return 0;
	if (kind == S_IFBLK)
		return is_wanted(RECORD_BIT(RECORD_RAW_ACCESS_READ)) && !is_own()
			       ? device_opened(file, inode)
			       : 0;
	if (kind != S_IFREG)
		return 0;
	if (truncated && is_wanted(RECORD_BIT(RECORD_FILE_CREATE)) && !is_own())
		return file_created(file, 0);
	if (is_wanted(RECORD_BIT(RECORD_PROCESS_ACCESS)) && KREAD(sb, s_magic) == PROC_SUPER_MAGIC)
		return process_file_opened((__u64)file);
	return 0;
}

/* A file was opened by the current task. */
__noinline int file_opened(__u64 file_address, bool truncated)
{
	struct file *file = (void *)file_address;
	__u32 f_mode = KREAD(file, f_mode);
	struct inode *inode;

	if (!(f_mode & FMODE_CREATED))
		return existing_opened(file, f_mode, truncated);
	inode = KREAD(file, f_inode);
	if (!is_wanted(RECORD_BIT(RECORD_FILE_CREATE)) || is_own() ||
	    (KREAD(inode, i_mode) & S_IFMT) != S_IFREG)
		return 0;
	return file_created(file, inode_ctime_ns(inode));
}
