/* SPDX-License-Identifier: GPL-2.0 */
/* Texts made of numbers: what would be printed goes right into the automaton. */
#ifndef FILTER_TEXT_BPF_H
#define FILTER_TEXT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "filter_rules.bpf.h"
#include "filter_walk.bpf.h"

struct filter_feed {
	struct filter_rules *rules;
	__u64 bits;
	__u16 state;
	__u16 pad[3];
};

/* Ask a byte unless it is a leading zero; without a branch, which the verifier pays for. */
static __always_inline void filter_feed_if(struct filter_feed *feed, __u32 byte, __u32 begun)
{
	struct filter_rules *rules = feed->rules;
	__u64 mask = -(((__u64)begun | -(__u64)begun) >> 63); /* all ones unless 0 */
	__u16 state;

	barrier_var(mask);
	barrier_var(byte); /* the compiler knows that it is a digit, the verifier does not */
	state = (filter_next(rules, feed->state, byte) & mask) | (feed->state & ~mask);
	feed->state = state;
	state = rules->output_of[state & (FILTER_STATES - 1)]; /* 0: no bits */
	feed->bits |= rules->outputs[state & (FILTER_OUTPUTS - 1)][0];
}

static __always_inline void filter_feed(struct filter_feed *feed, __u8 byte)
{
	filter_feed_if(feed, byte, 1);
}

/* A number in as many digits as it has. `unit` is the highest digit's: 1000 of four. */
static __noinline __u64 filter_feed_decimal(struct filter_feed *feed, __u32 number, __u32 unit)
{
	__u32 begun = 0;

	if (!feed)
		return 0;
	for (int i = 0; i < 10 && unit; i++) {
		__u32 digit = number / unit;

		begun |= digit | (unit == 1);
		filter_feed_if(feed, '0' + digit, begun);
		number -= digit * unit;
		unit /= 10;
	}
	return feed->bits;
}

static __noinline __u64 filter_feed_hexadecimal(struct filter_feed *feed, __u32 number, __s32 shift)
{
	__u32 begun = 0;

	if (!feed)
		return 0;
	for (int i = 0; i < 8 && shift >= 0; i++) {
		__u32 digit = number >> shift & 15;
		__u32 letter = (digit + 6) >> 4; /* from 10 on */

		begun |= digit | !shift;
		filter_feed_if(feed, '0' + digit + letter * ('a' - '0' - 10), begun);
		shift -= 4;
	}
	return feed->bits;
}

static __always_inline bool filter_feed_begin(struct filter_feed *feed, struct filter_input *in,
					      __u32 event, __u32 text)
{
	feed->rules = in->rules;
	if (!feed->rules || text >= FILTER_TEXTS)
		return false;
	feed->state = feed->rules->events[event & (FILTER_EVENT_MAX - 1)].texts[text];
	return feed->state;
}

static __always_inline void filter_feed_end(struct filter_feed *feed, struct filter_input *in,
					    __u32 text)
{
	filter_feed(feed, 0);
	in->known->words[FILTER_WORD_TEXTS + text] = feed->bits;
	in->known->unknown &= ~FILTER_MASK(FILTER_WORD_TEXTS + text, 1);
}

static __noinline __maybe_unused void filter_decimal(struct filter_input *in, __u32 event,
						     __u32 text, __u32 number)
{
	struct filter_feed feed = {};

	if (in && filter_feed_begin(&feed, in, event, text)) {
		feed.bits |= filter_feed_decimal(&feed, number, 1000000000);
		filter_feed_end(&feed, in, text);
	}
	FILTER_DONE();
}

static __noinline __maybe_unused void filter_hexadecimal(struct filter_input *in, __u32 event,
							 __u32 text, __u32 number)
{
	struct filter_feed feed = {};

	if (in && filter_feed_begin(&feed, in, event, text)) {
		filter_feed(&feed, '0');
		filter_feed(&feed, 'x');
		feed.bits |= filter_feed_hexadecimal(&feed, number, 28);
		filter_feed_end(&feed, in, text);
	}
	FILTER_DONE();
}

/* An address: four bytes in dotted decimal, or sixteen in eight groups, none left out. */
static __noinline __maybe_unused void filter_address(struct filter_input *in, __u32 event,
						     __u32 text, const __u8 *address, bool is_ipv6)
{
	struct filter_feed feed = {};

	if (in && filter_feed_begin(&feed, in, event, text)) {
		if (is_ipv6) {
#pragma clang loop unroll(disable)
			for (int i = 0; i < 8; i++) {
				if (i)
					filter_feed(&feed, ':');
				feed.bits |= filter_feed_hexadecimal(
					&feed, address[2 * i] << 8 | address[2 * i + 1], 12);
			}
		} else {
#pragma clang loop unroll(disable)
			for (int i = 0; i < 4; i++) {
				if (i)
					filter_feed(&feed, '.');
				feed.bits |= filter_feed_decimal(&feed, address[i], 100);
			}
		}
		filter_feed_end(&feed, in, text);
	}
	FILTER_DONE();
}

/* A name of at most 16 bytes; none prints as "-". */
static __noinline __maybe_unused void filter_name(struct filter_input *in, __u32 event, __u32 text,
						  const char *name)
{
	struct filter_feed feed = {};

	if (in && filter_feed_begin(&feed, in, event, text)) {
		if (!name[0])
			filter_feed(&feed, '-');
#pragma unroll
		for (int i = 0; i < 16; i++)
			filter_feed(&feed, name[i]); /* behind a NUL nothing is found */
		filter_feed_end(&feed, in, text);
	}
	FILTER_DONE();
}

#endif /* FILTER_TEXT_BPF_H */
