/* SPDX-License-Identifier: GPL-2.0 */
/* Who did it: answers about images, kept with each process, and about users. */
#ifndef FILTER_WHO_BPF_H
#define FILTER_WHO_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "compat.bpf.h"
#include "filter_rules.bpf.h"
#include "filter_walk.bpf.h"

static __always_inline void filter_image_keep(struct filter_process *process,
					      const struct scratch *scratch,
					      const struct varlen *image)
{
	__u32 length = image->length;

	process->answers[0].generation = 0;
	process->answers[1].generation = 0;
	process->length = 0;
	if (length >= FILTER_IMAGE_SIZE)
		return;
	barrier_var(length);
	bpf_probe_read_kernel(process->image, length & (FILTER_IMAGE_SIZE - 1),
			      &scratch->data[image->offset & (STRINGS_SIZE - 1)]);
	process->length = length;
}

/* Keep the image of a process; at exec and when processes are scanned. */
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

/* Give a new process its parent's image; both are leaders of their processes. */
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

static __always_inline void filter_answers_make(struct filter_answers *answers,
						struct filter_rules *rules,
						struct filter_process *process)
{
	__u64 bits[FILTER_SET_WORDS] = {};
	struct filter_walk walk = {
		.rules = rules,
		.text = process->image,
		.end = process->length,
		.state = rules->image,
		.bits = bits,
	};

	if (rules->image)
		FILTER_WALK(walk, FILTER_IMAGE_SIZE, filter_step_image, filter_collect_image);
	__builtin_memcpy(answers->bits, bits, sizeof(bits));
	/* An atomic operation orders: whoever sees the generation sees its bits. */
	__sync_lock_test_and_set(&answers->generation, rules->generation);
}

static __always_inline struct filter_rules *filter_rules_get(void)
{
	__u32 zero = 0;
	void *map;

	if (!has_bpf_loop)
		return NULL;
	map = bpf_map_lookup_elem(&filter_rules, &zero);
	return map ? bpf_map_lookup_elem(map, &zero) : NULL;
}

/* The answers of these rules for an image that is known, NULL for one that is not. */
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

/* An image: of the actor at FILTER_WORD_IMAGE, of the target at FILTER_WORD_PATH. */
static __always_inline void filter_image(struct filter_input *in, __u32 word,
					 const struct filter_answers *answers)
{
	for (int i = 0; i < FILTER_SET_WORDS; i++)
		in->known->words[word + i] = answers->bits[i];
	in->known->unknown &= ~FILTER_MASK(word, FILTER_SET_WORDS);
}

static __noinline __maybe_unused void
filter_image_of(struct filter_input *in, struct filter_process *process, bool is_target)
{
	struct filter_answers *answers = NULL;

	if (in && in->rules && process)
		answers = filter_answers_of(process, in->rules);
	if (answers && is_target)
		filter_image(in, FILTER_WORD_PATH, answers);
	else if (answers)
		filter_image(in, FILTER_WORD_IMAGE, answers);
	FILTER_DONE();
}

/* A user by number: FILTER_WORD_USER or FILTER_WORD_TARGET_USER. */
static __always_inline void filter_user(struct filter_input *in, __u32 word, __u32 uid)
{
	struct filter_user key = {.generation = in->rules->generation, .uid = uid};
	__u64 *bits = bpf_map_lookup_elem(&filter_users, &key);

	if (!bits)
		return;
	in->known->words[word] = *bits;
	in->known->unknown &= ~FILTER_MASK(word, 1);
}

/* Who did it, in the context of that task; the leader of its process. */
static __always_inline void filter_actor(struct filter_input *in, struct task_struct *leader,
					 __u32 uid)
{
	filter_image_of(in, bpf_task_storage_get(&filter_processes, leader, NULL, 0), false);
	filter_user(in, FILTER_WORD_USER, uid);
}

/* To whom it was done. */
static __always_inline void filter_target(struct filter_input *in, struct task_struct *leader,
					  __u32 uid)
{
	filter_image_of(in, bpf_task_storage_get(&filter_processes, leader, NULL, 0), true);
	filter_user(in, FILTER_WORD_TARGET_USER, uid);
}

/*
 * For connections, which end in softirq where nobody knows whose they are: keep what the
 * rules say of the image while its task is at hand, and give it later.
 */
static __always_inline void filter_answers_keep(struct filter_answers *kept,
						struct task_struct *leader)
{
	struct filter_rules *rules = filter_rules_get();
	struct filter_process *process = NULL;
	struct filter_answers *answers = NULL;

	__builtin_memset(kept, 0, sizeof(*kept));
	if (rules)
		process = bpf_task_storage_get(&filter_processes, leader, NULL, 0);
	if (process)
		answers = filter_answers_of(process, rules);
	if (answers)
		*kept = *answers;
}

static __always_inline void filter_actor_kept(struct filter_input *in,
					      const struct filter_answers *kept, __u32 uid)
{
	if (kept->generation == in->rules->generation)
		filter_image(in, FILTER_WORD_IMAGE, kept);
	filter_user(in, FILTER_WORD_USER, uid);
}

#endif /* FILTER_WHO_BPF_H */
