/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The walk through the io_uring requests without completion entry that a thread has begun, and the
 * report of those that have ended. Programs have it in themselves: below it are six calls, and the
 * verifier allows eight in a row.
 */
#ifndef HOOKS_QUIET_WALK_BPF_H
#define HOOKS_QUIET_WALK_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "kernel/compat.bpf.h"
#include "hooks/functions.bpf.h"
#include "hooks/quiet_notes.bpf.h"

#ifdef WITHOUT_BPF_LOOP /* kernels before v5.17 have no such requests */
#define quiet_requests_look(task, look) 0
#else

/* Report what quiet_request_judge() has found: the file of a request that has ended. */
static __always_inline void quiet_tell(enum quiet_found found)
{
	struct quiet_file *made = quiet_file_get();

	if (!made || found < QUIET_OPENED)
		return;
	if (found == QUIET_OPENED)
		file_opened(made->file, made->truncates);
	else if (found == QUIET_ACCEPTED)
		connection_accepted(made->file, true);
	else if (found == QUIET_BOUND)
		ring_socket_bound(made->file);
	else
		ring_socket_connected(made->file, made->address, made->length);
}

/* A walk through the requests that a thread has begun. */
struct quiet_walk {
	struct quiet_list *list;
	enum quiet_look look;
};

/*
 * Look at the next request of the thread. One that has ended is taken off the list, and reported.
 * Returns 1 at the end, as bpf_loop() wants.
 */
static long quiet_walk_step(__u32 index, struct quiet_walk *walk)
{
	struct quiet_list *list = walk->list;
	__u32 at = list->at, last;
	enum quiet_found found;

	if (at >= list->count || at >= QUIET_OF_THREAD)
		return 1;
	found = quiet_request_judge(list->requests[at], walk->look);
	if (found == QUIET_UNDER_WAY) {
		list->at = at + 1;
		return 0;
	}
	last = list->count - 1;
	if (last >= QUIET_OF_THREAD)
		return 1;
	list->requests[at] = list->requests[last];
	list->count = last;
	quiet_tell(found);
	return 0;
}

/* Look at all requests that a thread has begun. */
static __always_inline int quiet_requests_look(struct task_struct *task, enum quiet_look look)
{
	struct quiet_walk walk = {.list = quiet_list_get(task, 0), .look = look};

	if (!walk.list || !walk.list->count)
		return 0;
	walk.list->at = 0;
	bpf_loop(QUIET_OF_THREAD, quiet_walk_step, &walk, 0);
	return 0;
}

#endif /* WITHOUT_BPF_LOOP */

#endif /* HOOKS_QUIET_WALK_BPF_H */
