/* SPDX-License-Identifier: GPL-2.0-only */
/* Answers of the rules about the actor: its image, kept with each process, and its user. */
#ifndef FILTER_ACTOR_BPF_H
#define FILTER_ACTOR_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/compat.bpf.h"
#include "emit/scratch.bpf.h"
#include "filter/rules.bpf.h"
#include "filter/automaton.bpf.h"

static __always_inline void filter_image_keep(struct filter_process *process,
					      const struct scratch *scratch,
					      const struct varlen *image)
{
	__u32 length = image->length;

	process->answers[0].generation = 0;
	process->answers[1].generation = 0;
	process->judged = 0;
	process->length = 0;
	if (length >= FILTER_IMAGE_SIZE)
		return;
	barrier_var(length);
	bpf_probe_read_kernel(process->image, length & (FILTER_IMAGE_SIZE - 1),
			      &scratch->data[image->offset & (STRINGS_SIZE - 1)]);
	process->length = length;
}

/* Keep the image of a process: at exec, and for processes that run already. */
static __always_inline void filter_image_set(struct task_struct *leader,
					     const struct scratch *scratch,
					     const struct varlen *image)
{
	struct filter_process *process;

	if (!has_bpf_loop)
		return;
	process = bpf_task_storage_get(&filter_processes, leader, NULL,
				       BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (process)
		filter_image_keep(process, scratch, image);
}

/* Give a new process its parent's image. Both tasks lead their thread groups. */
static __always_inline void filter_image_inherit(struct task_struct *parent,
						 struct task_struct *child)
{
	struct filter_process *from, *to;

	if (!has_bpf_loop)
		return;
	from = bpf_task_storage_get(&filter_processes, parent, NULL, 0);
	if (!from)
		return;
	to = bpf_task_storage_get(&filter_processes, child, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (to)
		*to = *from;
}

FILTER_CALLBACKS(image, FILTER_IMAGE_SIZE, 1)

static __always_inline void filter_answers_make(struct filter_answers *answers,
						struct filter_rules *rules,
						struct filter_process *process)
{
	struct filter_walk walk;

	filter_walk_begin(&walk, rules);
	walk.text = process->image;
	walk.end = process->length;
	walk.state = rules->image;
	if (rules->image)
		FILTER_WALK(walk, FILTER_IMAGE_SIZE, image);
	__builtin_memcpy(answers->bits, walk.bits, sizeof(answers->bits));
	/* Atomic, and thereby ordered: a reader that sees the generation sees its bits. */
	__sync_lock_test_and_set(&answers->generation, rules->generation);
}

/* The answers of these rules for the image of a process; NULL: the image is not known. */
static __always_inline struct filter_answers *filter_answers_of(struct filter_process *process,
								struct filter_rules *rules)
{
	struct filter_answers *answers = &process->answers[rules->generation & 1];

	if (!process->length)
		return NULL;
	if (__sync_fetch_and_add(&answers->generation, 0) != rules->generation)
		filter_answers_make(answers, rules, process);
	return answers;
}

/* Tell an image: FILTER_WORD_IMAGE for the actor's, FILTER_WORD_PATH for the target's. */
static __always_inline void filter_image(struct filter_known *known, __u32 word,
					 const struct filter_answers *answers)
{
	for (int i = 0; i < FILTER_SET_WORDS; i++) {
		known->words[word + i] = answers->bits[i];
		known->doubt[word + i] = 0;
	}
}

/* Tell a user by its id: FILTER_WORD_USER or FILTER_WORD_TARGET_USER. */
static __always_inline void filter_user(struct filter_known *known, __u32 word, __u32 uid)
{
	struct filter_user key = {.generation = known->generation, .uid = uid};
	__u64 *bits = bpf_map_lookup_elem(&filter_users, &key);

	if (!bits)
		return;
	known->words[word] = *bits;
	known->doubt[word] = 0;
}

/* Tell the current task's image. */
__noinline int filter_own_image(struct filter_known *known)
{
	struct filter_rules *rules = filter_rules_of(known);
	struct task_struct *task = bpf_get_current_task_btf();
	struct filter_process *process;
	struct filter_answers *answers;

	if (!known || !rules)
		return 0;
	process = bpf_task_storage_get(&filter_processes, task->group_leader, NULL, 0);
	if (!process)
		return 0;
	answers = filter_answers_of(process, rules);
	if (answers)
		filter_image(known, FILTER_WORD_IMAGE, answers);
	return 0;
}

/*
 * Copy the answers about the current task's image to `kept`. A connection is established in
 * softirq, where the current task is any: its answers are copied at connect(), and told later.
 */
__noinline int filter_answers_keep(struct filter_answers *kept)
{
	struct filter_rules *rules = filter_rules_get();
	struct task_struct *task = bpf_get_current_task_btf();
	struct filter_process *process;
	struct filter_answers *answers;

	if (!kept || !rules)
		return 0;
	process = bpf_task_storage_get(&filter_processes, task->group_leader, NULL, 0);
	if (!process)
		return 0;
	answers = filter_answers_of(process, rules);
	if (answers)
		__builtin_memcpy(kept, answers, sizeof(*kept));
	return 0;
}

#endif /* FILTER_ACTOR_BPF_H */
