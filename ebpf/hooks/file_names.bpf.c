// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names that a call is about to give or take, from hooks that are given the dentry. fentry programs
 * keep the resolved name, and hooks/syscall_exit.bpf.c reports it if the call succeeds. Records:
 * file_create, file_delete.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/task.bpf.h"
#include "kernel/file.bpf.h"
#include "kernel/path.bpf.h"
#include "kernel/mount.bpf.h"
#include "kernel/syscall_numbers.bpf.h"
#include "kernel/syscall.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/wanted.bpf.h"
#include "hooks/file_record.bpf.h"
#include "hooks/found_names.bpf.h"
#include "hooks/functions.bpf.h"

/* Returns false for threads of the kernel and of io_uring: no system call of theirs ends. */
static __always_inline bool ends_a_call(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return !(KREAD(task, flags) & (PF_KTHREAD | PF_IO_WORKER));
}

/* Resolve a name before it changes, and keep it until the call ends. NULL: it is not kept. */
static __always_inline struct name_under_way *name_remember(const struct path *directory,
							    struct dentry *dentry, __u32 mode)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct scratch *scratch = task_scratch_get(); /* any bytes, to make an entry of */
	struct name_under_way *name;

	if (!scratch || !is_wanted(NAME_RECORDS) || !ends_a_call() ||
	    bpf_map_update_elem(&names_under_way, &thread, scratch->data, BPF_ANY))
		return NULL;
	name = bpf_map_lookup_elem(&names_under_way, &thread);
	if (!name)
		return NULL;
	names_are_kept = true;
	name->mode = mode;
	name->replaced_mode = 0;
	path_build_name(&name->path, dentry, directory->mnt);
	return name;
}

static __always_inline __u32 dentry_mode(struct dentry *dentry)
{
	return BPF_CORE_READ(dentry, d_inode, i_mode);
}

/* unlink() and unlinkat() of a file; needs CONFIG_SECURITY_PATH and fentry. */
SEC("?fentry/security_path_unlink")
int BPF_PROG(path_unlink, const struct path *directory, struct dentry *dentry)
{
	if (mass_change_files)
		written_file_taken((__u64)BPF_CORE_READ(dentry, d_inode));
	name_remember(directory, dentry, dentry_mode(dentry));
	return 0;
}

/* link() and linkat(), likewise. */
SEC("?fentry/security_path_link")
int BPF_PROG(path_link, struct dentry *old, const struct path *directory, struct dentry *dentry)
{
	name_remember(directory, dentry, dentry_mode(old));
	return 0;
}

/* rename(), renameat() and renameat2(), likewise. */
SEC("?fentry/security_path_rename")
int BPF_PROG(path_rename, const struct path *old_directory, struct dentry *old,
	     const struct path *directory, struct dentry *dentry, unsigned int flags)
{
	struct inode *replaced = BPF_CORE_READ(dentry, d_inode);
	struct inode *moved = BPF_CORE_READ(old, d_inode);
	struct name_under_way *name;

	if (mass_change_files) {
		written_file_taken((__u64)moved);
		written_file_taken((__u64)replaced);
	}
	name = name_remember(directory, dentry, 0);
	if (!name || moved == replaced) /* two names of one file: rename(2) changes nothing */
		return 0;
	name->mode = BPF_CORE_READ(moved, i_mode);
	if (replaced && (BPF_CORE_READ(replaced, i_mode) & S_IFMT) != S_IFDIR)
		name->replaced_mode = BPF_CORE_READ(replaced, i_mode);
	return 0;
}

/* The mount at which the name of an unlink call begins; it may lead to the file. */
static __always_inline struct vfsmount *
start_of_call(struct task_struct *task, struct pt_regs *regs, enum call call, bool compat)
{
	__s32 dirfd = call == CALL_UNLINK ? AT_FDCWD : (__s32)ARGUMENT_0(regs, compat);
	struct file *file;

	if (dirfd == AT_FDCWD)
		return BPF_CORE_READ(task, fs, pwd.mnt);
	file = task_file(task, dirfd);
	return KREAD(file, f_path.mnt);
}

/*
 * ext4 has removed a name and still holds its dentry. Record: file_delete, where fentry is not
 * allowed. It is sent only in a call that asked to unlink: a file system that stacks on ext4 may
 * unlink files that its user knows by other names.
 */
SEC("?tp_btf/ext4_unlink_exit")
int BPF_PROG(unlink_ext4, struct dentry *dentry, int result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	struct vfsmount *mnt;
	bool compat;
	enum call call;

	if (result || is_own() || !ends_a_call() || acts_for_a_file_system(task))
		return 0;
	compat = task_in_compat_call(task);
	call = call_among(calls_of(regs), compat);
	if ((call != CALL_UNLINK && call != CALL_UNLINKAT) || name_is_found())
		return 0;
	mnt = mount_with(start_of_call(task, regs, call, compat), dentry);
	if (!mnt || !reported_add())
		return 0;
	file_event_of_dentry(RECORD_FILE_DELETE, dentry, mnt, dentry_mode(dentry), 0, 0);
	return 0;
}
