/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Records that wait until their io_uring request has succeeded, with notes about the inodes that
 * the request has changed so far.
 */
#ifndef HOOKS_REQUEST_BPF_H
#define HOOKS_REQUEST_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/compat.bpf.h"
#include "emit/ring.bpf.h"
#include "hooks/changed_inodes.bpf.h"

#define REQUESTS_UNDER_WAY 1024
#define REQUESTS_OF_USER 256 /* entries that one user may have; root may have all */
#define OPENS_REFUSED 8192
#define REQUEST_RECORD_SIZE 12288 /* bytes: a path, its directory and a root, not all longest */

/* It begins as struct scratch does, of which it is a copy. */
struct request_record {
	__u32 used;
	__u8 data[REQUEST_RECORD_SIZE];
	__u32 pad;
	struct changes changes;
	__u64 frame; /* as in struct call_notes */
	__u64 inode;
};

/* Key: address of struct io_kiocb. If a request ends unseen, a later one replaces its entry. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, REQUESTS_UNDER_WAY);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct request_record);
} requests_under_way SEC(".maps");

/* Number of entries in requests_under_way by user, see user_of(). */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, REQUESTS_UNDER_WAY);
	__type(key, __u32);
	__type(value, __s64);
} requests_of_users SEC(".maps");

/*
 * Opens that found no room in requests_under_way. Key: address of struct io_kiocb. Value: enum
 * loss_reason.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OPENS_REFUSED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} opens_refused SEC(".maps");

bool opens_were_refused; /* opens_refused has had an entry; until then it is not searched */

static __always_inline void requests_count(__u32 uid, __s64 more)
{
	__u32 user = user_of(uid);
	__s64 *count = bpf_map_lookup_elem(&requests_of_users, &user);

	if (count)
		__sync_fetch_and_add(count, more);
	else if (more > 0)
		bpf_map_update_elem(&requests_of_users, &user, &more, BPF_NOEXIST);
}

static __always_inline bool has_requests_enough(__u32 uid)
{
	__u32 user = user_of(uid);
	__s64 *count = bpf_map_lookup_elem(&requests_of_users, &user);

	return uid && count && *count >= REQUESTS_OF_USER;
}

/* io_uring runs each request that gives a name in a worker, which points to its request. */
static __always_inline __u64 request_of_worker(struct task_struct *task)
{
	struct io_worker *worker = (void *)KREAD(task, worker_private);
	struct io_wq_work *work = worker ? KREAD(worker, cur_work) : NULL;

	return work ? (__u64)container_of(work, struct io_kiocb, work) : 0;
}

/* Delete the entry of a request, if it has one. */
static __always_inline void request_forget(__u64 request)
{
	struct request_record *record = bpf_map_lookup_elem(&requests_under_way, &request);
	__u32 uid;

	if (!record)
		return;
	uid = ((struct record_header *)record->data)->uid;
	if (!bpf_map_delete_elem(&requests_under_way, &request))
		requests_count(uid, -1);
}

static __always_inline struct request_record *request_find(__u64 request)
{
	return bpf_map_lookup_elem(&requests_under_way, &request);
}

static __always_inline struct changes *request_changes(__u64 request)
{
	struct request_record *record = request_find(request);

	if (!record)
		return NULL;
	barrier_var(record); /* clang would add the offset before the test */
	return &record->changes;
}

/* Clear the notes of a new entry, which are bytes of the scratch memory. */
static __always_inline void request_changes_forget(__u64 request)
{
	struct changes *changes = request_changes(request);

	if (changes)
		__builtin_memset(changes, 0, sizeof(*changes));
}

#endif /* HOOKS_REQUEST_BPF_H */
