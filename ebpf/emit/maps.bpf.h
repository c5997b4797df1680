/* SPDX-License-Identifier: GPL-2.0-only */
/* The ring buffer, scratch space to build a record in, and the counters. */
#ifndef EMIT_MAPS_BPF_H
#define EMIT_MAPS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"

char LICENSE[] SEC("license") = "GPL";

#define PATH_SIZE 4096 /* PATH_MAX: a path with its NUL */
#define NAME_SIZE 256 /* NAME_MAX + 1 */
#define ROOM_WORDS 2
#define PATH_GIVEN_AT 8
#define STRINGS_SIZE 16384 /* all strings but the last one, and the fixed part */
#define ARGS_SIZE 16384

/*
 * A path: the bytes from `at` to `end`. One that was walked fills the first PATH_SIZE bytes from
 * their end; one that was given, as the caller wrote it, begins behind PATH_GIVEN_AT.
 */
struct path_buffer {
	struct dentry *dentry; /* where the walk up has come to */
	struct mount *mount;
	__u32 at;
	__u32 end;
	bool whole; /* the walk has reached the very root */
	bool given;
	__u8 pad[6];
	__u64 room[ROOM_WORDS]; /* in front of the bytes: see path_copy_short() */
	__u8 bytes[PATH_SIZE + NAME_SIZE];
};

/* One record under construction. */
struct scratch {
	__u32 used; /* bytes of data */
	__u8 data[STRINGS_SIZE + ARGS_SIZE];
	struct path_buffer path;
};

/*
 * One for each processor (user space sets max_entries; a per-CPU map holds 32 KiB at most).
 * For programs that run in a task's context: these never interrupt each other on one
 * processor. Programs that may run in softirq must not use it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} task_scratch __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} records __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct record_counters);
} counters __weak SEC(".maps");

/* Forks that user space has not been told of, by tgid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct process_fork);
} untold_forks __weak SEC(".maps");

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
} user_shares __weak SEC(".maps");

/* Set by user space before load. */
const volatile __u32 wake_bytes __weak = 1 << 18; /* wake the reader when so much is waiting */
const volatile __u32 shared_bytes __weak = 6 << 20; /* beyond: for records of processes alone */

__u32 own_tgid __weak = 0; /* the daemon: what it does is not reported */

__u64 args_shortened __weak = 0; /* records whose command line lost its middle */
__u64 paths_shortened __weak = 0; /* paths that did */

__u32 reader_sleeps __weak = 0; /* set by user space before it waits for the next record */

static __always_inline struct scratch *task_scratch_get(void)
{
	__u32 processor = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&task_scratch, &processor);
}

static __always_inline struct record_counters *counters_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

/*
 * A type that counters are found by. Of a variable that was on the stack the verifier knows
 * nothing any more before v5.11 ("bpf: Track spill/fill of bounded scalars").
 */
static __always_inline __u64 counter_of(enum record_type type)
{
	__u64 index = type;

	if (!__builtin_constant_p(type))
		barrier_var(index); /* keep the mask */
	return index & (COUNTERS_MAX - 1);
}

/* The counters are per processor, and a softirq may come between: hence atomic. */
static __always_inline void count_seen(enum record_type type)
{
	struct record_counters *counts = counters_get();

	if (counts)
		__sync_fetch_and_add(&counts->seen[counter_of(type)], 1);
}

static __always_inline void count_filtered(enum record_type type)
{
	struct record_counters *counts = counters_get();

	if (counts)
		__sync_fetch_and_add(&counts->filtered[counter_of(type)], 1);
}

static __always_inline void count_lost(enum record_type type, enum loss_reason reason)
{
	struct record_counters *counts = counters_get();

	if (counts)
		__sync_fetch_and_add(&counts->lost[counter_of(type)][reason], 1);
}

static __always_inline void count_left_out(enum record_type type)
{
	struct record_counters *counts = counters_get();

	if (counts)
		__sync_fetch_and_add(&counts->left_out[counter_of(type)], 1);
}

/* Before the record is there to be read: never is one received that was not submitted. */
static __always_inline void count_submitted(enum record_type type)
{
	struct record_counters *counts = counters_get();

	if (counts)
		__sync_fetch_and_add(&counts->submitted[counter_of(type)], 1);
}

/* It was not submitted after all. First this, for no record may be found with two fates. */
static __always_inline void count_lost_instead(enum record_type type, enum loss_reason reason)
{
	struct record_counters *counts = counters_get();

	if (!counts)
		return;
	__sync_fetch_and_add(&counts->submitted[counter_of(type)], -1);
	__sync_fetch_and_add(&counts->lost[counter_of(type)][reason], 1);
}

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

/*
 * Tell user space of a process that has only been forked so far. Whoever finds that it is
 * told can rely on the record being in the ring; two that tell at once may do it twice.
 */
static __noinline int fork_tell(__u32 tgid)
{
	struct process_fork *fork = bpf_map_lookup_elem(&untold_forks, &tgid), *r;
	__u64 flags;

	if (!fork)
		return 0;
	flags = wake_flags(ring_waiting(), sizeof(*r), false);
	r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);
	if (!r) {
		count_seen(RECORD_PROCESS_FORK);
		count_lost(RECORD_PROCESS_FORK, LOSS_RING_FULL);
	} else {
		*r = *fork;
		if (bpf_map_lookup_elem(&untold_forks, &tgid)) { /* then the copy is whole */
			count_seen(RECORD_PROCESS_FORK);
			count_submitted(RECORD_PROCESS_FORK);
			bpf_ringbuf_submit(r, flags);
		} else {
			bpf_ringbuf_discard(r, flags);
		}
	}
	bpf_map_delete_elem(&untold_forks, &tgid);
	return 0;
}

/* Send a whole record; its header's type and size are set. */
static __always_inline void record_send(void *record, __u32 size, enum record_type type,
					bool urgent)
{
	if (type != RECORD_PROCESS_CREATE)
		fork_tell(((struct record_header *)record)->tgid);
	record_output(record, size, type, urgent);
}

#endif /* EMIT_MAPS_BPF_H */
