// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inodes whose ctime is set in a call that gives or takes a name: they prove which file it was, and
 * a directory is the moment to look for the name, see hooks/found_names.bpf.c. The programs send no
 * record: hooks/syscall_exit.bpf.c and hooks/io_uring.bpf.c read their notes at the end of the
 * call. For each change one of three tracepoints fires. They exist since v6.13, 4e40eff0b573
 * ("fs: add infrastructure for multigrain timestamps").
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/task.bpf.h"
#include "kernel/syscall_numbers.bpf.h"
#include "kernel/syscall.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/changes.bpf.h"
#include "hooks/found_names.bpf.h"
#include "hooks/functions.bpf.h"
#include "hooks/request.bpf.h"

#ifndef WITHOUT_BPF_LOOP

#define CHANGE_RECORDS (NAME_RECORDS | RECORD_BIT(RECORD_PIPE_CREATE) | RECORD_BIT(RECORD_TIME_SET))

/* An inode's ctime was set in a request of io_uring. */
static __always_inline int request_changed(struct task_struct *task, const void *frame,
					   struct inode *inode, __u64 magic)
{
	__u64 request = request_of_worker(task);
	struct request_record *record = request_find(request);

	if (!record)
		return 0;
	barrier_var(record); /* clang would add the offset before the test */
	changes_add(&record->changes, inode, magic);
	if ((inode->i_mode & S_IFMT) != S_IFDIR || !names_from_frames)
		return 0;
	record->frame = (__u64)frame;
	record->inode = (__u64)inode;
	return request_name_search();
}

/* Records of calls that give or take a name. */
static __always_inline __u64 records_of(enum call call)
{
	if (call == CALL_UNLINK || call == CALL_UNLINKAT)
		return RECORD_BIT(RECORD_FILE_DELETE);
	if (call >= CALL_RENAME && call <= CALL_RENAMEAT2)
		return NAME_RECORDS;
	if (call == CALL_MKNOD || call == CALL_MKNODAT)
		return RECORD_BIT(RECORD_FILE_CREATE) | RECORD_BIT(RECORD_PIPE_CREATE);
	return RECORD_BIT(RECORD_FILE_CREATE);
}

static __always_inline bool is_name_call(enum call call)
{
	return call >= CALL_UNLINK && call <= CALL_MKNODAT;
}

/* Returns whether the actor is enough to discard all that a call may report. */
static __always_inline bool is_excluded(__u64 records)
{
	__u64 events = 0;

	records &= wanted_records;
	if (records & RECORD_BIT(RECORD_FILE_CREATE))
		events |= CREATE_EVENTS;
	if (records & RECORD_BIT(RECORD_FILE_DELETE))
		events |= DELETE_EVENTS;
	if (records & RECORD_BIT(RECORD_PIPE_CREATE))
		events |= FILTER_ASKED(FILTER_PIPE_CREATE);
	return is_own() || file_events_excluded(events);
}

/* Returns whether notes about the current call are worth their time. */
static __always_inline bool is_noteworthy(enum call call, struct pt_regs *regs, bool compat)
{
	if (!is_name_call(call))
		return may_make_file(call, regs, compat) &&
		       is_wanted(RECORD_BIT(RECORD_FILE_CREATE));
	if (call == CALL_UNLINKAT && ARGUMENT_2(regs, compat) & AT_REMOVEDIR)
		return false;
	return is_proving() || (is_wanted(records_of(call)) && !is_excluded(records_of(call)));
}

/*
 * An inode's ctime was set in a system call. `frame` lies on the kernel stack, below the frames of
 * the call. It and the inode go through the notes: the verifier counts with numbers alone.
 */
static __always_inline int call_changed(struct task_struct *task, struct pt_regs *regs,
					const void *frame, struct inode *inode, __u64 magic)
{
	bool compat = task_in_compat_call(task);
	enum call call = call_among(calls_of(regs), compat);
	struct call_notes *notes;

	if (!is_noteworthy(call, regs, compat))
		return 0;
	notes = bpf_task_storage_get(&notes_of_threads, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!notes)
		return 0;
	changes_add(&notes->changes, inode, magic);
	if (!is_name_call(call) || (inode->i_mode & S_IFMT) != S_IFDIR ||
	    !(names_from_frames || is_proving()))
		return 0;
	notes->frame = (__u64)frame;
	notes->inode = (__u64)inode;
	return name_search();
}

/* Returns whether the current call or request takes a name from a file. */
static __always_inline bool takes_a_name(struct task_struct *task, struct pt_regs *regs,
					 bool is_worker)
{
	struct io_kiocb *request;
	enum call call;
	__u8 opcode;

	if (is_worker) {
		request = (void *)request_of_worker(task);
		opcode = request ? KREAD(request, opcode) : 0;
		return opcode == IORING_OP_UNLINKAT || opcode == IORING_OP_RENAMEAT;
	}
	call = call_among(calls_of(regs), task_in_compat_call(task));
	return call == CALL_UNLINK || call == CALL_UNLINKAT ||
	       (call >= CALL_RENAME && call <= CALL_RENAMEAT2);
}

/*
 * Returns whether a request acts with rights that its process has registered in the ring: a task
 * that stands in for a file system looks the same else.
 */
static __always_inline bool acts_for_a_request(struct task_struct *task)
{
	struct io_kiocb *request = (void *)request_of_worker(task);

	return request && KREAD(request, creds) == task->cred;
}

/* The first argument of the tracepoint, which the verifier knows as a pointer, as a number. */
static __always_inline __u64 inode_address(const void *frame)
{
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), frame);
	return address;
}

/* Returns whether the current call sets times of a file, and these are wanted. */
static __always_inline bool sets_times(struct task_struct *task, struct pt_regs *regs)
{
	return is_wanted(RECORD_BIT(RECORD_TIME_SET)) &&
	       call_among(calls_of(regs), task_in_compat_call(task)) >= CALL_UTIMES;
}

static __always_inline int inode_changed(const void *frame, struct inode *inode)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	bool is_worker = task->flags & PF_IO_WORKER;
	__u64 magic;

	/* This test dismisses most changes: write(2), chmod(2), mkdir(2). It is first. */
	if ((!is_worker && !calls_of(regs)) ||
	    !(is_wanted(CHANGE_RECORDS) || mass_change_files || proving_thread))
		return 0;
	if (!is_worker && sets_times(task, regs))
		return time_note(inode_address(frame));
	magic = inode->i_sb->s_magic;
	if (!tells_changes(magic))
		return 0;
	if (magic != OVERLAYFS_SUPER_MAGIC && acts_for_a_file_system(task) &&
	    !(is_worker && acts_for_a_request(task)))
		return 0;
	if (mass_change_files && (inode->i_mode & S_IFMT) == S_IFREG &&
	    takes_a_name(task, regs, is_worker))
		written_file_taken(inode_address(frame));
	if (!is_wanted(NAME_RECORDS) && !proving_thread)
		return 0;
	return is_worker ? request_changed(task, frame, inode, magic)
			 : call_changed(task, regs, frame, inode, magic);
}

/* v6.13: the ctime is set to a given time. */
SEC("?tp_btf/inode_set_ctime_to_ts")
int BPF_PROG(ctime_set, struct inode *inode)
{
	return inode_changed(ctx, inode);
}

/* v6.13: the ctime is set to the current time. */
SEC("?tp_btf/ctime_ns_xchg")
int BPF_PROG(ctime_exchanged, struct inode *inode)
{
	return inode_changed(ctx, inode);
}

/* v6.13: the ctime is the current time already. */
SEC("?tp_btf/ctime_xchg_skip")
int BPF_PROG(ctime_kept, struct inode *inode)
{
	return inode_changed(ctx, inode);
}

#endif /* WITHOUT_BPF_LOOP */
