// SPDX-License-Identifier: GPL-2.0-only
/*
 * DNS by UDP and TCP: questions that leave, and the answers that come to the sockets which asked.
 * Names are taken from the packets, so no program can show another name than the one it sent. The
 * programs here also run in softirq: they reserve their records in the ring and use no scratch.
 * Record: dns_message.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/sock.bpf.h"
#include "kernel/task.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/ring.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/owner.bpf.h"

#define DNS_PORT 53
#define DNS_HEADER 12 /* bytes */
#define DNS_FLAGS 2 /* offset of the flags in the header */
#define DNS_IS_ANSWER 0x80
/* Bytes of a question that are sent: header, the longest name, type and class fit. */
#define DNS_QUESTION 512
#define DNS_SEGMENTS 128 /* messages in one packet, UDP_MAX_SEGMENTS */
#define DNS_PART 4096 /* bytes of a TCP stream in one record */
#define DNS_PARTS 16 /* records of one packet: GRO joins 64 KiB */
#define DNS_SECOND 1000000000ULL
/* Limits for one socket in a second: bytes of TCP streams, and messages that are no DNS. */
#define DNS_STREAM_BYTES (256 << 10)
#define DNS_ODD_MESSAGES 4

/* A process, at the time when it asked. */
struct dns_process {
	__u64 start_boot_ns;
	__u32 tgid; /* 0: nobody has asked */
	__u32 exec_id;
	__u32 tid;
	__u32 uid;
};

/*
 * The process that asked last through a socket. The entry lives as long as the socket, so entries
 * of other sockets cannot crowd it out.
 */
struct dns_asker {
	struct bpf_spin_lock lock;
	__u32 is_named; /* the last datagram was addressed to the DNS port, by sendmsg(2) */
	__u32 spent; /* bytes, or messages, since `second` */
	__u32 pad;
	__u64 second;
	struct dns_process process;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct dns_asker);
} dns_askers SEC(".maps");

static __always_inline void dns_current(struct dns_process *process)
{
	struct task_struct *task = current_task();
	struct task_struct *leader = KREAD(task, group_leader);
	const struct cred *cred = KREAD(task, cred);

	process->start_boot_ns = KREAD(leader, start_boottime);
	process->tgid = KREAD(task, tgid);
	process->exec_id = KREAD(task, self_exec_id);
	process->tid = KREAD(task, pid);
	process->uid = KREAD(cred, uid.val);
}

/* A message in a packet: where it begins, how long it is, and whose it is. */
struct dns_seen {
	__u64 cookie;
	__u32 at;
	__u32 length;
	__u32 sent; /* bytes of the message that go into the record */
	__u32 is_answer;
	__u32 sequence;
	__u32 is_stream;
	struct dns_process process;
};

static __always_inline void dns_fill(struct dns_message *r, const struct dns_seen *seen, __u32 size)
{
	r->header.type = RECORD_DNS_MESSAGE;
	r->header.size = size;
	r->header.boot_ns = bpf_ktime_get_boot_ns();
	r->header.start_boot_ns = seen->process.start_boot_ns;
	r->header.tgid = seen->process.tgid;
	r->header.exec_id = seen->process.exec_id;
	r->header.tid = seen->process.tid;
	r->header.uid = seen->process.uid;
	r->cookie = seen->cookie;
	r->full_length = seen->length;
	r->is_answer = seen->is_answer;
	r->data.offset = sizeof(*r);
	r->data.length = seen->sent;
	r->sequence = seen->sequence;
	r->is_stream = seen->is_stream;
	r->pad = 0;
}

/* Send a message in a record with room for `room` bytes of it, a power of two. */
#define DNS_SENDER(room)                                                         \
	static __always_inline void dns_send_##room(struct __sk_buff *skb,       \
						    const struct dns_seen *seen) \
	{                                                                        \
		struct {                                                         \
			struct dns_message message;                              \
			__u8 bytes[room];                                        \
		} * r;                                                           \
		__u64 waiting = ring_waiting(), length = seen->sent;             \
		__u64 flags = wake_flags(waiting, sizeof(*r), false);            \
                                                                                 \
		if (!record_is_admitted(waiting, seen->process.uid, sizeof(*r),  \
					RECORD_DNS_MESSAGE))                     \
			return;                                                  \
		r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);                \
		if (!r) {                                                        \
			count_lost(RECORD_DNS_MESSAGE, LOSS_RING_FULL);          \
			return;                                                  \
		}                                                                \
		barrier_var(length);                                             \
		length = ((length - 1) & ((room)-1)) + 1;                        \
		if (bpf_skb_load_bytes(skb, seen->at, r->bytes, length)) {       \
			count_lost(RECORD_DNS_MESSAGE, LOSS_UNREADABLE);         \
			bpf_ringbuf_discard(r, flags);                           \
			return;                                                  \
		}                                                                \
		dns_fill(&r->message, seen, sizeof(*r));                         \
		count_submitted(RECORD_DNS_MESSAGE);                             \
		bpf_ringbuf_submit(r, flags);                                    \
	}

DNS_SENDER(256)
DNS_SENDER(512)
DNS_SENDER(1024)
DNS_SENDER(4096)

static __always_inline void dns_send(struct __sk_buff *skb, struct dns_seen *seen)
{
	__u32 most = seen->is_answer || seen->is_stream ? 4096 : DNS_QUESTION;

	seen->cookie = bpf_get_socket_cookie(skb);
	seen->sent = seen->length < most ? seen->length : most;
	count_seen(RECORD_DNS_MESSAGE);
	if (seen->sent <= 256)
		dns_send_256(skb, seen);
	else if (seen->sent <= 512)
		dns_send_512(skb, seen);
	else if (seen->sent <= 1024)
		dns_send_1024(skb, seen);
	else
		dns_send_4096(skb, seen);
}

/* The socket of a packet. A raw socket sends UDP too, under another protocol. */
static __always_inline struct bpf_sock *dns_socket(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk ? bpf_sk_fullsock(sk) : NULL;
}

static __always_inline bool dns_is_connected(const struct bpf_sock *sk)
{
	return sk->protocol == IPPROTO_UDP && sk->dst_port == bpf_htons(DNS_PORT);
}

/* Bytes 2 to 5 of a message: its flags, and how many questions it has. */
struct dns_head {
	__u8 flags[2];
	__be16 questions;
};

/* One that is too short for a header is a question, and odd. */
static __always_inline void dns_head_load(struct dns_head *head, struct __sk_buff *skb, __u32 at,
					  __u32 length)
{
	__builtin_memset(head, 0, sizeof(*head));
	if (length >= DNS_HEADER)
		bpf_skb_load_bytes(skb, at + DNS_FLAGS, head, sizeof(*head));
}

/*
 * Take `amount` from what a socket may have in a second. Returns true if it is spent: a tunnel
 * through the port of DNS fills no ring.
 */
static __always_inline bool dns_is_spent(struct dns_asker *asker, __u32 amount, __u32 most)
{
	__u64 now = bpf_ktime_get_boot_ns();

	if (now - asker->second > DNS_SECOND) {
		asker->second = now;
		asker->spent = 0;
	}
	if (asker->spent >= most)
		return true;
	__sync_fetch_and_add(&asker->spent, amount);
	return false;
}

/* The same for a message that has not one question, as all of DNS have. */
static __always_inline bool dns_is_too_odd(const struct dns_head *head, struct dns_asker *asker)
{
	return head->questions != bpf_htons(1) && asker && dns_is_spent(asker, 1, DNS_ODD_MESSAGES);
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
	dns_current(&seen.process);
	asker = bpf_sk_storage_get(&dns_askers, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (asker) { /* else there is no memory: the answer will be left out */
		bpf_spin_lock(&asker->lock);
		asker->process = seen.process;
		bpf_spin_unlock(&asker->lock);
	}
	if (dns_is_too_odd(&head, asker)) {
		count_seen(RECORD_DNS_MESSAGE);
		count_left_out(RECORD_DNS_MESSAGE);
		return 0;
	}
	fork_tell(seen.process.tgid);
	dns_send(skb, &seen);
	return 0;
}

/* An answer. It belongs to the process that asked; what came unasked is left out. */
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
	if (!seen.process.tgid || dns_is_too_odd(&head, asker)) {
		count_seen(RECORD_DNS_MESSAGE);
		count_left_out(RECORD_DNS_MESSAGE);
		return 0;
	}
	dns_send(skb, &seen);
	return 0;
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
		.is_stream = 1,
	};
	struct bpf_sock *sk = dns_socket(skb);
	struct dns_asker *asker;

	if (!sk || !length)
		return 0;
	asker = bpf_sk_storage_get(&dns_askers, sk, NULL,
				   is_answer ? 0 : BPF_SK_STORAGE_GET_F_CREATE);
	if (!asker || (is_answer && !asker->process.tgid) ||
	    dns_is_spent(asker, length, DNS_STREAM_BYTES)) {
		count_seen(RECORD_DNS_MESSAGE);
		count_left_out(RECORD_DNS_MESSAGE);
		return 0;
	}
	if (!asker->process.tgid) {
		if (is_own_task(current_task()))
			return 0;
		dns_current(&asker->process);
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

static __always_inline bool dns_is_stream(const struct bpf_sock *sk)
{
	return sk->protocol == IPPROTO_TCP && sk->dst_port == bpf_htons(DNS_PORT);
}

/*
 * Call `each` for the messages in a packet. There are several where the sender had the kernel cut
 * one buffer into datagrams, and where a receiver has them joined: UDP_SEGMENT, UDP_GRO.
 */
#define DNS_FOR_EACH(skb, packet, each)                                                 \
	do {                                                                            \
		__u32 at = (void *)((packet)->udp + 1) - (void *)(long)(skb)->data;     \
		__u32 size = (skb)->gso_size ?: (skb)->len, left;                       \
                                                                                        \
		for (int i = 0; i < DNS_SEGMENTS && at < (skb)->len; i++, at += size) { \
			left = (skb)->len - at;                                         \
			each(skb, at, left < size ? left : size);                       \
		}                                                                       \
	} while (0)

/*
 * A datagram leaves, in the context of the sender. It is a question if it goes to the DNS port, or
 * if the sender has named that port: NAT, as of the resolver in Docker, may have changed it since.
 */
SEC("?cgroup_skb/egress")
int dns_sent(struct __sk_buff *skb)
{
	struct bpf_sock *sk = dns_socket(skb);
	struct dns_asker *asker;
	struct packet packet;

	if (!sk)
		return 1;
	if (dns_is_stream(sk))
		dns_segment(skb, 0);
	if (!packet_parse_udp(&packet, skb) || packet.protocol != IPPROTO_UDP ||
	    is_own_task(current_task()))
		return 1;
	if (packet.udp->dest != bpf_htons(DNS_PORT) && !dns_is_connected(sk)) {
		asker = sk->dst_port ? NULL : bpf_sk_storage_get(&dns_askers, sk, NULL, 0);
		if (!asker || !asker->is_named)
			return 1;
	}
	DNS_FOR_EACH(skb, &packet, dns_question);
	return 1;
}

/* A datagram arrives, in softirq. It is an answer if it comes from the DNS port. */
SEC("?cgroup_skb/ingress")
int dns_arrived(struct __sk_buff *skb)
{
	struct bpf_sock *sk = dns_socket(skb);
	struct packet packet;

	if (!sk)
		return 1;
	if (dns_is_stream(sk))
		dns_segment(skb, 1);
	if (!packet_parse_udp(&packet, skb) || packet.protocol != IPPROTO_UDP)
		return 1;
	if (packet.udp->source == bpf_htons(DNS_PORT) || dns_is_connected(sk))
		DNS_FOR_EACH(skb, &packet, dns_answer);
	return 1;
}

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

SEC("?cgroup/sendmsg4")
int dns_addressed_v4(struct bpf_sock_addr *context)
{
	return dns_address(context);
}

SEC("?cgroup/sendmsg6")
int dns_addressed_v6(struct bpf_sock_addr *context)
{
	return dns_address(context);
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
	dns_current(&process);
	bpf_spin_lock(&asker->lock);
	asker->process = process;
	bpf_spin_unlock(&asker->lock);
	return 1;
}

SEC("?cgroup/connect4")
int dns_connected_v4(struct bpf_sock_addr *context)
{
	return dns_connect(context);
}

SEC("?cgroup/connect6")
int dns_connected_v6(struct bpf_sock_addr *context)
{
	return dns_connect(context);
}
