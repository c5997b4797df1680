/* SPDX-License-Identifier: GPL-2.0-only */
/* Counters: the fate of each record, by its type. */
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
__u64 paths_shortened = 0; /* paths that did */

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

#endif /* EMIT_COUNTERS_BPF_H */
