/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The code that DNS by UDP and DNS by TCP share: the process that asked through a socket, and the
 * record of a message. These functions also run in softirq: they reserve their records in the ring
 * and use no scratch. Record: dns_message.
 */
#ifndef HOOKS_DNS_RECORD_BPF_H
#define HOOKS_DNS_RECORD_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "record.h"
#include "kernel/compat.bpf.h"
#include "kernel/task.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/ring.bpf.h"
#include "filter/owner.bpf.h"

#define DNS_PORT 53
/* Bytes of a question that are sent: header, the longest name, type and class fit. */
#define DNS_QUESTION 512
#define DNS_PART 4096 /* most bytes of one record */
#define DNS_SECOND 1000000000ULL
#define DNS_STREAM_BYTES (256 << 10) /* of a stream, of one socket in a second */

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
	__u32 passed[2]; /* bytes of a stream of varlink: of questions, of answers */
	struct dns_process process;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct dns_asker);
} dns_askers SEC(".maps");

static __always_inline void dns_process_fill(struct dns_process *process, struct task_struct *task)
{
	struct task_struct *leader = KREAD(task, group_leader);
	const struct cred *cred = KREAD(task, cred);

	process->start_boot_ns = KREAD(leader, start_boottime);
	process->tgid = KREAD(task, tgid);
	process->exec_id = KREAD(task, self_exec_id);
	process->tid = KREAD(task, pid);
	process->uid = KREAD(cred, uid.val);
}

/* A message in a packet or in memory: where it begins, how long it is, and whose it is. */
struct dns_seen {
	__u64 cookie;
	__u64 address; /* in the memory of the current task */
	__u32 at; /* in the packet */
	__u32 length;
	__u32 sent; /* bytes of the message that go into the record */
	__u32 is_answer;
	__u32 sequence;
	__u32 carrier; /* enum dns_carrier */
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
	r->carrier = seen->carrier;
	r->pad = 0;
}

/* Copy a message, or a part of a stream, to a record. */
static __always_inline long dns_of_packet(void *to, __u32 length, struct __sk_buff *skb,
					  const struct dns_seen *seen)
{
	return bpf_skb_load_bytes(skb, seen->at, to, length);
}

static __always_inline long dns_of_memory(void *to, __u32 length, void *context,
					  const struct dns_seen *seen)
{
	return bpf_probe_read_user(to, length, (void *)seen->address);
}

/* Send a message in a record with room for `room` bytes of it, a power of two. */
#define DNS_SENDER(sender, type, copy, room)                                        \
	static __always_inline void sender(type *from, const struct dns_seen *seen) \
	{                                                                           \
		struct {                                                            \
			struct dns_message message;                                 \
			__u8 bytes[room];                                           \
		} * r;                                                              \
		__u64 waiting = ring_waiting(), length = seen->sent;                \
		__u64 flags = wake_flags(waiting, sizeof(*r), false);               \
                                                                                    \
		if (!record_is_admitted(waiting, seen->process.uid, sizeof(*r),     \
					RECORD_DNS_MESSAGE))                        \
			return;                                                     \
		r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);                   \
		if (!r) {                                                           \
			count_lost(RECORD_DNS_MESSAGE, LOSS_RING_FULL);             \
			return;                                                     \
		}                                                                   \
		barrier_var(length);                                                \
		length = ((length - 1) & ((room)-1)) + 1;                           \
		if (copy(r->bytes, length, from, seen)) {                           \
			count_lost(RECORD_DNS_MESSAGE, LOSS_UNREADABLE);            \
			bpf_ringbuf_discard(r, flags);                              \
			return;                                                     \
		}                                                                   \
		dns_fill(&r->message, seen, sizeof(*r));                            \
		count_submitted(RECORD_DNS_MESSAGE);                                \
		bpf_ringbuf_submit(r, flags);                                       \
	}

DNS_SENDER(dns_send_256, struct __sk_buff, dns_of_packet, 256)
DNS_SENDER(dns_send_512, struct __sk_buff, dns_of_packet, 512)
DNS_SENDER(dns_send_1024, struct __sk_buff, dns_of_packet, 1024)
DNS_SENDER(dns_send_4096, struct __sk_buff, dns_of_packet, DNS_PART)

static __always_inline void dns_send(struct __sk_buff *skb, struct dns_seen *seen)
{
	__u32 most = seen->is_answer || seen->carrier ? DNS_PART : DNS_QUESTION;

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

/* Count a message that is not sent: it is none, nobody has asked for it, or it is too much. */
static __always_inline int dns_leave_out(void)
{
	count_seen(RECORD_DNS_MESSAGE);
	count_left_out(RECORD_DNS_MESSAGE);
	return 0;
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

#endif /* HOOKS_DNS_RECORD_BPF_H */
