/* SPDX-License-Identifier: GPL-2.0-only */
/* Flows that threads had part in lately, by processor: a cache in front of the map udp_flows. */
#ifndef HOOKS_UDP_RECENT_BPF_H
#define HOOKS_UDP_RECENT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "kernel/sock.bpf.h"
#include "hooks/file_record.bpf.h"

__u64 udp_interval_ns = 0; /* time until a flow is reported again; set by user space at any time */

/* A flow that a thread had part in lately. Most datagrams need no search in udp_flows. */
struct udp_recent {
	struct flow flow;
	__u64 start_boot_ns; /* of the thread */
	__u64 reported; /* nanoseconds of the boot clock */
	__u64 tick; /* jiffies when that was compared with the clock */
	__u64 writers; /* tasks that are about to write; only one that is alone writes */
	__u32 tid; /* 0: empty, or being written */
	__u32 exec_id;
};

/* The thread that has part in a flow now. */
struct udp_thread {
	__u64 start_boot_ns;
	__u64 tick;
	__u32 tid;
	__u32 exec_id;
};

#define UDP_RECENT 64 /* a power of two */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, UDP_RECENT);
	__type(key, __u32);
	__type(value, struct udp_recent);
} udp_recently SEC(".maps");

static __always_inline struct udp_recent *udp_recent_of(const struct flow *flow)
{
	const __u32 *local = (void *)flow->local_address, *remote = (void *)flow->remote_address;
	__u32 mixed = local[0] ^ remote[0] ^ remote[3] ^ flow->remote_port ^ flow->local_port << 3;
	__u32 slot = (mixed ^ mixed >> 8 ^ mixed >> 16) & (UDP_RECENT - 1);

	return bpf_map_lookup_elem(&udp_recently, &slot);
}

/*
 * Returns whether a slot's flow was reported in the interval. The clock costs as much as all else
 * here: it is asked once in a tick, by which the interval may be too long. An interval of 0 has no
 * end that could be missed. If another task writes the slot meanwhile, it gets the tick of before:
 * that is no later one than its own.
 */
static __always_inline bool udp_recent_holds(struct udp_recent *recent,
					     const struct udp_thread *thread)
{
	if (recent->tick == thread->tick && udp_interval_ns)
		return true;
	if (bpf_ktime_get_boot_ns() - recent->reported >= udp_interval_ns)
		return false;
	recent->tick = thread->tick;
	return true;
}

/*
 * Returns whether a slot is of this thread and flow. The thread id is compared first and last:
 * another task may preempt this one and write the slot between any two steps, but never with this
 * thread's id.
 */
static __always_inline bool udp_recent_is(struct udp_recent *recent, const struct flow *flow,
					  const struct udp_thread *thread)
{
	const volatile __u32 *tid = &recent->tid;

	if (*tid != thread->tid || recent->start_boot_ns != thread->start_boot_ns ||
	    recent->exec_id != thread->exec_id || !flow_is_equal(&recent->flow, flow) ||
	    !udp_recent_holds(recent, thread))
		return false;
	barrier();
	return *tid == thread->tid;
}

/*
 * Write a slot, unless another task was preempted while it was writing it. Additions do for that;
 * an exchange would need v5.12, 5ffa25502b5a ("bpf: Add instructions for atomic_[cmp]xchg").
 */
static __always_inline void udp_recent_set(struct udp_recent *recent, const struct flow *flow,
					   const struct udp_thread *thread, __u64 reported)
{
	__sync_fetch_and_add(&recent->writers, 1);
	if (*(volatile __u64 *)&recent->writers == 1) {
		*(volatile __u32 *)&recent->tid = 0;
		barrier();
		recent->flow = *flow;
		recent->start_boot_ns = thread->start_boot_ns;
		recent->exec_id = thread->exec_id;
		recent->reported = reported;
		recent->tick = thread->tick;
		barrier();
		*(volatile __u32 *)&recent->tid = thread->tid;
	}
	__sync_fetch_and_add(&recent->writers, -1);
}

#endif /* HOOKS_UDP_RECENT_BPF_H */
