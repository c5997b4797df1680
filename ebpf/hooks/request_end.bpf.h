/* SPDX-License-Identifier: GPL-2.0-only */
/* The end of an io_uring request that opens a file: which record of it is sent, or counted. */
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
#include "hooks/changed_inodes.bpf.h"
#include "hooks/file_record.bpf.h"
#include "hooks/request.bpf.h"
#include "hooks/functions.bpf.h"

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
 * sent. Else the file behind the descriptor or slot tells all: the function returns true, and the
 * caller calls file_opened().
 */
static __always_inline bool open_is_told_by_file(__u64 request, struct file *file, __s32 result)
{
	struct changes *changes = request_changes(request);

	if (!are_opens_wanted())
		return false;
	if (changes && changes_made_file(changes) && changes->file != (__u64)KREAD(file, f_inode)) {
		ring_name_ended(request, IORING_OP_OPENAT, 0);
		return false;
	}
	if (changes)
		request_forget(request);
	else if (opens_were_refused)
		refused_open_done(request, result < 0 && !never_made(result));
	return result >= 0;
}

#endif /* HOOKS_REQUEST_END_BPF_H */
