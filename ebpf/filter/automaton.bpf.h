/* SPDX-License-Identifier: GPL-2.0-only */
/* One automaton for all strings: texts are walked eight bytes at a step. */
#ifndef FILTER_AUTOMATON_BPF_H
#define FILTER_AUTOMATON_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "filter/rules.bpf.h"

struct filter_walk {
	struct filter_rules *rules;
	const __u8 *text;
	__u32 at;
	__u32 end; /* behind the last byte */
	__u16 state;
	__u16 found; /* FILTER_FOUND when any state had it */
	__u32 pad;
	__u64 bits[FILTER_SET_WORDS]; /* what was found */
};

/*
 * Begin with zeroes of which the verifier knows nothing: else it follows the walk step by step.
 * The first output is that of states in which nothing is found.
 */
static __always_inline void filter_walk_begin(struct filter_walk *walk, struct filter_rules *rules)
{
	const __u64 *nothing = rules->outputs[0];

	walk->rules = rules;
	walk->at = nothing[0];
	walk->found = nothing[0];
	for (int i = 0; i < FILTER_SET_WORDS; i++)
		walk->bits[i] = nothing[i];
}

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

/*
 * The same, with the bits of every state; those in which nothing is found have none. Rolled
 * up, for the stack: before v6.13 the functions of a program share 512 bytes.
 */
static __always_inline void filter_collect(struct filter_walk *walk, __u64 word)
{
	struct filter_rules *rules = walk->rules;
	__u16 state = walk->state, output;

#pragma clang loop unroll(disable)
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
 * Texts lie in rooms of different size: the verifier wants to see in which. It knows nothing of
 * where in it, and so need not follow a walk through the whole text.
 */
#define FILTER_CALLBACK(name, size, words, action)                     \
	static long name(__u32 index, struct filter_walk *walk)        \
	{                                                              \
		__u32 at = walk->at, end = walk->end;                  \
		__u64 word;                                            \
                                                                       \
		_Pragma("unroll") for (int i = 0; i < (words); i++)    \
		{                                                      \
			if (at > end)                                  \
				return 1;                              \
			word = *(__u64 *)&walk->text[at & ((size)-1)]; \
			action(walk, filter_cut(word, end - at));      \
			at += 8;                                       \
		}                                                      \
		walk->at = at;                                         \
		return 0;                                              \
	}

/* Where calls cost too much, as they do at every path, a step is of several words. */
#define FILTER_CALLBACKS(room, size, words)                           \
	FILTER_CALLBACK(filter_step_##room, size, words, filter_step) \
	FILTER_CALLBACK(filter_collect_##room, size, 1, filter_collect)

/* The second time only when something was found, to see what. */
#define FILTER_WALK(walk, size, room)                                                \
	({                                                                           \
		__u16 __state = (walk).state;                                        \
		__u32 __at = (walk).at;                                              \
		bpf_loop((size) / 8 + 1, filter_step_##room, &(walk), 0);            \
		if ((walk).found & FILTER_FOUND) {                                   \
			(walk).state = __state;                                      \
			(walk).at = __at;                                            \
			bpf_loop((size) / 8 + 1, filter_collect_##room, &(walk), 0); \
		}                                                                    \
	})

#endif /* FILTER_AUTOMATON_BPF_H */
