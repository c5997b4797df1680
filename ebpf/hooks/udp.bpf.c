// SPDX-License-Identifier: GPL-2.0-only
/*
 * Flows of UDP and UDP-Lite. The process that sends or receives the first datagram of a flow is
 * reported, with the datagram's own addresses and ports. hooks/udp_inbox.bpf.h knows which of the
 * datagrams in a queue a receive took, hooks/udp_peek.bpf.h which one it looked at. Record:
 * network_connect.
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
#include "hooks/file_record.bpf.h"
#include "hooks/network.bpf.h"
#include "hooks/udp_inbox.bpf.h"
#include "hooks/udp_peek.bpf.h"
#include "hooks/udp_recent.bpf.h"

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
	struct udp_recent *recent;
	struct udp_thread thread;
	struct owner owner;
	__u64 reported, now;

	if (!flow)
		return 0;
	thread.start_boot_ns = KREAD(task, start_boottime);
	thread.tick = bpf_jiffies64();
	thread.tid = KREAD(task, pid);
	thread.exec_id = KREAD(task, self_exec_id);
	recent = udp_recent_of(flow);
	if (!recent || udp_recent_is(recent, flow, &thread))
		return 0;
	owner_fill(&owner);
	if (!owner.tgid) /* the idle task, in softirq */
		return 0;
	now = bpf_ktime_get_boot_ns();
	reported = udp_flow_reported(flow, &owner, now);
	udp_recent_set(recent, flow, &thread, reported ?: now);
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

	if (!packet_parse_udp(&packet, skb))
		return false;
	sk = skb->sk;
	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	if (!sk || sk->protocol != packet.protocol || sk->src_port != bpf_ntohs(packet.udp->source))
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

/* A packet arrives that has more extension headers than are skipped: count it if it is UDP. */
static __always_inline void udp_is_hidden(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	if (sk && is_udp(sk->protocol))
		connection_unreadable();
}

/* A datagram arrives, in softirq. The process that will read it is not known yet. */
SEC("?cgroup_skb/ingress")
int udp_arrived(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct run_key key = {};
	struct run ended = {};
	struct inbox *inbox;
	struct bpf_sock *sk;
	struct flow flow;

	if (!packet_parse_udp(&packet, skb)) {
		if (is_ipv6_option(packet.protocol))
			udp_is_hidden(skb);
		return 1;
	}
	sk = skb->sk;
	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	if (!sk)
		return 1;
	inbox = bpf_sk_storage_get(&inboxes, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!inbox) {
		if (!sk->dst_port) /* else the socket itself will tell its peer */
			connection_unreadable();
		return 1;
	}
	flow_of_packet(&flow, &packet, false);
	key.run = inbox_add(inbox, &flow, &ended);
	key.inbox = (__u64)inbox;
	if (key.run)
		bpf_map_update_elem(&runs, &key, &ended, BPF_ANY);
	return 1;
}

/* A datagram that arrived was dropped, since the queue of its socket is full. */
SEC("?tp_btf/udp_fail_queue_rcv_skb")
int BPF_PROG(udp_dropped, int error, struct sock *sk)
{
	struct inbox *inbox = bpf_sk_storage_get(&inboxes, sk, NULL, 0);

	if (inbox)
		inbox_take_back(inbox);
	return 0;
}

/*
 * Report the ended runs that the charge reaches. A run that is not read to its end is kept. One
 * that is not in the map any more had to make room for others, or two runs ended at once.
 */
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
		if (!run)
			connection_unreadable();
		if (!charge->last)
			inbox->oldest = key.run + !run;
	}
}

/* Report the runs that have left the queue but for the last one. Returns false if none is known. */
static __always_inline bool udp_charge(struct sock *sk, struct charge *charge)
{
	struct inbox *inbox = bpf_sk_storage_get(&inboxes, sk, NULL, 0);

	if (!inbox)
		return false;
	inbox_settle(inbox, datagrams_queued(sk), charge);
	charge_runs(inbox, charge);
	return charge->last || charge->run < charge->run_end;
}

/* Fill the flow of the datagram that a receive left in the queue. Returns false if it has gone. */
static __noinline bool udp_peeked(struct flow *flow, struct sock *sk, __u16 protocol, int result)
{
	struct sk_buff *skb = peek_find(sk, result);

	if (!skb)
		return false;
	flow_of_received(flow, skb, protocol);
	return KREAD(skb, next); /* else it was taken out, and the flow may be another datagram's */
}

/* Fill the flow of a connected socket. Returns false if it is not connected. */
static __noinline bool udp_connected(struct flow *flow, struct sock *sk, __u16 protocol)
{
	if (!KREAD(sk, __sk_common.skc_dport))
		return false;
	flow_of_socket(flow, sk, protocol);
	return true;
}

/*
 * In the context of the receiving task, after the datagram has left the socket's queue, or was
 * looked at. With EFAULT a part of it is in the caller's buffers. The socket's own peer may be
 * another one than the datagram's: it is believed only of a datagram that came before this program.
 */
static __always_inline void udp_receive(struct sock *sk, int result, int flags)
{
	__u16 protocol = sock_protocol(sk);
	struct charge charge = {};

	if (!is_udp(protocol) || (result < 0 && result != -EFAULT) || flags & MSG_ERRQUEUE)
		return;
	if (is_own_task(current_task()))
		return;
	if (flags & MSG_PEEK && udp_peeked(&charge.flow, sk, protocol, result))
		charge.last = true;
	else if (!udp_charge(sk, &charge))
		charge.last = udp_connected(&charge.flow, sk, protocol);
	if (charge.last)
		udp_report(&charge.flow, false);
}

/* A datagram was received. v6.3: 6e6eda44b939 ("sock: add tracepoint for send recv length"). */
SEC("?tp_btf/sock_recv_length")
int BPF_PROG(udp_received, struct sock *sk, int result, int flags)
{
	udp_receive(sk, result, flags);
	return 0;
}

/* The same before v6.3, from v5.11 on: IPv4. */
SEC("?fexit/inet_recvmsg")
int BPF_PROG(udp_received_v4, struct socket *socket, struct msghdr *message, size_t size, int flags,
	     int result)
{
	udp_receive(socket->sk, result, flags);
	return 0;
}

/* The same before v6.3, from v5.11 on: IPv6. */
SEC("?fexit/inet6_recvmsg")
int BPF_PROG(udp_received_v6, struct socket *socket, struct msghdr *message, size_t size, int flags,
	     int result)
{
	udp_receive(socket->sk, result, flags);
	return 0;
}

/*
 * The same before v5.11, 8e4597c627fb ("bpf: Allow using bpf_sk_storage in FENTRY/FEXIT/RAW_TP").
 * The inbox cannot be reached here, so the flow is read from the datagram, before it is copied.
 * v5.18 drops `noblock`.
 */
SEC("?fexit/__skb_recv_udp")
int BPF_PROG(udp_received_datagram, struct sock *sk, unsigned int flags, int noblock, int *offset,
	     int *error, struct sk_buff *skb)
{
	__u16 protocol = sock_protocol(sk);
	struct flow flow;

	if (!skb || !is_udp(protocol) || is_own_task(current_task()))
		return 0;
	flow_of_received(&flow, skb, protocol);
	udp_report(&flow, false);
	return 0;
}
