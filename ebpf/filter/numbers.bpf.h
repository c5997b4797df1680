/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Texts made of numbers: written as they would be printed, then walked. Digits are put without a
 * branch, for which the verifier would go through all the rest twice.
 */
#ifndef FILTER_NUMBERS_BPF_H
#define FILTER_NUMBERS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "filter/rules.bpf.h"
#include "filter/automaton.bpf.h"

/* Put a byte at the end; it stays only with `keep`, which is 0 or 1. */
static __always_inline void filter_put_if(struct filter_text_room *room, __u32 byte, __u32 keep)
{
	barrier_var(byte); /* the compiler knows that it is a digit, the verifier does not */
	barrier_var(keep);
	room->bytes[room->length & (FILTER_TEXT_SIZE - 1)] = byte;
	room->length += keep;
}

static __always_inline void filter_put(struct filter_text_room *room, __u8 byte)
{
	room->bytes[room->length & (FILTER_TEXT_SIZE - 1)] = byte;
	room->length++;
}

static __always_inline __u32 filter_is_any(__u32 bits)
{
	barrier_var(bits); /* else it becomes a branch */
	return (bits | -bits) >> 31;
}

/* A number in as many digits as it has. `unit` is the highest digit's: 1000 of four. */
static __always_inline void filter_put_decimal(struct filter_text_room *room, __u32 number,
					       __u32 unit)
{
	__u32 begun = 0, digit;

#pragma unroll
	for (int i = 0; i < 10; i++) {
		if (!unit)
			break;
		digit = number / unit;
		begun |= digit | (unit == 1);
		filter_put_if(room, '0' + digit, filter_is_any(begun));
		number -= digit * unit;
		unit /= 10;
	}
}

/* The same in hexadecimal; `shift` is the highest digit's. */
static __always_inline void filter_put_hexadecimal(struct filter_text_room *room, __u32 number,
						   __s32 shift)
{
	__u32 begun = 0, digit, letter;

#pragma unroll
	for (; shift >= 0; shift -= 4) {
		digit = number >> shift & 15;
		letter = (digit + 6) >> 4; /* from 10 on */
		begun |= digit | !shift;
		filter_put_if(room, '0' + digit + letter * ('a' - '0' - 10), filter_is_any(begun));
	}
}

__noinline int filter_print_decimal(struct filter_text_room *room, __u32 number)
{
	if (room)
		filter_put_decimal(room, number, 1000000000);
	return 0;
}

__noinline int filter_print_hexadecimal(struct filter_text_room *room, __u32 number)
{
	if (room)
		filter_put_hexadecimal(room, number, 28);
	return 0;
}

/* One number of an IPv4 address. */
__noinline int filter_print_byte(struct filter_text_room *room, __u32 number)
{
	if (room)
		filter_put_decimal(room, number & 255, 100);
	return 0;
}

/* One group of an IPv6 address. */
__noinline int filter_print_group(struct filter_text_room *room, __u32 number)
{
	if (room)
		filter_put_hexadecimal(room, number & 0xffff, 12);
	return 0;
}

FILTER_CALLBACKS(text, FILTER_TEXT_SIZE, 1)

/* Ask what was printed as this text of the event. */
__noinline int filter_judge_text(struct filter_known *known, __u32 event, __u32 text)
{
	struct filter_rules *rules = filter_rules_of(known);
	struct filter_walk walk;

	if (!known || !rules)
		return 0;
	filter_walk_begin(&walk, rules);
	walk.text = known->room.bytes;
	walk.end = known->room.length;
	barrier_var(text); /* the bound above, which the verifier wants to see */
	text &= 7;
	if (text >= FILTER_TEXTS)
		return 0;
	walk.state = filter_rules_for(rules, event)->texts[text];
	if (!walk.state)
		return 0;
	FILTER_WALK(walk, FILTER_TEXT_SIZE, text);
	known->words[FILTER_WORD_TEXTS + text] = walk.bits[0];
	known->doubt[FILTER_WORD_TEXTS + text] = 0;
	return 0;
}

/* Whether the rules ask for this text; if so, there is an empty room to print it in. */
static __always_inline bool filter_asks_text(struct filter_input *in, __u32 event, __u32 text)
{
	in->known->room.length = 0;
	return filter_rules_for(in->rules, event)->texts[text];
}

static __always_inline void filter_decimal(struct filter_input *in, __u32 event, __u32 text,
					   __u32 number)
{
	if (!filter_asks_text(in, event, text))
		return;
	filter_print_decimal(&in->known->room, number);
	filter_judge_text(in->known, event, text);
}

static __always_inline void filter_hexadecimal(struct filter_input *in, __u32 event, __u32 text,
					       __u32 number)
{
	if (!filter_asks_text(in, event, text))
		return;
	filter_put(&in->known->room, '0');
	filter_put(&in->known->room, 'x');
	filter_print_hexadecimal(&in->known->room, number);
	filter_judge_text(in->known, event, text);
}

/* An address: four bytes in dotted decimal, or sixteen in eight groups, none left out. */
static __always_inline void filter_address(struct filter_input *in, __u32 event, __u32 text,
					   const __u8 *address, bool is_ipv6)
{
	struct filter_text_room *room = &in->known->room;

	if (!filter_asks_text(in, event, text))
		return;
	if (is_ipv6) {
#pragma unroll
		for (int i = 0; i < 8; i++) {
			if (i)
				filter_put(room, ':');
			filter_print_group(room, address[2 * i] << 8 | address[2 * i + 1]);
		}
	} else {
#pragma unroll
		for (int i = 0; i < 4; i++) {
			if (i)
				filter_put(room, '.');
			filter_print_byte(room, address[i]);
		}
	}
	filter_judge_text(in->known, event, text);
}

/* A name of at most 16 bytes; none prints as "-". */
static __always_inline void filter_name(struct filter_input *in, __u32 event, __u32 text,
					const char *name)
{
	struct filter_text_room *room = &in->known->room;

	if (!filter_asks_text(in, event, text))
		return;
	__builtin_memcpy(room->bytes, name, 16);
	room->length = 16; /* behind a NUL nothing is found */
	if (!name[0]) {
		room->bytes[0] = '-';
		room->length = 1;
	}
	filter_judge_text(in->known, event, text);
}

#endif /* FILTER_NUMBERS_BPF_H */
