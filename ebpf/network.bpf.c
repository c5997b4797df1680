// SPDX-License-Identifier: GPL-2.0
/* TCP connections: connected, and accepted. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "compat.bpf.h"
#include "fd.bpf.h"
#include "maps.bpf.h"
#include "network.bpf.h"
#include "record.h"
#include "sock.bpf.h"

#define S_IFSOCK 0140000

bool failed_connects = 0; /* are reported too; set by user space at any time */

/* Who called connect(), from SYN_SENT until the connection is there or has failed. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct owner);
} connecting SEC(".maps");

static __always_inline void connect_begun(struct sock *sk)
{
	struct owner *owner;

	if (bpf_get_current_pid_tgid() >> 32 == own_tgid)
		return;
	owner = bpf_sk_storage_get(&connecting, sk, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (owner) {
		owner_fill(owner);
		return;
	}
	count_seen(RECORD_NETWORK_CONNECT);
	count_lost(RECORD_NETWORK_CONNECT, LOSS_UNREADABLE);
}

/* May run in softirq, where the current task is any: the owner is the one kept. */
static __always_inline void connect_ended(struct sock *sk, bool failed)
{
	struct owner *owner = bpf_sk_storage_get(&connecting, sk, NULL, 0);
	struct flow flow;

	if (!owner || !owner->tgid)
		return;
	if (!failed || failed_connects) {
		flow_of_socket(&flow, sk, IPPROTO_TCP);
		network_report(owner, &flow, true, failed);
	}
	owner->tgid = 0; /* the rest of the socket's life is of no interest */
}

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_connect, struct sock *sk, int old_state, int new_state)
{
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (new_state == TCP_SYN_SENT)
		connect_begun(sk);
	else if (new_state == TCP_ESTABLISHED)
		connect_ended(sk, false);
	else if (new_state == TCP_CLOSE && (old_state == TCP_SYN_SENT || old_state == TCP_SYN_RECV))
		connect_ended(sk, true);
	return 0;
}

static __always_inline bool is_protocol(struct sock *sk, __u16 wanted)
{
	__u16 family = KREAD(sk, __sk_common.skc_family);

	return (family == AF_INET || family == AF_INET6) && KREAD(sk, sk_protocol) == wanted;
}

/* The current task has accepted a connection. */
static __always_inline void accepted(struct sock *sk)
{
	struct owner owner;
	struct flow flow;

	if (!is_protocol(sk, IPPROTO_TCP) && !is_protocol(sk, IPPROTO_MPTCP))
		return;
	if (bpf_get_current_pid_tgid() >> 32 == own_tgid)
		return;
	owner_fill(&owner);
	flow_of_socket(&flow, sk, IPPROTO_TCP);
	network_report(&owner, &flow, false, false);
}

/* Set once the program below runs: accept() is then not reported at its return as well. */
static bool is_grafting;

/* The best: where accept() gets the connection, in whatever way it was called. */
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

__noinline int connection_accepted(__u32 fd)
{
	if (!is_grafting)
		accepted_file(task_file((void *)bpf_get_current_task(), fd));
	return 0;
}
