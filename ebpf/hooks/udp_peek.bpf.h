/* SPDX-License-Identifier: GPL-2.0-only */
/* The datagram that a receive with MSG_PEEK has looked at: it is still in the socket's queue. */
#ifndef HOOKS_UDP_PEEK_BPF_H
#define HOOKS_UDP_PEEK_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/compat.bpf.h"
#include "hooks/network.bpf.h"

#define PEEK_STEPS 8192 /* datagrams that are passed over */
#define PEEK_STEPS_WITHOUT_LOOP 64 /* the same without bpf_loop() */

/* A walk along the queue, as __skb_try_recv_from_queue() makes it. */
struct peek {
	struct sk_buff *skb; /* the next one */
	struct sk_buff *end; /* the head of the list */
	struct sk_buff *found;
	__s32 offset; /* bytes between the next one and those that were looked at */
	bool is_empty; /* the receive gave no byte */
};

/*
 * Several empty datagrams may stand at one offset. Those that were looked at are marked; the last
 * of them is the one.
 */
static __always_inline long peek_at_empty(struct peek *peek, struct sk_buff *skb)
{
	if (!BPF_CORE_READ_BITFIELD_PROBED(skb, peeked))
		return 1;
	if (peek->is_empty)
		peek->found = skb;
	return 0;
}

/* Returns 1 at the end, as bpf_loop() wants. */
static long peek_step(__u32 index, struct peek *peek)
{
	struct sk_buff *skb = peek->skb;
	__s32 length;

	if (skb == peek->end || !skb)
		return 1;
	peek->skb = KREAD(skb, next);
	length = KREAD(skb, len);
	if (!length && !peek->offset)
		return peek_at_empty(peek, skb);
	if (peek->offset >= length) {
		peek->offset -= length;
		return 0;
	}
	if (!peek->found)
		peek->found = skb;
	return 1;
}

static __always_inline void peek_walk(struct peek *peek)
{
	if (has_bpf_loop) {
		bpf_loop(PEEK_STEPS, peek_step, peek, 0);
		return;
	}
	for (int i = 0; i < PEEK_STEPS_WITHOUT_LOOP; i++) {
		if (peek_step(i, peek))
			break;
	}
}

/*
 * Returns the datagram, or NULL if it is not there any more. `result` is what the receive returned;
 * by so many bytes it has moved the offset of SO_PEEK_OFF, which is -1 where nobody set it.
 */
static __always_inline struct sk_buff *peek_find(struct sock *sk, int result)
{
	struct sk_buff_head *queue = &((struct udp_sock *)sk)->reader_queue;
	struct peek peek = {
		.skb = KREAD(queue, next),
		.end = (struct sk_buff *)queue,
		.offset = KREAD(sk, sk_peek_off),
		.is_empty = !result,
	};

	if (peek.offset < 0)
		return peek.skb == peek.end ? NULL : peek.skb;
	if (result > 0)
		peek.offset -= result;
	if (peek.offset < 0)
		peek.offset = 0;
	peek_walk(&peek);
	if (!peek.found && peek.skb != peek.end)
		connection_unreadable();
	return peek.found;
}

#endif /* HOOKS_UDP_PEEK_BPF_H */
