/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The name that a DNS message asks for, RFC 1035: labels, each behind a byte with its length, and a
 * length of 0 at the end. User space prints a dot between two labels, and some bytes in another
 * way. A name with such bytes stays unknown.
 */
#ifndef FILTER_DNS_NAME_BPF_H
#define FILTER_DNS_NAME_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "filter/rules.bpf.h"
#include "filter/automaton.bpf.h"

#define DNS_LABEL_SIZE 64 /* a length from here on is a pointer, or has no meaning */
#define DNS_TYPE_AND_CLASS 4 /* bytes behind the name */

/* A name in the making: from labels to text, byte by byte. */
struct filter_labels {
	__u8 *bytes;
	__u32 left; /* bytes of this label that are to come */
	__u32 end; /* offset of the last length, which is 0 */
	bool is_whole;
	bool is_strange; /* user space prints some byte in another way */
};

/* Returns whether user space prints a byte of a label in another way. */
static __always_inline bool dns_byte_is_strange(__u8 byte)
{
	return byte <= ' ' || byte > '~' || byte == '.' || byte == ';' || byte == '\\';
}

/* A callback of bpf_loop(): look at one byte, and make a length a dot. */
static long filter_label_step(__u32 index, struct filter_labels *labels)
{
	__u8 *byte = &labels->bytes[index & (FILTER_NAME_SIZE - 1)], value = *byte;

	if (labels->left) {
		labels->left--;
		labels->is_strange |= dns_byte_is_strange(value);
		return 0;
	}
	if (!value || value >= DNS_LABEL_SIZE) {
		labels->is_whole = !value;
		labels->end = index;
		return 1;
	}
	labels->left = value;
	*byte = '.';
	return 0;
}

FILTER_CALLBACKS(name, FILTER_NAME_SIZE, 1)

/*
 * Tell the name whose labels are in `known->name`. `length` is the number of bytes that the message
 * has from there on. A name that user space cannot read stays unknown.
 */
__noinline int filter_query_name(struct filter_known *known, __u32 event, __u32 length)
{
	struct filter_rules *rules = filter_rules_of(known);
	struct filter_labels labels = {};
	struct filter_walk walk;

	if (!known || !rules)
		return 0;
	labels.bytes = known->name;
	bpf_loop(FILTER_NAME_SIZE - 1, filter_label_step, &labels, 0);
	if (!labels.is_whole || labels.is_strange || labels.end + 1 + DNS_TYPE_AND_CLASS > length)
		return 0;
	filter_walk_begin(&walk, rules);
	walk.text = known->name;
	walk.at += 1; /* a dot stands in front of the first label */
	walk.end = labels.end;
	if (!labels.end) { /* the root */
		known->name[1] = '.';
		walk.end = walk.at + 1;
	}
	walk.state = filter_rules_for(rules, event)->texts[FILTER_QUERY_NAME];
	if (!walk.state)
		return 0;
	FILTER_WALK(walk, FILTER_NAME_SIZE, name);
	known->words[FILTER_WORD_TEXTS + FILTER_QUERY_NAME] = walk.bits[0];
	known->doubt[FILTER_WORD_TEXTS + FILTER_QUERY_NAME] = 0;
	return 0;
}

#endif /* FILTER_DNS_NAME_BPF_H */
