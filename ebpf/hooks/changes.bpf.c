// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inodes whose ctime is set in a call that gives or takes a name: they prove which file it was, and
 * a directory is the moment to look for the name, see hooks/found_names.bpf.c. The same programs
 * note the time of before of a file whose times are set, for hooks/stamp.bpf.c. They send one
 * record themselves: of the file of a core dump, which the kernel makes without a call. All else
 * hooks/syscall_exit.bpf.c and hooks/io_uring.bpf.c read from their notes at the end of the call.
 * For each change one of three tracepoints fires. They exist since v6.13, 4e40eff0b573
 * ("fs: add infrastructure for multigrain timestamps"). Their first argument is the inode; that is
 * all that the program asks for, so one program, which is verified once, serves the three.
 * Record: file_create.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/frames.bpf.h"
#include "kernel/task.bpf.h"
#include "kernel/syscall_numbers.bpf.h"
#include "kernel/syscall.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/changed_inodes.bpf.h"
#include "hooks/found_names.bpf.h"
#include "hooks/functions.bpf.h"
#include "hooks/request.bpf.h"

#ifndef WITHOUT_BPF_LOOP

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
	if ((KREAD(inode, i_mode) & S_IFMT) != S_IFDIR || !names_from_frames)
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
__noinline int call_is_excluded(__u64 records)
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

/* Returns whether a call may be told, whoever makes it: notes about it may be worth their time. */
static __always_inline bool may_be_told(enum call call, struct pt_regs *regs, bool compat)
{
	if (!is_name_call(call))
		return is_wanted(RECORD_BIT(RECORD_FILE_CREATE)) &&
		       may_make_file(call, regs, compat);
	if (call == CALL_UNLINKAT && ARGUMENT_2(regs, compat) & AT_REMOVEDIR)
		return false;
	return is_wanted(records_of(call)) || is_proving();
}

/*
 * Returns whether a call that may be told is not worth notes, since its actor is excluded. One that
 * has notes already was asked at its first change.
 */
static __always_inline bool is_discarded(enum call call, const struct call_notes *notes)
{
	if (!is_name_call(call) || (notes && notes->changes.kinds))
		return false;
	return call_is_excluded(records_of(call)) && !is_proving();
}

/*
 * An inode's ctime was set in a system call that may be told. `frame` lies on the kernel stack,
 * below the frames of the call. It and the inode go through the notes: the verifier counts with
 * numbers alone.
 */
static __always_inline int call_changed(struct task_struct *task, enum call call, const void *frame,
					struct inode *inode, __u64 magic)
{
	struct call_notes *notes = bpf_task_storage_get(&notes_of_threads, task, NULL, 0);

	if (is_discarded(call, notes))
		return 0;
	if (!notes)
		notes = bpf_task_storage_get(&notes_of_threads, task, NULL,
					     BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!notes)
		return 0;
	changes_add(&notes->changes, inode, magic);
	if (!is_name_call(call) || (KREAD(inode, i_mode) & S_IFMT) != S_IFDIR ||
	    !(names_from_frames || is_proving()))
		return 0;
	notes->frame = (__u64)frame;
	notes->inode = (__u64)inode;
	return name_search(notes);
}

/* Returns whether a call takes a name from a file. */
static __always_inline bool takes_a_name(enum call call)
{
	return call == CALL_UNLINK || call == CALL_UNLINKAT ||
	       (call >= CALL_RENAME && call <= CALL_RENAMEAT2);
}

/* The same of the request of a worker of io_uring. */
static __always_inline bool request_takes_a_name(struct task_struct *task)
{
	struct io_kiocb *request = (void *)request_of_worker(task);
	__u8 opcode = request ? KREAD(request, opcode) : 0;

	return opcode == IORING_OP_UNLINKAT || opcode == IORING_OP_RENAMEAT;
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

#define KERNEL_STACK 16384 /* bytes; a stack begins at a multiple */
#define DUMP_SEARCHES 8 /* in one core dump; the first one finds the file */

/* A search on the kernel stack for the open file that leads to an inode. */
struct file_search {
	__u64 at; /* address of the next word */
	__u64 end; /* of the stack */
	__u64 inode;
	__u64 dentry; /* of the file of overlayfs that stands in front of the inode's; 0: none */
	__u64 found; /* struct file; 0: not yet */
};

/*
 * A file of an overlay's upper layer that the kernel opened for one of the overlay. v6.5:
 * 62d53c4a1dfe ("fs: use backing_file container for internal files with "fake" f_path").
 */
struct backing_file___front {
	struct path user_path; /* of the overlay's file; v6.7 and later */
} __attribute__((preserve_access_index));

static __always_inline __u64 entry_in_front(struct file *file)
{
	struct backing_file___front *backing = (void *)file;

	if (!bpf_core_field_exists(backing->user_path))
		return 0;
	return (__u64)KREAD(backing, user_path.dentry);
}

/* Look at one word. Returns 1 at the end, as bpf_loop() wants. */
static long file_search_step(__u32 index, struct file_search *search)
{
	__u64 low = search->inode - SLAB_RANGE, at = search->at, word = KREAD_WORD(at), dentry;
	struct file *file = (void *)word;

	if (at >= search->end)
		return 1;
	search->at = at + sizeof(word);
	if (word - low >= 2 * SLAB_RANGE || word & 7)
		return 0;
	dentry = (__u64)KREAD(file, f_path.dentry);
	if (search->dentry) {
		search->found = dentry == search->dentry ? word : 0;
		return search->found != 0;
	}
	if ((__u64)KREAD(file, f_inode) != search->inode ||
	    (__u64)KREAD((struct dentry *)dentry, d_inode) != search->inode)
		return 0;
	if (KREAD(file, f_mode) & FMODE_BACKING) {
		search->dentry = entry_in_front(file);
		return 0;
	}
	search->found = word;
	return 1;
}

/*
 * A task that dumps core has changed the file in its notes: the kernel opened it, without a call of
 * the task. The frames of the dump hold the open file. Returns whether it was found and is new; its
 * address is in the notes then.
 */
__noinline int core_dumped(void)
{
	struct call_notes *notes = call_notes_get();
	struct file_search search = {};
	struct file *file;

	if (!notes)
		return 0;
	search.inode = notes->inode;
	search.at = notes->frame & ~7ULL;
	search.end = notes->frame | (KERNEL_STACK - 1);
	bpf_loop(FRAME_STEPS * FRAME_WORDS, file_search_step, &search, 0);
	if (search.found) {
		notes->dumps = DUMP_SEARCHES;
		notes->inode = search.found;
		file = (void *)search.found;
		return !!(KREAD(file, f_mode) & FMODE_CREATED);
	}
	if (++notes->dumps == DUMP_SEARCHES) {
		count_seen(RECORD_FILE_CREATE);
		count_lost(RECORD_FILE_CREATE, LOSS_UNREADABLE);
	}
	return 0;
}

static __always_inline int dump_changed(struct task_struct *task, const void *frame,
					struct inode *inode)
{
	struct call_notes *notes;

	if (!is_wanted(RECORD_BIT(RECORD_FILE_CREATE)) ||
	    (KREAD(inode, i_mode) & S_IFMT) != S_IFREG)
		return 0;
	notes = bpf_task_storage_get(&notes_of_threads, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!notes || notes->dumps >= DUMP_SEARCHES)
		return 0;
	notes->frame = (__u64)frame;
	notes->inode = (__u64)inode;
	return core_dumped() ? new_file_opened(notes->inode) : 0;
}

static __always_inline bool is_file(struct inode *inode)
{
	return (KREAD(inode, i_mode) & S_IFMT) == S_IFREG;
}

/* An inode's ctime was set by a worker of io_uring. */
static __always_inline int worker_changed(struct task_struct *task, const void *frame,
					  struct inode *inode)
{
	struct super_block *super = KREAD(inode, i_sb);
	__u64 magic = KREAD(super, s_magic);

	if (!tells_changes(magic))
		return 0;
	if (magic != OVERLAYFS_SUPER_MAGIC && acts_for_a_file_system(task) &&
	    !acts_for_a_request(task))
		return 0;
	if (mass_change_files && is_file(inode) && request_takes_a_name(task))
		written_file_taken((__u64)inode);
	if (!is_wanted(NAME_RECORDS | RECORD_BIT(RECORD_PIPE_CREATE)) && !proving_thread)
		return 0;
	return request_changed(task, frame, inode, magic);
}

/*
 * v6.13: the ctime of an inode is set to a given time (inode_set_ctime_to_ts), to the current time
 * (ctime_ns_xchg), or is the current time already (ctime_xchg_skip). The tests stand in the order
 * of their cost. The first one dismisses most changes: write(2), chmod(2), mkdir(2).
 */
SEC("?raw_tp/inode_set_ctime_to_ts")
int inode_changed(struct bpf_raw_tracepoint_args *ctx)
{
	struct inode *inode = (void *)ctx->args[0];
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	struct super_block *super;
	bool compat, counts, is_told;
	enum call call;
	__u64 magic;

	if (task->flags & PF_DUMPCORE)
		return dump_changed(task, ctx, inode);
	if (task->flags & PF_IO_WORKER)
		return worker_changed(task, ctx, inode);
	compat = task_in_compat_call(task);
	call = call_among(calls_of(regs), compat);
	if (call == CALL_UNWANTED)
		return 0;
	if (call >= CALL_UTIMES)
		return is_wanted(RECORD_BIT(RECORD_TIME_SET)) ? time_note((__u64)inode) : 0;
	counts = mass_change_files && takes_a_name(call) && is_file(inode);
	is_told = may_be_told(call, regs, compat);
	if (!counts && !is_told)
		return 0;
	super = KREAD(inode, i_sb);
	magic = KREAD(super, s_magic);
	if (!tells_changes(magic) ||
	    (magic != OVERLAYFS_SUPER_MAGIC && acts_for_a_file_system(task)))
		return 0;
	if (counts)
		written_file_taken((__u64)inode);
	return is_told ? call_changed(task, call, ctx, inode, magic) : 0;
}

#endif /* WITHOUT_BPF_LOOP */
