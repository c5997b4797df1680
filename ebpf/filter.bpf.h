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

enum filter_limit {
	FILTER_CLASSES = 64, /* of bytes that no pattern tells apart */
	FILTER_STATES = 8192, /* of all automata together */
	FILTER_OUTPUTS = 1024, /* different sets of bits that a state can stand for */
	FILTER_SET_WORDS = 4, /* of the bits that an image or a path has */
	FILTER_WORDS = 16, /* of all bits of an event */
	FILTER_DOUBT_WORDS = 1 + FILTER_SET_WORDS,
	FILTER_TERMS = 4096, /* the last one stays unused */
	FILTER_CHOICES = 4, /* fields with few values */
	FILTER_VALUES = 64, /* each of them has at most */
	FILTER_TEXTS = 5, /* short texts made of numbers */
	FILTER_USERS = 4096,
	FILTER_IMAGE_SIZE = 256, /* a longer image is unknown */
};

enum filter_event {
	FILTER_NETWORK_CONNECT,
	FILTER_RAW_ACCESS_READ,
	FILTER_PROCESS_ACCESS,
	FILTER_FILE_CREATE,
	FILTER_FILE_DELETE,
	FILTER_FILE_DELETE_DETECTED,
	FILTER_BPF_PROGRAM_LOAD,
	FILTER_EVENT_MAX = 16, /* a power of two */
};

/* Where in the words of an event each field's answers are. */
enum filter_word {
	FILTER_WORD_IMAGE = 0,
	FILTER_WORD_USER = 4,
	FILTER_WORD_CHOICES = 5,
	FILTER_WORD_PATH = 6, /* or the target's image: answers of the image automaton */
	FILTER_WORD_TARGET_USER = 10,
	FILTER_WORD_TEXTS = 11,
};

/* Fields with few values, by event; the number given is the index of the value. */
enum filter_choice {
	FILTER_PROTOCOL = 0, /* tcp, udp */
	FILTER_INITIATED = 1, /* false, true */
	FILTER_SOURCE_IS_IPV6 = 2,
	FILTER_DESTINATION_IS_IPV6 = 3,
	FILTER_IS_EXECUTABLE = 0, /* false, true, unknown */
	FILTER_BPF_COMMAND = 0, /* BPF_PROG_LOAD alone */
	FILTER_BPF_PROGRAM_TYPE = 1, /* the kernel's number */
};

/* Fields that are numbers or made of numbers, by event. */
enum filter_text {
	FILTER_SOURCE_IP = 0,
	FILTER_DESTINATION_IP = 1,
	FILTER_SOURCE_PORT = 2,
	FILTER_DESTINATION_PORT = 3,
	FILTER_PROCESS_ID = 4, /* of every event: the actor's */
	FILTER_THREAD_ID = 0,
	FILTER_TARGET_PROCESS_ID = 1,
	FILTER_GRANTED_ACCESS = 2,
	FILTER_BPF_PROGRAM_NAME = 0,
	FILTER_BPF_PROGRAM_ID = 1,
};

enum filter_flag {
	FILTER_IN_USER_SPACE = 1 << 0, /* the kernel does not judge this event */
	FILTER_NEVER = 1 << 1, /* no rule reports any event of this type */
	FILTER_DEFAULT_INCLUDE = 1 << 2,
	FILTER_QUIET_DISCARD = 1 << 3, /* discard when all is known and nothing is found */
};

enum filter_term_flag {
	FILTER_NEGATED = 1 << 0, /* the bits that are not set count */
	FILTER_END_OF_GROUP = 1 << 1, /* at least one term of the group must be true */
	FILTER_END_OF_CLAUSE = 1 << 2, /* all groups of a clause must be */
};

/* An automaton's state has this bit when something was found in it. */
#define FILTER_FOUND 0x8000

struct filter_term {
	__u64 mask;
	__u16 word;
	__u16 flags; /* enum filter_term_flag */
	__u16 next_clause; /* term where the next one begins */
	__u16 pad;
};

struct filter_event_rules {
	__u64 used[FILTER_WORDS]; /* the bits that this event's terms ask */
	__u64 choices[FILTER_CHOICES][FILTER_VALUES]; /* bits of FILTER_WORD_CHOICES */
	__u64 choice_bits[FILTER_CHOICES]; /* all bits that a choice decides */
	__u16 texts[FILTER_TEXTS]; /* states to begin with; 0: not asked */
	__u16 exclude_begin;
	__u16 include_begin; /* where exclude ends */
	__u16 include_end;
	__u32 flags; /* enum filter_flag */
	__u32 pad;
};

struct filter_rules {
	__u64 generation; /* never 0 */
	__u64 none; /* 0, but the verifier must not know */
	__u64 tail_doubt[FILTER_SET_WORDS]; /* path bits that the last name cannot deny */
	__u16 image; /* states to begin with; 0: not asked */
	__u16 path;
	__u16 path_tail; /* at the last name of a path */
	__u16 pad;
	__u8 classes[256]; /* of each byte; a NUL ends the text */
	struct filter_event_rules events[FILTER_EVENT_MAX];
	struct filter_term terms[FILTER_TERMS];
	__u64 outputs[FILTER_OUTPUTS][FILTER_SET_WORDS];
	__u16 output_of[FILTER_STATES];
	__u16 next[FILTER_STATES * FILTER_CLASSES];
};

/* Keeps these layouts in the object's BTF, where user space reads them. */
const struct filter_rules *filter_rules_layout __weak;
enum filter_limit filter_limits __weak;
enum filter_event filter_events __weak;
enum filter_flag filter_flags __weak;
enum filter_term_flag filter_term_flags __weak;
enum filter_word filter_words __weak;
enum filter_choice filter_choices __weak;
enum filter_text filter_texts __weak;

struct filter_rules_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct filter_rules);
};

/* The rules in force; empty: nothing is discarded. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct filter_rules_map);
} filter_rules __weak SEC(".maps");

struct filter_user {
	__u64 generation;
	__u32 uid;
	__u32 pad;
};

/* What the rules say about the name of a user; one who is not here is unknown. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FILTER_USERS);
	__type(key, struct filter_user);
	__type(value, __u64);
} filter_users __weak SEC(".maps");

/* What the rules say about an image: good for one generation of them. */
struct filter_answers {
	__u64 generation; /* 0: unknown */
	__u64 bits[FILTER_SET_WORDS];
};

/* The image of a process as the record of its exec has it, with the answers. */
struct filter_process {
	struct filter_answers answers[2]; /* by the parity of their generation */
	__u32 length;
	__u32 pad;
	__u8 image[FILTER_IMAGE_SIZE + 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct filter_process);
} filter_processes __weak SEC(".maps");

/* One event under judgement. */
struct filter_input {
	struct filter_rules *rules;
	__u64 words[FILTER_WORDS];
	__u64 doubt[FILTER_DOUBT_WORDS]; /* bits of choices and path that may be true yet */
	__u32 unknown; /* words of which nothing is known */
	__u32 pad;
};

#define FILTER_MASK(word, count) (((1U << (count)) - 1) << (word))

/* ---- automata ---- */

/*
 * For functions that return nothing: clang leaves anything in r0, and the verifier takes
 * a pointer there for one that leaks.
 */
#define FILTER_DONE() asm volatile("r0 = 0" ::: "r0", "memory")

struct filter_walk {
	struct filter_rules *rules;
	const __u8 *text;
	__u32 begin;
	__u32 end; /* behind the last byte */
	__u16 state;
	__u16 found; /* FILTER_FOUND when any state had it */
	__u32 pad;
	__u64 *bits; /* where to collect */
};

static __always_inline __u16 filter_next(struct filter_rules *rules, __u16 state, __u8 byte)
{
	__u32 index = (__u32)state * FILTER_CLASSES + rules->classes[byte];

	/* takes FILTER_FOUND off too */
	return rules->next[index & (FILTER_STATES * FILTER_CLASSES - 1)];
}

/* Eight bytes without a branch; the states' flags are gathered. */
static __always_inline void filter_step(struct filter_walk *walk, __u64 word)
{
	struct filter_rules *rules = walk->rules;
	__u16 state = walk->state, found = walk->found;

#pragma unroll
	for (int i = 0; i < 8; i++) {
		state = filter_next(rules, state, word);
		found |= state;
		word >>= 8;
	}
	walk->state = state;
	walk->found = found;
}

/* The same, with the bits of every state; those in which nothing is found have none. */
static __always_inline void filter_collect(struct filter_walk *walk, __u64 word)
{
	struct filter_rules *rules = walk->rules;
	__u16 state = walk->state, output;

#pragma unroll
	for (int i = 0; i < 8; i++) {
		state = filter_next(rules, state, word);
		output = rules->output_of[state & (FILTER_STATES - 1)];
		for (int j = 0; j < FILTER_SET_WORDS; j++)
			walk->bits[j] |= rules->outputs[output & (FILTER_OUTPUTS - 1)][j];
		word >>= 8;
	}
	walk->state = state;
}

/* The bytes beyond the end are NUL: the first ends the text, then nothing is found. */
static __always_inline __u64 filter_cut(__u64 word, __u32 left)
{
	return left < 8 ? word & ((1ULL << (left * 8)) - 1) : word;
}

/*
 * Texts in scratch and images are of different size: the verifier wants to see which.
 * It knows nothing of the index, and so need not follow it through the whole text.
 */
#define FILTER_CALLBACK(name, size, action)                     \
	static long name(__u32 index, struct filter_walk *walk) \
	{                                                       \
		__u32 at = walk->begin + index * 8;             \
		__u64 word;                                     \
                                                                \
		if (at > walk->end)                             \
			return 1;                               \
		word = *(__u64 *)&walk->text[at & ((size)-1)];  \
		action(walk, filter_cut(word, walk->end - at)); \
		return 0;                                       \
	}

FILTER_CALLBACK(filter_step_scratch, STRINGS_SIZE, filter_step)
FILTER_CALLBACK(filter_collect_scratch, STRINGS_SIZE, filter_collect)
FILTER_CALLBACK(filter_step_image, FILTER_IMAGE_SIZE, filter_step)
FILTER_CALLBACK(filter_collect_image, FILTER_IMAGE_SIZE, filter_collect)

/* The second time only when something was found, to see what. */
#define FILTER_WALK(walk, size, step, collect)                           \
	({                                                               \
		__u16 __state = (walk).state;                            \
		bpf_loop((size) / 8 + 1, (step), &(walk), 0);            \
		if ((walk).found & FILTER_FOUND) {                       \
			(walk).state = __state;                          \
			bpf_loop((size) / 8 + 1, (collect), &(walk), 0); \
		}                                                        \
	})

/* ---- who ---- */

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

/* ---- what ---- */

/* Returns false when there are no rules to ask: then ask nothing else. */
static __always_inline bool filter_begin(struct filter_input *in)
{
	__u64 none;

	in->rules = filter_rules_get();
	if (!in->rules)
		return false;
	/* A constant would have the verifier walk each combination of what is given. */
	none = in->rules->none;
	for (int i = 0; i < FILTER_WORDS; i++)
		in->words[i] = none;
	for (int i = 1; i < FILTER_DOUBT_WORDS; i++)
		in->doubt[i] = none;
	in->doubt[0] = ~none;
	in->unknown = ~none & FILTER_MASK(0, FILTER_WORDS) & ~FILTER_MASK(FILTER_WORD_CHOICES, 1);
	in->pad = none;
	return true;
}

/* An image: of the actor at FILTER_WORD_IMAGE, of the target at FILTER_WORD_PATH. */
static __always_inline void filter_image(struct filter_input *in, __u32 word,
					 const struct filter_answers *answers)
{
	for (int i = 0; i < FILTER_SET_WORDS; i++)
		in->words[word + i] = answers->bits[i];
	in->unknown &= ~FILTER_MASK(word, FILTER_SET_WORDS);
}

static __noinline void filter_image_of(struct filter_input *in, struct filter_process *process,
				       bool is_target)
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
	in->words[word] = *bits;
	in->unknown &= ~FILTER_MASK(word, 1);
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

/* A field with few values. */
static __always_inline void filter_choice(struct filter_input *in, enum filter_event event,
					  enum filter_choice choice, __u32 value)
{
	struct filter_event_rules *rules = &in->rules->events[event];

	if (value >= FILTER_VALUES)
		return;
	in->words[FILTER_WORD_CHOICES] |= rules->choices[choice][value];
	in->doubt[0] &= ~rules->choice_bits[choice];
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
static __noinline void filter_path(struct filter_input *in, struct scratch *scratch,
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
	walk.bits = &in->words[FILTER_WORD_PATH];
	if (is_given) {
		bpf_loop(PATH_SIZE, filter_find_slash, &walk, 0);
		walk.state = in->rules->path_tail;
		__builtin_memcpy(&in->doubt[1], in->rules->tail_doubt,
				 sizeof(in->rules->tail_doubt));
	}
	FILTER_WALK(walk, PATH_SIZE, filter_step_scratch, filter_collect_scratch);
	in->unknown &= ~FILTER_MASK(FILTER_WORD_PATH, FILTER_SET_WORDS);
done:
	FILTER_DONE();
}

/* ---- texts made of numbers: what would be printed goes right into the automaton ---- */

struct filter_feed {
	struct filter_rules *rules;
	__u64 bits;
	__u16 state;
	__u16 pad[3];
};

/* Ask a byte unless it is a leading zero; without a branch, which the verifier pays for. */
static __always_inline void filter_feed_if(struct filter_feed *feed, __u32 byte, __u32 begun)
{
	struct filter_rules *rules = feed->rules;
	__u64 mask = -(((__u64)begun | -(__u64)begun) >> 63); /* all ones unless 0 */
	__u16 state;

	barrier_var(mask);
	barrier_var(byte); /* the compiler knows that it is a digit, the verifier does not */
	state = (filter_next(rules, feed->state, byte) & mask) | (feed->state & ~mask);
	feed->state = state;
	state = rules->output_of[state & (FILTER_STATES - 1)]; /* 0: no bits */
	feed->bits |= rules->outputs[state & (FILTER_OUTPUTS - 1)][0];
}

static __always_inline void filter_feed(struct filter_feed *feed, __u8 byte)
{
	filter_feed_if(feed, byte, 1);
}

/* A number in as many digits as it has. `unit` is the highest digit's: 1000 of four. */
static __noinline __u64 filter_feed_decimal(struct filter_feed *feed, __u32 number, __u32 unit)
{
	__u32 begun = 0;

	if (!feed)
		return 0;
	for (int i = 0; i < 10 && unit; i++) {
		__u32 digit = number / unit;

		begun |= digit | (unit == 1);
		filter_feed_if(feed, '0' + digit, begun);
		number -= digit * unit;
		unit /= 10;
	}
	return feed->bits;
}

static __noinline __u64 filter_feed_hexadecimal(struct filter_feed *feed, __u32 number, __s32 shift)
{
	__u32 begun = 0;

	if (!feed)
		return 0;
	for (int i = 0; i < 8 && shift >= 0; i++) {
		__u32 digit = number >> shift & 15;
		__u32 letter = (digit + 6) >> 4; /* from 10 on */

		begun |= digit | !shift;
		filter_feed_if(feed, '0' + digit + letter * ('a' - '0' - 10), begun);
		shift -= 4;
	}
	return feed->bits;
}

static __always_inline bool filter_feed_begin(struct filter_feed *feed, struct filter_input *in,
					      __u32 event, __u32 text)
{
	feed->rules = in->rules;
	if (!feed->rules || text >= FILTER_TEXTS)
		return false;
	feed->state = feed->rules->events[event & (FILTER_EVENT_MAX - 1)].texts[text];
	return feed->state;
}

static __always_inline void filter_feed_end(struct filter_feed *feed, struct filter_input *in,
					    __u32 text)
{
	filter_feed(feed, 0);
	in->words[FILTER_WORD_TEXTS + text] = feed->bits;
	in->unknown &= ~FILTER_MASK(FILTER_WORD_TEXTS + text, 1);
}

static __noinline void filter_decimal(struct filter_input *in, __u32 event, __u32 text,
				      __u32 number)
{
	struct filter_feed feed = {};

	if (in && filter_feed_begin(&feed, in, event, text)) {
		feed.bits |= filter_feed_decimal(&feed, number, 1000000000);
		filter_feed_end(&feed, in, text);
	}
	FILTER_DONE();
}

static __noinline void filter_hexadecimal(struct filter_input *in, __u32 event, __u32 text,
					  __u32 number)
{
	struct filter_feed feed = {};

	if (in && filter_feed_begin(&feed, in, event, text)) {
		filter_feed(&feed, '0');
		filter_feed(&feed, 'x');
		feed.bits |= filter_feed_hexadecimal(&feed, number, 28);
		filter_feed_end(&feed, in, text);
	}
	FILTER_DONE();
}

/* An address: four bytes in dotted decimal, or sixteen in eight groups, none left out. */
static __noinline void filter_address(struct filter_input *in, __u32 event, __u32 text,
				      const __u8 *address, bool is_ipv6)
{
	struct filter_feed feed = {};

	if (in && filter_feed_begin(&feed, in, event, text)) {
		if (is_ipv6) {
#pragma clang loop unroll(disable)
			for (int i = 0; i < 8; i++) {
				if (i)
					filter_feed(&feed, ':');
				feed.bits |= filter_feed_hexadecimal(
					&feed, address[2 * i] << 8 | address[2 * i + 1], 12);
			}
		} else {
#pragma clang loop unroll(disable)
			for (int i = 0; i < 4; i++) {
				if (i)
					filter_feed(&feed, '.');
				feed.bits |= filter_feed_decimal(&feed, address[i], 100);
			}
		}
		filter_feed_end(&feed, in, text);
	}
	FILTER_DONE();
}

/* A name of at most 16 bytes; none prints as "-". */
static __noinline void filter_name(struct filter_input *in, __u32 event, __u32 text,
				   const char *name)
{
	struct filter_feed feed = {};

	if (in && filter_feed_begin(&feed, in, event, text)) {
		if (!name[0])
			filter_feed(&feed, '-');
#pragma unroll
		for (int i = 0; i < 16; i++)
			filter_feed(&feed, name[i]); /* behind a NUL nothing is found */
		filter_feed_end(&feed, in, text);
	}
	FILTER_DONE();
}

/* ---- verdict ---- */

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
	__u64 sure = in->words[word], possible = sure;
	bool negated = term->flags & FILTER_NEGATED;

	if (in->unknown >> word & 1)
		possible = ~0ULL;
	else if (doubtful < FILTER_DOUBT_WORDS)
		possible |= in->doubt[doubtful];
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
		found |= (in->words[i] | -(__u64)(in->unknown >> i & 1)) & rules->used[i];
	for (int i = 0; i < FILTER_DOUBT_WORDS; i++)
		found |= in->doubt[i] & rules->used[FILTER_WORD_CHOICES + i];
	return !found;
}

/* Whether the rules exclude this event, whatever is still unknown. */
static __noinline bool filter_discards(struct filter_input *in, __u32 event)
{
	struct filter_event_rules *rules;

	if (!in || !in->rules)
		return false;
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

#endif /* FILTER_BPF_H */
