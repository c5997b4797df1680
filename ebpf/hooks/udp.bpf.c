// SPDX-License-Identifier: GPL-2.0-only
/*
 * UDP flows. The process that sends or receives the first datagram of a flow is reported, with the
 * true addresses and ports of both ends. Record: network_connect.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/task.bpf.h"
#include "kernel/sock.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/owner.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/file_names.bpf.h"
#include "hooks/network.bpf.h"
#include "hooks/udp_recent.bpf.h"

#define CHARGE_STEPS 32 /* runs that one receive looks at; the next receive goes on */

/* A flow of one image of one process, whichever thread or user id. */
struct udp_key {
	struct flow flow;
	__u64 start_boot_ns;
	__u32 tgid;
	__u32 exec_id;
};

/* Value: when the flow was last reported, nanoseconds of the boot clock. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct udp_key);
	__type(value, __u64);
} udp_flows SEC(".maps");

/* Time of the last report of this process's flow; 0: it is due, and the caller must report it. */
static __always_inline __u64 udp_flow_reported(const struct flow *flow, const struct owner *owner,
					       __u64 now)
{
	struct udp_key key = {
		.flow = *flow,
		.start_boot_ns = owner->start_boot_ns,
		.tgid = owner->tgid,
		.exec_id = owner->exec_id,
	};
	__u64 *reported = bpf_map_lookup_elem(&udp_flows, &key);

	if (reported && now - *reported < udp_interval_ns)
		return *reported;
	/* If several processors come here at once, one succeeds. */
	if (reported && bpf_map_delete_elem(&udp_flows, &key))
		return now;
	return bpf_map_update_elem(&udp_flows, &key, &now, BPF_NOEXIST) ? now : 0;
}

/* Returns whether a flow of the current task is due: it was not reported in the interval. */
VERIFIED_ONCE int udp_is_due(const struct flow *flow)
{
	struct task_struct *task = current_task();
	struct udp_recent own = {}, *recent;
	struct owner owner;
	__u64 reported;

	if (!flow)
		return 0;
	own.flow = *flow;
	own.start_boot_ns = KREAD(task, start_boottime);
	own.reported = bpf_ktime_get_boot_ns();
	own.tid = KREAD(task, pid);
	own.exec_id = KREAD(task, self_exec_id);
	recent = udp_recent_of(&own.flow);
	if (!recent || udp_recent_is(recent, &own))
		return 0;
	owner_fill(&owner);
	if (!owner.tgid) /* the idle task, in softirq */
		return 0;
	reported = udp_flow_reported(&own.flow, &owner, own.reported);
	if (reported)
		own.reported = reported;
	udp_recent_set(recent, &own);
	return !reported;
}

static __always_inline int udp_send(const struct flow *flow, bool initiated, bool asks_image)
{
	struct owner owner;

	if (!flow)
		return 0;
	owner_fill(&owner);
	if (asks_image)
		owner_answers_keep(&owner);
	network_report(&owner, flow, initiated, false);
	return 0;
}

/* Apart from udp_is_due(): it asks the rules, and both functions need much stack. */
VERIFIED_ONCE int udp_send_due(const struct flow *flow, bool initiated)
{
	return udp_send(flow, initiated, true);
}

/* The same for programs that cannot reach task storage: the image stays unknown. */
VERIFIED_ONCE int udp_send_due_of_any(const struct flow *flow, bool initiated)
{
	return udp_send(flow, initiated, false);
}

/* Report a flow of the current task if it is due. */
static __always_inline void udp_report(const struct flow *flow, bool initiated)
{
	if (udp_is_due(flow))
		udp_send_due(flow, initiated);
}

/*
 * Find the flow of a datagram that leaves, in the context of the sending task. Returns false if it
 * is not to be reported. A datagram that carries a socket's data through a tunnel has another
 * source port than the socket: it is none.
 */
static __always_inline bool udp_leaves(struct flow *flow, struct __sk_buff *skb)
{
	struct packet packet;
	struct bpf_sock *sk;

	if (!packet_parse(&packet, skb))
		return false;
	sk = skb->sk;
	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	if (!sk || sk->protocol != IPPROTO_UDP || sk->src_port != bpf_ntohs(packet.udp->source))
		return false;
	if (is_own_task(current_task()))
		return false;
	flow_of_packet(flow, &packet, true);
	return true;
}

/* A datagram leaves. Needs task storage in programs on packets: 6.18 has it, 6.12 does not. */
SEC("?cgroup_skb/egress")
int udp_sent(struct __sk_buff *skb)
{
	struct flow flow;

	if (udp_leaves(&flow, skb))
		udp_report(&flow, true);
	return 1;
}

/* The same for older kernels. */
SEC("?cgroup_skb/egress")
int udp_sent_of_any(struct __sk_buff *skb)
{
	struct flow flow;

	if (udp_leaves(&flow, skb) && udp_is_due(&flow))
		udp_send_due_of_any(&flow, true);
	return 1;
}

/*
 * Datagrams that arrived at an unconnected socket, as a sequence of runs. A run is datagrams of one
 * flow, one behind the other; it begins with the arrival number `first`. The last run is kept here.
 * Earlier runs that are not read to their end are in the map `runs`. The number of datagrams that
 * have left the queue tells which one a receive has read. Only two receives from one socket at the
 * same instant can be taken for each other.
 */
struct inbox {
	struct bpf_spin_lock lock;
	__u32 run; /* number of the last run */
	__u32 oldest; /* number of the first run that is not done */
	__u32 charged; /* number of the last run that a receive has read to its end */
	__u64 arrived; /* datagrams that arrived */
	__u64 settled; /* datagrams of these that were read or dropped */
	__u64 first;
	struct flow flow;
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

struct run {
	struct flow flow;
	__u64 first;
	__u64 end; /* arrival number at which the next run begins */
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
		if (inbox->settled < inbox->arrived) {
			run = ++inbox->run;
			ended->flow = inbox->flow;
			ended->first = inbox->first;
			ended->end = inbox->arrived;
		} else {
			inbox->oldest = inbox->run + 1;
		}
		inbox->flow = *flow;
		inbox->first = inbox->arrived;
	}
	inbox->arrived++;
	bpf_spin_unlock(&inbox->lock);
	return run;
}

/* A datagram arrives, in softirq. The process that will read it is not known yet. */
SEC("?cgroup_skb/ingress")
int udp_arrived(struct __sk_buff *skb)
{
	struct run_key key = {};
	struct run ended = {};
	struct packet packet;
	struct inbox *inbox;
	struct bpf_sock *sk;
	struct flow flow;

	if (!packet_parse(&packet, skb))
		return 1;
	sk = skb->sk;
	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	if (!sk || sk->dst_port) /* connected: the socket knows both ends */
		return 1;
	inbox = bpf_sk_storage_get(&inboxes, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!inbox) { /* no memory: the reader of this datagram will not be known */
		count_seen(RECORD_NETWORK_CONNECT);
		count_lost(RECORD_NETWORK_CONNECT, LOSS_UNREADABLE);
		return 1;
	}
	flow_of_packet(&flow, &packet, false);
	key.run = inbox_add(inbox, &flow, &ended);
	key.inbox = (__u64)inbox;
	if (key.run)
		bpf_map_update_elem(&runs, &key, &ended, BPF_ANY);
	return 1;
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

static __always_inline void inbox_settle(struct inbox *inbox, __u32 queued, struct charge *charge)
{
	bpf_spin_lock(&inbox->lock);
	charge->from = inbox->settled;
	if (inbox->arrived > queued && inbox->settled < inbox->arrived - queued)
		inbox->settled = inbox->arrived - queued;
	charge->to = inbox->settled;
	charge->last = inbox->first < inbox->settled;
	charge->flow = inbox->flow;
	charge->run = inbox->oldest;
	charge->run_end = inbox->run + 1;
	if (charge->run_end - charge->run > CHARGE_STEPS)
		charge->run_end = charge->run + CHARGE_STEPS;
	if (charge->last)
		inbox->oldest = charge->run_end;
	bpf_spin_unlock(&inbox->lock);
	if (charge->from == charge->to) /* another receive was charged with it: charge it again */
		charge->from--;
}

/* A run was read that is not in the map any more: runs of other sockets have thrown it out. */
static __always_inline void run_lost(void)
{
	count_seen(RECORD_NETWORK_CONNECT);
	count_lost(RECORD_NETWORK_CONNECT, LOSS_UNREADABLE);
}

/* Report the ended runs that the charge reaches. A run that is not read to its end is kept. */
static __always_inline void charge_runs(struct inbox *inbox, struct charge *charge)
{
	struct run_key key = {.inbox = (__u64)inbox, .run = charge->run};
	struct run *run;

	for (int i = 0; i < CHARGE_STEPS && key.run < charge->run_end; i++, key.run++) {
		run = bpf_map_lookup_elem(&runs, &key);
		if (run && run->first >= charge->to)
			break;
		if (run && run->end > charge->from)
			udp_report(&run->flow, false);
		else if (!run && key.run > inbox->charged)
			run_lost();
		if (!run || run->end <= charge->to)
			inbox->charged = key.run;
		if (!charge->last)
			inbox->oldest = key.run;
	}
}

/* In the context of the receiving task, after the datagram has left the socket's queue. */
static __always_inline void udp_receive(struct sock *sk, int flags)
{
	struct charge charge = {};
	struct inbox *inbox;

	if (flags & (MSG_PEEK | MSG_ERRQUEUE) || !is_protocol(sk, IPPROTO_UDP))
		return;
	if (is_own_task(current_task()))
		return;
	if (KREAD(sk, __sk_common.skc_dport)) {
		flow_of_socket(&charge.flow, sk, IPPROTO_UDP);
		udp_report(&charge.flow, false);
		return;
	}
	inbox = bpf_sk_storage_get(&inboxes, sk, NULL, 0);
	if (!inbox)
		return;
	inbox_settle(inbox, datagrams_queued(sk), &charge);
	charge_runs(inbox, &charge);
	if (charge.last)
		udp_report(&charge.flow, false);
}

/* A datagram was received. v6.3: 6e6eda44b939 ("sock: add tracepoint for send recv length"). */
SEC("?tp_btf/sock_recv_length")
int BPF_PROG(udp_received, struct sock *sk, int result, int flags)
{
	if (result >= 0)
		udp_receive(sk, flags);
	return 0;
}

/* The same before v6.3, from v5.11 on: IPv4. */
SEC("?fexit/inet_recvmsg")
int BPF_PROG(udp_received_v4, struct socket *socket, struct msghdr *message, size_t size, int flags,
	     int result)
{
	if (result >= 0)
		udp_receive(socket->sk, flags);
	return 0;
}

/* The same before v6.3, from v5.11 on: IPv6. */
SEC("?fexit/inet6_recvmsg")
int BPF_PROG(udp_received_v6, struct socket *socket, struct msghdr *message, size_t size, int flags,
	     int result)
{
	if (result >= 0)
		udp_receive(socket->sk, flags);
	return 0;
}

/*
 * The same before v5.11, 8e4597c627fb ("bpf: Allow using bpf_sk_storage in FENTRY/FEXIT/RAW_TP").
 * The inbox cannot be reached here, so the flow is read from the datagram. v5.18 drops `noblock`.
 */
SEC("?fexit/__skb_recv_udp")
int BPF_PROG(udp_received_datagram, struct sock *sk, unsigned int flags, int noblock, int *offset,
	     int *error, struct sk_buff *skb)
{
	struct flow flow;

	if (!skb || flags & MSG_PEEK || !is_protocol(sk, IPPROTO_UDP) ||
	    is_own_task(current_task()))
		return 0;
	flow_of_received(&flow, skb);
	udp_report(&flow, false);
	return 0;
}
