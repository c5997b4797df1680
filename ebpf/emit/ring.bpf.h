/* SPDX-License-Identifier: GPL-2.0-only */
/* The ring buffer: waking its reader, reserves, shares of users, and output. */
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
const volatile __u32 wake_bytes = 1 << 18; /* a power of two; see wake_flags() */
const volatile __u32 shared_bytes = 6 << 20; /* beyond these, only records of processes are sent */

/* When the reader looks at the ring next. User space sets it, and a record that wakes it. */
enum reader_pause {
	READER_IS_ASKED, /* within 10 ms, and a hasty record has come since it was set */
	READER_LOOKS_SOON, /* within 10 ms */
	READER_PAUSES, /* when a tick is over: records wait to be read together */
	READER_SLEEPS, /* when a record wakes it */
};

enum reader_pause reader_pauses; /* keeps the type in the object's BTF */
__u32 reader_pause = READER_IS_ASKED;

/* How soon a record is to be read. false and true stand for the first two. */
enum haste {
	HASTE_NONE,
	HASTE_NOW, /* at once: the file that it names must be opened before it can vanish */
	HASTE_SOON, /* within 10 ms: a value outside of the record is looked up that may change */
};

/*
 * Bytes in the ring that one user's records took while it was filling. All of them count until the
 * last one is read.
 */
struct user_share {
	__u64 bytes;
	__u64 end; /* position in the ring behind the user's last record */
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

/* Bytes that a record of `size` bytes takes in the ring: its header and its end are rounded up. */
static __always_inline __u64 ring_bytes(__u32 size)
{
	return (size + BPF_RINGBUF_HDR_SZ + 7) & ~7ULL;
}

/*
 * Flags for the output of a record of `size` bytes. The reader is woken when it sleeps, when the
 * record is hastier than its pause, and when the bytes that wait pass a multiple of wake_bytes. Two
 * records at once may pass one unseen: the next multiple makes up for it.
 */
static __always_inline __u64 wake_flags(__u64 waiting, __u32 size, enum haste haste)
{
	__u32 pause = *(volatile __u32 *)&reader_pause;

	if (haste && pause != READER_IS_ASKED)
		reader_pause = READER_IS_ASKED;
	else if (pause == READER_SLEEPS)
		reader_pause = READER_PAUSES;
	if (haste == HASTE_NOW || pause == READER_SLEEPS ||
	    (haste == HASTE_SOON && pause == READER_PAUSES))
		return BPF_RB_FORCE_WAKEUP;
	return (waiting ^ (waiting + ring_bytes(size))) >= wake_bytes ? BPF_RB_FORCE_WAKEUP
								      : BPF_RB_NO_WAKEUP;
}

/*
 * The reader does not keep up. True from half of the ring on, where long strings begin to lose
 * their middle and users are held to their shares.
 */
static __always_inline bool is_filling(__u64 waiting)
{
	return waiting > shared_bytes / 3 * 2;
}

static __always_inline bool ring_is_filling(void)
{
	return is_filling(ring_waiting());
}

#define USER_BLOCK_BITS 16
#define SHARES 12 /* a share is 1/12 of shared_bytes; 4 shares lie between filling and full */

/*
 * The user to whom a share is given. Ids below 65,536 each stand for themselves. All ids of an
 * aligned block of 65,536 count as one user, because subuid(5) hands out ids by such blocks, for
 * user namespaces. A block that is not aligned reaches into two: its owner counts as three users at
 * most.
 */
static __always_inline __u32 user_of(__u32 uid)
{
	return uid >> USER_BLOCK_BITS ? uid >> USER_BLOCK_BITS << USER_BLOCK_BITS : uid;
}

/*
 * Call it while the ring is filling. Returns 1 if a record of `size` bytes is more than the user's
 * share allows, else 0; then the bytes count.
 */
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

/* Records of processes name the actor: without them the other records say little. */
static __always_inline bool is_of_process(enum record_type type)
{
	return type <= RECORD_PROCESS_TERMINATE;
}

/* Put a record into the ring, whoever sends it, or count it as lost. `waiting` is ring_waiting().
 */
static __always_inline void record_put(void *record, __u32 size, enum record_type type,
				       __u64 waiting, enum haste haste)
{
	count_submitted(type);
	if (bpf_ringbuf_output(&records, record, size, wake_flags(waiting, size, haste)))
		count_lost_instead(type, LOSS_RING_FULL);
}

/*
 * Returns whether a record of `size` bytes of a user may go into the ring; else it is counted as
 * lost. The part beyond shared_bytes is kept for records of processes, so that no flood of other
 * records crowds them out. While the ring is filling, each user but root has a share, so that no
 * user crowds out the others.
 */
static __always_inline bool record_is_admitted(__u64 waiting, __u32 uid, __u32 size,
					       enum record_type type)
{
	if (is_of_process(type) || !is_filling(waiting))
		return true;
	if (waiting + size > shared_bytes) {
		count_lost(type, LOSS_RING_FULL);
		return false;
	}
	if (uid && share_is_spent(uid, size)) {
		count_lost(type, LOSS_OVER_SHARE);
		return false;
	}
	return true;
}

/* Put a record into the ring, or count it as lost. */
static __always_inline void record_output(void *record, __u32 size, enum record_type type,
					  enum haste haste)
{
	__u64 waiting = ring_waiting();

	if (!record_is_admitted(waiting, ((struct record_header *)record)->uid, size, type))
		return;
	record_put(record, size, type, waiting, haste);
}

#endif /* EMIT_RING_BPF_H */
