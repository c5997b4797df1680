// SPDX-License-Identifier: GPL-2.0-only
/* TCP connections: connected, failed to connect, accepted. Record: network_connect. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/task.bpf.h"
#include "kernel/file.bpf.h"
#include "kernel/sock.bpf.h"
#include "kernel/io_uring.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/owner.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/quiet_notes.bpf.h"
#include "hooks/functions.bpf.h"
#include "hooks/network.bpf.h"
#include "hooks/overflow.bpf.h"

bool failed_connects = 0; /* 1: report them, too; set by user space at any time */

/* The process that called connect(), from SYN_SENT until the connection is made or has failed. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct owner);
} connecting SEC(".maps");

/* The same by the socket's address. Before v5.11 only packet programs reach socket storage. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct owner);
} connecting_by_address SEC(".maps");

/* Fill the owner. Returns false if the rules exclude each connection of the current task. */
static __always_inline bool connect_begun(struct owner *owner)
{
	owner_fill(owner);
	owner_answers_keep(owner);
	if (!connecting_excluded(owner))
		return true;
	count_seen(RECORD_NETWORK_CONNECT);
	count_filtered(RECORD_NETWORK_CONNECT);
	return false;
}

static __always_inline void connect_kept(struct owner *kept, const struct owner *owner)
{
	if (kept) {
		*kept = *owner;
		return;
	}
	connection_unreadable();
}

/* It may run in softirq, where the current task is any. The owner is the one that was kept. */
static __always_inline void connect_ended(struct owner *owner, struct sock *sk, bool failed)
{
	struct flow flow;

	if (!owner || !owner->tgid)
		return;
	if (!failed || failed_connects) {
		flow_of_socket(&flow, sk, IPPROTO_TCP);
		network_report(owner, &flow, true, failed);
	}
	owner->tgid = 0; /* later changes of state are not reported */
}

/* An accepted connection comes to the same states, but no owner was kept for it. */
static __always_inline bool is_end_of_connect(int old_state, int new_state)
{
	return new_state == TCP_ESTABLISHED ||
	       (new_state == TCP_CLOSE && (old_state == TCP_SYN_SENT || old_state == TCP_SYN_RECV));
}

/* connect(), at changes of the socket's state. Needs socket storage in tracing: v5.11. */
SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_connect, struct sock *sk, int old_state, int new_state)
{
	struct owner owner;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (new_state == TCP_SYN_SENT && !is_own_task(current_task())) {
		if (connect_begun(&owner))
			connect_kept(bpf_sk_storage_get(&connecting, sk, NULL,
							BPF_LOCAL_STORAGE_GET_F_CREATE),
				     &owner);
	} else if (is_end_of_connect(old_state, new_state)) {
		connect_ended(bpf_sk_storage_get(&connecting, sk, NULL, 0), sk,
			      new_state == TCP_CLOSE);
	}
	return 0;
}

/* The same before v5.11. */
SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_connect_by_address, struct sock *sk, int old_state, int new_state)
{
	__u64 address = (__u64)sk;
	struct owner owner;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (new_state == TCP_SYN_SENT && !is_own_task(current_task())) {
		if (connect_begun(&owner) &&
		    bpf_map_update_elem(&connecting_by_address, &address, &owner, BPF_ANY))
			connect_kept(NULL, &owner);
	} else if (is_end_of_connect(old_state, new_state)) {
		connect_ended(bpf_map_lookup_elem(&connecting_by_address, &address), sk,
			      new_state == TCP_CLOSE);
		bpf_map_delete_elem(&connecting_by_address, &address);
	}
	return 0;
}

/* Begin a record with both ends of an accepted connection. */
static __always_inline void accepted_begin(struct network_connect *r, struct sock *sk)
{
	struct flow flow;

	flow_of_socket(&flow, sk, IPPROTO_TCP);
	network_begin(r, &flow, false, false);
}

/* Send the record in the name of the current task. */
static __always_inline void accepted_send(struct network_connect *r)
{
	struct owner owner;

	owner_fill(&owner);
	owner_answers_keep(&owner);
	network_send(r, &owner);
}

/*
 * The current task has accepted a connection. The functions are two, so that the owner takes the
 * place of the flow on the stack.
 */
static __always_inline void accepted(struct sock *sk)
{
	__u16 protocol = sock_protocol(sk);
	struct network_connect r;

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP)
		return;
	if (is_own_task(current_task()))
		return;
	accepted_begin(&r, sk);
	accepted_send(&r);
}

/* Set once the program below has run. Then accept() is not reported a second time at its end. */
bool is_grafting;

/* accept(), however it was called, where the connection gets its socket. Needs fentry. */
SEC("?fentry/security_sock_graft")
int BPF_PROG(tcp_accept_grafted, struct sock *sk, struct socket *parent)
{
	is_grafting = true;
	accepted(sk);
	return 0;
}

static __always_inline void accepted_file(struct file *file)
{
	struct inode *inode = file ? KREAD(file, f_inode) : NULL;
	struct socket *socket;

	if (!inode || (KREAD(inode, i_mode) & S_IFMT) != S_IFSOCK)
		return;
	socket = KREAD(file, private_data);
	accepted(KREAD(socket, sk));
}

/* accept() or io_uring has given a connection's file to the current task. */
__noinline int connection_accepted(__u64 file_address, bool by_ring)
{
	if (by_ring || !is_grafting)
		accepted_file((void *)file_address);
	return 0;
}

/*
 * Accepts of io_uring that go on after each connection. The completions of these name no request:
 * the request is found by ring and user_data. The process chooses user_data, so that several
 * requests may have the same.
 */
struct ring_accept {
	__u64 ring;
	__u64 user_data;
};

struct ring_accepting {
	__u32 user; /* see user_of() */
	__u32 into_table; /* requests whose results are slots of the ring's table */
	__u32 as_descriptors; /* requests whose results are descriptors */
};

#define ACCEPTS_UNDER_WAY 4096
#define ACCEPTS_OF_USER 512 /* entries that one user may have; root may have all */

/* An entry lives until the last of its requests has ended. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ACCEPTS_UNDER_WAY);
	__type(key, struct ring_accept);
	__type(value, struct ring_accepting);
} ring_accepts SEC(".maps");

/* Number of entries in ring_accepts by user. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, ACCEPTS_UNDER_WAY);
	__type(key, __u32);
	__type(value, __s64);
} accepts_of_users SEC(".maps");

static __always_inline void accepts_count(__u32 user, __s64 more)
{
	__s64 *count = bpf_map_lookup_elem(&accepts_of_users, &user);

	if (count)
		__sync_fetch_and_add(count, more);
	else if (more > 0)
		bpf_map_update_elem(&accepts_of_users, &user, &more, BPF_NOEXIST);
}

static __always_inline __u32 ring_file_slot(struct io_kiocb *request)
{
	return KREAD((struct io_accept *)&request->cmd, file_slot);
}

static __always_inline bool goes_on_accepting(struct io_kiocb *request)
{
	return accept_goes_on((void *)&request->cmd);
}

/* The process that accepts cannot be noted: there is no room, or its user has too many entries. */
static __always_inline int accepts_lost(enum loss_reason reason)
{
	connection_lost(reason);
	return 0;
}

static __always_inline int accepting_add(const struct ring_accept *accept, bool into_table)
{
	struct ring_accepting first = {.user = user_of(bpf_get_current_uid_gid())}, *known;
	__s64 *count = bpf_map_lookup_elem(&accepts_of_users, &first.user);

	known = bpf_map_lookup_elem(&ring_accepts, accept);
	if (known) {
		__sync_fetch_and_add(into_table ? &known->into_table : &known->as_descriptors, 1);
		return 0;
	}
	if (first.user && count && *count >= ACCEPTS_OF_USER)
		return accepts_lost(LOSS_OVER_SHARE);
	first.into_table = into_table;
	first.as_descriptors = !into_table;
	if (bpf_map_update_elem(&ring_accepts, accept, &first, BPF_NOEXIST))
		return accepts_lost(LOSS_UNREADABLE);
	accepts_count(first.user, 1);
	return 0;
}

static __always_inline void accepting_end(const struct ring_accept *accept, bool into_table)
{
	struct ring_accepting *known = bpf_map_lookup_elem(&ring_accepts, accept);
	__u32 user;

	if (!known)
		return;
	__sync_fetch_and_add(into_table ? &known->into_table : &known->as_descriptors, -1);
	user = known->user;
	if (!known->into_table && !known->as_descriptors &&
	    !bpf_map_delete_elem(&ring_accepts, accept))
		accepts_count(user, -1);
}

/* A request without completion entry has accepted its last connection. */
__noinline int ring_accepting_ended(__u64 ring, __u64 user_data, bool into_table)
{
	struct ring_accept accept = {.ring = ring, .user_data = user_data};

	accepting_end(&accept, into_table);
	return 0;
}

/* An accept begins whose end has no completion entry if it succeeds. */
static __always_inline int quiet_accept_begun(__u64 request)
{
	if (is_own_task(current_task()) || !quiet_request_begun(request, false))
		return 0;
	count_seen(RECORD_NETWORK_CONNECT);
	count_lost(RECORD_NETWORK_CONNECT, LOSS_UNREADABLE);
	return 0;
}

/* An accept through io_uring begins. Since v6.4, which gave the tracepoint this name. */
SEC("?tp_btf/io_uring_submit_req")
int BPF_PROG(io_uring_accept_begun, struct io_kiocb *request)
{
	struct ring_accept accept = {};

	if (request->opcode != IORING_OP_ACCEPT)
		return 0;
	overflow_forget((__u64)request, IORING_OP_ACCEPT, OPCODE_BIT(IORING_OP_ACCEPT));
	if (request_ends_unseen(request))
		quiet_accept_begun(first_address(ctx));
	if (!goes_on_accepting(request))
		return 0;
	accept.ring = (__u64)request->ctx;
	accept.user_data = request->cqe.user_data;
	return accepting_add(&accept, ring_file_slot(request));
}

/*
 * An accept has completed. `goes_on`: the request accepts more connections after this one. The
 * kernel names no request then: `request` is NULL, and the entry of ring_accepts tells the rest.
 */
static __always_inline int accept_completed(struct io_ring_ctx *ring, struct io_kiocb *request,
					    __u64 user_data, __s32 result, bool goes_on)
{
	struct ring_accept accept = {.ring = (__u64)ring, .user_data = user_data};
	struct ring_accepting *known;
	bool into_table, has_descriptor;
	__u32 slot;

	if (request) {
		quiet_request_forget((__u64)request);
		slot = ring_file_slot(request);
		if (result >= 0)
			connection_accepted((__u64)ring_made_file(ring, slot, result), true);
		if (!goes_on && goes_on_accepting(request))
			accepting_end(&accept, slot);
		return 0;
	}
	known = goes_on && result >= 0 ? bpf_map_lookup_elem(&ring_accepts, &accept) : NULL;
	if (!known)
		return 0;
	into_table = known->into_table;
	has_descriptor = known->as_descriptors;
	if (has_descriptor)
		connection_accepted((__u64)ring_made_file(ring, 0, result), true);
	if (into_table)
		connection_accepted((__u64)ring_made_file(ring, IORING_FILE_INDEX_ALLOC, result),
				    true);
	return 0;
}

#ifndef WITHOUT_BPF_LOOP

/*
 * An accept through io_uring has a connection, and its completion may find no room in the ring's
 * queue. It runs in the context of the process, or of a worker, which is one of its threads. 6.18
 * has it; on 6.12 the completion is no argument.
 */
SEC("?raw_tp/io_uring_complete")
int io_uring_accept_ended(struct bpf_raw_tracepoint_args *ctx)
{
	struct io_kiocb *request;
	struct ring_end end;

	ring_end_read(&end, ctx, OPCODE_BIT(IORING_OP_ACCEPT));
	request = (void *)end.request;
	if (request && KREAD(request, opcode) != IORING_OP_ACCEPT)
		return 0;
	return accept_completed((void *)end.ring, request, end.user_data, end.result,
				end.flags & IORING_CQE_F_MORE);
}

#endif /* WITHOUT_BPF_LOOP */
