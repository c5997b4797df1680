/* SPDX-License-Identifier: GPL-2.0-only */
/* Layout of the rules in the kernel: all that user space fills, and the maps. */
#ifndef FILTER_RULES_BPF_H
#define FILTER_RULES_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

enum filter_limit {
	FILTER_CLASSES = 64, /* of bytes that no pattern tells apart */
	FILTER_STATES = 16384, /* of all automata together */
	FILTER_OUTPUTS = 1024, /* different sets of bits that a state can stand for */
	FILTER_SET_WORDS = 4, /* of the bits that an image or a path has */
	FILTER_WORDS = 16, /* of all bits of an event */
	FILTER_TERMS = 4096, /* the last one stays unused */
	FILTER_CHOICES = 4, /* fields with few values */
	FILTER_VALUES = 64, /* each of them has at most */
	FILTER_TEXTS = 5, /* short texts made of numbers */
	FILTER_USERS = 4096,
	FILTER_IMAGE_SIZE = 256, /* a longer image is unknown */
	FILTER_TEXT_SIZE = 64, /* more than any text made of numbers has */
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
	FILTER_BY_IMAGE = 1 << 4, /* some images are enough to discard */
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
const struct filter_rules *filter_rules_layout;
enum filter_limit filter_limits;
enum filter_event filter_events;
enum filter_flag filter_flags;
enum filter_term_flag filter_term_flags;
enum filter_word filter_words;
enum filter_choice filter_choices;
enum filter_text filter_texts;

/* By sizes: v6.1 takes a map without BTF for another kind than a template that has it. */
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

/* What the rules say about an image: good for one generation of them. */
struct filter_answers {
	__u64 generation; /* 0: unknown */
	__u64 bits[FILTER_SET_WORDS];
};

/* The image of a process as the record of its exec has it, with the answers. */
struct filter_process {
	struct filter_answers answers[2]; /* by the parity of their generation */
	__u64 judged; /* by its image alone: see filter_image_excludes() */
	__u32 length;
	__u32 pad;
	__u8 image[FILTER_IMAGE_SIZE + 8];
};

/* A text made of numbers, as it would be printed; room for the last step behind it. */
struct filter_text_room {
	__u32 length;
	__u32 pad;
	__u8 bytes[FILTER_TEXT_SIZE + 8];
};

/* What is known of one event under judgement. */
struct filter_known {
	__u64 words[FILTER_WORDS]; /* bits that are true for certain */
	__u64 doubt[FILTER_WORDS]; /* bits that may be true yet */
	__u64 generation; /* of the rules that judge */
	__u64 busy; /* from filter_begin() to filter_end() */
	struct filter_text_room room;
};

/*
 * Not all on the stack: before v6.13, which gives some functions a stack of their own, all
 * functions of a program share 512 bytes.
 */
struct filter_input {
	struct filter_rules *rules;
	struct filter_known *known;
};

/* A kernel that cannot walk an automaton may not have these kinds of maps either. */
#ifndef WITHOUT_BPF_LOOP
/* The rules in force; empty: nothing is discarded. */
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

/* What the rules say about the name of a user; one who is not here is unknown. */
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

static __always_inline struct filter_rules *filter_rules_get(void)
{
	__u32 zero = 0;
	void *map;

	map = bpf_map_lookup_elem(&filter_rules, &zero);
	return map ? bpf_map_lookup_elem(map, &zero) : NULL;
}

/*
 * The rules that an event began with; NULL when others came: what is asked from then on stays
 * unknown. For global functions, which the verifier walks once for all callers, but hands no
 * rules.
 */
static __always_inline struct filter_rules *filter_rules_of(const struct filter_known *known)
{
	struct filter_rules *rules = filter_rules_get();

	return known && rules && rules->generation == known->generation ? rules : NULL;
}

/* The verifier wants to see the mask, which a compiler that knows the event leaves out. */
static __always_inline struct filter_event_rules *filter_rules_for(struct filter_rules *rules,
								   __u32 event)
{
	barrier_var(event);
	return &rules->events[event & (FILTER_EVENT_MAX - 1)];
}
#endif

#endif /* FILTER_RULES_BPF_H */
