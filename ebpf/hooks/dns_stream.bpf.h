/* SPDX-License-Identifier: GPL-2.0-only */
/* DNS by TCP: parts of a stream, which user space puts together. Record: dns_message. */
#ifndef HOOKS_DNS_STREAM_BPF_H
#define HOOKS_DNS_STREAM_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/sock.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/wanted.bpf.h"
#include "hooks/dns_record.bpf.h"

#define DNS_PARTS 16 /* records of one packet: GRO joins 64 KiB */

static __always_inline bool dns_is_stream(const struct bpf_sock *sk)
{
	return sk->protocol == IPPROTO_TCP && sk->dst_port == bpf_htons(DNS_PORT);
}

/*
 * A part of a TCP stream. The process is the one that connected, as far as that was seen: the
 * current task may be anybody, since TCP sends from softirq too.
 */
VERIFIED_ONCE int dns_stream_part(struct __sk_buff *skb, __u32 at, __u32 length, __u32 sequence,
				  __u32 is_answer)
{
	struct dns_seen seen = {
		.at = at,
		.length = length,
		.sequence = sequence,
		.is_answer = is_answer,
		.carrier = DNS_BY_TCP,
	};
	struct bpf_sock *sk = dns_socket(skb);
	struct dns_asker *asker;

	if (!sk || !length)
		return 0;
	asker = bpf_sk_storage_get(&dns_askers, sk, NULL,
				   is_answer ? 0 : BPF_SK_STORAGE_GET_F_CREATE);
	if (!asker || (is_answer && !asker->process.tgid) ||
	    dns_is_spent(asker, length, DNS_STREAM_BYTES))
		return dns_leave_out();
	if (!asker->process.tgid) {
		if (is_own_task(current_task()))
			return 0;
		dns_process_fill(&asker->process, current_task());
	}
	bpf_spin_lock(&asker->lock);
	seen.process = asker->process;
	bpf_spin_unlock(&asker->lock);
	if (!is_answer)
		fork_tell(seen.process.tgid);
	dns_send(skb, &seen);
	return 0;
}

/* Send the bytes that a packet carries of the TCP stream between this machine and a name server. */
VERIFIED_ONCE int dns_segment(struct __sk_buff *skb, __u32 is_answer)
{
	__u32 at, left, sequence;
	struct packet packet;

	if (!packet_parse_tcp(&packet, skb))
		return 0;
	at = (void *)packet.tcp - (void *)(long)skb->data + packet.tcp->doff * 4;
	sequence = bpf_ntohl(packet.tcp->seq) + packet.tcp->syn;
	for (int i = 0; i < DNS_PARTS && at < skb->len; i++) {
		left = skb->len - at;
		if (left > DNS_PART)
			left = DNS_PART;
		dns_stream_part(skb, at, left, sequence, is_answer);
		at += left;
		sequence += left;
	}
	return 0;
}

/* A socket is to be connected to the DNS port by TCP: note by whom. */
static __always_inline int dns_connect(struct bpf_sock_addr *context)
{
	struct dns_process process = {};
	struct bpf_sock *sk = context->sk;
	struct dns_asker *asker;

	if (!sk || context->protocol != IPPROTO_TCP || context->user_port != bpf_htons(DNS_PORT))
		return 1;
	if (is_own_task(current_task()))
		return 1;
	asker = bpf_sk_storage_get(&dns_askers, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!asker)
		return 1;
	dns_process_fill(&process, current_task());
	bpf_spin_lock(&asker->lock);
	asker->process = process;
	bpf_spin_unlock(&asker->lock);
	return 1;
}

#endif /* HOOKS_DNS_STREAM_BPF_H */
