/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Processes of a self-test, whose records the rules in the kernel do not discard. Each has an entry
 * from the daemon, by its tgid and the time of its fork, for some seconds and some records. It is
 * the daemon that decides about the events of these records, by the ProcessGuid.
 */
#ifndef FILTER_PASSAGE_BPF_H
#define FILTER_PASSAGE_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "kernel/compat.bpf.h"

bool processes_pass = 0; /* set by user space at any time; false: nothing here is done */

enum passage_limit {
	PASSAGE_PROCESSES = 64, /* entries of passing_processes */
	PASSAGE_RECORDS = 64, /* times that the rules are asked about one of them */
};

struct passing_process {
	__u64 start_boot_ns;
	__u32 tgid;
	__u32 pad;
};

struct passage {
	__u64 until_boot_ns;
	__s64 left; /* times that the rules may be asked yet */
};

/* These variables keep the types in the object's BTF, where user space reads them. */
const struct passing_process *passing_process_layout;
const struct passage *passage_layout;
enum passage_limit passage_limits;

#ifndef WITHOUT_BPF_LOOP
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PASSAGE_PROCESSES);
	__type(key, struct passing_process);
	__type(value, struct passage);
} passing_processes SEC(".maps");

/* Returns 1 if a process has an entry that is still good. One record of it is taken off. */
__noinline int process_passes(__u64 start_boot_ns, __u32 tgid)
{
	struct passing_process key = {.start_boot_ns = start_boot_ns, .tgid = tgid};
	struct passage *passage = bpf_map_lookup_elem(&passing_processes, &key);

	if (!passage || bpf_ktime_get_boot_ns() >= passage->until_boot_ns)
		return 0;
	return __sync_fetch_and_add(&passage->left, -1) > 0;
}

/* The same, at no cost while no self-test is under way. */
static __always_inline bool process_is_passing(__u64 start_boot_ns, __u32 tgid)
{
	return *(volatile bool *)&processes_pass && process_passes(start_boot_ns, tgid);
}

/* The same of the current task. */
static __always_inline bool current_passes(void)
{
	struct task_struct *task, *leader;

	if (!*(volatile bool *)&processes_pass)
		return false;
	task = (void *)bpf_get_current_task();
	leader = KREAD(task, group_leader);
	return process_passes(KREAD(leader, start_boottime), KREAD(task, tgid));
}
#else
#define process_is_passing(start_boot_ns, tgid) false
#endif

#endif /* FILTER_PASSAGE_BPF_H */
