/* SPDX-License-Identifier: GPL-2.0-only */
/* The automaton that finds all strings of the rules in a text, eight bytes a step. */
#ifndef FILTER_AUTOMATON_BPF_H
#define FILTER_AUTOMATON_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "filter/rules.bpf.h"

struct filter_walk {
	struct filter_rules *rules;
	const __u8 *text;
	__u32 at;
	__u32 end; /* offset behind the last byte */
	__u16 state;
	__u16 found; /* has FILTER_FOUND if any state had it */
	__u32 pad;
	__u64 bits[FILTER_SET_WORDS]; /* bits of the strings that were found */
};

/*
 * Begin a walk. The first output, of states in which nothing is found, is zeroes. They are read
 * from the map, because of constants the verifier would follow the values through each step.
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

/* Walk eight bytes without a branch. Flags of all states are collected in `found`. */
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
 * Walk eight bytes and collect the bits of each state. The loop is not unrolled, to spare the
 * stack: before v6.13 all functions of a program share 512 bytes.
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

/* Make the bytes behind the end NUL. Behind a NUL nothing is found. */
static __always_inline __u64 filter_cut(__u64 word, __u32 left)
{
	return left < 8 ? word & ((1ULL << (left * 8)) - 1) : word;
}

/*
 * A callback of bpf_loop() for texts in a buffer of `size` bytes, a constant that the verifier
 * needs to see. It does not know the offset in the buffer, and need not follow a walk through the
 * whole text. While the text has more than `words` words of eight bytes, a call takes as many. The
 * mask of walk->at changes no offset: with it, the second step looks like the first one.
 */
#define FILTER_CALLBACK(name, size, words, action)                             \
	static long name(__u32 index, struct filter_walk *walk)                \
	{                                                                      \
		__u32 at = walk->at, end = walk->end;                          \
		__u64 word;                                                    \
                                                                               \
		if (at > end)                                                  \
			return 1;                                              \
		if ((words) > 1 && end - at > (words)*8) {                     \
			_Pragma("unroll") for (int i = 0; i < (words); i++)    \
			{                                                      \
				word = *(__u64 *)&walk->text[at & ((size)-1)]; \
				action(walk, word);                            \
				at += 8;                                       \
			}                                                      \
		} else {                                                       \
			word = *(__u64 *)&walk->text[at & ((size)-1)];         \
			action(walk, filter_cut(word, end - at));              \
			at += 8;                                               \
		}                                                              \
		walk->at = at & ((size)*2 - 1);                                \
		return 0;                                                      \
	}

/* A step has several words where the calls would cost too much: each path is walked. */
#define FILTER_CALLBACKS(room, size, words)                           \
	FILTER_CALLBACK(filter_step_##room, size, words, filter_step) \
	FILTER_CALLBACK(filter_collect_##room, size, 1, filter_collect)

/* Walk a text. Only if something was found, walk it again to collect the bits. */
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
