/* SPDX-License-Identifier: GPL-2.0-only */
/* Counters: how many records of each type met which fate. */
#ifndef EMIT_COUNTERS_BPF_H
#define EMIT_COUNTERS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct record_counters);
} counters SEC(".maps");

__u64 args_shortened = 0; /* records whose command line lost its middle */
__u64 paths_shortened = 0; /* paths that lost their middle */

static __always_inline struct record_counters *counters_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

/*
 * Index of a type's counters. Before v5.11 ("bpf: Track spill/fill of bounded scalars") the
 * verifier forgets the range of a variable that it has put on the stack: hence the mask at each
 * use.
 */
static __always_inline __u64 counter_of(enum record_type type)
{
	__u64 index = type;

	if (!__builtin_constant_p(type))
		barrier_var(index); /* keep the mask */
	return index & (COUNTERS_MAX - 1);
}

/* The additions are atomic because a softirq may interrupt one on the same processor. */
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

/* Call it before the record can be read: user space never receives more than was counted. */
static __always_inline void count_submitted(enum record_type type)
{
	struct record_counters *counts = counters_get();

	if (counts)
		__sync_fetch_and_add(&counts->submitted[counter_of(type)], 1);
}

/*
 * A record was counted as submitted, but found no room. `submitted` is taken back first: user space
 * never finds a record with two fates.
 */
static __always_inline void count_lost_instead(enum record_type type, enum loss_reason reason)
{
	struct record_counters *counts = counters_get();

	if (!counts)
		return;
	__sync_fetch_and_add(&counts->submitted[counter_of(type)], -1);
	__sync_fetch_and_add(&counts->lost[counter_of(type)][reason], 1);
}

#endif /* EMIT_COUNTERS_BPF_H */
