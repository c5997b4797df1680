/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether the rules exclude a connection or a DNS message, whichever task is the current one. */
#ifndef FILTER_NETWORK_EVENTS_BPF_H
#define FILTER_NETWORK_EVENTS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "filter/rules.bpf.h"
#include "filter/owner.bpf.h"
#include "filter/tell.bpf.h"

#ifdef WITHOUT_BPF_LOOP

#define connection_excluded(owner, record) false
#define connecting_excluded(owner) false
#define dns_excluded(skb, at, length) ((void)(length), false)
#define owner_answers_keep(owner)

#else

/*
 * Tell the filter the image and user of the process that owns a connection. It may be another one
 * than the current process, of which tell_actor() tells the same.
 */
static __always_inline void tell_owner(struct filter_input *in, __u32 event,
				       const struct owner *owner)
{
	if (owner->answers.generation == in->known->generation)
		filter_image(in->known, FILTER_WORD_IMAGE, &owner->answers);
	if (asks_word(in, event, FILTER_WORD_USER))
		filter_user(in->known, FILTER_WORD_USER, owner->uid);
	filter_decimal(in, event, FILTER_PROCESS_ID, owner->tgid);
}

/* Call it while the owner is the current task: keep the answers about its image. */
static __always_inline void owner_answers_keep(struct owner *owner)
{
	__builtin_memset(&owner->answers, 0, sizeof(owner->answers)); /* unknown */
	filter_answers_keep(&owner->answers);
}

/* The rules for an event of this process, whichever task is the current one. */
static __always_inline struct filter_rules *filter_rules_for_owner(const struct owner *owner)
{
	if (owner && process_is_passing(owner->start_boot_ns, owner->tgid))
		return NULL;
	return filter_rules_in_force();
}

/* A connect() that has begun. Addresses and ports are not told: they stay unknown. */
__noinline int connecting_excluded(const struct owner *owner)
{
	const __u32 event = FILTER_NETWORK_CONNECT;
	struct filter_input in = {.rules = filter_rules_for_owner(owner)};
	__u32 known = foregone(&in, event);
	bool excluded;

	if (known)
		return known & FILTER_NEVER;
	if (!owner || !filter_begin(&in))
		return 0;
	tell_owner(&in, event, owner);
	filter_choice(&in, event, FILTER_PROTOCOL, 0);
	filter_choice(&in, event, FILTER_INITIATED, 1);
	excluded = filter_excludes(in.known, event);
	filter_end(&in);
	return excluded;
}

__noinline int connection_excluded(const struct owner *owner, const struct network_connect *r)
{
	const __u32 event = FILTER_NETWORK_CONNECT;
	struct filter_input in = {.rules = filter_rules_for_owner(owner)};
	__u32 known = foregone(&in, event);
	bool is_ipv6, excluded;

	if (known)
		return known & FILTER_NEVER;
	if (!owner || !r || !filter_begin(&in))
		return 0;
	is_ipv6 = r->family == AF_INET6;
	tell_owner(&in, event, owner);
	filter_choice(&in, event, FILTER_PROTOCOL, r->protocol != IPPROTO_TCP);
	filter_choice(&in, event, FILTER_INITIATED, r->initiated);
	filter_choice(&in, event, FILTER_SOURCE_IS_IPV6, is_ipv6);
	filter_choice(&in, event, FILTER_DESTINATION_IS_IPV6, is_ipv6);
	filter_address(&in, event, FILTER_SOURCE_IP, r->source_address, is_ipv6);
	filter_address(&in, event, FILTER_DESTINATION_IP, r->destination_address, is_ipv6);
	filter_decimal(&in, event, FILTER_SOURCE_PORT, bpf_ntohs(r->source_port));
	filter_decimal(&in, event, FILTER_DESTINATION_PORT, bpf_ntohs(r->destination_port));
	excluded = filter_excludes(in.known, event);
	filter_end(&in);
	return excluded;
}

/*
 * A DNS message of a packet, judged by the name that it asks for. Its question begins at `at`, and
 * `length` bytes of the message are there from `at` on. The process that asked stays unknown: a
 * question and its answer are judged apart, and must be judged alike, whichever process uses the
 * socket meanwhile.
 */
__noinline int dns_excluded(struct __sk_buff *skb, __u32 at, __u32 length)
{
	const __u32 event = FILTER_DNS_QUERY;
	struct filter_input in = {.rules = filter_rules_in_force()};
	__u32 known = foregone(&in, event), size = length;
	bool excluded;

	if (known)
		return known & FILTER_NEVER;
	if (!filter_begin(&in))
		return 0;
	if (size > FILTER_NAME_SIZE)
		size = FILTER_NAME_SIZE;
	barrier_var(size);
	if (length && filter_asks_text(&in, event, FILTER_QUERY_NAME) &&
	    !bpf_skb_load_bytes(skb, at, in.known->name, ((size - 1) & (FILTER_NAME_SIZE - 1)) + 1))
		filter_query_name(in.known, event, length);
	excluded = filter_excludes(in.known, event);
	filter_end(&in);
	return excluded;
}

#endif /* WITHOUT_BPF_LOOP */

#endif /* FILTER_NETWORK_EVENTS_BPF_H */
