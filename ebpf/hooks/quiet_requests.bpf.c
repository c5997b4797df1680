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
#include "hooks/quiet_notes.bpf.h"
#include "hooks/quiet_walk.bpf.h"
#include "hooks/request.bpf.h"
#include "hooks/request_end.bpf.h"
#include "hooks/functions.bpf.h"

#ifndef WITHOUT_BPF_LOOP

#include "hooks/quiet_look.bpf.h"

#define SWEEPS_ALONE 30

const volatile bool has_ring_work_tracepoints = false; /* set by user space before load */

/*
 * Look at a request. One that has ended is forgotten, and its record is sent if it has one; the
 * caller reports what is left. Returns enum quiet_found.
 */
__noinline int quiet_request_judge(__u64 address, __u32 look)
{
	struct quiet_request *found = bpf_map_lookup_elem(&quiet_requests, &address), quiet;
	struct io_kiocb *request = (void *)address;
	bool is_there, given_up;

	if (!found)
		return QUIET_TOLD;
	if (look == QUIET_IS_SWEPT && !is_told_by_record(found)) /* it has just begun */
		return QUIET_UNDER_WAY;
	is_there = quiet_is_there(found, request, look);
	if (is_there && look == QUIET_USED_AGAIN &&
	    found->number == ring_request_number((void *)found->ring))
		return QUIET_UNDER_WAY;
	if (is_there && look <= QUIET_IS_SWEPT && !quiet_has_ended(found, request))
		return QUIET_UNDER_WAY;
	given_up = is_there && is_given_up(found, request, look);
	quiet = *found;
	if (bpf_map_delete_elem(&quiet_requests, &address)) /* somebody else deals with it */
		return QUIET_TOLD;
	if (!quiet.has_record)
		requests_count(quiet.uid, -1);
	if (given_up)
		return QUIET_TOLD;
	if (is_there && (is_told_by_record(&quiet) || is_of_current(&quiet)))
		return quiet_ended(address, &quiet, look);
	return quiet_unproven(address, &quiet);
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
		quiet->goes_on = accept_goes_on(accept);
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

/* Nobody has looked at the request that was in this memory before: what came of it is not known. */
static __always_inline void quiet_replaced(__u64 address)
{
	if (!bpf_map_lookup_elem(&quiet_requests, &address))
		return;
	quiet_request_forget(address);
	__sync_fetch_and_add(&requests_unproven, 1);
}

/* A request begins. Returns 0, or -1: there is no room to remember it, or nothing would look. */
__noinline int quiet_request_begun(__u64 address, bool has_record)
{
	struct quiet_list *list =
		quiet_list_get(bpf_get_current_task_btf(), BPF_LOCAL_STORAGE_GET_F_CREATE);
	struct io_kiocb *request = (void *)address;
	__u32 uid = bpf_get_current_uid_gid();
	struct quiet_request quiet = {};

	quiet_replaced(address);
	if (!has_ring_work_tracepoints || (!has_record && has_requests_enough(uid)))
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

/*
 * Returns whether a tracepoint's first argument says that work of the current thread's rings was
 * done: it is what io_uring knows of the thread, or a ring that only this thread enters.
 */
static __always_inline bool is_work_of(struct task_struct *task, __u64 first)
{
	struct io_ring_ctx *ring = (void *)first;

	return first == (__u64)KREAD(task, io_uring) || KREAD(ring, submitter_task) == task;
}

/*
 * This program stands at four tracepoints, see PLACES in sysmonlx/capture/hooks.py:
 * - io_uring_task_work_run, since v6.1: a thread takes back its requests that workers have ended;
 * - io_uring_local_work_run, since v6.1: the same of rings that do so only when they are asked;
 * - sched_process_exit, with the thread as argument: the kernel has cancelled or awaited its
 *   requests;
 * - io_uring_submit_req, or _sqe: a request begins, in memory that may hold one that has ended. The
 * programs that note what begins come after this one.
 */
SEC("?raw_tp/io_uring_task_work_run")
int quiet_work_done(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 first = ctx->args[0];

	if (!quiet_requests_begun)
		return 0;
	if (first == (__u64)bpf_get_current_task())
		return quiet_requests_look(task, QUIET_HAS_ENDED);
	quiet_tell(quiet_request_judge(first, QUIET_USED_AGAIN));
	return is_work_of((void *)bpf_get_current_task(), first)
		       ? quiet_requests_look(task, QUIET_MAY_RUN)
		       : 0;
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
		quiet_requests_left +=
			quiet_request_judge(*address, QUIET_IS_SWEPT) == QUIET_UNDER_WAY;
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

#endif /* WITHOUT_BPF_LOOP */
