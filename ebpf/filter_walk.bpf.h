/* SPDX-License-Identifier: GPL-2.0 */
/* One automaton for all strings: texts are walked eight bytes at a step. */
#ifndef FILTER_WALK_BPF_H
#define FILTER_WALK_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "compat.bpf.h"
#include "filter_rules.bpf.h"

#define __maybe_unused __attribute__((unused)) /* not every event needs every function */

/*
 * For functions that return nothing: clang leaves anything in r0, and the verifier takes
 * a pointer there for one that leaks.
 */
#define FILTER_DONE() asm volatile("r0 = 0" ::: "r0", "memory")

struct filter_walk {
	struct filter_rules *rules;
	const __u8 *text;
	__u32 begin;
	__u32 end; /* behind the last byte */
	__u16 state;
	__u16 found; /* FILTER_FOUND when any state had it */
	__u32 pad;
	__u64 *bits; /* where to collect */
};

static __always_inline __u16 filter_next(struct filter_rules *rules, __u16 state, __u8 byte)
{
	__u32 index = (__u32)state * FILTER_CLASSES + rules->classes[byte];

	/* takes FILTER_FOUND off too */
	return rules->next[index & (FILTER_STATES * FILTER_CLASSES - 1)];
}

/* Eight bytes without a branch; the states' flags are gathered. */
static __always_inline void filter_step(struct filter_walk *walk, __u64 word)
{
	struct filter_rules *rules = walk->rules;
	__u16 state = walk->state, found = walk->found;

#pragma unroll
	for (int i = 0; i < 8; i++) {
		state = filter_next(rules, state, word);
		found |= state;
		word >>= 8;
	}
	walk->state = state;
	walk->found = found;
}

/* The same, with the bits of every state; those in which nothing is found have none. */
static __always_inline void filter_collect(struct filter_walk *walk, __u64 word)
{
	struct filter_rules *rules = walk->rules;
	__u16 state = walk->state, output;

#pragma unroll
	for (int i = 0; i < 8; i++) {
		state = filter_next(rules, state, word);
		output = rules->output_of[state & (FILTER_STATES - 1)];
		for (int j = 0; j < FILTER_SET_WORDS; j++)
			walk->bits[j] |= rules->outputs[output & (FILTER_OUTPUTS - 1)][j];
		word >>= 8;
	}
	walk->state = state;
}

/* The bytes beyond the end are NUL: the first ends the text, then nothing is found. */
static __always_inline __u64 filter_cut(__u64 word, __u32 left)
{
	return left < 8 ? word & ((1ULL << (left * 8)) - 1) : word;
}

/*
 * Texts in scratch and images are of different size: the verifier wants to see which.
 * It knows nothing of the index, and so need not follow it through the whole text.
 */
#define FILTER_CALLBACK(name, size, action)                     \
	static long name(__u32 index, struct filter_walk *walk) \
	{                                                       \
		__u32 at = walk->begin + index * 8;             \
		__u64 word;                                     \
                                                                \
		if (at > walk->end)                             \
			return 1;                               \
		word = *(__u64 *)&walk->text[at & ((size)-1)];  \
		action(walk, filter_cut(word, walk->end - at)); \
		return 0;                                       \
	}

FILTER_CALLBACK(filter_step_scratch, STRINGS_SIZE, filter_step)
FILTER_CALLBACK(filter_collect_scratch, STRINGS_SIZE, filter_collect)
FILTER_CALLBACK(filter_step_image, FILTER_IMAGE_SIZE, filter_step)
FILTER_CALLBACK(filter_collect_image, FILTER_IMAGE_SIZE, filter_collect)

/* The second time only when something was found, to see what. */
#define FILTER_WALK(walk, size, step, collect)                           \
	({                                                               \
		__u16 __state = (walk).state;                            \
		bpf_loop((size) / 8 + 1, (step), &(walk), 0);            \
		if ((walk).found & FILTER_FOUND) {                       \
			(walk).state = __state;                          \
			bpf_loop((size) / 8 + 1, (collect), &(walk), 0); \
		}                                                        \
	})

#endif /* FILTER_WALK_BPF_H */
