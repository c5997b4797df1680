// SPDX-License-Identifier: GPL-2.0-only
/* Rules in the kernel, asked by user space: one event a run. For tests only. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/path.bpf.h"
#include "emit/scratch.bpf.h"
#include "filter/rules.bpf.h"
#include "filter/actor.bpf.h"
#include "filter/numbers.bpf.h"
#include "filter/evaluate.bpf.h"

enum filter_given {
	FILTER_GIVEN_IMAGE = 1 << 0,
	FILTER_GIVEN_TARGET = 1 << 1,
	FILTER_GIVEN_USER = 1 << 2,
	FILTER_GIVEN_TARGET_USER = 1 << 3,
	FILTER_GIVEN_PATH = 1 << 4,
	FILTER_GIVEN_PATH_TAIL = 1 << 5,
};

enum filter_text_kind {
	FILTER_TEXT_NONE,
	FILTER_TEXT_DECIMAL,
	FILTER_TEXT_HEXADECIMAL,
	FILTER_TEXT_IPV4,
	FILTER_TEXT_IPV6,
	FILTER_TEXT_NAME,
	FILTER_TEXT_QUERY_NAME, /* `path` has a question of a DNS message */
};

/* The fields of one event, in place of those that a hook would tell. */
struct filter_test {
	__u32 event; /* enum filter_event */
	__u32 given; /* enum filter_given */
	__u32 uid;
	__u32 target_uid;
	__u32 choices[FILTER_CHOICES]; /* FILTER_VALUES: not given */
	__u32 kinds[FILTER_TEXTS]; /* enum filter_text_kind */
	__u32 numbers[FILTER_TEXTS];
	__u8 bytes[FILTER_TEXTS][16]; /* addresses and names */
	struct varlen path; /* in test_scratch */
	struct varlen image;
	struct varlen target;
	__u32 repeat;
	__u32 discarded; /* out: how many of the judgements discarded the event */
	__u32 pad;
	__u64 ns; /* out: time that `repeat` judgements took */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct filter_test);
} test_input SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} test_scratch SEC(".maps");

/* Images and their answers, in place of task storage. Index: 0 the actor, 1 the target. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct filter_process);
} test_processes SEC(".maps");

static __always_inline void give_text(struct filter_input *in, struct filter_test *test,
				      __u32 event, int i)
{
	if (test->kinds[i] == FILTER_TEXT_DECIMAL)
		filter_decimal(in, event, i, test->numbers[i]);
	if (test->kinds[i] == FILTER_TEXT_HEXADECIMAL)
		filter_hexadecimal(in, event, i, test->numbers[i]);
	if (test->kinds[i] == FILTER_TEXT_IPV4 || test->kinds[i] == FILTER_TEXT_IPV6)
		filter_address(in, event, i, test->bytes[i], test->kinds[i] == FILTER_TEXT_IPV6);
	if (test->kinds[i] == FILTER_TEXT_NAME)
		filter_name(in, event, i, (const char *)test->bytes[i]);
}

static __always_inline void give_image(struct filter_input *in, struct scratch *scratch,
				       struct varlen *image, bool is_target)
{
	__u32 index = is_target;
	struct filter_process *process = bpf_map_lookup_elem(&test_processes, &index);
	struct filter_answers *answers;

	if (!process)
		return;
	filter_image_keep(process, scratch, image);
	answers = filter_answers_of(process, in->rules);
	if (answers && is_target)
		filter_image(in->known, FILTER_WORD_PATH, answers);
	else if (answers)
		filter_image(in->known, FILTER_WORD_IMAGE, answers);
}

/* Copy a path to the buffer, with 8 bytes behind it, and tell it. */
static __always_inline void give_path(struct filter_input *in, struct scratch *scratch,
				      const struct varlen *from, bool is_given)
{
	struct path_buffer *path = &scratch->path;
	__u32 at = is_given ? PATH_GIVEN_AT : 0;
	__u64 length = from->length;

	barrier_var(length); /* 64 bits: the verifier keeps the bound for the sum below */
	if (length > PATH_SIZE)
		return;
	bpf_probe_read_kernel(&path->bytes[at], length + 8,
			      &scratch->data[from->offset & (STRINGS_SIZE - 1)]);
	path->given = is_given;
	path->whole = !is_given;
	path->at = at;
	path->end = at + length;
	filter_path(in->known, path);
}

/* Copy a question to the buffer, and tell its name. */
static __always_inline void give_question(struct filter_input *in, struct filter_test *test,
					  struct scratch *scratch, __u32 event)
{
	__u32 size = test->path.length;

	if (size > FILTER_NAME_SIZE)
		size = FILTER_NAME_SIZE;
	barrier_var(size);
	if (!filter_asks_text(in, event, FILTER_QUERY_NAME) ||
	    bpf_probe_read_kernel(in->known->name, size & (2 * FILTER_NAME_SIZE - 1),
				  &scratch->data[test->path.offset & (STRINGS_SIZE - 1)]))
		return;
	filter_query_name(in->known, event, test->path.length);
}

static __noinline int give_all(struct filter_input *in, struct filter_test *test,
			       struct scratch *scratch)
{
	__u32 event, given;

	if (!in || !test || !scratch || !in->rules)
		return 0;
	event = test->event & (FILTER_EVENT_MAX - 1);
	given = test->given;
	if (given & FILTER_GIVEN_IMAGE)
		give_image(in, scratch, &test->image, false);
	if (given & FILTER_GIVEN_TARGET)
		give_image(in, scratch, &test->target, true);
	if (given & FILTER_GIVEN_USER)
		filter_user(in->known, FILTER_WORD_USER, test->uid);
	if (given & FILTER_GIVEN_TARGET_USER)
		filter_user(in->known, FILTER_WORD_TARGET_USER, test->target_uid);
	if (given & FILTER_GIVEN_PATH)
		give_path(in, scratch, &test->path, given & FILTER_GIVEN_PATH_TAIL);
	for (int i = 0; i < FILTER_CHOICES; i++)
		filter_choice(in, event, i, test->choices[i]);
#pragma unroll
	for (int i = 0; i < FILTER_TEXTS; i++)
		give_text(in, test, event, i);
	if (test->kinds[FILTER_QUERY_NAME] == FILTER_TEXT_QUERY_NAME)
		give_question(in, test, scratch, event);
	return 0;
}

struct judgement {
	struct filter_test *test;
	struct scratch *scratch;
	__u32 verdict;
	__u32 pad;
};

enum verdict {
	VERDICT_KEEP,
	VERDICT_DISCARD,
	VERDICT_NO_RULES,
};

static long judge_once(__u32 index, struct judgement *judgement)
{
	struct filter_input in = {.rules = filter_rules_get()};

	if (!filter_begin(&in)) {
		judgement->verdict = VERDICT_NO_RULES;
		return 1;
	}
	give_all(&in, judgement->test, judgement->scratch);
	judgement->verdict = VERDICT_KEEP;
	if (filter_excludes(in.known, judgement->test->event)) {
		judgement->verdict = VERDICT_DISCARD;
		judgement->test->discarded++;
	}
	filter_end(&in);
	return 0;
}

SEC("syscall")
int judge(void *context)
{
	__u32 zero = 0;
	struct judgement judgement = {
		.test = bpf_map_lookup_elem(&test_input, &zero),
		.scratch = bpf_map_lookup_elem(&test_scratch, &zero),
	};
	__u64 begin = bpf_ktime_get_ns();

	if (!judgement.test || !judgement.scratch)
		return -1;
	bpf_loop(judgement.test->repeat, judge_once, &judgement, 0);
	judgement.test->ns = bpf_ktime_get_ns() - begin;
	return judgement.verdict;
}

enum filter_given filter_givens;
enum filter_text_kind filter_text_kinds;

char LICENSE[] SEC("license") = "GPL";
