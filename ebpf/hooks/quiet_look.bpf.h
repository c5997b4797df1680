/* SPDX-License-Identifier: GPL-2.0-only */
/* How io_uring requests without completion entry have ended, read from the requests themselves. */
#ifndef HOOKS_QUIET_LOOK_BPF_H
#define HOOKS_QUIET_LOOK_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/io_uring.bpf.h"
#include "hooks/functions.bpf.h"
#include "hooks/quiet_notes.bpf.h"
#include "hooks/request.bpf.h"
#include "hooks/request_end.bpf.h"

static __always_inline bool is_opening(__u8 opcode)
{
	return opcode == IORING_OP_OPENAT || opcode == IORING_OP_OPENAT2;
}

/* Whether what the request did is told by its record, and not by the thread that has begun it. */
static __always_inline bool is_told_by_record(const struct quiet_request *quiet)
{
	return quiet->has_record && !is_opening(quiet->opcode);
}

/*
 * Whether an accept has ended: its flags have taken the place of the descriptor. Where the two are
 * equal, it has if another file is behind the result than before.
 */
static __always_inline bool accept_has_ended(const struct quiet_request *quiet,
					     struct io_kiocb *request)
{
	__s32 result = KREAD(request, cqe.res);

	if (KREAD(request, flags) & REQ_F_POLLED)
		return false;
	if (KREAD(request, cqe.fd) != quiet->fd)
		return true;
	return result >= 0 &&
	       (__u64)ring_made_file((void *)quiet->ring, quiet->slot, result) != quiet->file;
}

/*
 * The same of a bind or connect. Where the descriptor was that of the flags, which are 0, the
 * socket itself has another name or another peer than before.
 */
static __always_inline bool naming_has_ended(const struct quiet_request *quiet,
					     struct io_kiocb *request)
{
	if (KREAD(request, flags) & REQ_F_POLLED)
		return false;
	return KREAD(request, cqe.fd) != quiet->fd ||
	       ring_socket_state(quiet->file, quiet->opcode == IORING_OP_CONNECT) != quiet->state;
}

/*
 * Whether a request has ended: it gives up the names that it was given when it has used them. These
 * flags are the same from v5.17 to v6.18. A worker holds two references while it runs the request,
 * and gives one back when the result stands there. What runs in the thread itself has no count, and
 * the number there means nothing: then the second look decides.
 */
static __always_inline bool quiet_has_ended(struct quiet_request *quiet, struct io_kiocb *request)
{
	if (quiet->opcode == IORING_OP_ACCEPT)
		return accept_has_ended(quiet, request);
	if (is_naming(quiet->opcode))
		return naming_has_ended(quiet, request);
	if (KREAD(request, flags) & REQ_F_NEED_CLEANUP)
		return false;
	if (KREAD(request, refs.counter) != 2 || quiet->was_ending)
		return true;
	quiet->was_ending = true;
	return false;
}

/* Whether the memory still holds the request, or its result where it is used again. */
static __always_inline bool quiet_is_there(const struct quiet_request *quiet,
					   struct io_kiocb *request, enum quiet_look look)
{
	if ((__u64)KREAD(request, ctx) != quiet->ring)
		return false;
	return look == QUIET_USED_AGAIN || (KREAD(request, opcode) == quiet->opcode &&
					    KREAD(request, cqe.user_data) == quiet->user_data);
}

/*
 * Whether the current process is the one that has begun the request. It alone has the file behind a
 * descriptor, and is told as who acted.
 */
static __always_inline bool is_of_current(const struct quiet_request *quiet)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return quiet->tgid == (__u32)KREAD(task, tgid) &&
	       quiet->exec_id == (__u32)KREAD(task, self_exec_id);
}

/*
 * Whether a thread has ended while a request of it waits for a connection, or for a place in a
 * queue: the kernel will cancel it, and what stands there is no result of it.
 */
static __always_inline bool is_given_up(const struct quiet_request *quiet, struct io_kiocb *request,
					enum quiet_look look)
{
	if (look != QUIET_HAS_ENDED)
		return false;
	if (quiet->opcode == IORING_OP_ACCEPT)
		return !accept_has_ended(quiet, request);
	return is_naming(quiet->opcode) && !naming_has_ended(quiet, request);
}

/*
 * A bind or connect has ended. If another request is in its memory, the file is the one that was
 * there when it began, and the address that it was given is gone.
 */
static __always_inline enum quiet_found naming_ended(struct quiet_file *made,
						     struct io_kiocb *request,
						     const struct quiet_request *quiet,
						     enum quiet_look look)
{
	struct io_connect *connect = (void *)&request->cmd;

	if (KREAD(request, cqe.res) && KREAD(request, cqe.fd) != quiet->fd)
		return QUIET_TOLD;
	made->file = quiet->file;
	made->address = 0;
	if (look != QUIET_USED_AGAIN) {
		bpf_core_read(&made->file, sizeof(made->file), &request->file);
		bpf_core_read(&made->address, sizeof(made->address), &connect->addr);
		made->length = KREAD(connect, addr_len);
	}
	if (!quiet->is_unix || unix_socket_of((void *)made->file))
		return quiet->opcode == IORING_OP_BIND ? QUIET_BOUND : QUIET_CONNECTED;
	ring_socket_unseen(0, quiet->opcode == IORING_OP_CONNECT); /* it was closed meanwhile */
	return QUIET_TOLD;
}

/* The same of an open or an accept, which have made a file if they have succeeded. */
static __always_inline enum quiet_found making_ended(struct quiet_file *made, __u64 address,
						     const struct quiet_request *quiet,
						     __s32 result)
{
	struct file *file = NULL;

	if (result >= 0)
		file = ring_made_file((void *)quiet->ring, quiet->slot, result);
	made->file = (__u64)file;
	made->truncates = quiet->truncates;
	if (is_opening(quiet->opcode))
		return open_is_told_by_file(address, file, result) ? QUIET_OPENED : QUIET_TOLD;
	if (quiet->goes_on)
		ring_accepting_ended(quiet->ring, quiet->user_data, quiet->slot != 0);
	return file ? QUIET_ACCEPTED : QUIET_TOLD;
}

/* A request has ended as its memory says. */
static __always_inline enum quiet_found
quiet_ended(__u64 address, const struct quiet_request *quiet, enum quiet_look look)
{
	struct io_kiocb *request = (void *)address;
	struct quiet_file *made = quiet_file_get();

	if (!made)
		return QUIET_TOLD;
	if (is_naming(quiet->opcode))
		return naming_ended(made, request, quiet, look);
	if (is_opening(quiet->opcode) || quiet->opcode == IORING_OP_ACCEPT)
		return making_ended(made, address, quiet, KREAD(request, cqe.res));
	ring_name_ended(address, quiet->opcode, KREAD(request, cqe.res));
	return QUIET_TOLD;
}

/* Nothing tells how a request has ended. One that gives or takes a name is told as asked for. */
static __always_inline enum quiet_found quiet_unproven(__u64 address,
						       const struct quiet_request *quiet)
{
	struct request_record *record = quiet->has_record ? request_find(address) : NULL;

	__sync_fetch_and_add(&requests_unproven, 1);
	if (!record)
		return QUIET_TOLD;
	barrier_var(record); /* clang would add the offset before the test */
	((struct file_event *)record->data)->flags |= RECORD_UNPROVEN;
	__builtin_memset(&record->changes, 0, sizeof(record->changes));
	ring_name_ended(address, quiet->opcode, 0);
	return QUIET_TOLD;
}

#endif /* HOOKS_QUIET_LOOK_BPF_H */
