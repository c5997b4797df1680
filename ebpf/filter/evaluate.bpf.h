/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rules in the kernel: an event that they exclude for certain is not sent.
 *
 *	struct filter_input in = {.rules = filter_rules_get()};
 *
 *	if (filter_begin(&in)) {
 *		filter_own_image(in.known);
 *		filter_path(in.known, path);
 *		if (filter_excludes(in.known, FILTER_FILE_CREATE))
 *			...
 *		filter_end(&in);
 *	}
 *
 * What the caller does not tell is unknown, and what is unknown never discards. User space
 * compiles the rules (rules/kernel/compiler.py), fills one struct filter_rules with them
 * (capture/kernel_filter.py) and swaps it as a whole; an event sees the one that it began with, and
 * is not discarded when that is there no more.
 */

#ifndef FILTER_EVALUATE_BPF_H
#define FILTER_EVALUATE_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "kernel/path.bpf.h"
#include "filter/rules.bpf.h"
#include "filter/automaton.bpf.h"
#include "filter/actor.bpf.h"
#include "filter/numbers.bpf.h"

/*
 * Returns false when there are no rules to ask: then ask nothing else. The same where an
 * interrupt or another task comes between on this processor: user space decides then.
 */
static __always_inline bool filter_begin(struct filter_input *in)
{
	struct filter_known *known;
	__u32 zero = 0;

	if (!in->rules)
		return false;
	known = bpf_map_lookup_elem(&filter_judged, &zero);
	/* one step: where tasks preempt each other, one may come between any two */
	if (!known || __sync_lock_test_and_set(&known->busy, 1))
		return false;
	__builtin_memset(known->words, 0, sizeof(known->words));
	__builtin_memset(known->doubt, 0xff, sizeof(known->doubt));
	known->generation = in->rules->generation;
	in->known = known;
	return true;
}

static __always_inline void filter_end(struct filter_input *in)
{
	barrier();
	in->known->busy = false;
}

/* A field with few values. */
static __always_inline void filter_choice(struct filter_input *in, __u32 event,
					  enum filter_choice choice, __u32 value)
{
	struct filter_event_rules *rules = filter_rules_for(in->rules, event);

	if (value >= FILTER_VALUES)
		return;
	in->known->words[FILTER_WORD_CHOICES] |= rules->choices[choice][value];
	in->known->doubt[FILTER_WORD_CHOICES] &= ~rules->choice_bits[choice];
}

static __always_inline void filter_choices_forget(struct filter_input *in)
{
	in->known->words[FILTER_WORD_CHOICES] = 0;
	in->known->doubt[FILTER_WORD_CHOICES] = ~0ULL;
}

/* Which byte of a word is the last that has any bit; 0 when none has. Without a branch. */
static __always_inline __u32 filter_last_byte(__u64 word)
{
	__u32 at = 0, more;

#pragma unroll
	for (int bytes = 4; bytes; bytes >>= 1) {
		__u64 above = word >> (bytes * 8);

		barrier_var(above);
		more = (above | -above) >> 63;
		at += more * bytes;
		word >>= more * bytes * 8;
	}
	return at;
}

#define FILTER_EACH_BYTE(byte) ((byte)*0x0101010101010101ULL)

/* Move the beginning to the last slash; there are eight bytes in front of the text. */
static long filter_find_slash(__u32 index, struct filter_walk *walk)
{
	__u32 left = walk->end - walk->at - index * 8;
	__u32 at = walk->at + left - 8;
	__u64 word, slashes;

	if ((__s32)left <= 0)
		return 1;
	word = *(__u64 *)&walk->text[at & (PATH_SIZE - 1)] ^ FILTER_EACH_BYTE('/');
	slashes = ~(((word & FILTER_EACH_BYTE(0x7f)) + FILTER_EACH_BYTE(0x7f)) | word |
		    FILTER_EACH_BYTE(0x7f)); /* the highest bit of each byte that is one */
	if (left < 8)
		slashes &= ~0ULL << (64 - left * 8);
	if (!slashes)
		return 0;
	walk->at = at + filter_last_byte(slashes);
	return 1;
}

FILTER_CALLBACKS(path, PATH_SIZE, 4)

/* Whether a path is there as a whole. */
static __always_inline bool filter_can_read(const struct path_buffer *path)
{
	return path->at < path->end && path->end <= PATH_SIZE && (path->whole | path->given);
}

/* The path of a file or device. Of a path as given only the last name is certain. */
__noinline int filter_path(struct filter_known *known, const struct path_buffer *path)
{
	struct filter_rules *rules = filter_rules_of(known);
	struct filter_walk walk;

	if (!known || !rules || !rules->path || !path || !filter_can_read(path))
		return 0;
	filter_walk_begin(&walk, rules);
	walk.text = path->bytes;
	walk.at = path->at;
	walk.end = path->end;
	walk.state = rules->path;
	__builtin_memset(&known->doubt[FILTER_WORD_PATH], 0, sizeof(rules->tail_doubt));
	if (path->given) {
		bpf_loop(PATH_SIZE / 8, filter_find_slash, &walk, 0);
		walk.state = rules->path_tail;
		__builtin_memcpy(&known->doubt[FILTER_WORD_PATH], rules->tail_doubt,
				 sizeof(rules->tail_doubt));
	}
	FILTER_WALK(walk, PATH_SIZE, path);
	__builtin_memcpy(&known->words[FILTER_WORD_PATH], walk.bits, sizeof(walk.bits));
	return 0;
}

struct filter_clauses {
	struct filter_rules *rules;
	struct filter_known *known;
	__u32 at;
	__u32 end;
	bool any; /* some term of this group is true */
	bool maybe; /* what is unknown counts as true, else as false */
	bool found; /* some clause is true */
};

static __always_inline bool filter_term_holds(const struct filter_clauses *clauses,
					      const struct filter_term *term)
{
	__u32 word = term->word & (FILTER_WORDS - 1);
	__u64 sure = clauses->known->words[word], possible = sure | clauses->known->doubt[word];
	__u64 negated = -(__u64)(term->flags & FILTER_NEGATED); /* all ones, or 0 */
	__u64 maybe = -(__u64)clauses->maybe ^ negated;

	return (((possible & maybe) | (sure & ~maybe)) ^ negated) & term->mask;
}

static long filter_ask_term(__u32 index, struct filter_clauses *clauses)
{
	__u32 at = clauses->at & (FILTER_TERMS - 1);
	struct filter_term *term = &clauses->rules->terms[at];

	if (at >= clauses->end)
		return 1;
	clauses->any |= filter_term_holds(clauses, term);
	clauses->at = (at + 1) & (FILTER_TERMS - 1); /* a range that the verifier can keep */
	if (!(term->flags & FILTER_END_OF_GROUP))
		return 0;
	if (!clauses->any) {
		clauses->at = term->next_clause & (FILTER_TERMS - 1);
		return 0;
	}
	clauses->any = false;
	if (!(term->flags & FILTER_END_OF_CLAUSE))
		return 0;
	clauses->found = true;
	return 1;
}

static __always_inline bool filter_any_clause(struct filter_clauses *clauses, __u32 begin,
					      __u32 end, bool maybe)
{
	clauses->at = begin;
	clauses->end = end;
	clauses->maybe = maybe;
	clauses->any = clauses->found = false;
	if (begin < end)
		bpf_loop(FILTER_TERMS, filter_ask_term, clauses, 0);
	return clauses->found;
}

/* Whether nothing that the rules of this event ask for has been found, for certain. */
static __always_inline bool filter_is_quiet(const struct filter_known *known,
					    const struct filter_event_rules *rules)
{
	__u64 found = 0;

	for (int i = 0; i < FILTER_WORDS; i++)
		found |= (known->words[i] | known->doubt[i]) & rules->used[i];
	return !found;
}

/* Whether the rules exclude this event, whatever is still unknown. */
__noinline int filter_excludes(struct filter_known *known, __u32 event)
{
	struct filter_clauses clauses = {.rules = filter_rules_of(known), .known = known};
	struct filter_event_rules *rules;

	if (!known || !clauses.rules)
		return false;
	rules = filter_rules_for(clauses.rules, event);
	if (rules->flags & (FILTER_IN_USER_SPACE | FILTER_NEVER))
		return !!(rules->flags & FILTER_NEVER);
	if (rules->flags & FILTER_QUIET_DISCARD && filter_is_quiet(known, rules))
		return true;
	if (filter_any_clause(&clauses, rules->exclude_begin, rules->include_begin, false))
		return true;
	return !(rules->flags & FILTER_DEFAULT_INCLUDE) &&
	       !filter_any_clause(&clauses, rules->include_begin, rules->include_end, true);
}

/*
 * What the rules say of an image alone: half a generation, and two bits of each event, of
 * which one says that it was asked, the other that such a process is excluded whatever it
 * does. All in one number, which never is half of this and half of that; an answer that two
 * writers lose is asked for again.
 */
#define FILTER_GENERATION_SHIFT 32
#define FILTER_ASKED(event) (1ULL << ((event) & (FILTER_EVENT_MAX - 1)))
#define FILTER_EXCLUDED(event) (FILTER_ASKED(event) << FILTER_EVENT_MAX)

/* Whether the image of the current process is enough to exclude both of two events. */
__noinline int filter_image_excludes(__u32 event, __u32 other)
{
	__u64 asked = FILTER_ASKED(event) | FILTER_ASKED(other);
	struct filter_input in = {.rules = filter_rules_get()};
	struct task_struct *task = bpf_get_current_task_btf();
	struct filter_process *process;
	__u64 judged, generation;

	if (!in.rules)
		return 0;
	process = bpf_task_storage_get(&filter_processes, task->group_leader, NULL, 0);
	if (!process || !process->length)
		return 0;
	generation = in.rules->generation << FILTER_GENERATION_SHIFT;
	judged = *(volatile __u64 *)&process->judged;
	if (judged >> FILTER_GENERATION_SHIFT != generation >> FILTER_GENERATION_SHIFT)
		judged = generation;
	if ((judged & asked) != asked) {
		if (!filter_begin(&in))
			return 0;
		filter_own_image(in.known);
		judged |= asked;
		if (filter_excludes(in.known, event))
			judged |= FILTER_EXCLUDED(event);
		if (filter_excludes(in.known, other))
			judged |= FILTER_EXCLUDED(other);
		filter_end(&in);
		*(volatile __u64 *)&process->judged = judged;
	}
	return !(~judged & asked << FILTER_EVENT_MAX);
}

#endif /* FILTER_EVALUATE_BPF_H */
