// SPDX-License-Identifier: GPL-2.0-only
/*
 * io_uring requests that ask for no completion entry where they succeed. They are remembered when
 * they begin. Whether one has ended, and how, is read from the request itself: when its thread
 * leaves io_uring_enter(2), when work of the ring was done in the thread, when the thread ends,
 * when the request's memory serves another request, and once a second while one is under way.
 * hooks/io_uring.bpf.c and hooks/tcp.bpf.c report it.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/io_uring.bpf.h"
#include "emit/counters.bpf.h"
#include "hooks/quiet_requests.bpf.h"
#include "hooks/request.bpf.h"
#include "hooks/request_end.bpf.h"
#include "hooks/functions.bpf.h"

#ifndef WITHOUT_BPF_LOOP

#define SWEEPS_ALONE 30

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
 * A bind or connect has ended. If another request is in its memory, the file is the one that was
 * there when it began, and the address that it was given is gone.
 */
static __always_inline int naming_ended(struct io_kiocb *request, const struct quiet_request *quiet,
					__s32 result, enum quiet_look look)
{
	struct io_connect *connect = (void *)&request->cmd;
	__u64 file = quiet->file, address = 0;
	__u32 length = 0;

	if (result && KREAD(request, cqe.fd) != quiet->fd)
		return 0;
	if (look != QUIET_USED_AGAIN) {
		bpf_core_read(&file, sizeof(file), &request->file);
		bpf_core_read(&address, sizeof(address), &connect->addr);
		length = KREAD(connect, addr_len);
	}
	if (quiet->is_unix && !unix_socket_of((void *)file)) /* it was closed meanwhile */
		return ring_socket_unseen(0, quiet->opcode == IORING_OP_CONNECT);
	return quiet->opcode == IORING_OP_BIND ? ring_socket_bound(file)
					       : ring_socket_connected(file, address, length);
}

static __always_inline int quiet_ended(__u64 request, const struct quiet_request *quiet,
				       __s32 result, enum quiet_look look)
{
	struct file *file = NULL;
	__u8 opcode = quiet->opcode;

	if (look == QUIET_NAME_MAY_RUN)
		return ring_name_ended(request, opcode, result);
	if (result >= 0 && (is_opening(opcode) || opcode == IORING_OP_ACCEPT))
		file = ring_made_file((void *)quiet->ring, quiet->slot, result);
	if (is_opening(opcode))
		return ring_open_ended(request, (__u64)file, quiet->truncates, result);
	if (opcode == IORING_OP_ACCEPT) {
		if (quiet->goes_on)
			ring_accepting_ended(quiet->ring, quiet->user_data, quiet->slot != 0);
		return file ? ring_accepted((__u64)file) : 0;
	}
	if (is_naming(opcode))
		return naming_ended((void *)request, quiet, result, look);
	return ring_name_ended(request, opcode, result);
}

/* Nothing tells how a request has ended. */
static __always_inline int quiet_unproven(__u64 request, const struct quiet_request *quiet)
{
	__sync_fetch_and_add(&requests_unproven, 1);
	return quiet->has_record ? ring_name_unproven(request, quiet->opcode) : 0;
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

static __always_inline int quiet_look_at(__u64 address, enum quiet_look look)
{
	struct quiet_request *found = bpf_map_lookup_elem(&quiet_requests, &address), quiet;
	struct io_kiocb *request = (void *)address;
	bool is_there, given_up;

	if (!found)
		return 1;
	is_there = quiet_is_there(found, request, look);
	if (is_there && look == QUIET_USED_AGAIN &&
	    found->number == ring_request_number((void *)found->ring))
		return 0;
	if (is_there && look <= QUIET_NAME_MAY_RUN && !quiet_has_ended(found, request))
		return 0;
	given_up = is_there && is_given_up(found, request, look);
	quiet = *found;
	if (bpf_map_delete_elem(&quiet_requests, &address)) /* somebody else deals with it */
		return 1;
	if (!quiet.has_record)
		requests_count(quiet.uid, -1);
	if (given_up)
		return 1;
	if (is_there && (is_told_by_record(&quiet) || is_of_current(&quiet)))
		quiet_ended(address, &quiet, KREAD(request, cqe.res), look);
	else
		quiet_unproven(address, &quiet);
	return 1;
}

/*
 * Look at a request. Returns 0 if it is under way. Else it is dealt with, and forgotten. A program
 * calls it itself, and not through another function: the verifier allows eight calls in a row, and
 * six lie below it.
 */
__noinline int quiet_request_judge(__u64 address, __u32 look)
{
	return quiet_look_at(address, look);
}

/* The same of a request that gives or takes a name, and opens and accepts nothing. */
__noinline int quiet_name_judge(__u64 address)
{
	return quiet_look_at(address, QUIET_NAME_MAY_RUN);
}

static __always_inline void quiet_fill_place(struct quiet_request *quiet, struct io_kiocb *request)
{
	struct io_accept *accept = (void *)&request->cmd;
	struct io_open *open = (void *)&request->cmd;
	__s32 result = KREAD(request, cqe.res);

	if (is_opening(quiet->opcode)) {
		quiet->slot = KREAD(open, file_slot);
		quiet->truncates = KREAD(open, how.flags) & O_TRUNC;
	} else if (quiet->opcode == IORING_OP_ACCEPT) {
		quiet->slot = KREAD(accept, file_slot);
		quiet->goes_on = KREAD(accept, iou_flags) & IORING_ACCEPT_MULTISHOT;
		quiet->fd = KREAD(request, cqe.fd);
		if (result >= 0)
			quiet->file =
				(__u64)ring_made_file((void *)quiet->ring, quiet->slot, result);
	} else if (is_naming(quiet->opcode)) {
		quiet->fd = KREAD(request, cqe.fd);
		quiet->file = request_named_file(request);
		quiet->is_unix = unix_socket_of((void *)quiet->file);
		quiet->state = ring_socket_state(quiet->file, quiet->opcode == IORING_OP_CONNECT);
	}
}

/* Enter a request into the list of its thread. The one that has to leave is found in other ways. */
static __always_inline void quiet_list_add(struct quiet_list *list, __u64 address)
{
	struct quiet_request *last;
	__u32 slot = list->count;

	if (slot < QUIET_OF_THREAD) {
		list->requests[slot] = address;
		list->count = slot + 1;
		return;
	}
	slot = list->begun++ & (QUIET_OF_THREAD - 1);
	last = bpf_map_lookup_elem(&quiet_requests, &list->requests[slot]);
	if (last)
		last->is_alone = true;
	list->requests[slot] = address;
}

/* A request begins. Returns 0, or -1: there is no room to remember it. */
__noinline int quiet_request_begun(__u64 address, bool has_record)
{
	struct quiet_list *list =
		quiet_list_get(bpf_get_current_task_btf(), BPF_LOCAL_STORAGE_GET_F_CREATE);
	struct io_kiocb *request = (void *)address;
	__u32 uid = bpf_get_current_uid_gid();
	struct quiet_request quiet = {};

	if (!has_record && has_requests_enough(uid))
		return -1;
	quiet.ring = (__u64)KREAD(request, ctx);
	quiet.user_data = KREAD(request, cqe.user_data);
	quiet.number = ring_request_number((void *)quiet.ring);
	quiet.opcode = KREAD(request, opcode);
	quiet.is_alone = !list;
	quiet.uid = uid;
	quiet.tgid = bpf_get_current_pid_tgid() >> 32;
	quiet.exec_id = KREAD((struct task_struct *)bpf_get_current_task(), self_exec_id);
	quiet.has_record = has_record;
	quiet_fill_place(&quiet, request);
	if (bpf_map_update_elem(&quiet_requests, &address, &quiet, BPF_ANY))
		return -1;
	if (!has_record)
		requests_count(uid, 1);
	__sync_fetch_and_add(&quiet_requests_begun, 1);
	if (list)
		quiet_list_add(list, address);
	return 0;
}

/* What workers have ended is given back in the thread that has begun it: v6.1. */
SEC("?tp_btf/io_uring_task_work_run")
int BPF_PROG(quiet_task_work)
{
	return quiet_requests_begun ? quiet_requests_look(bpf_get_current_task_btf(), QUIET_MAY_RUN)
				    : 0;
}

/* The same of rings that do such work only when they are asked to (DEFER_TASKRUN). */
SEC("?tp_btf/io_uring_local_work_run")
int BPF_PROG(quiet_local_work)
{
	return quiet_requests_begun ? quiet_requests_look(bpf_get_current_task_btf(), QUIET_MAY_RUN)
				    : 0;
}

/* A thread ends; the kernel has cancelled or awaited its requests. */
SEC("?tp_btf/sched_process_exit")
int BPF_PROG(quiet_thread_ended, struct task_struct *task)
{
	return quiet_requests_begun ? quiet_requests_look(task, QUIET_HAS_ENDED) : 0;
}

/*
 * Returns whether a request is to be looked at again that opens, accepts, names or connects, and
 * whose thread does not know it any more. When its end was seen for some time and its memory was
 * not used again, nothing will tell what came of it.
 */
static __always_inline bool quiet_alone_is_left(__u64 address, struct quiet_request *found)
{
	struct io_kiocb *request = (void *)address;
	struct quiet_request quiet;

	if (quiet_is_there(found, request, QUIET_MAY_RUN) && !quiet_has_ended(found, request))
		return true;
	if (++found->sweeps < SWEEPS_ALONE)
		return true;
	quiet = *found;
	if (bpf_map_delete_elem(&quiet_requests, &address))
		return false;
	if (!quiet.has_record)
		requests_count(quiet.uid, -1);
	quiet_unproven(address, &quiet);
	return false;
}

static long quiet_sweep_at(struct bpf_map *map, const __u64 *address, struct quiet_request *quiet,
			   void *none)
{
	if (is_told_by_record(quiet))
		quiet_requests_left += !quiet_name_judge(*address);
	else
		quiet_requests_left += !quiet->is_alone || quiet_alone_is_left(*address, quiet);
	return 0;
}

/*
 * User space runs this iterator once a second when there was a request; the first call does all. It
 * finds those whose thread does not come back to its ring. Files that were opened or accepted are
 * left to that thread.
 */
SEC("?iter/bpf_prog")
int quiet_requests_sweep(struct bpf_iter__bpf_prog *ctx)
{
	if (ctx->meta->seq_num)
		return 0;
	quiet_requests_left = 0;
	bpf_for_each_map_elem(&quiet_requests, quiet_sweep_at, NULL, 0);
	return 0;
}

#else

__noinline int quiet_request_begun(__u64 address, bool has_record)
{
	return -1;
}

__noinline int quiet_request_judge(__u64 address, __u32 look)
{
	return 1;
}

#endif /* WITHOUT_BPF_LOOP */
