// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files that were opened: made by that, truncated, a block device, a pipe, the memory of a process.
 * hooks/syscall_exit.bpf.c and hooks/io_uring.bpf.c call file_opened(), and hooks/changes.bpf.c
 * calls new_file_opened() for core dumps. Records: file_create, raw_access_read; pipes and memory
 * of processes are those of hooks/fifo.bpf.c and hooks/access.bpf.c.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/file.bpf.h"
#include "kernel/path.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/record.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/file_record.bpf.h"
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
	scratch_path_build_name(scratch, KREAD(file, f_path.dentry), KREAD(file, f_path.mnt));
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

/*
 * Report a regular file as created, or as what the flags of the record say. With created_ns 0 user
 * space finds the time of birth. Returns 1 if the record was sent.
 */
static __noinline int file_created(struct file *file, __s64 created_ns, __u32 flags)
{
	struct inode *inode = KREAD(file, f_inode);

	return file_event_of_dentry(RECORD_FILE_CREATE, KREAD(file, f_path.dentry),
				    KREAD(file, f_path.mnt), KREAD(inode, i_mode), flags,
				    created_ns);
}

/* A file that an image of a process opened for writing, and that was told. */
struct file_written {
	__u64 start_boot_ns;
	__u64 inode;
	__u64 name; /* name_number() */
	__u32 tgid;
	__u32 exec_id;
	__u32 device;
	__u32 generation; /* of the inode: its number may be another file's later */
	__u32 round; /* write_round */
	__u32 pad;
};

/* One that is thrown out is told again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct file_written);
	__type(value, __u8);
} files_written SEC(".maps");

static __always_inline void file_written_fill(struct file_written *key, struct file *file)
{
	struct inode *inode = KREAD(file, f_inode);
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *leader = KREAD(task, group_leader);
	struct super_block *sb = KREAD(inode, i_sb);

	key->start_boot_ns = KREAD(leader, start_boottime);
	key->tgid = KREAD(task, tgid);
	key->exec_id = KREAD(task, self_exec_id);
	key->inode = KREAD(inode, i_ino);
	key->name = name_number(file);
	key->generation = KREAD(inode, i_generation);
	key->device = KREAD(sb, s_dev);
	key->round = write_round;
}

/* Returns whether this image of the current process has opened the file before; it was told. */
static __noinline int written_is_told(struct file *file)
{
	struct file_written key = {};

	file_written_fill(&key, file);
	return bpf_map_lookup_elem(&files_written, &key) ? 1 : 0;
}

static __noinline int written_note(struct file *file)
{
	struct file_written key = {};
	__u8 yes = 1;

	file_written_fill(&key, file);
	return bpf_map_update_elem(&files_written, &key, &yes, BPF_ANY);
}

/*
 * A regular file that existed was opened for writing: report it once for each image of a process.
 * One that the rules exclude is judged anew each time, since it may have another name then.
 */
static __always_inline void existing_written(struct file *file, bool truncated)
{
	__u32 flags = RECORD_BY_WRITE;

	if (written_is_told(file))
		return;
	if (truncated)
		flags = RECORD_BY_TRUNCATION;
	else if (KREAD(file, f_flags) & O_APPEND)
		flags = RECORD_BY_APPEND;
	if (file_created(file, 0, flags))
		written_note(file);
}

/* A regular file that existed was opened, and records of files that were made are wanted. */
static __always_inline void existing_file_opened(struct file *file, __u32 f_mode, bool truncated)
{
	if (is_own())
		return;
	if (truncated && truncation_as_create)
		file_created(file, 0, RECORD_BY_TRUNCATION);
	else if (write_as_create && f_mode & FMODE_WRITE)
		existing_written(file, truncated);
}

/* A file that existed was opened. It matters as device, as truncated, or as a process's memory. */
static __always_inline int existing_opened(struct file *file, __u32 f_mode, bool truncated)
{
	struct inode *inode = KREAD(file, f_inode);
	__u32 kind = KREAD(inode, i_mode) & S_IFMT;
	struct super_block *sb = KREAD(inode, i_sb);

	if (f_mode & FMODE_PATH)
		return 0;
	if (kind == S_IFIFO) /* a pipe without a name is opened by /proc/PID/fd */
		return is_wanted(RECORD_BIT(RECORD_PIPE_CONNECT)) && !is_own() &&
				       KREAD(sb, s_magic) != PIPEFS_MAGIC
			       ? fifo_opened((__u64)file)
			       : 0;
	if (kind == S_IFBLK)
		return is_wanted(RECORD_BIT(RECORD_RAW_ACCESS_READ)) && !is_own()
			       ? device_opened(file, inode)
			       : 0;
	if (kind != S_IFREG)
		return 0;
	if (mass_change_files && f_mode & FMODE_WRITE)
		existing_file_opened_to_write(KREAD_WORD(&file->f_inode), truncated);
	if ((truncated || write_as_create) && is_wanted(RECORD_BIT(RECORD_FILE_CREATE)))
		existing_file_opened(file, f_mode, truncated);
	if ((is_wanted(ACCESS_RECORDS) || executable_memory) &&
	    KREAD(sb, s_magic) == PROC_SUPER_MAGIC)
		return process_file_opened((__u64)file);
	return 0;
}

/* A file that was not there before was opened. */
static __always_inline int new_opened(struct file *file)
{
	struct inode *inode = KREAD(file, f_inode);

	if (mass_change_files || is_wanted(RECORD_BIT(RECORD_TIME_SET)))
		file_made_here(KREAD_WORD(&file->f_inode));
	if (!is_wanted(RECORD_BIT(RECORD_FILE_CREATE)) || is_own() ||
	    (KREAD(inode, i_mode) & S_IFMT) != S_IFREG)
		return 0;
	file_created(file, inode_ctime_ns(inode), 0);
	return 0;
}

/* A file was opened by the current task. */
__noinline int file_opened(__u64 file_address, bool truncated)
{
	struct file *file = (void *)file_address;
	__u32 f_mode = KREAD(file, f_mode);

	return f_mode & FMODE_CREATED ? new_opened(file) : existing_opened(file, f_mode, truncated);
}

/* The kernel has opened a file that was not there before, in the name of the current task. */
__noinline int new_file_opened(__u64 file_address)
{
	return new_opened((void *)file_address);
}
