/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fields that are numbers or made of numbers: they are printed as user space prints them, then
 * walked. Digits are put without a branch: behind each branch the verifier would check all the rest
 * twice.
 */
#ifndef FILTER_NUMBERS_BPF_H
#define FILTER_NUMBERS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "filter/rules.bpf.h"
#include "filter/automaton.bpf.h"

/* Put a byte at the end if `keep` is 1, nothing if it is 0. */
static __always_inline void filter_put_if(struct filter_text_room *room, __u32 byte, __u32 keep)
{
	barrier_var(byte); /* the compiler would use that it is a digit; the verifier cannot */
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
	barrier_var(bits); /* without it the compiler makes a branch */
	return (bits | -bits) >> 31;
}

/* Put a number in decimal. `unit` is that of the highest digit: 1000 for four digits at most. */
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

/* Put a number in hexadecimal. `shift` is that of the highest digit: 12 for four at most. */
static __always_inline void filter_put_hexadecimal(struct filter_text_room *room, __u32 number,
						   __s32 shift)
{
	__u32 begun = 0, digit, letter;

#pragma unroll
	for (; shift >= 0; shift -= 4) {
		digit = number >> shift & 15;
		letter = (digit + 6) >> 4; /* 1 from 10 on, else 0 */
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

/* Print one number of an IPv4 address. */
__noinline int filter_print_byte(struct filter_text_room *room, __u32 number)
{
	if (room)
		filter_put_decimal(room, number & 255, 100);
	return 0;
}

/* Print one group of an IPv6 address. */
__noinline int filter_print_group(struct filter_text_room *room, __u32 number)
{
	if (room)
		filter_put_hexadecimal(room, number & 0xffff, 12);
	return 0;
}

FILTER_CALLBACKS(text, FILTER_TEXT_SIZE, 1)

/* Tell a text of the event: walk what was printed. */
__noinline int filter_judge_text(struct filter_known *known, __u32 event, __u32 text)
{
	struct filter_rules *rules = filter_rules_of(known);
	struct filter_walk walk;

	if (!known || !rules)
		return 0;
	filter_walk_begin(&walk, rules);
	walk.text = known->room.bytes;
	walk.end = known->room.length;
	barrier_var(text); /* keep the bound below, which the verifier needs */
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

/* Returns whether the rules ask this text, and empties the buffer for it. */
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

/* Tell an address: four bytes in dotted decimal, or sixteen bytes in eight groups. */
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

/* Tell a name of 16 bytes at most. An empty one is told as "-". */
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
