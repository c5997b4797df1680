/* SPDX-License-Identifier: GPL-2.0-only */
/* Forks that wait to be told: most processes run another program before they matter. */
#ifndef EMIT_FORKS_BPF_H
#define EMIT_FORKS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "emit/counters.bpf.h"
#include "emit/ring.bpf.h"

/* Forks that user space has not been told of, by tgid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct process_fork);
} untold_forks SEC(".maps");

/*
 * Tell user space of a process that has only been forked so far. Whoever finds that it is
 * told can rely on the record being in the ring; two that tell at once may do it twice.
 */
static __noinline int fork_tell(__u32 tgid)
{
	struct process_fork *fork = bpf_map_lookup_elem(&untold_forks, &tgid), *r;
	__u64 flags;

	if (!fork)
		return 0;
	flags = wake_flags(ring_waiting(), sizeof(*r), false);
	r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);
	if (!r) {
		count_seen(RECORD_PROCESS_FORK);
		count_lost(RECORD_PROCESS_FORK, LOSS_RING_FULL);
	} else {
		*r = *fork;
		if (bpf_map_lookup_elem(&untold_forks, &tgid)) { /* then the copy is whole */
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

/* Send a whole record; its header's type and size are set. */
static __always_inline void record_send(void *record, __u32 size, enum record_type type,
					bool urgent)
{
	if (type != RECORD_PROCESS_CREATE)
		fork_tell(((struct record_header *)record)->tgid);
	record_output(record, size, type, urgent);
}

#endif /* EMIT_FORKS_BPF_H */
