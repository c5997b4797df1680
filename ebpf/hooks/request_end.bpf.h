/* SPDX-License-Identifier: GPL-2.0-only */
/* What is reported of an io_uring request on names when it has ended. */
#ifndef HOOKS_REQUEST_END_BPF_H
#define HOOKS_REQUEST_END_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/wanted.bpf.h"
#include "hooks/changes.bpf.h"
#include "hooks/file_names.bpf.h"
#include "hooks/request.bpf.h"
#include "hooks/functions.bpf.h"

/* Add to the record what the notes about changed inodes tell of the file. */
static __always_inline void request_tell_file(struct request_record *record, __u8 opcode)
{
	struct file_event *r = (void *)record->data;

	if (opcode == IORING_OP_UNLINKAT) {
		r->mode = record->changes.mode;
		return;
	}
	if (opcode == IORING_OP_OPENAT || opcode == IORING_OP_OPENAT2) {
		r->mode = S_IFREG;
		r->flags |= RECORD_FILE_IS_NEW;
		return;
	}
	r->flags |= opcode == IORING_OP_LINKAT ? RECORD_BY_LINK : RECORD_BY_RENAME;
	r->mode = changes_mode(&record->changes, opcode == IORING_OP_LINKAT);
	r->created_ns = changes_birth_ns(&record->changes);
}

/* Send the record that was kept for a request, if the request has succeeded. */
static __always_inline int request_done(__u64 request, __u8 opcode, __s32 result,
					enum record_type type)
{
	struct request_record *record = bpf_map_lookup_elem(&requests_under_way, &request);
	struct record_header *header;
	__u32 used;

	if (!record)
		return 0;
	header = (void *)record->data;
	used = record->used;
	if (!result && used <= REQUEST_RECORD_SIZE) {
		count_seen(type);
		request_tell_file(record, opcode);
		header->boot_ns = bpf_ktime_get_boot_ns();
		header->size = used;
		record_send(record->data, used, type, file_event_haste((void *)record->data, type));
	}
	request_forget(request);
	return 0;
}

/* Returns whether an open failed by a signal or because it was cancelled. */
static __always_inline bool never_made(__s32 result)
{
	return result == -ECANCELED || result == -EINTR || result == -ERESTARTSYS;
}

/*
 * An open without an entry has ended. If it failed, it may have made a file: count that as lost.
 * One that was cancelled never ran; one that was interrupted has waited, for the other end of a
 * pipe mostly, and no local file system waits behind the making of a file.
 */
static __always_inline void refused_open_done(__u64 request, bool failed)
{
	__u32 *why = bpf_map_lookup_elem(&opens_refused, &request);
	__u32 reason;

	if (!why)
		return;
	reason = *why == LOSS_OVER_SHARE ? LOSS_OVER_SHARE : LOSS_UNREADABLE;
	if (bpf_map_delete_elem(&opens_refused, &request) || !failed)
		return;
	count_seen(RECORD_FILE_CREATE);
	count_lost(RECORD_FILE_CREATE, reason);
}

/*
 * An open has ended. If it made a file and failed, for example because the ring's table had no
 * room, or if another file has taken the descriptor or slot by now, the record that was kept is
 * sent. Else the file behind the descriptor or slot tells all.
 */
static __always_inline int ring_open_ended(__u64 request, __u64 file_address, bool truncated,
					   __s32 result)
{
	struct changes *changes = request_changes(request);
	struct file *file = (void *)file_address;

	if (!are_opens_wanted())
		return 0;
	if (changes && changes_made_file(changes) && changes->file != (__u64)KREAD(file, f_inode))
		return request_done(request, IORING_OP_OPENAT, 0, RECORD_FILE_CREATE);
	if (changes)
		request_forget(request);
	else if (opens_were_refused)
		refused_open_done(request, result < 0 && !never_made(result));
	if (result < 0)
		return 0;
	return file_opened(file_address, truncated);
}

/* A request that gives or takes a name has ended. */
static __always_inline int ring_name_ended(__u64 request, __u32 opcode, __s32 result)
{
	return request_done(request, opcode, result,
			    opcode == IORING_OP_UNLINKAT ? RECORD_FILE_DELETE : RECORD_FILE_CREATE);
}

/* Nothing tells whether such a request has succeeded: it is told as asked for. */
static __always_inline int ring_name_unproven(__u64 request, __u32 opcode)
{
	struct request_record *record = request_find(request);

	if (!record)
		return 0;
	barrier_var(record); /* clang would add the offset before the test */
	((struct file_event *)record->data)->flags |= RECORD_UNPROVEN;
	__builtin_memset(&record->changes, 0, sizeof(record->changes));
	return ring_name_ended(request, opcode, 0);
}

#endif /* HOOKS_REQUEST_END_BPF_H */
