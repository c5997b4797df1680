// SPDX-License-Identifier: GPL-2.0-only
/*
 * Processes that reach into others by ptrace(), process_vm_readv(), process_vm_writev(),
 * pidfd_getfd() or /proc/PID/mem. hooks/syscall_exit.bpf.c and hooks/file.bpf.c call these
 * functions when the call has succeeded. A process that opens its own memory for writing goes to
 * hooks/tampering.bpf.c. Record: process_access.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/file.bpf.h"
#include "kernel/pid.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/flood.bpf.h"
#include "emit/record.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/functions.bpf.h"

/* Access rights of Windows, by which rules name what was done. */
#define PROCESS_VM_READ 0x10
#define PROCESS_VM_WRITE 0x28 /* with PROCESS_VM_OPERATION */
#define PROCESS_DUP_HANDLE 0x40
#define PROCESS_ALL_ACCESS 0x1fffff

/* Report that the current task reached into the process of `target`, unless that is its own. */
static __noinline int process_accessed(struct task_struct *target, __u32 given_pid, __u32 access)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct process_access r = {};

	if (tgid == own_tgid || (target && KREAD(target, tgid) == tgid))
		return 0;
	count_seen(RECORD_PROCESS_ACCESS);
	record_header_fill(&r.header, task, RECORD_PROCESS_ACCESS);
	r.header.size = sizeof(r);
	r.given_pid = given_pid;
	r.granted_access = access;
	if (target) {
		r.target_start_boot_ns = BPF_CORE_READ(target, group_leader, start_boottime);
		r.target_tgid = KREAD(target, tgid);
		r.target_tid = KREAD(target, pid);
		r.target_uid = BPF_CORE_READ(target, cred, uid.val);
		r.target_exec_id = KREAD(target, self_exec_id);
	}
	if (process_access_excluded(&r)) {
		count_filtered(RECORD_PROCESS_ACCESS);
		return 0;
	}
	if (flood_leaves_out(&r.header, flood_image(task),
			     r.target_start_boot_ns ^ (__u64)r.target_tgid << 32 ^ access))
		return 0;
	fork_tell(r.target_tgid);
	record_send(&r, sizeof(r), RECORD_PROCESS_ACCESS, false);
	return 0;
}

__noinline int ptrace_attached(__u32 pid)
{
	struct task_struct *target = task_by_vpid(pid);

	if (!reach_is_proved((__u64)target, true))
		return 0;
	return process_accessed(target, pid, PROCESS_ALL_ACCESS);
}

/* A tracer was reported when it attached. Its copies of memory are no process_access then. */
static __always_inline bool is_tracing(struct task_struct *target)
{
	return target && KREAD(target, ptrace) &&
	       BPF_CORE_READ(target, parent, tgid) == bpf_get_current_pid_tgid() >> 32;
}

__noinline int process_memory_copied(__u32 pid, bool writing)
{
	struct task_struct *target = task_by_vpid(pid);

	if (is_tracing(target) || !reach_is_proved((__u64)target, false))
		return 0;
	return process_accessed(target, pid, writing ? PROCESS_VM_WRITE : PROCESS_VM_READ);
}

/* pidfd_getfd(2) has given the current task a copy of another process's descriptor. */
__noinline int descriptor_taken(__u32 pidfd)
{
	struct file *file = task_file((void *)bpf_get_current_task(), pidfd);
	struct task_struct *target = task_of_pid(pid_of_pidfd(file));

	if (!reach_is_proved((__u64)target, false))
		return 0;
	return process_accessed(target, 0, PROCESS_DUP_HANDLE);
}

/* A regular file of procfs was opened. It is reported if it is the memory of a process. */
__noinline int process_file_opened(__u64 file_address)
{
	struct file *file = (void *)file_address;
	struct dentry *dentry = KREAD(file, f_path.dentry);
	struct proc_inode *inode;
	__u32 access = 0, f_mode;
	struct task_struct *target;
	char name[4] = {};

	if (KREAD(dentry, d_name.len) != 3)
		return 0;
	bpf_probe_read_kernel(name, sizeof(name) - 1, KREAD(dentry, d_name.name));
	if (name[0] != 'm' || name[1] != 'e' || name[2] != 'm')
		return 0;
	f_mode = KREAD(file, f_mode);
	if (f_mode & FMODE_READ)
		access |= PROCESS_VM_READ;
	if (f_mode & FMODE_WRITE)
		access |= PROCESS_VM_WRITE;
	inode = container_of(KREAD(file, f_inode), struct proc_inode, vfs_inode);
	target = task_of_pid(KREAD(inode, pid));
	if (f_mode & FMODE_WRITE && executable_memory && target &&
	    KREAD(target, tgid) == bpf_get_current_pid_tgid() >> 32 &&
	    memory_asked(WAY_MEMORY_FILE))
		memory_told(WAY_MEMORY_FILE);
	if (f_mode & FMODE_WRITE && is_wanted(RECORD_BIT(RECORD_PROCESS_WRITE)))
		process_written((__u64)target, 0, 0, RECORD_BY_MEMORY_FILE);
	return is_wanted(RECORD_BIT(RECORD_PROCESS_ACCESS)) ? process_accessed(target, 0, access)
							    : 0;
}
