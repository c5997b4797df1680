/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Forks that user space has not been told of. Most children run another program at once, and that
 * record names their parent: the record of the fork is sent only where something else comes first.
 */
#ifndef EMIT_FORKS_BPF_H
#define EMIT_FORKS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "emit/counters.bpf.h"
#include "emit/ring.bpf.h"

/* Key: tgid of the child. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct process_fork);
} untold_forks SEC(".maps");

/*
 * Send the record of a fork if that has not been done. The entry is deleted after the record is in
 * the ring: a caller that finds no entry can rely on that. Two callers at once may send it twice.
 */
static __noinline int fork_tell(__u32 tgid)
{
	struct process_fork *fork = bpf_map_lookup_elem(&untold_forks, &tgid), *r;
	__u64 flags;

	if (!fork)
		return 0;
	flags = wake_flags(ring_waiting(), sizeof(*r), HASTE_NONE);
	r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);
	if (!r) {
		count_seen(RECORD_PROCESS_FORK);
		count_lost(RECORD_PROCESS_FORK, LOSS_RING_FULL);
	} else {
		*r = *fork;
		/* While the entry is there, nothing else takes its place: the copy is whole. */
		if (bpf_map_lookup_elem(&untold_forks, &tgid)) {
			count_seen(RECORD_PROCESS_FORK);
			count_submitted(RECORD_PROCESS_FORK);
			bpf_ringbuf_submit(r, flags);
		} else {
			bpf_ringbuf_discard(r, flags);
		}
	}
	bpf_map_delete_elem(&untold_forks, &tgid);
	return 0;
}

/* Send a whole record, behind the fork of its process. The header's type and size are set. */
static __always_inline void record_send(void *record, __u32 size, enum record_type type,
					enum haste haste)
{
	if (type != RECORD_PROCESS_CREATE)
		fork_tell(((struct record_header *)record)->tgid);
	record_output(record, size, type, haste);
}

#endif /* EMIT_FORKS_BPF_H */
