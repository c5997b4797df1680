/* SPDX-License-Identifier: GPL-2.0-only */
/* Reporting a connection: functions that TCP and UDP share. Record: network_connect. */
#ifndef HOOKS_NETWORK_BPF_H
#define HOOKS_NETWORK_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/sock.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/flood.bpf.h"
#include "filter/owner.bpf.h"
#include "filter/events.bpf.h"

/* Returns the protocol of a socket of IPv4 or IPv6; 0: another family. */
static __always_inline __u16 sock_protocol(struct sock *sk)
{
	__u16 family = KREAD(sk, __sk_common.skc_family);

	return family == AF_INET || family == AF_INET6 ? KREAD(sk, sk_protocol) : 0;
}

/* A number made of the peer's address, the port at the destination and the direction. */
static __always_inline __u64 network_subject(const struct network_connect *r)
{
	const __u64 *peer =
		(const void *)(r->initiated ? r->destination_address : r->source_address);

	return peer[0] * 31 + peer[1] + ((__u64)r->destination_port << 48) +
	       ((__u64)r->protocol << 40) + r->initiated;
}

/* A connection or a datagram of which no record can be made. */
static __always_inline void connection_lost(enum loss_reason reason)
{
	count_seen(RECORD_NETWORK_CONNECT);
	count_lost(RECORD_NETWORK_CONNECT, reason);
}

/* A connection or a datagram whose process or whose ends cannot be known: there was no room. */
static __always_inline void connection_unreadable(void)
{
	connection_lost(LOSS_UNREADABLE);
}

/* Begin a record with both ends of a flow. */
static __always_inline void network_begin(struct network_connect *r, const struct flow *flow,
					  bool initiated, bool failed)
{
	const __u8 *source = initiated ? flow->local_address : flow->remote_address;
	const __u8 *destination = initiated ? flow->remote_address : flow->local_address;

	__builtin_memset(r, 0, sizeof(*r));
	r->source_port = initiated ? flow->local_port : flow->remote_port;
	r->destination_port = initiated ? flow->remote_port : flow->local_port;
	r->family = flow->family;
	r->protocol = flow->protocol;
	r->initiated = initiated;
	r->failed = failed;
	__builtin_memcpy(r->source_address, source, sizeof(r->source_address));
	__builtin_memcpy(r->destination_address, destination, sizeof(r->destination_address));
}

/* Send a record that has both ends, in the name of the owner. */
static __always_inline void network_send(struct network_connect *r, const struct owner *owner)
{
	r->header.boot_ns = bpf_ktime_get_boot_ns();
	r->header.start_boot_ns = owner->start_boot_ns;
	r->header.type = RECORD_NETWORK_CONNECT;
	r->header.size = sizeof(*r);
	r->header.tgid = owner->tgid;
	r->header.tid = owner->tid;
	r->header.uid = owner->uid;
	r->header.exec_id = owner->exec_id;
	count_seen(RECORD_NETWORK_CONNECT);
	if (connection_excluded(owner, r))
		count_filtered(RECORD_NETWORK_CONNECT);
	else if (!flood_leaves_out(&r->header, owner->image, network_subject(r)))
		record_send(r, sizeof(*r), RECORD_NETWORK_CONNECT, false);
}

static __always_inline void network_report(const struct owner *owner, const struct flow *flow,
					   bool initiated, bool failed)
{
	struct network_connect r;

	network_begin(&r, flow, initiated, failed);
	network_send(&r, owner);
}

#endif /* HOOKS_NETWORK_BPF_H */
