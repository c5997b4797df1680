/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rules in the kernel: an event that they exclude for certain is not sent to user space.
 *
 * event	a Sysmon event that a record may become, enum filter_event
 * bit		one condition on one field of an event, such as "TargetFilename ends with .so"
 * word		64 bits; each field has words of its own, enum filter_word
 * known	struct filter_known: `words` and `doubt` of the one event under judgement
 * words	bits that are true for certain
 * doubt	bits of which it is unknown whether they are true; at the beginning all
 * tell_...	finds the bits of a field: sets those that are true, and clears the doubt of all
 * asks_...	whether any rule of the event has a condition on the field; else it need not be told
 * foregone	decided before anything is told: no rule reports the event (FILTER_NEVER), or the
 *		kernel is not to judge it (FILTER_IN_USER_SPACE)
 * term		bits of one word; true if any of them is true (FILTER_NEGATED: if any is false)
 * group	terms of which at least one must be true
 * clause	groups that must all be true: one exclude or include element of the rules
 * excluded	a clause of exclude is true for certain, or no clause of include can be true
 * quiet	no bit that the event's rules ask is true or in doubt: often enough to discard
 * answers	the bits of a process's image, kept with the process
 * generation	number of the rules in force; answers found under another number are void
 *
 * An example. The rules include FileCreate where TargetFilename ends with .so: bit 0 of word 6,
 * FILTER_WORD_PATH. They exclude it where Image is /usr/bin/apt: bit 0 of word 0,
 * FILTER_WORD_IMAGE. /usr/bin/cp makes /tmp/a.so:
 *
 *	file_actor_excluded()	image alone: not enough for cp. For apt it is, and no path is built
 *	foregone()		0: the event has to be judged
 *	filter_begin()		words: all 0; doubt: all 1
 *	tell_actor()		asks_set(IMAGE): words[0] = 0, doubt[0..3] = 0: it is not apt
 *				asks_word(USER): no rule has a condition on it, doubt[4] stays
 *	tell_path()		the automaton finds .so: words[6] = 1, doubt[6..9] = 0
 *	filter_excludes()	quiet? No, word 6 has a bit. Exclude: bit 0 of word 0 is not true.
 *				Include: bit 0 of word 6 is true. Returns false: the record is sent
 *
 * For /tmp/a.txt, word 6 stays 0: quiet, the record is counted as filtered. If the path cannot be
 * read, its doubt stays: the include clause may be true, the record is sent, user space decides.
 *
 * User space compiles the rules (rules/kernel/compiler.py), writes them into one struct
 * filter_rules (capture/kernel_filter.py) and replaces it as a whole. An event is judged by the
 * rules that it began with. If they are replaced meanwhile, it is sent. filter/events.bpf.h has a
 * function for each event.
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
#include "filter/dns_name.bpf.h"

/*
 * Begin to judge an event. Returns false if there are no rules, or if this processor is judging
 * another event that this one has interrupted. The caller then asks nothing else, and sends the
 * record.
 */
static __always_inline bool filter_begin(struct filter_input *in)
{
	struct filter_known *known;
	__u32 zero = 0;

	if (!in->rules)
		return false;
	known = bpf_map_lookup_elem(&filter_judged, &zero);
	/* Test and set in one step: another task may preempt this one between two steps. */
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

/* Tell a field with few values: `value` is the index of the one at hand. */
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

/* Index of the highest byte of a word that is not 0; 0 if all are. It has no branch. */
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

/*
 * Move the beginning of the text to its last slash: eight bytes a step, from the end. There are
 * eight bytes in front of the text that may be read.
 */
static long filter_find_slash(__u32 index, struct filter_walk *walk)
{
	__u32 left = walk->end - walk->at - index * 8;
	__u32 at = walk->at + left - 8;
	__u64 word, slashes;

	if ((__s32)left <= 0)
		return 1;
	word = *(__u64 *)&walk->text[at & (PATH_SIZE - 1)] ^ FILTER_EACH_BYTE('/');
	/* The highest bit of each byte that is a slash. */
	slashes = ~(((word & FILTER_EACH_BYTE(0x7f)) + FILTER_EACH_BYTE(0x7f)) | word |
		    FILTER_EACH_BYTE(0x7f));
	if (left < 8)
		slashes &= ~0ULL << (64 - left * 8);
	if (!slashes)
		return 0;
	walk->at = at + filter_last_byte(slashes);
	return 1;
}

FILTER_CALLBACKS(path, PATH_SIZE, 4)

/* Returns whether the buffer has a path without missing components. */
static __always_inline bool filter_can_read(const struct path_buffer *path)
{
	return path->at < path->end && path->end <= PATH_SIZE && (path->whole | path->given);
}

/* Tell the path of a file or device. Of a path as given, only the last name is certain. */
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
	bool maybe; /* bits in doubt count as true, else as false */
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

/* Returns whether no bit that the rules of this event ask is true or in doubt. */
static __always_inline bool filter_is_quiet(const struct filter_known *known,
					    const struct filter_event_rules *rules)
{
	__u64 found = 0;

	for (int i = 0; i < FILTER_WORDS; i++)
		found |= (known->words[i] | known->doubt[i]) & rules->used[i];
	return !found;
}

/* Returns whether the rules exclude this event, whatever the bits in doubt are. */
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
 * Verdicts by the image alone, one number a process: the low 32 bits of the generation, and two
 * bits for each event. One bit says that the event was asked; the other, that the event is excluded
 * whatever else is true of it. It is one number so that a reader never sees half of a change. If
 * two writers overwrite each other, a verdict is lost and is asked for again.
 */
#define FILTER_GENERATION_SHIFT 32
#define FILTER_ASKED(event) (1ULL << ((event) & (FILTER_EVENT_MAX - 1)))
#define FILTER_EXCLUDED(event) (FILTER_ASKED(event) << FILTER_EVENT_MAX)

/*
 * Returns whether the image of the current process is enough to exclude all these events, which are
 * bits FILTER_ASKED(event).
 */
__noinline int filter_image_excludes(__u64 events)
{
	__u64 asked = events & (FILTER_ASKED(FILTER_EVENT_MAX - 1) * 2 - 1);
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
		for (__u32 event = 0; event < FILTER_EVENT_MAX; event++)
			if (asked & FILTER_ASKED(event) && filter_excludes(in.known, event))
				judged |= FILTER_EXCLUDED(event);
		filter_end(&in);
		*(volatile __u64 *)&process->judged = judged;
	}
	return !(~judged & asked << FILTER_EVENT_MAX);
}

#endif /* FILTER_EVALUATE_BPF_H */
