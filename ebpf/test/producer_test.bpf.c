// SPDX-License-Identifier: GPL-2.0-only
/* Fills the ring buffer with recorded records as fast as one core can. For benchmarks only. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "emit/counters.bpf.h"
#include "emit/ring.bpf.h"
#include "emit/forks.bpf.h"

#define TEMPLATES 4
#define TEMPLATE_SIZE 2048
#define ROUNDS 64 /* a run sends all templates this often at most */

/* A record to send, of a process that is new in each round or of the current process. */
struct template
{
	__u32 size; /* 0: none */
	__u32 is_of_current;
	__u8 data[TEMPLATE_SIZE];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TEMPLATES);
	__type(key, __u32);
	__type(value, struct template);
} templates SEC(".maps");

struct producer_run {
	__u32 rounds;
	__u32 first_tgid; /* tgid of the first round; each round adds 1 */
	__u64 limit_bytes; /* a round begins only while fewer bytes wait in the ring */
};

static __always_inline void fill_parent(struct record_header *header, struct task_struct *task)
{
	struct process_create *create = (struct process_create *)header;

	if (header->type == RECORD_PROCESS_CREATE) {
		create->parent_tgid = task->tgid;
		create->parent_start_boot_ns = task->group_leader->start_boottime;
		create->parent_exec_id = task->self_exec_id;
		create->image_id = image_id_of(header);
	}
}

static __always_inline void produce(__u32 number, __u32 tgid, struct task_struct *task)
{
	struct template *template = bpf_map_lookup_elem(&templates, &number);
	struct record_header *header;
	__u32 size, type;

	if (!template)
		return;
	header = (struct record_header *)template->data;
	type = *(volatile __u32 *)&header->type; /* read once, then checked */
	size = template->size & (TEMPLATE_SIZE - 1);
	if (size < sizeof(*header) || type >= RECORD_TYPE_MAX)
		return;
	header->boot_ns = bpf_ktime_get_boot_ns();
	if (template->is_of_current) {
		header->tgid = header->tid = task->tgid;
		header->start_boot_ns = task->group_leader->start_boottime;
		header->exec_id = task->self_exec_id;
	} else {
		header->tgid = header->tid = tgid;
		header->start_boot_ns = (__u64)tgid << 20;
		fill_parent(header, task);
	}
	count_seen(type);
	record_send(header, size, type, false);
}

/* Returns the number of rounds that found room. */
SEC("syscall")
int produce_rounds(struct producer_run *run)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 round, number;

	for (round = 0; round < ROUNDS; round++) {
		if (round >= run->rounds ||
		    bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) > run->limit_bytes)
			break;
		for (number = 0; number < TEMPLATES; number++)
			produce(number, run->first_tgid + round, task);
	}
	return round;
}

char LICENSE[] SEC("license") = "GPL";
