/* SPDX-License-Identifier: GPL-2.0-only */
/* The ring buffer: waking its reader, shares of it, and sending a record. */
#ifndef EMIT_RING_BPF_H
#define EMIT_RING_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "emit/counters.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} records SEC(".maps");

/* Set by user space before load. */
const volatile __u32 wake_bytes = 1 << 18; /* wake the reader when so much is waiting */
const volatile __u32 shared_bytes = 6 << 20; /* beyond: for records of processes alone */

__u32 reader_sleeps = 0; /* set by user space before it waits for the next record */

/*
 * What a user has in the ring of what came while that was filling; all of it counts until
 * the last of it is read.
 */
struct user_share {
	__u64 bytes;
	__u64 end; /* position in the ring behind the last of it */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct user_share);
} user_shares SEC(".maps");

static __always_inline __u64 ring_waiting(void)
{
	return bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA);
}

/*
 * Wake the reader at once, or when the fill level crosses wake_bytes; one that sleeps, at the
 * first record.
 */
static __always_inline __u64 wake_flags(__u64 waiting, __u32 size, bool urgent)
{
	if (*(volatile __u32 *)&reader_sleeps) {
		reader_sleeps = 0;
		return BPF_RB_FORCE_WAKEUP;
	}
	if (urgent)
		return BPF_RB_FORCE_WAKEUP;
	return waiting < wake_bytes && waiting + size >= wake_bytes ? BPF_RB_FORCE_WAKEUP
								    : BPF_RB_NO_WAKEUP;
}

/* The reader does not keep up: longer records would soon find no room. Half of the ring. */
static __always_inline bool is_filling(__u64 waiting)
{
	return waiting > shared_bytes / 3 * 2;
}

static __always_inline bool ring_is_filling(void)
{
	return is_filling(ring_waiting());
}

#define USER_BLOCK_BITS 16
#define SHARES 12 /* of shared_bytes, and as much as four shares are beyond half of the ring */

/*
 * Who stands behind a user id: ids that are handed out by the block, for user namespaces, are
 * one. With a block that is not aligned somebody may be three, see subuid(5).
 */
static __always_inline __u32 user_of(__u32 uid)
{
	return uid >> USER_BLOCK_BITS ? uid >> USER_BLOCK_BITS << USER_BLOCK_BITS : uid;
}

/* While the ring is filling: whether a user has its share already; else this counts for it. */
__noinline int share_is_spent(__u32 uid, __u32 size)
{
	__u64 end = bpf_ringbuf_query(&records, BPF_RB_PROD_POS) + size;
	__u64 begin = bpf_ringbuf_query(&records, BPF_RB_CONS_POS);
	struct user_share *share, first = {.bytes = size, .end = end};
	__u32 user = user_of(uid);

	share = bpf_map_lookup_elem(&user_shares, &user);
	if (!share) {
		bpf_map_update_elem(&user_shares, &user, &first, BPF_ANY);
		return 0;
	}
	if (share->end <= begin)
		share->bytes = 0;
	if (share->bytes + size > shared_bytes / SHARES)
		return 1;
	__sync_fetch_and_add(&share->bytes, size);
	share->end = end;
	return 0;
}

/* Who acted is told of by these: without them no other record says much. */
static __always_inline bool is_of_process(enum record_type type)
{
	return type <= RECORD_PROCESS_TERMINATE;
}

/*
 * Records of processes find room where a flood of others, which anyone can make, found none;
 * and what others do finds room where one user floods. Root is not held to a share.
 */
static __always_inline void record_output(void *record, __u32 size, enum record_type type,
					  bool urgent)
{
	__u64 waiting = ring_waiting();

	if (!is_of_process(type) && is_filling(waiting)) {
		__u32 uid = ((struct record_header *)record)->uid;

		if (waiting + size > shared_bytes) {
			count_lost(type, LOSS_RING_FULL);
			return;
		}
		if (uid && share_is_spent(uid, size)) {
			count_lost(type, LOSS_OVER_SHARE);
			return;
		}
	}
	count_submitted(type);
	if (bpf_ringbuf_output(&records, record, size, wake_flags(waiting, size, urgent)))
		count_lost_instead(type, LOSS_RING_FULL);
}

#endif /* EMIT_RING_BPF_H */
