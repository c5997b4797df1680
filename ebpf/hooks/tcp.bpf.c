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
#include "hooks/functions.bpf.h"
#include "hooks/network.bpf.h"

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

/* The current task has accepted a connection. */
static __always_inline void accepted(struct sock *sk)
{
	__u16 protocol = sock_protocol(sk);
	struct owner owner;
	struct flow flow;

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP)
		return;
	if (is_own_task(current_task()))
		return;
	owner_fill(&owner);
	owner_answers_keep(&owner);
	flow_of_socket(&flow, sk, IPPROTO_TCP);
	network_report(&owner, &flow, false, false);
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

/* accept() has returned `fd` to the current task. All is inlined here to spare the stack. */
__noinline int connection_accepted(__u32 fd)
{
	if (!is_grafting)
		accepted_file(task_file(current_task(), fd));
	return 0;
}

__noinline int ring_accepted(__u64 file_address)
{
	accepted_file((void *)file_address);
	return 0;
}

/*
 * Accepts that io_uring has begun. A multishot accept goes on after each connection, and its
 * completions name no request: the entry is found by ring and user_data.
 */
struct ring_accept {
	__u64 ring;
	__u64 user_data;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct ring_accept);
	__type(value, __u32); /* io_accept.file_slot */
} ring_accepts SEC(".maps");

static __always_inline __u32 ring_file_slot(struct io_kiocb *request)
{
	return KREAD((struct io_accept *)&request->cmd, file_slot);
}

/* An accept through io_uring begins. Since v6.4, which gave the tracepoint this name. */
SEC("?tp_btf/io_uring_submit_req")
int BPF_PROG(io_uring_accept_begun, struct io_kiocb *request)
{
	struct ring_accept accept = {};
	__u32 slot;

	if (request->opcode != IORING_OP_ACCEPT)
		return 0;
	accept.ring = (__u64)request->ctx;
	accept.user_data = request->cqe.user_data;
	slot = ring_file_slot(request);
	bpf_map_update_elem(&ring_accepts, &accept, &slot, BPF_ANY);
	return 0;
}

/*
 * An accept through io_uring has a connection. It runs in the context of the process, or of a
 * worker, which is one of its threads. 6.18 has it; on 6.12 the completion is no argument.
 */
SEC("?tp_btf/io_uring_complete")
int BPF_PROG(io_uring_accepted, struct io_ring_ctx *ring, struct io_kiocb *request,
	     struct io_uring_cqe *completion)
{
	struct ring_accept accept = {.ring = (__u64)ring, .user_data = completion->user_data};
	bool goes_on = completion->flags & IORING_CQE_F_MORE;
	__s32 result = completion->res;
	__u32 *slot;

	if (request) {
		if (KREAD(request, opcode) != IORING_OP_ACCEPT)
			return 0;
		if (result >= 0)
			ring_accepted((__u64)ring_made_file(ring, ring_file_slot(request), result));
		if (!goes_on)
			bpf_map_delete_elem(&ring_accepts, &accept);
		return 0;
	}
	slot = goes_on && result >= 0 ? bpf_map_lookup_elem(&ring_accepts, &accept) : NULL;
	if (slot)
		ring_accepted((__u64)ring_made_file(ring, *slot, result));
	return 0;
}
