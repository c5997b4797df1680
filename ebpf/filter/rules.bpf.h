/* SPDX-License-Identifier: GPL-2.0-only */
/* Layout of the rules in the kernel: the structs and maps that user space fills. */
#ifndef FILTER_RULES_BPF_H
#define FILTER_RULES_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "filter/passage.bpf.h"

enum filter_limit {
	FILTER_CLASSES = 64, /* classes of bytes that no pattern tells apart */
	FILTER_STATES = 16384, /* states of all automata together */
	FILTER_OUTPUTS = 1024, /* different sets of bits that states stand for */
	FILTER_SET_WORDS = 4, /* words that an image or a path has */
	FILTER_WORDS = 16, /* words of an event */
	FILTER_TERMS = 4096, /* the last one stays unused */
	FILTER_CHOICES = 4, /* fields with few values, of one event */
	FILTER_VALUES = 64, /* values of one of these fields */
	FILTER_TEXTS = 5, /* fields of enum filter_text, of one event */
	FILTER_USERS = 4096,
	FILTER_IMAGE_SIZE = 256, /* bytes of an image; a longer one is unknown */
	FILTER_TEXT_SIZE = 64, /* bytes: more than any field made of numbers has */
	FILTER_NAME_SIZE = 256, /* bytes: more than any name of DNS has */
};

enum filter_event {
	FILTER_FILE_TIME,
	FILTER_NETWORK_CONNECT,
	FILTER_LIBRARY_LOAD,
	FILTER_CREATE_REMOTE_THREAD,
	FILTER_RAW_ACCESS_READ,
	FILTER_PROCESS_ACCESS,
	FILTER_FILE_CREATE,
	FILTER_ATTRIBUTE_SET,
	FILTER_PIPE_CREATE,
	FILTER_PIPE_CONNECT,
	FILTER_DNS_QUERY,
	FILTER_FILE_DELETE,
	FILTER_PROCESS_TAMPERING,
	FILTER_FILE_DELETE_DETECTED,
	FILTER_BPF_PROGRAM_LOAD,
	FILTER_EVENT_MAX = 16, /* a power of two */
};
_Static_assert(FILTER_BPF_PROGRAM_LOAD < FILTER_EVENT_MAX, "double FILTER_EVENT_MAX");
_Static_assert(2 * FILTER_EVENT_MAX <= 32, "see FILTER_GENERATION_SHIFT");

/* The first word of each field, in the words of an event. */
enum filter_word {
	FILTER_WORD_IMAGE = 0,
	FILTER_WORD_USER = 4,
	FILTER_WORD_CHOICES = 5,
	FILTER_WORD_PATH = 6, /* or the target's image: answers of the image automaton */
	FILTER_WORD_TARGET_USER = 10,
	FILTER_WORD_TEXTS = 11,
};

/* Fields with few values, by event. A comment lists the values by their index. */
enum filter_choice {
	FILTER_PROTOCOL = 0, /* tcp, udp; UDP-Lite is udp */
	FILTER_INITIATED = 1, /* false, true */
	FILTER_SOURCE_IS_IPV6 = 2,
	FILTER_DESTINATION_IS_IPV6 = 3,
	FILTER_IS_EXECUTABLE = 0, /* false, true, unknown */
	FILTER_PIPE_EVENT_TYPE = 0, /* one value alone for each event */
	FILTER_TAMPERING_TYPE = 0, /* enum tampering */
	FILTER_BPF_COMMAND = 0, /* BPF_PROG_LOAD alone */
	FILTER_BPF_PROGRAM_TYPE = 1, /* the kernel's number */
};

/* Fields that are numbers, made of numbers, or names; by event. */
enum filter_text {
	FILTER_SOURCE_IP = 0,
	FILTER_DESTINATION_IP = 1,
	FILTER_SOURCE_PORT = 2,
	FILTER_DESTINATION_PORT = 3,
	FILTER_PROCESS_ID = 4, /* of every event: the actor's */
	FILTER_THREAD_ID = 0,
	FILTER_NEW_THREAD_ID = 0,
	FILTER_TARGET_PROCESS_ID = 1,
	FILTER_GRANTED_ACCESS = 2,
	FILTER_QUERY_NAME = 0,
	FILTER_BPF_PROGRAM_NAME = 0,
	FILTER_BPF_PROGRAM_ID = 1,
};

enum filter_flag {
	FILTER_IN_USER_SPACE = 1 << 0, /* the kernel does not judge this event */
	FILTER_NEVER = 1 << 1, /* no rule reports any event of this type */
	FILTER_DEFAULT_INCLUDE = 1 << 2,
	FILTER_QUIET_DISCARD = 1 << 3, /* discard an event that is quiet */
	FILTER_BY_IMAGE = 1 << 4, /* an image alone may be enough to discard */
};

enum filter_term_flag {
	FILTER_NEGATED = 1 << 0, /* the term is true if any of its bits is false */
	FILTER_END_OF_GROUP = 1 << 1, /* at least one term of the group must be true */
	FILTER_END_OF_CLAUSE = 1 << 2, /* all groups of a clause must be true */
};

/* Number of an automaton's state has this bit if a string ends there. */
#define FILTER_FOUND 0x8000

struct filter_term {
	__u64 mask;
	__u16 word;
	__u16 flags; /* enum filter_term_flag */
	__u16 next_clause; /* number of the term where the next clause begins */
	__u16 pad;
};

struct filter_event_rules {
	__u64 used[FILTER_WORDS]; /* bits that this event's terms ask */
	__u64 choices[FILTER_CHOICES][FILTER_VALUES]; /* bits of FILTER_WORD_CHOICES */
	__u64 choice_bits[FILTER_CHOICES]; /* all bits that a choice decides */
	__u16 texts[FILTER_TEXTS]; /* states to begin walks with; 0: no rule asks the text */
	__u16 exclude_begin; /* numbers of terms */
	__u16 include_begin; /* clauses of exclude end here */
	__u16 include_end;
	__u32 flags; /* enum filter_flag */
	__u32 pad;
};

struct filter_rules {
	__u64 generation; /* never 0 */
	__u64 tail_doubt[FILTER_SET_WORDS]; /* path bits that the last name cannot make false */
	__u16 image; /* states to begin walks with; 0: no rule asks */
	__u16 path;
	__u16 path_tail; /* state to begin with at the last name of a path */
	__u16 pad;
	__u8 classes[256]; /* class of each byte; a NUL ends the text */
	struct filter_event_rules events[FILTER_EVENT_MAX];
	struct filter_term terms[FILTER_TERMS];
	__u64 outputs[FILTER_OUTPUTS][FILTER_SET_WORDS];
	__u16 output_of[FILTER_STATES];
	__u16 next[FILTER_STATES * FILTER_CLASSES];
};

/* These variables keep the types in the object's BTF, where user space reads them. */
const struct filter_rules *filter_rules_layout;
enum filter_limit filter_limits;
enum filter_event filter_events;
enum filter_flag filter_flags;
enum filter_term_flag filter_term_flags;
enum filter_word filter_words;
enum filter_choice filter_choices;
enum filter_text filter_texts;

/* Given by sizes: for v6.1 a map without BTF does not match a template that has BTF. */
struct filter_rules_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct filter_rules));
};

struct filter_user {
	__u64 generation;
	__u32 uid;
	__u32 pad;
};

/* Bits of an image. They hold for one generation of the rules. */
struct filter_answers {
	__u64 generation; /* 0: unknown */
	__u64 bits[FILTER_SET_WORDS];
};

/* The image of a process, as in the record of its exec, with the answers about it. */
struct filter_process {
	struct filter_answers answers[2]; /* index: lowest bit of the generation */
	__u64 judged; /* verdicts by the image alone: see filter_image_excludes() */
	__u32 length;
	__u32 pad;
	__u8 image[FILTER_IMAGE_SIZE + 8];
};

/* Buffer to print a field in. A walk may read 8 bytes behind the text. */
struct filter_text_room {
	__u32 length;
	__u32 pad;
	__u8 bytes[FILTER_TEXT_SIZE + 8];
};

/* The state of knowledge about the one event under judgement. */
struct filter_known {
	__u64 words[FILTER_WORDS]; /* bits that are true for certain */
	__u64 doubt[FILTER_WORDS]; /* bits that may be true yet */
	__u64 generation; /* of the rules that judge */
	__u64 busy; /* from filter_begin() to filter_end() */
	struct filter_text_room room;
	__u8 name[FILTER_NAME_SIZE + 8]; /* of DNS; a walk may read 8 bytes behind it */
};

/*
 * Pointers to both sides of a judgement. `known` is in a map, not on the stack: before v6.13 all
 * functions of a program share 512 bytes of stack.
 */
struct filter_input {
	struct filter_rules *rules;
	struct filter_known *known;
};

/* A kernel without bpf_loop() cannot walk an automaton, and may lack these kinds of maps. */
#ifndef WITHOUT_BPF_LOOP
/* The rules in force. While the map is empty, nothing is discarded. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct filter_rules_map);
} filter_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct filter_known);
} filter_judged SEC(".maps");

/* Bits of FILTER_WORD_USER for a user's name. A user without an entry is unknown. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FILTER_USERS);
	__type(key, struct filter_user);
	__type(value, __u64);
} filter_users SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct filter_process);
} filter_processes SEC(".maps");

static __always_inline struct filter_rules *filter_rules_in_force(void)
{
	__u32 zero = 0;
	void *map;

	map = bpf_map_lookup_elem(&filter_rules, &zero);
	return map ? bpf_map_lookup_elem(map, &zero) : NULL;
}

/* The rules for an event of the current task; NULL: nothing is discarded. */
static __always_inline struct filter_rules *filter_rules_get(void)
{
	return current_passes() ? NULL : filter_rules_in_force();
}

/*
 * The rules that an event began with; NULL: they were replaced meanwhile, and all that is asked
 * from then on stays unknown. It serves global functions: the verifier accepts no pointer to the
 * rules as their argument.
 */
static __always_inline struct filter_rules *filter_rules_of(const struct filter_known *known)
{
	struct filter_rules *rules = filter_rules_in_force();

	return known && rules && rules->generation == known->generation ? rules : NULL;
}

/* The compiler, which knows the event, would drop the mask; the verifier needs it. */
static __always_inline struct filter_event_rules *filter_rules_for(struct filter_rules *rules,
								   __u32 event)
{
	barrier_var(event);
	return &rules->events[event & (FILTER_EVENT_MAX - 1)];
}
#endif

#endif /* FILTER_RULES_BPF_H */
