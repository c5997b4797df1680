/* SPDX-License-Identifier: GPL-2.0-only */
/* Records that wait for their io_uring request to succeed, and what it has changed so far. */
#ifndef REQUEST_BPF_H
#define REQUEST_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "changes.bpf.h"

#define REQUESTS_UNDER_WAY 1024
#define REQUEST_RECORD_SIZE 12288 /* path and directories; a root that long is refused */

/* Begins as struct scratch does. */
struct request_record {
	__u32 used;
	__u8 data[REQUEST_RECORD_SIZE];
	__u32 pad;
	struct changes changes;
};

/* Key: struct io_kiocb. An entry is overwritten where its request ended unseen. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, REQUESTS_UNDER_WAY);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct request_record);
} requests_under_way __weak SEC(".maps");

static __always_inline struct changes *request_changes(__u64 request)
{
	struct request_record *record = bpf_map_lookup_elem(&requests_under_way, &request);

	if (!record)
		return NULL;
	barrier_var(record); /* clang would add the offset before the test */
	return &record->changes;
}

/* A new entry has whatever stood in the scratch space. */
static __always_inline void request_changes_forget(__u64 request)
{
	struct changes *changes = request_changes(request);

	if (changes)
		__builtin_memset(changes, 0, sizeof(*changes));
}

#endif /* REQUEST_BPF_H */
