/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How an event tells filter/evaluate.bpf.h its fields: only those that the rules ask. Terms are
 * explained there.
 */
#ifndef FILTER_TELL_BPF_H
#define FILTER_TELL_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/compat.bpf.h"
#include "kernel/path.bpf.h"
#include "filter/rules.bpf.h"

#ifndef WITHOUT_BPF_LOOP

#include "filter/evaluate.bpf.h"

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

static __always_inline void tell_path(struct filter_input *in, __u32 event,
				      const struct path_buffer *path)
{
	if (asks_set(in, event, FILTER_WORD_PATH) && is_unknown(in, FILTER_WORD_PATH))
		filter_path(in->known, path);
}

#endif /* WITHOUT_BPF_LOOP */

#endif /* FILTER_TELL_BPF_H */
