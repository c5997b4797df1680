// SPDX-License-Identifier: GPL-2.0-only
/*
 * Processes: forked, given an image by exec, ended, and those that run already. Records:
 * process_fork, process_create, process_terminate, process_scan. hooks/tampering.bpf.c looks at the
 * image, too.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/task.bpf.h"
#include "kernel/cgroup.bpf.h"
#include "kernel/file_identity.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/ring.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/record.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/exec_more.bpf.h"
#include "hooks/functions.bpf.h"

/* Children of one process whose forks are told when it ends; more may not find their parent. */
#define CHILDREN_MAX 4096
#define CHILDREN_WITHOUT_LOOP 32 /* the same without bpf_loop() */

/* These variables keep the types in the object's BTF, where user space reads them. */
const union record *record_layouts;
enum loss_reason loss_reasons;
enum record_flag record_flags;

/* Files whose hashes user space has or does not need: an exec of one need not wake it at once. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct file_identity);
	__type(value, __u8);
} known_files SEC(".maps");

/* Scratch memory of process_scan(): user space runs one iterator at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scan_scratch SEC(".maps");

static __always_inline void fill_tty(struct process_create *r, struct task_struct *task)
{
	struct tty_struct *tty = BPF_CORE_READ(task, signal, tty);

	if (!tty)
		return;
	r->tty_index = BPF_CORE_READ(tty, index);
	if (tty_driver_is_pts(BPF_CORE_READ(tty, driver)))
		r->flags |= RECORD_TTY_IS_PTS;
}

static __always_inline void fill_ids(struct process_create *r, struct task_struct *task)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);

	r->image_id = image_id_of(&r->header);
	r->parent_uid = NO_UID;
	r->parent_start_boot_ns = BPF_CORE_READ(parent, group_leader, start_boottime);
	r->parent_tgid = BPF_CORE_READ(parent, tgid);
	r->parent_exec_id = BPF_CORE_READ(parent, self_exec_id);
	r->cgroup_id = cgroup_number(task_cgroup(task));
	r->loginuid = task_loginuid(task);
	r->session_id = task_sessionid(task);
	r->mount_namespace = task_mount_namespace(task);
	r->flags |= task_flags(task);
	bpf_probe_read_kernel_str(r->comm, sizeof(r->comm), task->comm);
}

static __always_inline void append_paths(struct scratch *scratch, struct process_create *r,
					 struct task_struct *task)
{
	struct file *exe = BPF_CORE_READ(task, mm, exe_file);
	struct fs_struct *fs = BPF_CORE_READ(task, fs);

	if (exe) {
		file_identify(&r->file, BPF_CORE_READ(exe, f_inode));
		record_append_process_dentry(scratch, &r->image, BPF_CORE_READ(exe, f_path.dentry),
					     BPF_CORE_READ(exe, f_path.mnt), &r->flags,
					     RECORD_IMAGE_TRUNCATED, 0);
	}
	if (fs)
		record_append_process_dentry(scratch, &r->cwd, BPF_CORE_READ(fs, pwd.dentry),
					     BPF_CORE_READ(fs, pwd.mnt), &r->flags,
					     RECORD_CWD_TRUNCATED, RECORD_CWD_SHORTENED);
}

/* Number of bytes of the arguments that are taken. */
static __always_inline __u32 args_length(struct process_create *r, struct mm_struct *mm)
{
	unsigned long length = BPF_CORE_READ(mm, arg_end) - BPF_CORE_READ(mm, arg_start);

	if (length < ARGS_SIZE)
		return length;
	if (length > ARGS_SIZE) /* with ARGS_SIZE bytes, just the last NUL is left out */
		r->flags |= RECORD_ARGS_TRUNCATED;
	return ARGS_SIZE - 1;
}

/* A longer command line keeps these bytes of its ends while the ring is filling. */
#define ARGS_HEAD 512
#define ARGS_TAIL 512
#define ARGS_MARK "..."
#define ARGS_MARK_LENGTH 3
#define ARGS_SHORT (ARGS_HEAD + ARGS_MARK_LENGTH + ARGS_TAIL)

/* Read both ends of the arguments to `to`: the last ones may matter as much as the first. */
static __always_inline long args_read_ends(struct process_create *r, struct mm_struct *mm, __u8 *to)
{
	long error = bpf_probe_read_user(to, ARGS_HEAD, (void *)mm->arg_start);

	__builtin_memcpy(to + ARGS_HEAD, ARGS_MARK, ARGS_MARK_LENGTH);
	error |= bpf_probe_read_user(to + ARGS_HEAD + ARGS_MARK_LENGTH, ARGS_TAIL,
				     (void *)mm->arg_end - ARGS_TAIL);
	r->flags &= ~RECORD_ARGS_TRUNCATED;
	r->flags |= RECORD_ARGS_SHORTENED;
	__sync_fetch_and_add(&args_shortened, 1);
	return error;
}

static __always_inline void args_appended(struct scratch *scratch, struct process_create *r,
					  __u32 length, long error)
{
	r->args.offset = scratch->used;
	if (error) {
		r->flags |= RECORD_ARGS_UNREADABLE;
		return;
	}
	r->args.length = length;
	scratch->used += length;
}

/* Keep the image for the rules in the kernel. An image whose path is cut counts as unknown. */
static __always_inline void keep_image(struct scratch *scratch, struct process_create *r,
				       struct task_struct *leader)
{
	struct varlen unknown = {};

	image_known(leader, scratch, r->flags & RECORD_IMAGE_TRUNCATED ? &unknown : &r->image);
}

/* A position in the list of a task's children. */
struct children {
	struct list_head *at;
	struct list_head *end;
};

static long child_tell(__u32 index, struct children *children)
{
	struct list_head *at = children->at, *next = KREAD(at, next);
	struct task_struct *child = container_of(at, struct task_struct, sibling);

	if (!at || at == children->end)
		return 1;
	fork_tell(KREAD(child, tgid));
	children->at = next;
	return next == at; /* another thread has just taken the child out of the list */
}

/*
 * Send the forks of a task's children before it ends or runs another program. When a child runs a
 * program later, user space may have forgotten the image that forked it.
 */
static __noinline int children_tell(struct task_struct *task)
{
	struct list_head *end = &task->children, *first = KREAD(end, next);
	struct children children = {.at = first, .end = end};

	if (first == end)
		return 0;
	if (has_bpf_loop) {
		bpf_loop(CHILDREN_MAX, child_tell, &children, 0);
		return 0;
	}
	for (int i = 0; i < CHILDREN_WITHOUT_LOOP; i++)
		if (child_tell(i, &children))
			break;
	return 0;
}

/* A process runs its first program: move its parent from the fork that is not told to `r`. */
static __always_inline void take_fork(struct process_create *r)
{
	__u32 tgid = r->header.tgid, parent_tgid, parent_exec_id, uid;
	struct process_fork *fork = bpf_map_lookup_elem(&untold_forks, &tgid);
	__u64 parent_start_boot_ns;

	if (!fork || fork->header.start_boot_ns != r->header.start_boot_ns)
		return;
	parent_start_boot_ns = fork->parent_start_boot_ns;
	parent_tgid = fork->parent_tgid;
	parent_exec_id = fork->parent_exec_id;
	uid = fork->header.uid;
	if (bpf_map_delete_elem(&untold_forks, &tgid)) /* told meanwhile: the copy may be mixed */
		return;
	r->parent_start_boot_ns = parent_start_boot_ns;
	r->parent_tgid = parent_tgid;
	r->parent_exec_id = parent_exec_id;
	r->parent_uid = uid;
}

/*
 * fork, vfork, clone: the fork of a process is kept. If the parent's own fork is not told yet, it
 * is sent first: before a process has children or a second thread. Record: process_fork.
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct process_fork r = {};
	__u32 tgid = child->tgid;

	fork_tell(parent->tgid);
	if (tgid != child->pid) /* a thread */
		return 0;
	record_header_fill(&r.header, child, RECORD_PROCESS_FORK);
	r.header.size = sizeof(r);
	r.parent_start_boot_ns = BPF_CORE_READ(parent, group_leader, start_boottime);
	r.parent_tgid = parent->tgid;
	r.parent_exec_id = parent->self_exec_id;
	r.flags = task_flags(child);
	image_inherited(parent->group_leader, child);
	/* With CLONE_PARENT the forker will not find it among its children; or the map is full. */
	if (BPF_CORE_READ(child, real_parent, tgid) != r.parent_tgid ||
	    bpf_map_update_elem(&untold_forks, &tgid, &r, BPF_ANY)) {
		count_seen(RECORD_PROCESS_FORK);
		record_output(&r, sizeof(r), RECORD_PROCESS_FORK, false);
	}
	return 0;
}

/* Address of the name that was run, where another program reads the file: a script. Else 0. */
static __always_inline __u64 script_name(struct linux_binprm *bprm)
{
	__u64 name = (__u64)BPF_CORE_READ(bprm, filename);

	return (__u64)BPF_CORE_READ(bprm, interp) == name ? 0 : name;
}

/* execve, execveat: the process has its new image. Record: process_create. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_create, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct scratch *scratch = task_scratch_get();
	struct mm_struct *mm = task->mm;
	struct process_create *r;
	__u32 length, used;
	long error;

	count_seen(RECORD_PROCESS_CREATE);
	if (!scratch || !mm) {
		count_lost(RECORD_PROCESS_CREATE, LOSS_UNREADABLE);
		return 0;
	}
	r = record_begin(scratch, task, RECORD_PROCESS_CREATE, process_create);
	fill_ids(r, task);
	children_tell(task);
	take_fork(r);
	fill_tty(r, task);
	append_paths(scratch, r, task);
	fill_more(scratch, r, task, bprm);
	append_environment(scratch, r, mm);
	keep_image(scratch, r, task);
	length = args_length(r, mm) & (ARGS_SIZE - 1);
	used = scratch->used & (STRINGS_SIZE - 1);
	if (length > ARGS_SHORT && ring_is_filling()) {
		length = ARGS_SHORT;
		error = args_read_ends(r, mm, &scratch->data[used]);
	} else {
		error = bpf_probe_read_user(&scratch->data[used], length, (void *)mm->arg_start);
	}
	args_appended(scratch, r, length, error);
	record_finish(scratch, RECORD_PROCESS_CREATE,
		      bpf_map_lookup_elem(&known_files, &r->file) ? HASTE_NONE : HASTE_NOW);
	if (is_wanted(RECORD_BIT(RECORD_PROCESS_TAMPERING)))
		image_taken(script_name(bprm));
	if (executable_memory)
		stack_taken();
	return 0;
}

static __always_inline void process_terminated(struct task_struct *task)
{
	struct process_terminate r = {};

	count_seen(RECORD_PROCESS_TERMINATE);
	record_header_fill(&r.header, task, RECORD_PROCESS_TERMINATE);
	r.header.size = sizeof(r);
	r.flags = task_flags(task);
	record_send(&r, sizeof(r), RECORD_PROCESS_TERMINATE, false);
}

/* A thread ends. Since v6.17 the tracepoint says whether it is the last one of its process. */
SEC("?tp_btf/sched_process_exit")
int BPF_PROG(process_terminate, struct task_struct *task, bool group_dead)
{
	children_tell(task);
	if (group_dead)
		process_terminated(task);
	return 0;
}

/*
 * The same before v6.17. The last thread sees no other alive. Two threads that end at once may both
 * see that; user space keeps the first record.
 */
SEC("?tp_btf/sched_process_exit")
int BPF_PROG(process_terminate_by_live, struct task_struct *task)
{
	children_tell(task);
	if (BPF_CORE_READ(task, signal, live.counter) == 0)
		process_terminated(task);
	return 0;
}

/* A process is reported by its leader, or by its threads if the leader has ended. */
static __always_inline bool speaks_for_process(struct task_struct *task)
{
	if (task->pid == task->tgid)
		return true;
	return BPF_CORE_READ(task, mm) && !BPF_CORE_READ(task, group_leader, mm);
}

static __always_inline struct process_create *scan_begin(struct scratch *scratch,
							 struct task_struct *task)
{
	struct process_create *r;

	r = record_begin(scratch, task, RECORD_PROCESS_SCAN, process_create);
	fill_ids(r, task);
	fill_tty(r, task);
	append_paths(scratch, r, task);
	if (task->pid == task->tgid)
		keep_image(scratch, r, task);
	return r;
}

/*
 * A process that runs already. User space runs this iterator and reads the records from it:
 * process_scan. They lack the arguments, which are in the memory of the other process. It may have
 * mapped a FUSE file there, whose server can make the read wait for ever. User space asks /proc
 * instead, where it can wait.
 */
SEC("?iter/task")
int process_scan(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct process_create *r;
	struct scratch *scratch;
	__u32 zero = 0, used;

	scratch = bpf_map_lookup_elem(&scan_scratch, &zero);
	if (!task || !scratch || !speaks_for_process(task))
		return 0;
	r = scan_begin(scratch, task);
	if (BPF_CORE_READ(task, mm) && !(KREAD(task, flags) & PF_KTHREAD))
		r->flags |= RECORD_ARGS_UNREADABLE;
	used = scratch->used & (STRINGS_SIZE + ARGS_SIZE - 1);
	r->header.boot_ns = bpf_ktime_get_boot_ns();
	r->header.size = used;
	bpf_seq_write(ctx->meta->seq, scratch->data, used);
	return 0;
}
