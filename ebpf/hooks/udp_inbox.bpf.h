/* SPDX-License-Identifier: GPL-2.0-only */
/* Flows of the datagrams that wait in the queue of a socket, and which of them a receive took. */
#ifndef HOOKS_UDP_INBOX_BPF_H
#define HOOKS_UDP_INBOX_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "kernel/compat.bpf.h"
#include "kernel/sock.bpf.h"

#define CHARGE_STEPS 32 /* runs that one receive looks at; the next receive goes on */

struct run {
	struct flow flow;
	__u64 first;
	__u64 end; /* arrival number at which the next run begins */
};

/*
 * Datagrams that arrived at a socket, as a sequence of runs. A run is datagrams of one flow, one
 * behind the other; it begins with the arrival number `first`. The last run is kept here. Earlier
 * runs that are not read to their end are in the map `runs`. The number of datagrams that have left
 * the queue tells which one a receive has read. Only two receives from one socket at the same
 * instant can be taken for each other.
 */
struct inbox {
	struct bpf_spin_lock lock;
	__u32 run; /* number of the last run */
	__u32 oldest; /* number of the first run that is not done */
	__u32 pad;
	__u64 arrived; /* datagrams that arrived */
	__u64 settled; /* datagrams of these that were read or dropped */
	__u64 first;
	struct flow flow;
	struct run ended; /* the run before the last, which may not be in the map yet */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct inbox);
} inboxes SEC(".maps");

struct run_key {
	__u64 inbox; /* its address */
	__u64 run;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct run_key);
	__type(value, struct run);
} runs SEC(".maps");

/* Note an arrival. If a run ended with it, returns its number and fills `ended`; else 0. */
static __always_inline __u32 inbox_add(struct inbox *inbox, const struct flow *flow,
				       struct run *ended)
{
	__u32 run = 0;

	bpf_spin_lock(&inbox->lock);
	if (!flow_is_equal(&inbox->flow, flow)) {
		if (inbox->settled < inbox->arrived && inbox->first < inbox->arrived) {
			run = ++inbox->run;
			ended->flow = inbox->flow;
			ended->first = inbox->first;
			ended->end = inbox->arrived;
			inbox->ended = *ended;
		} else if (inbox->settled >= inbox->arrived) {
			inbox->oldest = inbox->run + 1;
		}
		inbox->flow = *flow;
		inbox->first = inbox->arrived;
	}
	inbox->arrived++;
	bpf_spin_unlock(&inbox->lock);
	return run;
}

/* The last arrival found no room in the queue. Another processor may have added one meanwhile. */
static __always_inline void inbox_take_back(struct inbox *inbox)
{
	bpf_spin_lock(&inbox->lock);
	if (inbox->settled < inbox->arrived && inbox->first < inbox->arrived)
		inbox->arrived--;
	bpf_spin_unlock(&inbox->lock);
}

static __always_inline __u32 datagrams_queued(struct sock *sk)
{
	return KREAD(sk, sk_receive_queue.qlen) + KREAD((struct udp_sock *)sk, reader_queue.qlen);
}

/* The datagrams that one receive is charged with: they left the queue since the last receive. */
struct charge {
	__u32 run;
	__u32 run_end;
	__u64 from;
	__u64 to;
	bool last; /* some are of the last run, which has the flow below */
	struct flow flow;
};

static __always_inline bool run_is_equal(const struct run *one, const struct run *other)
{
	return one->first == other->first && one->end == other->end &&
	       flow_is_equal(&one->flow, &other->flow);
}

/*
 * Put a run that has ended into the map. The processor that has ended it may not have come to that
 * yet. What an earlier socket at this address has left there is written over.
 */
static __always_inline void run_put(struct inbox *inbox, __u32 number, const struct run *ended)
{
	struct run_key key = {.inbox = (__u64)inbox, .run = number};
	struct run *run = bpf_map_lookup_elem(&runs, &key);

	if (!run || !run_is_equal(run, ended))
		bpf_map_update_elem(&runs, &key, ended, BPF_ANY);
}

/* Not inlined: the stack of its callers has no room for the run. */
static __noinline void inbox_settle(struct inbox *inbox, __u32 queued, struct charge *charge)
{
	struct run ended = {};
	__u32 number = 0;

	bpf_spin_lock(&inbox->lock);
	charge->from = inbox->settled;
	if (inbox->arrived > queued && inbox->settled < inbox->arrived - queued)
		inbox->settled = inbox->arrived - queued;
	charge->to = inbox->settled;
	charge->last = inbox->first < inbox->settled;
	charge->flow = inbox->flow;
	charge->run = inbox->oldest;
	charge->run_end = inbox->run + 1;
	if (charge->run < charge->run_end) {
		number = inbox->run;
		ended = inbox->ended;
	}
	if (charge->run_end - charge->run > CHARGE_STEPS)
		charge->run_end = charge->run + CHARGE_STEPS;
	if (charge->last)
		inbox->oldest = charge->run_end;
	bpf_spin_unlock(&inbox->lock);
	if (charge->from == charge->to) /* another receive was charged with it: charge it again */
		charge->from--;
	if (number)
		run_put(inbox, number, &ended);
}

#endif /* HOOKS_UDP_INBOX_BPF_H */
