/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Whether the rules exclude a record that is about to be sent: what each event tells
 * filter.bpf.h. Kernels without bpf_loop() leave all to user space. The functions are
 * global, so that the verifier walks each once, not from every caller.
 */
#ifndef VERDICT_BPF_H
#define VERDICT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "compat.bpf.h"
#include "filter_rules.bpf.h"
#include "maps.bpf.h"
#include "record.h"
#include "sock.bpf.h"

#define EXECUTABLE_UNKNOWN 2
#define REGULAR_FILE 0100000
#define ANY_EXECUTE 0111
#define PATH_UNCERTAIN (RECORD_PATH_TRUNCATED | RECORD_PATH_UNREADABLE)

#ifdef WITHOUT_BPF_LOOP

#define file_event_excluded(type) false
#define raw_access_excluded() false
#define process_access_excluded(record) false
#define program_load_excluded(record) false
#define connection_excluded(owner, record) false
#define connecting_excluded(owner) false
#define owner_answers_keep(owner)
#define image_known(leader, scratch, image) ((void)(image))
#define image_inherited(parent, child)

#else

#include "filter.bpf.h"

#define image_known(leader, scratch, image) filter_image_set(leader, scratch, image)
#define image_inherited(parent, child) filter_image_inherit(parent, child)

/* Whether there is anything to ask; else whether the event is excluded is known already. */
static __always_inline bool is_open(__u32 event, bool *excluded)
{
	struct filter_rules *rules = filter_rules_get();
	__u32 flags = FILTER_IN_USER_SPACE;

	if (rules)
		flags = rules->events[event & (FILTER_EVENT_MAX - 1)].flags;
	*excluded = flags & FILTER_NEVER;
	return !(flags & (FILTER_NEVER | FILTER_IN_USER_SPACE));
}

/* What no rule of the event asks need not be told: each answer is a search or a call. */
static __always_inline bool asks_word(const struct filter_input *in, __u32 event, __u32 word)
{
	return in->rules->events[event & (FILTER_EVENT_MAX - 1)].used[word];
}

static __always_inline bool asks_text(const struct filter_input *in, __u32 event, __u32 text)
{
	return in->rules->events[event & (FILTER_EVENT_MAX - 1)].texts[text];
}

static __always_inline void tell_decimal(struct filter_input *in, __u32 event, __u32 text,
					 __u32 number)
{
	if (asks_text(in, event, text))
		filter_decimal(in, event, text, number);
}

static __always_inline void tell_address(struct filter_input *in, __u32 event, __u32 text,
					 const __u8 *address, bool is_ipv6)
{
	if (asks_text(in, event, text))
		filter_address(in, event, text, address, is_ipv6);
}

/* Who did it: the current task. */
static __always_inline void tell_actor(struct filter_input *in, __u32 event,
				       const struct record_header *header)
{
	struct task_struct *task = bpf_get_current_task_btf();

	filter_image_of(in, bpf_task_storage_get(&filter_processes, task->group_leader, NULL, 0),
			false);
	if (asks_word(in, event, FILTER_WORD_USER))
		filter_user(in, FILTER_WORD_USER, header->uid);
	tell_decimal(in, event, FILTER_PROCESS_ID, header->tgid);
}

/* The same of a connection, whose owner may be any other. */
static __always_inline void tell_owner(struct filter_input *in, __u32 event,
				       const struct owner *owner)
{
	if (owner->answers.generation == in->rules->generation)
		filter_image(in, FILTER_WORD_IMAGE, &owner->answers);
	if (asks_word(in, event, FILTER_WORD_USER))
		filter_user(in, FILTER_WORD_USER, owner->uid);
	tell_decimal(in, event, FILTER_PROCESS_ID, owner->tgid);
}

static __always_inline __u32 executable_choice(__u32 mode)
{
	if (!mode)
		return EXECUTABLE_UNKNOWN;
	return (mode & 0170000) == REGULAR_FILE && (mode & ANY_EXECUTE);
}

static __noinline bool file_event_excluded_by(struct scratch *scratch, __u32 event)
{
	struct filter_input in;
	struct file_event *r;
	bool excluded;

	if (!is_open(event, &excluded))
		return excluded;
	if (!scratch || !filter_begin(&in))
		return false;
	r = (void *)scratch->data;
	tell_actor(&in, event, &r->header);
	if (!(r->flags & PATH_UNCERTAIN))
		filter_path(&in, scratch, &r->path, r->flags & RECORD_PATH_GIVEN);
	if (event != FILTER_FILE_CREATE)
		filter_choice(&in, event, FILTER_IS_EXECUTABLE, executable_choice(r->mode));
	return filter_discards(&in, event);
}

/* A deletion is two events: it is sent when either may be wanted. */
__noinline int file_event_excluded(__u32 type)
{
	struct scratch *scratch = task_scratch_get();

	if (!scratch)
		return 0;
	if (type == RECORD_FILE_CREATE)
		return file_event_excluded_by(scratch, FILTER_FILE_CREATE);
	return file_event_excluded_by(scratch, FILTER_FILE_DELETE) &&
	       file_event_excluded_by(scratch, FILTER_FILE_DELETE_DETECTED);
}

__noinline int raw_access_excluded(void)
{
	struct scratch *scratch = task_scratch_get();
	struct raw_access_read *r;
	struct filter_input in;

	if (!scratch || !filter_begin(&in))
		return 0;
	r = (void *)scratch->data;
	tell_actor(&in, FILTER_RAW_ACCESS_READ, &r->header);
	if (!(r->flags & PATH_UNCERTAIN))
		filter_path(&in, scratch, &r->path, false);
	return filter_discards(&in, FILTER_RAW_ACCESS_READ);
}

/* The target's task is not one the verifier trusts: its image stays unknown. */
__noinline int process_access_excluded(const struct process_access *r)
{
	struct filter_input in;

	if (!r || !filter_begin(&in))
		return 0;
	tell_actor(&in, FILTER_PROCESS_ACCESS, &r->header);
	filter_decimal(&in, FILTER_PROCESS_ACCESS, FILTER_THREAD_ID, r->header.tid);
	filter_hexadecimal(&in, FILTER_PROCESS_ACCESS, FILTER_GRANTED_ACCESS, r->granted_access);
	filter_decimal(&in, FILTER_PROCESS_ACCESS, FILTER_TARGET_PROCESS_ID,
		       r->target_tgid ?: r->given_pid);
	if (r->target_tgid)
		filter_user(&in, FILTER_WORD_TARGET_USER, r->target_uid);
	return filter_discards(&in, FILTER_PROCESS_ACCESS);
}

__noinline int program_load_excluded(const struct bpf_program_load *r)
{
	struct filter_input in;

	if (!r || !filter_begin(&in))
		return 0;
	tell_actor(&in, FILTER_BPF_PROGRAM_LOAD, &r->header);
	filter_choice(&in, FILTER_BPF_PROGRAM_LOAD, FILTER_BPF_COMMAND, 0);
	filter_choice(&in, FILTER_BPF_PROGRAM_LOAD, FILTER_BPF_PROGRAM_TYPE, r->program_type);
	filter_decimal(&in, FILTER_BPF_PROGRAM_LOAD, FILTER_BPF_PROGRAM_ID, r->program_id);
	filter_name(&in, FILTER_BPF_PROGRAM_LOAD, FILTER_BPF_PROGRAM_NAME, r->name);
	return filter_discards(&in, FILTER_BPF_PROGRAM_LOAD);
}

/* While the owner is the current task: what the rules say of its image. */
static __always_inline void owner_answers_keep(struct owner *owner)
{
	struct task_struct *task = bpf_get_current_task_btf();

	filter_answers_keep(&owner->answers, task->group_leader);
}

/* A connect() that has begun; where from is not known yet, nor where to. */
__noinline int connecting_excluded(const struct owner *owner)
{
	const __u32 event = FILTER_NETWORK_CONNECT;
	struct filter_input in;
	bool excluded;

	if (!is_open(event, &excluded))
		return excluded;
	if (!owner || !filter_begin(&in))
		return 0;
	tell_owner(&in, event, owner);
	filter_choice(&in, event, FILTER_PROTOCOL, 0);
	filter_choice(&in, event, FILTER_INITIATED, 1);
	return filter_discards(&in, event);
}

__noinline int connection_excluded(const struct owner *owner, const struct network_connect *r)
{
	const __u32 event = FILTER_NETWORK_CONNECT;
	struct filter_input in;
	bool is_ipv6, excluded;

	if (!is_open(event, &excluded))
		return excluded;
	if (!owner || !r || !filter_begin(&in))
		return 0;
	is_ipv6 = r->family == AF_INET6;
	tell_owner(&in, event, owner);
	filter_choice(&in, event, FILTER_PROTOCOL, r->protocol == IPPROTO_UDP);
	filter_choice(&in, event, FILTER_INITIATED, r->initiated);
	filter_choice(&in, event, FILTER_SOURCE_IS_IPV6, is_ipv6);
	filter_choice(&in, event, FILTER_DESTINATION_IS_IPV6, is_ipv6);
	tell_address(&in, event, FILTER_SOURCE_IP, r->source_address, is_ipv6);
	tell_address(&in, event, FILTER_DESTINATION_IP, r->destination_address, is_ipv6);
	tell_decimal(&in, event, FILTER_SOURCE_PORT, bpf_ntohs(r->source_port));
	tell_decimal(&in, event, FILTER_DESTINATION_PORT, bpf_ntohs(r->destination_port));
	return filter_discards(&in, event);
}

#endif /* WITHOUT_BPF_LOOP */

#endif /* VERDICT_BPF_H */
