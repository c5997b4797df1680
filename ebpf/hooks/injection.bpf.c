// SPDX-License-Identifier: GPL-2.0-only
/*
 * Processes that write into the memory or the registers of others: by process_vm_writev(), by
 * ptrace(), or by /proc/PID/mem, which is reported when it is opened for writing.
 * hooks/syscall_exit.bpf.c and hooks/access.bpf.c call these functions when the call has succeeded.
 * Record: process_write.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/mapping.bpf.h"
#include "kernel/path.bpf.h"
#include "kernel/pid.bpf.h"
#include "kernel/syscall_numbers.bpf.h"
#include "kernel/syscall.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/flood.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/record.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/functions.bpf.h"

#define WRITE_REPEAT_NS 1000000000ULL

/* A way in which one image of a process wrote into one image of another. */
struct write_told {
	__u64 start_boot_ns;
	__u64 target_start_boot_ns;
	__u32 tgid;
	__u32 exec_id;
	__u32 target_tgid; /* or the id that was given, where the target has ended */
	__u32 target_exec_id;
	__u32 how; /* flag of the record */
	__u32 pad;
};

/* When it was reported last, boot clock. An entry that is thrown out lets it be reported again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct write_told);
	__type(value, __u64);
} writes_told SEC(".maps");

static __always_inline void write_told_fill(struct write_told *key, const struct process_write *r,
					    __u32 how)
{
	key->start_boot_ns = r->header.start_boot_ns;
	key->target_start_boot_ns = r->target_start_boot_ns;
	key->tgid = r->header.tgid;
	key->exec_id = r->header.exec_id;
	key->target_tgid = r->target_tgid ?: r->given_pid;
	key->target_exec_id = r->target_exec_id;
	key->how = how;
}

static __always_inline bool is_told(const struct write_told *key)
{
	__u64 *told = bpf_map_lookup_elem(&writes_told, key);

	return told && bpf_ktime_get_boot_ns() - *told < WRITE_REPEAT_NS;
}

static __always_inline void target_fill(struct process_write *r, struct task_struct *target,
					__u32 how)
{
	r->target_start_boot_ns = BPF_CORE_READ(target, group_leader, start_boottime);
	r->target_tgid = KREAD(target, tgid);
	r->target_tid = r->target_tgid;
	if (how == RECORD_BY_POKE || how == RECORD_BY_REGISTERS)
		r->target_tid = KREAD(target, pid);
	r->target_uid = BPF_CORE_READ(target, cred, uid.val);
	r->target_exec_id = KREAD(target, self_exec_id);
}

/* Append the path of what is mapped where the target was written to. */
static __always_inline void module_append(struct scratch *scratch, struct process_write *r,
					  struct task_struct *target)
{
	struct path *path;

	if (!r->address || !target)
		return;
	path = path_of_mapping(mapping_of(KREAD(target, mm), r->address));
	if (path)
		record_append_dentry(scratch, &r->module, KREAD(path, dentry), KREAD(path, mnt),
				     &r->flags, RECORD_PATH_TRUNCATED, RECORD_PATH_SHORTENED);
}

/* Send the record unless the rules exclude it. Returns whether it was sent. */
static __always_inline bool write_send(struct scratch *scratch, struct process_write *r,
				       struct task_struct *target)
{
	if (process_write_excluded(r)) {
		count_filtered(RECORD_PROCESS_WRITE);
		return false;
	}
	if (flood_leaves_out(&r->header, flood_image((void *)bpf_get_current_task()),
			     r->target_start_boot_ns ^ (__u64)r->target_tgid << 32 ^ r->flags))
		return false;
	module_append(scratch, r, target);
	fork_tell(r->target_tgid);
	record_finish(scratch, RECORD_PROCESS_WRITE, false);
	return true;
}

/*
 * Report that the current task has written into the process of the task at `target_address`, unless
 * that is its own. One image of a process that goes on writing in the same way is reported once a
 * second. `how` is a flag of the record.
 */
__noinline int process_written(__u64 target_address, __u32 given_pid, __u64 address, __u32 how)
{
	struct task_struct *task = (void *)bpf_get_current_task(), *target = (void *)target_address;
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct scratch *scratch = task_scratch_get();
	struct write_told key = {};
	struct process_write *r;
	__u64 now;

	if (tgid == own_tgid || (target && KREAD(target, tgid) == tgid))
		return 0;
	if (!scratch) {
		count_seen(RECORD_PROCESS_WRITE);
		count_lost(RECORD_PROCESS_WRITE, LOSS_UNREADABLE);
		return 0;
	}
	r = record_begin(scratch, task, RECORD_PROCESS_WRITE, process_write);
	r->given_pid = given_pid;
	r->flags = how;
	r->address = address;
	if (target)
		target_fill(r, target, how);
	write_told_fill(&key, r, how);
	if (is_told(&key))
		return 0;
	count_seen(RECORD_PROCESS_WRITE);
	if (!write_send(scratch, r, target))
		return 0;
	now = bpf_ktime_get_boot_ns();
	bpf_map_update_elem(&writes_told, &key, &now, BPF_ANY);
	return 0;
}

#define SPANS_READ 8 /* the first one that is not empty is sought among so many */

/* Where the first span that is not empty begins; 0: unknown. It is the caller's memory. */
static __always_inline __u64 first_of_spans(__u64 spans, __u32 count, bool are_short)
{
	__u64 span[2] = {};
	__u32 low[2] = {};

	for (int i = 0; i < SPANS_READ && i < count; i++) {
		if (are_short) {
			bpf_probe_read_user(low, sizeof(low), (void *)(spans + i * sizeof(low)));
			span[0] = low[0];
			span[1] = low[1];
		} else {
			bpf_probe_read_user(span, sizeof(span), (void *)(spans + i * sizeof(span)));
		}
		if (span[1])
			return span[0];
	}
	return 0;
}

/* process_vm_writev(2) has written something. `are_short`: pointers of the caller have 4 bytes. */
__noinline int memory_copied_to(__u32 pid, __u64 spans, __u32 count, bool are_short)
{
	struct task_struct *target = task_by_vpid(pid);

	if (!reach_is_proved((__u64)target, false))
		return 0;
	return process_written((__u64)target, pid, first_of_spans(spans, count, are_short),
			       RECORD_BY_MEMORY_COPY);
}

/*
 * ptrace(2) has written at `address`, or, where that is 0, registers, which lie `registers_at`
 * bytes behind the beginning of each task's stack. They are read from the thread, since the copy
 * in the caller's memory may be changed by now.
 */
__noinline int ptrace_has_written(__u32 pid, __u64 address, __u32 how, __u64 registers_at)
{
	struct task_struct *target = task_by_vpid(pid);
	struct pt_regs *registers;

	if (!reach_is_proved((__u64)target, true))
		return 0;
	if (how == RECORD_BY_REGISTERS && target) {
		registers = (void *)((__u64)KREAD(target, stack) + registers_at);
		address = INSTRUCTION_POINTER(registers);
	}
	return process_written((__u64)target, pid, address, how);
}
