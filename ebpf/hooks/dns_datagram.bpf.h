/* SPDX-License-Identifier: GPL-2.0-only */
/* DNS by UDP: each datagram is a message. Record: dns_message. */
#ifndef HOOKS_DNS_DATAGRAM_BPF_H
#define HOOKS_DNS_DATAGRAM_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "record.h"
#include "kernel/compat.bpf.h"
#include "kernel/sock.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/passage.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/dns_record.bpf.h"

#define DNS_HEADER 12 /* bytes */
#define DNS_FLAGS 2 /* offset of the flags in the header */
#define DNS_IS_ANSWER 0x80
#define DNS_SEGMENTS 128 /* messages in one packet, UDP_MAX_SEGMENTS */
#define DNS_ODD_MESSAGES 4 /* of one socket in a second: messages that are no DNS */

static __always_inline bool dns_is_connected(const struct bpf_sock *sk)
{
	return sk->protocol == IPPROTO_UDP && sk->dst_port == bpf_htons(DNS_PORT);
}

/* Bytes 2 to 5 of a message: its flags, and how many questions it has. */
struct dns_head {
	__u8 flags[2];
	__be16 questions;
};

/* Read the head of a message. All is 0 of one that is too short: that is a question, and odd. */
static __always_inline void dns_head_load(struct dns_head *head, struct __sk_buff *skb, __u32 at,
					  __u32 length)
{
	__builtin_memset(head, 0, sizeof(*head));
	if (length >= DNS_HEADER)
		bpf_skb_load_bytes(skb, at + DNS_FLAGS, head, sizeof(*head));
}

/* Returns true if a socket has had its messages without exactly one question, which all DNS has. */
static __always_inline bool dns_is_too_odd(const struct dns_head *head, struct dns_asker *asker)
{
	return head->questions != bpf_htons(1) && asker && dns_is_spent(asker, 1, DNS_ODD_MESSAGES);
}

/* Returns whether the rules exclude a message, and counts it then. */
static __always_inline bool dns_is_filtered(struct __sk_buff *skb, const struct dns_seen *seen,
					    const struct dns_head *head)
{
	if (head->questions != bpf_htons(1) || seen->length <= DNS_HEADER ||
	    process_is_passing(seen->process.start_boot_ns, seen->process.tgid) ||
	    !dns_excluded(skb, seen->at + DNS_HEADER, seen->length - DNS_HEADER))
		return false;
	count_seen(RECORD_DNS_MESSAGE);
	count_filtered(RECORD_DNS_MESSAGE);
	return true;
}

/* A question of the current task; an answer that a server sends is none. */
VERIFIED_ONCE int dns_question(struct __sk_buff *skb, __u32 at, __u32 length)
{
	struct bpf_sock *sk = dns_socket(skb);
	struct dns_seen seen = {.at = at, .length = length};
	struct dns_asker *asker;
	struct dns_head head;

	dns_head_load(&head, skb, at, length);
	if (!sk || !length || head.flags[0] & DNS_IS_ANSWER)
		return 0;
	dns_process_fill(&seen.process, current_task());
	asker = bpf_sk_storage_get(&dns_askers, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (asker) { /* else there is no memory: the answer will be left out */
		bpf_spin_lock(&asker->lock);
		asker->process = seen.process;
		bpf_spin_unlock(&asker->lock);
	}
	if (dns_is_too_odd(&head, asker))
		return dns_leave_out();
	if (dns_is_filtered(skb, &seen, &head))
		return 0;
	fork_tell(seen.process.tgid);
	dns_send(skb, &seen);
	return 0;
}

/* An answer. It belongs to the process that asked; one that nobody asked for is left out. */
VERIFIED_ONCE int dns_answer(struct __sk_buff *skb, __u32 at, __u32 length)
{
	struct dns_seen seen = {.at = at, .length = length, .is_answer = 1};
	struct bpf_sock *sk = dns_socket(skb);
	struct dns_asker *asker;
	struct dns_head head;

	dns_head_load(&head, skb, at, length);
	if (!sk || !length || !(head.flags[0] & DNS_IS_ANSWER))
		return 0;
	asker = bpf_sk_storage_get(&dns_askers, sk, NULL, 0);
	if (asker) {
		bpf_spin_lock(&asker->lock);
		seen.process = asker->process;
		bpf_spin_unlock(&asker->lock);
	}
	if (!seen.process.tgid || dns_is_too_odd(&head, asker))
		return dns_leave_out();
	if (!dns_is_filtered(skb, &seen, &head))
		dns_send(skb, &seen);
	return 0;
}

/* The messages in a packet. */
struct dns_messages {
	struct __sk_buff *packet;
	__u32 at; /* offset of the next one */
	__u32 bytes; /* of each; the last one may be shorter */
};

/* Go to the next message. Returns its length in bytes; 0: there is none. */
static __always_inline __u32 dns_messages_next(struct dns_messages *messages)
{
	__u32 at = messages->at, end = messages->packet->len;

	if (at >= end)
		return 0;
	messages->at = at + messages->bytes;
	return end - at < messages->bytes ? end - at : messages->bytes;
}

/* Look at one question. Returns 1 at the end, as bpf_loop() wants. */
static long dns_question_step(__u32 index, struct dns_messages *messages)
{
	__u32 at = messages->at, length = dns_messages_next(messages);

	if (length)
		dns_question(messages->packet, at, length);
	return !length;
}

/* The same for one answer. */
static long dns_answer_step(__u32 index, struct dns_messages *messages)
{
	__u32 at = messages->at, length = dns_messages_next(messages);

	if (length)
		dns_answer(messages->packet, at, length);
	return !length;
}

/*
 * Call `each` for the messages in a packet. There are several where the sender had the kernel cut
 * one buffer into datagrams, and where a receiver has them joined: UDP_SEGMENT, UDP_GRO.
 */
#define DNS_FOR_EACH(buffer, found, each)                                                    \
	do {                                                                                 \
		struct dns_messages messages = {                                             \
			.packet = (buffer),                                                  \
			.at = (void *)((found)->udp + 1) - (void *)(long)(buffer)->data,     \
			.bytes = (buffer)->gso_size ?: (buffer)->len,                        \
		};                                                                           \
                                                                                             \
		if (has_bpf_loop)                                                            \
			bpf_loop(DNS_SEGMENTS, each##_step, &messages, 0);                   \
		else                                                                         \
			for (int i = 0; i < DNS_SEGMENTS && !each##_step(i, &messages); i++) \
				;                                                            \
	} while (0)

/* A datagram is addressed: note whether its socket names the DNS port, before NAT changes it. */
static __always_inline int dns_address(struct bpf_sock_addr *context)
{
	bool is_named = context->user_port == bpf_htons(DNS_PORT);
	struct bpf_sock *sk = context->sk;
	struct dns_asker *asker;

	if (!sk || context->protocol != IPPROTO_UDP)
		return 1;
	asker = bpf_sk_storage_get(&dns_askers, sk, NULL,
				   is_named ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (asker)
		asker->is_named = is_named;
	return 1;
}

#endif /* HOOKS_DNS_DATAGRAM_BPF_H */
