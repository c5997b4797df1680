/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One function for each event: it tells filter/evaluate.bpf.h the fields, and returns whether the
 * rules exclude the record. Terms are explained there. On kernels without bpf_loop() each returns
 * false: user space decides. The functions are global, so that the verifier checks each once, not
 * for every caller.
 */
#ifndef FILTER_EVENTS_BPF_H
#define FILTER_EVENTS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/path.bpf.h"
#include "emit/scratch.bpf.h"
#include "filter/rules.bpf.h"
#include "filter/owner.bpf.h"

#define EXECUTABLE_UNKNOWN 2

static __always_inline __u32 pipe_filter_of(__u32 type)
{
	return type == RECORD_PIPE_CREATE ? FILTER_PIPE_CREATE : FILTER_PIPE_CONNECT;
}

/* Events of one record, as bits. */
#define CREATE_EVENTS FILTER_ASKED(FILTER_FILE_CREATE)
#define DELETE_EVENTS (FILTER_ASKED(FILTER_FILE_DELETE) | FILTER_ASKED(FILTER_FILE_DELETE_DETECTED))

#ifdef WITHOUT_BPF_LOOP

#define file_event_excluded(type, mode, path) ((void)(mode), false)
#define file_actor_excluded(type) false
#define file_events_excluded(events) false
#define process_write_excluded(record) ((void)(record), false)
#define raw_access_excluded(path) false
#define process_access_excluded(record) false
#define program_load_excluded(record) false
#define tampering_excluded(record) false
#define actor_excluded(event) false
#define pipe_event_excluded(event, path) ((void)(path), false)
#define pipe_actor_excluded(event) false
#define library_path_excluded(path) false
#define library_excluded(path) false
#define library_actor_excluded() false
#define connection_excluded(owner, record) false
#define connecting_excluded(owner) false
#define dns_excluded(skb, at, length) ((void)(length), false)
#define owner_answers_keep(owner)
#define image_known(leader, scratch, image) ((void)(image))
#define image_inherited(parent, child)

#else

#include "filter/evaluate.bpf.h"

#define image_known(leader, scratch, image) filter_image_set(leader, scratch, image)
#define image_inherited(parent, child) filter_image_inherit(parent, child)

/* Returns FILTER_NEVER or FILTER_IN_USER_SPACE if that decides the event, else 0. */
static __always_inline __u32 foregone(struct filter_input *in, __u32 event)
{
	if (!in->rules)
		return FILTER_IN_USER_SPACE;
	return filter_rules_for(in->rules, event)->flags & (FILTER_NEVER | FILTER_IN_USER_SPACE);
}

/* Returns whether any rule of the event asks the word. Telling it costs a search or a call. */
static __always_inline bool asks_word(struct filter_input *in, __u32 event, __u32 word)
{
	return filter_rules_for(in->rules, event)->used[word];
}

/* The same for the words of an image or a path. */
static __always_inline bool asks_set(struct filter_input *in, __u32 event, __u32 word)
{
	struct filter_event_rules *rules = filter_rules_for(in->rules, event);

	return rules->used[word] | rules->used[word + 1] | rules->used[word + 2] |
	       rules->used[word + 3];
}

static __always_inline bool is_unknown(struct filter_input *in, __u32 word)
{
	return in->known->doubt[word];
}

/* Tell image, user and process id of the actor: the current task. */
static __always_inline void tell_actor(struct filter_input *in, __u32 event)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const struct cred *cred;

	if (asks_set(in, event, FILTER_WORD_IMAGE) && is_unknown(in, FILTER_WORD_IMAGE))
		filter_own_image(in->known);
	if (asks_word(in, event, FILTER_WORD_USER) && is_unknown(in, FILTER_WORD_USER)) {
		cred = KREAD(task, cred);
		filter_user(in->known, FILTER_WORD_USER, KREAD(cred, uid.val));
	}
	filter_decimal(in, event, FILTER_PROCESS_ID, bpf_get_current_pid_tgid() >> 32);
}

/* The same for the owner of a connection, which may be another process. */
static __always_inline void tell_owner(struct filter_input *in, __u32 event,
				       const struct owner *owner)
{
	if (owner->answers.generation == in->known->generation)
		filter_image(in->known, FILTER_WORD_IMAGE, &owner->answers);
	if (asks_word(in, event, FILTER_WORD_USER))
		filter_user(in->known, FILTER_WORD_USER, owner->uid);
	filter_decimal(in, event, FILTER_PROCESS_ID, owner->tgid);
}

static __always_inline void tell_path(struct filter_input *in, __u32 event,
				      const struct path_buffer *path)
{
	if (asks_set(in, event, FILTER_WORD_PATH) && is_unknown(in, FILTER_WORD_PATH))
		filter_path(in->known, path);
}

static __always_inline __u32 executable_choice(__u32 mode)
{
	if (!mode)
		return EXECUTABLE_UNKNOWN;
	return (mode & S_IFMT) == S_IFREG && (mode & S_IXUGO);
}

/*
 * Judge a file record as one event. For a deletion, two events are judged one after the other: bits
 * told for the first hold for the second, but for the fields with few values.
 */
__noinline int file_event_judged(struct filter_known *known, __u32 event, __u32 mode,
				 const struct path_buffer *path)
{
	struct filter_input in = {.known = known, .rules = filter_rules_of(known)};

	if (!in.known || !in.rules || !path)
		return 0;
	tell_actor(&in, event);
	tell_path(&in, event, path);
	if (event != FILTER_FILE_CREATE) {
		filter_choices_forget(&in);
		filter_choice(&in, event, FILTER_IS_EXECUTABLE, executable_choice(mode));
	}
	return filter_excludes(known, event);
}

/* A deletion is two events: the record is sent if either may be wanted. */
static __always_inline __u32 event_of(__u32 type)
{
	return type == RECORD_FILE_CREATE ? FILTER_FILE_CREATE : FILTER_FILE_DELETE;
}

static __always_inline __u32 other_event_of(__u32 type)
{
	return type == RECORD_FILE_CREATE ? FILTER_FILE_CREATE : FILTER_FILE_DELETE_DETECTED;
}

static __always_inline bool has_flag(struct filter_rules *rules, __u64 events, __u32 event,
				     __u32 flags)
{
	return !(events & FILTER_ASKED(event)) || filter_rules_for(rules, event)->flags & flags;
}

/* Returns whether the actor's image is enough to exclude all these events, whatever the file. */
static __always_inline bool file_events_excluded(__u64 events)
{
	const __u32 either = FILTER_NEVER | FILTER_BY_IMAGE;
	struct filter_rules *rules = filter_rules_get();

	if (!rules || !has_flag(rules, events, FILTER_FILE_CREATE, either) ||
	    !has_flag(rules, events, FILTER_PIPE_CREATE, either) ||
	    !has_flag(rules, events, FILTER_FILE_DELETE, either) ||
	    !has_flag(rules, events, FILTER_FILE_DELETE_DETECTED, either) ||
	    !has_flag(rules, events, FILTER_FILE_TIME, either) ||
	    !has_flag(rules, events, FILTER_PROCESS_TAMPERING, either))
		return false;
	return filter_image_excludes(events);
}

static __always_inline bool file_actor_excluded(__u32 type)
{
	return file_events_excluded(type == RECORD_FILE_CREATE ? CREATE_EVENTS : DELETE_EVENTS);
}

__noinline int file_event_excluded(__u32 type, __u32 mode, const struct path_buffer *path)
{
	__u32 event = event_of(type), other = other_event_of(type);
	struct filter_input in = {.rules = filter_rules_get()};
	__u32 known = foregone(&in, event), also = foregone(&in, other);
	bool excluded;

	if ((known | also) & FILTER_IN_USER_SPACE)
		return 0;
	if (known & also)
		return 1;
	if (!path || !filter_begin(&in))
		return 0;
	excluded = known || file_event_judged(in.known, event, mode, path);
	if (excluded && event != other)
		excluded = also || file_event_judged(in.known, other, mode, path);
	filter_end(&in);
	return excluded;
}

/* The same of an event of pipes. */
static __always_inline bool pipe_actor_excluded(__u32 event)
{
	struct filter_rules *rules = filter_rules_get();

	return rules &&
	       has_flag(rules, FILTER_ASKED(event), event, FILTER_NEVER | FILTER_BY_IMAGE) &&
	       filter_image_excludes(FILTER_ASKED(event));
}

__noinline int pipe_event_excluded(__u32 event, const struct path_buffer *path)
{
	struct filter_input in = {.rules = filter_rules_get()};
	bool excluded;

	if (!path || !filter_begin(&in))
		return 0;
	tell_actor(&in, event);
	tell_path(&in, event, path);
	filter_choice(&in, event, FILTER_PIPE_EVENT_TYPE, 0);
	excluded = filter_excludes(in.known, event);
	filter_end(&in);
	return excluded;
}

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

__noinline int raw_access_excluded(const struct path_buffer *path)
{
	const __u32 event = FILTER_RAW_ACCESS_READ;
	struct filter_input in = {.rules = filter_rules_get()};
	bool excluded;

	if (!path || !filter_begin(&in))
		return 0;
	tell_actor(&in, event);
	tell_path(&in, event, path);
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

/* Returns whether the image of the current process is enough to exclude what it maps. */
#define library_actor_excluded() filter_image_excludes(FILTER_ASKED(FILTER_LIBRARY_LOAD))

static __always_inline int library_judged(const struct path_buffer *path, bool of_actor)
{
	const __u32 event = FILTER_LIBRARY_LOAD;
	struct filter_input in = {.rules = filter_rules_get()};
	__u32 known = foregone(&in, event);
	bool excluded;

	if (known)
		return !!(known & FILTER_NEVER);
	if (!path || !filter_begin(&in))
		return 0;
	tell_path(&in, event, path);
	if (of_actor)
		tell_actor(&in, event);
	excluded = filter_excludes(in.known, event);
	filter_end(&in);
	return excluded;
}

/* Returns whether the path of a library is enough to exclude it, whoever maps it. */
__noinline int library_path_excluded(const struct path_buffer *path)
{
	return library_judged(path, false);
}

__noinline int library_excluded(const struct path_buffer *path)
{
	return library_judged(path, true);
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

#endif /* FILTER_EVENTS_BPF_H */
