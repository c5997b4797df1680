/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One function for each event: it tells filter/evaluate.bpf.h the fields, and returns whether the
 * rules exclude the record. Terms are explained there. Those of files and of the network have files
 * of their own; the others are here. On kernels without bpf_loop() each returns false: user space
 * decides. The functions are global, so that the verifier checks each once, not for every caller.
 */
#ifndef FILTER_EVENTS_BPF_H
#define FILTER_EVENTS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/compat.bpf.h"
#include "emit/scratch.bpf.h"
#include "filter/rules.bpf.h"
#include "filter/tell.bpf.h"
#include "filter/file_events.bpf.h"
#include "filter/network_events.bpf.h"

#ifdef WITHOUT_BPF_LOOP

#define process_write_excluded(record) ((void)(record), false)
#define process_access_excluded(record) false
#define program_load_excluded(record) false
#define tampering_excluded(record) false
#define actor_excluded(event) false
#define image_known(leader, scratch, image) ((void)(image))
#define image_inherited(parent, child)

#else

#define image_known(leader, scratch, image) filter_image_set(leader, scratch, image)
#define image_inherited(parent, child) filter_image_inherit(parent, child)

/* The target's image stays unknown, as for process_access_excluded(). */
__noinline int process_write_excluded(const struct process_write *r)
{
	const __u32 event = FILTER_CREATE_REMOTE_THREAD;
	struct filter_input in = {.rules = filter_rules_get()};
	__u32 known = foregone(&in, event);
	bool excluded;

	if (known)
		return known & FILTER_NEVER;
	if (!r || !filter_begin(&in))
		return 0;
	tell_actor(&in, event);
	filter_decimal(&in, event, FILTER_NEW_THREAD_ID, r->target_tid ?: r->given_pid);
	filter_decimal(&in, event, FILTER_TARGET_PROCESS_ID, r->target_tgid ?: r->given_pid);
	if (r->target_tgid)
		filter_user(in.known, FILTER_WORD_TARGET_USER, r->target_uid);
	excluded = filter_excludes(in.known, event);
	filter_end(&in);
	return excluded;
}

/* The target's image stays unknown: the verifier does not trust the pointer to its task. */
__noinline int process_access_excluded(const struct process_access *r)
{
	struct filter_input in = {.rules = filter_rules_get()};
	bool excluded;

	if (!r || !filter_begin(&in))
		return 0;
	tell_actor(&in, FILTER_PROCESS_ACCESS);
	filter_decimal(&in, FILTER_PROCESS_ACCESS, FILTER_THREAD_ID, r->header.tid);
	filter_hexadecimal(&in, FILTER_PROCESS_ACCESS, FILTER_GRANTED_ACCESS, r->granted_access);
	filter_decimal(&in, FILTER_PROCESS_ACCESS, FILTER_TARGET_PROCESS_ID,
		       r->target_tgid ?: r->given_pid);
	if (r->target_tgid)
		filter_user(in.known, FILTER_WORD_TARGET_USER, r->target_uid);
	excluded = filter_excludes(in.known, FILTER_PROCESS_ACCESS);
	filter_end(&in);
	return excluded;
}

__noinline int program_load_excluded(const struct bpf_program_load *r)
{
	struct filter_input in = {.rules = filter_rules_get()};
	bool excluded;

	if (!r || !filter_begin(&in))
		return 0;
	tell_actor(&in, FILTER_BPF_PROGRAM_LOAD);
	filter_choice(&in, FILTER_BPF_PROGRAM_LOAD, FILTER_BPF_COMMAND, 0);
	filter_choice(&in, FILTER_BPF_PROGRAM_LOAD, FILTER_BPF_PROGRAM_TYPE, r->program_type);
	filter_decimal(&in, FILTER_BPF_PROGRAM_LOAD, FILTER_BPF_PROGRAM_ID, r->program_id);
	filter_name(&in, FILTER_BPF_PROGRAM_LOAD, FILTER_BPF_PROGRAM_NAME, r->name);
	excluded = filter_excludes(in.known, FILTER_BPF_PROGRAM_LOAD);
	filter_end(&in);
	return excluded;
}

__noinline int tampering_excluded(const struct process_tampering *r)
{
	struct filter_input in = {.rules = filter_rules_get()};
	bool excluded;

	if (!r || !filter_begin(&in))
		return 0;
	tell_actor(&in, FILTER_PROCESS_TAMPERING);
	filter_choice(&in, FILTER_PROCESS_TAMPERING, FILTER_TAMPERING_TYPE, r->kind);
	excluded = filter_excludes(in.known, FILTER_PROCESS_TAMPERING);
	filter_end(&in);
	return excluded;
}

/* Returns whether the rules exclude an event by who acted; the rest stays unknown. */
__noinline int actor_excluded(__u32 event)
{
	struct filter_input in = {.rules = filter_rules_get()};
	bool excluded;

	if (!filter_begin(&in))
		return 0;
	tell_actor(&in, event);
	excluded = filter_excludes(in.known, event);
	filter_end(&in);
	return excluded;
}

#endif /* WITHOUT_BPF_LOOP */

#endif /* FILTER_EVENTS_BPF_H */
