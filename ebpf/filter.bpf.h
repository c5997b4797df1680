/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The rules in the kernel: an event that they exclude for certain is not sent.
 *
 *	struct filter_input in;
 *
 *	if (filter_begin(&in)) {
 *		filter_actor(&in, task->group_leader, uid);
 *		filter_path(&in, scratch, &r->path, false);
 *		if (filter_discards(&in, FILTER_FILE_CREATE))
 *			...
 *	}
 *
 * What the caller does not tell is unknown, and what is unknown never discards. User space
 * compiles the rules into one struct filter_rules and swaps it as a whole; an event sees
 * the one that was there at filter_begin(). See automaton.py, which fills it.
 */

#ifndef FILTER_BPF_H
#define FILTER_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "compat.bpf.h"
#include "maps.bpf.h"
#include "record.h"
#include "filter_rules.bpf.h"
#include "filter_walk.bpf.h"
#include "filter_who.bpf.h"
#include "filter_text.bpf.h"

/*
 * Returns false when there are no rules to ask: then ask nothing else. The same where an
 * interrupt or another task comes between on this processor: user space decides then.
 */
static __always_inline bool filter_begin(struct filter_input *in)
{
	struct filter_known *known;
	__u32 zero = 0;

	in->rules = filter_rules_get();
	if (!in->rules)
		return false;
	known = bpf_map_lookup_elem(&filter_judged, &zero);
	/* one step: where tasks preempt each other, one may come between any two */
	if (!known || __sync_lock_test_and_set(&known->busy, 1))
		return false;
	__builtin_memset(known->words, 0, sizeof(known->words));
	__builtin_memset(known->doubt, 0, sizeof(known->doubt));
	known->doubt[0] = ~0ULL;
	known->unknown = FILTER_MASK(0, FILTER_WORDS) & ~FILTER_MASK(FILTER_WORD_CHOICES, 1);
	in->known = known;
	return true;
}

/* A field with few values. */
static __always_inline void filter_choice(struct filter_input *in, enum filter_event event,
					  enum filter_choice choice, __u32 value)
{
	struct filter_event_rules *rules = &in->rules->events[event];

	if (value >= FILTER_VALUES)
		return;
	in->known->words[FILTER_WORD_CHOICES] |= rules->choices[choice][value];
	in->known->doubt[0] &= ~rules->choice_bits[choice];
}

/* Move the beginning to the last slash. */
static long filter_find_slash(__u32 index, struct filter_walk *walk)
{
	__u32 at = walk->end - index;

	if (at > walk->begin && (!index || walk->text[at & (STRINGS_SIZE - 1)] != '/'))
		return 0;
	walk->begin = at;
	return 1;
}

/* The path of a file or device. Of a path as given only the last name is certain. */
static __noinline __maybe_unused void filter_path(struct filter_input *in, struct scratch *scratch,
						  const struct varlen *path, bool is_given)
{
	struct filter_walk walk = {};
	__u32 offset;

	if (!in || !in->rules || !scratch || !path || !path->length || !in->rules->path)
		goto done;
	offset = path->offset & (STRINGS_SIZE - 1);
	walk.rules = in->rules;
	walk.text = scratch->data;
	walk.begin = offset;
	walk.end = offset + path->length;
	walk.state = in->rules->path;
	walk.bits = &in->known->words[FILTER_WORD_PATH];
	if (is_given) {
		bpf_loop(PATH_SIZE, filter_find_slash, &walk, 0);
		walk.state = in->rules->path_tail;
		__builtin_memcpy(&in->known->doubt[1], in->rules->tail_doubt,
				 sizeof(in->rules->tail_doubt));
	}
	FILTER_WALK(walk, PATH_SIZE, filter_step_scratch, filter_collect_scratch);
	in->known->unknown &= ~FILTER_MASK(FILTER_WORD_PATH, FILTER_SET_WORDS);
done:
	FILTER_DONE();
}

struct filter_clauses {
	struct filter_input *in;
	__u32 at;
	__u32 end;
	bool any; /* some term of this group is true */
	bool maybe; /* what is unknown counts as true, else as false */
	bool found; /* some clause is true */
};

static __always_inline bool filter_term_holds(const struct filter_clauses *clauses,
					      const struct filter_term *term)
{
	struct filter_input *in = clauses->in;
	__u32 word = term->word & (FILTER_WORDS - 1);
	__u32 doubtful = word - FILTER_WORD_CHOICES;
	__u64 sure = in->known->words[word], possible = sure;
	bool negated = term->flags & FILTER_NEGATED;

	if (in->known->unknown >> word & 1)
		possible = ~0ULL;
	else if (doubtful < FILTER_DOUBT_WORDS)
		possible |= in->known->doubt[doubtful];
	if (negated)
		return (clauses->maybe ? ~sure : ~possible) & term->mask;
	return (clauses->maybe ? possible : sure) & term->mask;
}

static long filter_ask_term(__u32 index, struct filter_clauses *clauses)
{
	__u32 at = clauses->at & (FILTER_TERMS - 1);
	struct filter_term *term = &clauses->in->rules->terms[at];

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

static __always_inline bool filter_any_clause(struct filter_input *in, __u32 begin, __u32 end,
					      bool maybe)
{
	struct filter_clauses clauses = {
		.in = in,
		.at = begin,
		.end = end,
		.maybe = maybe,
	};

	if (begin < end)
		bpf_loop(FILTER_TERMS, filter_ask_term, &clauses, 0);
	return clauses.found;
}

/* Whether nothing that the rules of this event ask for has been found, for certain. */
static __always_inline bool filter_is_quiet(const struct filter_input *in,
					    const struct filter_event_rules *rules)
{
	__u64 found = 0;

	for (int i = 0; i < FILTER_WORDS; i++)
		found |= (in->known->words[i] | -(__u64)(in->known->unknown >> i & 1)) &
			 rules->used[i];
	for (int i = 0; i < FILTER_DOUBT_WORDS; i++)
		found |= in->known->doubt[i] & rules->used[FILTER_WORD_CHOICES + i];
	return !found;
}

static __always_inline bool filter_excludes(struct filter_input *in, __u32 event)
{
	struct filter_event_rules *rules;

	rules = &in->rules->events[event & (FILTER_EVENT_MAX - 1)];
	if (rules->flags & (FILTER_IN_USER_SPACE | FILTER_NEVER))
		return rules->flags & FILTER_NEVER;
	if (rules->flags & FILTER_QUIET_DISCARD && filter_is_quiet(in, rules))
		return true;
	if (filter_any_clause(in, rules->exclude_begin, rules->include_begin, false))
		return true;
	return !(rules->flags & FILTER_DEFAULT_INCLUDE) &&
	       !filter_any_clause(in, rules->include_begin, rules->include_end, true);
}

/* Whether the rules exclude this event, whatever is still unknown: the last question. */
static __noinline __maybe_unused bool filter_discards(struct filter_input *in, __u32 event)
{
	bool excluded;

	if (!in || !in->rules || !in->known)
		return false;
	excluded = filter_excludes(in, event);
	barrier();
	in->known->busy = false;
	return excluded;
}

#endif /* FILTER_BPF_H */
