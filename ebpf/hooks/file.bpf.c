// SPDX-License-Identifier: GPL-2.0-only
/* Files: created, deleted; and the one program that sees system calls end. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "hooks/access.bpf.h"
#include "kernel/compat.bpf.h"
#include "kernel/file.bpf.h"
#include "emit/maps.bpf.h"
#include "hooks/file_names.bpf.h"
#include "hooks/network.bpf.h"
#include "kernel/path.bpf.h"
#include "record.h"
#include "kernel/syscall.bpf.h"
#include "kernel/task.bpf.h"
#include "filter/events.bpf.h"

#define PROC_SUPER_MAGIC 0x9fa0
#define PTRACE_ATTACH 16
#define PTRACE_SEIZE 0x4206
#define BPF_PROG_LOAD_COMMAND 5

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

/* Report a regular file; created_ns 0 leaves the time of its birth to user space. */
static __noinline int file_created(struct file *file, __s64 created_ns)
{
	struct inode *inode = KREAD(file, f_inode);

	return file_event_of_dentry(RECORD_FILE_CREATE, KREAD(file, f_path.dentry),
				    KREAD(file, f_path.mnt), KREAD(inode, i_mode), created_ns);
}

/* A file that existed was opened: a block device, a process's memory, or truncated. */
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

/* A file was opened: made by that, or one that matters for another reason. */
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

/* Whether an open asked to empty the file; the answer matters only as a setting. */
static __always_inline bool is_truncating(enum call call, struct pt_regs *regs, bool compat)
{
	__u64 flags = 0;

	if (!truncation_as_create)
		return false;
	if (call == CALL_OPEN)
		flags = ARGUMENT_1(regs, compat);
	else if (call == CALL_OPENAT)
		flags = ARGUMENT_2(regs, compat);
	else if (call == CALL_CREAT)
		flags = O_TRUNC;
	else
		bpf_probe_read_user(&flags, sizeof(flags), (void *)ARGUMENT_2(regs, compat));
	return flags & O_TRUNC;
}

#define MODE_AND_FLAGS(mode, flags) ((__u64)(mode) << 32 | (flags))

/* Report the file that an open has made, by the path that the caller gave. */
static __always_inline int file_made_by_open(enum call call, struct pt_regs *regs, bool compat)
{
	__u64 first = ARGUMENT_0(regs, compat), second = ARGUMENT_1(regs, compat);
	bool has_directory = call == CALL_OPENAT || call == CALL_OPENAT2;

	if (is_own())
		return 0;
	return file_event_of_string(has_directory ? first : AT_FDCWD,
				    has_directory ? second : first, RECORD_FILE_CREATE,
				    MODE_AND_FLAGS(S_IFREG, RECORD_FILE_IS_NEW), 0);
}

/*
 * An open may fail once it has made the file: Landlock refuses to open what it lets a process
 * make, some file systems know no O_DIRECT. And another thread may have put another file in
 * place of the descriptor by now.
 */
static __always_inline int open_call_done(enum call call, struct pt_regs *regs, bool compat,
					  long result)
{
	struct changes changes = {};
	struct file *file = NULL;

	if (!is_wanted(OPEN_RECORDS))
		return 0;
	if (may_make_file(call, regs, compat) && is_wanted(RECORD_BIT(RECORD_FILE_CREATE)))
		changes_take(&changes);
	if (result >= 0)
		file = task_file((void *)bpf_get_current_task(), result);
	if (changes_made_file(&changes) && changes.file != (__u64)KREAD(file, f_inode))
		return file_made_by_open(call, regs, compat);
	return result < 0 ? 0 : file_opened((__u64)file, is_truncating(call, regs, compat));
}

/* A name was given to a file; the dentry hooks know which, else the inodes that changed. */
static __always_inline int name_given(struct name_under_way *name, const struct changes *changes,
				      __s32 dirfd, __u64 string, bool by_link)
{
	if (!name)
		return is_wanted(RECORD_BIT(RECORD_FILE_CREATE))
			       ? file_event_of_string(
					 dirfd, string, RECORD_FILE_CREATE,
					 MODE_AND_FLAGS(changes_mode(changes, by_link), 0),
					 changes_birth_ns(changes))
			       : 0;
	if (name->replaced_mode && is_wanted(RECORD_BIT(RECORD_FILE_DELETE)))
		file_event_of_name(RECORD_FILE_DELETE, name, name->replaced_mode);
	if (name->mode && is_wanted(RECORD_BIT(RECORD_FILE_CREATE)))
		file_event_of_name(RECORD_FILE_CREATE, name, name->mode);
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

static __always_inline int name_taken(struct name_under_way *name, __s32 dirfd, __u64 string)
{
	if (reported_take())
		return 0;
	if (name)
		return file_event_of_name(RECORD_FILE_DELETE, name, name->mode);
	return file_event_of_string(dirfd, string, RECORD_FILE_DELETE, 0, 0);
}

static __always_inline bool is_regular_mode(__u32 mode)
{
	return !(mode & S_IFMT) || (mode & S_IFMT) == S_IFREG; /* as mknod(2) takes it */
}

/* One of the calls that change names has succeeded. */
static __always_inline int name_changed(enum call call, struct pt_regs *regs, bool compat,
					struct name_under_way *name, const struct changes *changes)
{
	__u64 first = ARGUMENT_0(regs, compat), second = ARGUMENT_1(regs, compat);
	__u64 third = ARGUMENT_2(regs, compat), fourth = ARGUMENT_3(regs, compat);

	switch (call) {
	case CALL_UNLINK:
		return name_taken(name, AT_FDCWD, first);
	case CALL_UNLINKAT:
		return third & AT_REMOVEDIR ? 0 : name_taken(name, first, second);
	case CALL_LINK:
		return name_given(name, changes, AT_FDCWD, second, true);
	case CALL_LINKAT:
		return name_given(name, changes, third, fourth, true);
	case CALL_RENAMEAT2:
		if (ARGUMENT_4(regs, compat) & RENAME_EXCHANGE)
			return 0;
		return name_given(name, changes, third, fourth, false);
	case CALL_RENAME:
		return name_given(name, changes, AT_FDCWD, second, false);
	case CALL_RENAMEAT:
		return name_given(name, changes, third, fourth, false);
	case CALL_MKNOD:
		return is_regular_mode(second) ? file_made(AT_FDCWD, first) : 0;
	case CALL_MKNODAT:
		return is_regular_mode(third) ? file_made(first, second) : 0;
	default:
		return 0;
	}
}

static __always_inline int name_call_done(enum call call, struct pt_regs *regs, bool compat,
					  long result)
{
	bool deletes = call == CALL_UNLINK || call == CALL_UNLINKAT;
	__u32 thread = bpf_get_current_pid_tgid();
	struct name_under_way *name = NULL;
	struct changes changes = {};

	if (!is_wanted(deletes ? RECORD_BIT(RECORD_FILE_DELETE) : NAME_RECORDS))
		return 0;
	if (names_are_kept)
		name = bpf_map_lookup_elem(&names_under_way, &thread);
	if (!deletes)
		changes_take(&changes);
	if (!result && !is_own())
		name_changed(call, regs, compat, name, &changes);
	if (name)
		bpf_map_delete_elem(&names_under_way, &thread);
	return 0;
}

static __always_inline int access_call_done(enum call call, struct pt_regs *regs, bool compat,
					    long result)
{
	__u64 first = ARGUMENT_0(regs, compat);
	__u32 request = first;

	if (call == CALL_BPF)
		return (__u16)first == BPF_PROG_LOAD_COMMAND && result >= 0 &&
				       is_wanted(RECORD_BIT(RECORD_BPF_PROGRAM_LOAD))
			       ? bpf_program_loaded(result)
			       : 0;
	if (!is_wanted(RECORD_BIT(RECORD_PROCESS_ACCESS)))
		return 0;
	if (call == CALL_PTRACE)
		return !result && (request == PTRACE_ATTACH || request == PTRACE_SEIZE)
			       ? ptrace_attached(ARGUMENT_1(regs, compat))
			       : 0;
	if (call == CALL_PIDFD_GETFD)
		return result >= 0 ? descriptor_taken(first) : 0;
	return result > 0 ? process_memory_copied(first, call == CALL_PROCESS_VM_WRITEV) : 0;
}

/* socketcall() is what 32-bit programs on x86 accept by: its first argument says so. */
static __always_inline int accept_call_done(enum call call, struct pt_regs *regs, bool compat,
					    long result)
{
	__u64 what = ARGUMENT_0(regs, compat);

	if (call == CALL_SOCKETCALL && what != SOCKETCALL_ACCEPT && what != SOCKETCALL_ACCEPT4)
		return 0;
	return result >= 0 && is_wanted(RECORD_BIT(RECORD_NETWORK_CONNECT))
		       ? connection_accepted(result)
		       : 0;
}

SEC("?tp_btf/sys_exit")
int BPF_PROG(syscall_exit, struct pt_regs *regs, long result)
{
	__u32 calls = calls_of(regs);
	enum call call;
	bool compat;

	if (!calls)
		return 0;
	compat = task_in_compat_call((void *)bpf_get_current_task());
	call = call_among(calls, compat);
	if (call == CALL_UNWANTED)
		return 0;
	if (compat)
		result = (int)result;
	if (call <= CALL_CREAT)
		return open_call_done(call, regs, compat, result);
	if (call <= CALL_MKNODAT)
		return name_call_done(call, regs, compat, result);
	if (call >= CALL_ACCEPT)
		return accept_call_done(call, regs, compat, result);
	return access_call_done(call, regs, compat, result);
}
