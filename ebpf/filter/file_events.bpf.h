/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether the rules exclude an event of a file, a pipe, a device or a library, and by whom. */
#ifndef FILTER_FILE_EVENTS_BPF_H
#define FILTER_FILE_EVENTS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/path.bpf.h"
#include "filter/rules.bpf.h"
#include "filter/tell.bpf.h"

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
#define raw_access_excluded(path) false
#define pipe_event_excluded(event, path) ((void)(path), false)
#define pipe_actor_excluded(event) false
#define library_path_excluded(path) false
#define library_excluded(path) false
#define library_actor_excluded() false

#else

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

#endif /* WITHOUT_BPF_LOOP */

#endif /* FILTER_FILE_EVENTS_BPF_H */
