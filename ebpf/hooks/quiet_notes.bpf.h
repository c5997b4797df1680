/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * io_uring requests that ask for no completion entry where they succeed. No hook stands at their
 * end, but a request stays in memory then and keeps its result.
 */
#ifndef HOOKS_QUIET_NOTES_BPF_H
#define HOOKS_QUIET_NOTES_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/io_uring.bpf.h"
#include "kernel/unix_socket.bpf.h"
#include "hooks/functions.bpf.h"
#include "hooks/request.bpf.h"

__u64 quiet_requests_begun = 0; /* until there is one, nothing looks for them */
__u64 quiet_requests_left = 0; /* which the last sweep found under way */
__u64 requests_unproven = 0; /* of which nothing tells whether they have succeeded */

/*
 * Returns whether the request will complete without an entry that tells of success: since v5.17,
 * 04c76b41ca97 ("io_uring: add option to skip CQE posting"), as bpf_loop(). The bit is the same
 * everywhere; the kernel's enumeration cannot be asked for it, which has no name on v6.1.
 */
static __always_inline bool request_ends_unseen(struct io_kiocb *request)
{
#ifdef WITHOUT_BPF_LOOP
	return false;
#else
	return KREAD(request, flags) & REQ_F_CQE_SKIP;
#endif
}

static __always_inline bool is_naming(__u8 opcode)
{
	return opcode == IORING_OP_BIND || opcode == IORING_OP_CONNECT;
}

/* Address of the file that a request has just named by a descriptor or a slot of the ring. */
static __always_inline __u64 request_named_file(struct io_kiocb *request)
{
	__s32 fd = KREAD(request, cqe.fd);

	if (KREAD(request, flags) & REQ_F_FIXED_FILE)
		return (__u64)ring_file(KREAD(request, ctx), fd);
	return (__u64)task_file((void *)bpf_get_current_task(), fd);
}

enum quiet_look {
	QUIET_MAY_RUN, /* the request may be under way */
	QUIET_IS_SWEPT, /* the same, and the current process is the daemon: it has no file of it */
	QUIET_HAS_ENDED, /* its thread has ended, and the kernel has waited for it */
	QUIET_USED_AGAIN, /* another request is in its memory, and has no result yet */
};

/* How a request stands when it was looked at. For some states the caller has a file to report. */
enum quiet_found {
	QUIET_UNDER_WAY,
	QUIET_TOLD, /* nothing is left: it failed, or its record was sent, or it was not known */
	QUIET_OPENED, /* this and those below: a file, see struct quiet_file */
	QUIET_ACCEPTED,
	QUIET_BOUND,
	QUIET_CONNECTED,
};

#ifdef WITHOUT_BPF_LOOP /* kernels before v5.17 have no such requests */
#define quiet_request_forget(request)
#else

/* The file of a request that has ended. */
struct quiet_file {
	__u64 file;
	__u64 address; /* to which it was connected, in the caller's memory; 0: it is gone */
	__u32 length; /* of that address, in bytes */
	bool truncates; /* it was opened with O_TRUNC */
};

/*
 * quiet_request_judge() leaves it here for its caller: on the stack there would be no room for what
 * the caller calls next. The programs run with preemption disabled.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct quiet_file);
} quiet_files SEC(".maps");

static __always_inline struct quiet_file *quiet_file_get(void)
{
	__u32 slot = 0;

	return bpf_map_lookup_elem(&quiet_files, &slot);
}

#define QUIET_REQUESTS 4096
#define QUIET_OF_THREAD 512 /* more than a user may have; root may have all */

/* A request that is under way, or that has ended and was not looked at since. */
struct quiet_request {
	__u64 ring; /* struct io_ring_ctx */
	__u64 user_data;
	__u64 file; /* of an accept: behind the result of before; else the socket's */
	__u64 state; /* of a socket to be named or connected: ring_socket_state() */
	__u32 number; /* ring_request_number(): which of the ring's requests it is */
	__u32 slot; /* of an open or accept, as ring_made_file() takes it */
	__s32 fd; /* of a socket. The result's flags take its place */
	__u32 uid;
	__u32 tgid; /* of the process that has begun it; with exec_id, its image */
	__u32 exec_id;
	__u8 opcode;
	bool truncates; /* an open with O_TRUNC */
	bool goes_on; /* an accept of one connection after the other */
	bool has_record; /* in requests_under_way; else the entry counts for its user */
	bool was_ending; /* at an earlier look */
	__u8 sweeps; /* since it left the list of its thread */
	bool is_alone; /* it had to leave that list: only its memory or a sweep finds it */
	bool is_unix; /* a socket of AF_UNIX is to be named or connected */
};

/*
 * A number of a socket of AF_UNIX that is another one once it has another peer (connects), or
 * another name. It is an address in the kernel; 0: no such socket, or no peer or name.
 */
static __always_inline __u64 ring_socket_state(__u64 file_address, bool connects)
{
	struct unix_sock *socket = unix_socket_of((void *)file_address);

	if (!socket)
		return 0;
	return connects ? (__u64)KREAD(socket, peer) : (__u64)KREAD(socket, addr);
}

/*
 * Which of the ring's requests begins just now. Two programs may see the same one, and the second
 * must not take the entry of the first for that of an earlier request.
 */
static __always_inline __u32 ring_request_number(struct io_ring_ctx *ring)
{
	return KREAD(ring, cached_sq_head);
}

/* Key: address of struct io_kiocb. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, QUIET_REQUESTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct quiet_request);
} quiet_requests SEC(".maps");

/*
 * The requests that a thread has begun: addresses of struct io_kiocb. One that has to make room is
 * found by its memory or by the sweep.
 */
struct quiet_list {
	__u32 count;
	__u32 begun; /* beyond the room: those that made others leave */
	__u32 at; /* where a look is; in memory, the verifier does not count each way to it */
	__u32 pad;
	__u64 requests[QUIET_OF_THREAD];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct quiet_list);
} quiet_of_threads SEC(".maps");

static __always_inline struct quiet_list *quiet_list_get(struct task_struct *task, __u64 flags)
{
	return bpf_task_storage_get(&quiet_of_threads, task, NULL, flags);
}

/* A request has ended by an entry, because it failed. */
static __always_inline void quiet_request_forget(__u64 request)
{
	struct quiet_request *quiet;
	bool has_record;
	__u32 uid;

	quiet = quiet_requests_begun ? bpf_map_lookup_elem(&quiet_requests, &request) : NULL;
	if (!quiet)
		return;
	has_record = quiet->has_record;
	uid = quiet->uid;
	if (!bpf_map_delete_elem(&quiet_requests, &request) && !has_record)
		requests_count(uid, -1);
}
#endif

#endif /* HOOKS_QUIET_NOTES_BPF_H */
