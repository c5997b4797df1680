// SPDX-License-Identifier: GPL-2.0
/* Connections: TCP connected and accepted, UDP flows sent and received. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "compat.bpf.h"
#include "maps.bpf.h"
#include "record.h"
#include "sock.bpf.h"

#define MSG_PEEK 0x2
#define MSG_ERRQUEUE 0x2000
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define CREDIT_STEPS 32 /* flows reported by one receive at most; the rest by the next */

/* Settings; user space may change them at any time. */
bool failed_connects = false;
__u64 udp_interval_ns = 1800ull * 1000000000;

/* Who called connect(), from SYN_SENT until the connection is there or has failed. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct owner);
} connecting SEC(".maps");

static __always_inline void network_report(const struct owner *owner, const struct flow *flow,
					   bool initiated, bool failed)
{
	const __u8 *source = initiated ? flow->local_address : flow->remote_address;
	const __u8 *destination = initiated ? flow->remote_address : flow->local_address;
	struct network_connect r = {
		.header = {
			.boot_ns = bpf_ktime_get_boot_ns(),
			.start_boot_ns = owner->start_boot_ns,
			.type = RECORD_NETWORK_CONNECT,
			.size = sizeof(r),
			.tgid = owner->tgid,
			.tid = owner->tid,
			.uid = owner->uid,
			.exec_id = owner->exec_id,
		},
		.source_port = initiated ? flow->local_port : flow->remote_port,
		.destination_port = initiated ? flow->remote_port : flow->local_port,
		.family = flow->family,
		.protocol = flow->protocol,
		.initiated = initiated,
		.failed = failed,
	};

	__builtin_memcpy(r.source_address, source, sizeof(r.source_address));
	__builtin_memcpy(r.destination_address, destination, sizeof(r.destination_address));
	count_seen(RECORD_NETWORK_CONNECT);
	/* the rules in the kernel go here: owner and both ends are known */
	record_send(&r, sizeof(r), RECORD_NETWORK_CONNECT, false);
}

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

static __always_inline bool is_tcp(struct sock *sk)
{
	__u16 family = KREAD(sk, __sk_common.skc_family);
	__u16 protocol = KREAD(sk, sk_protocol);

	return (family == AF_INET || family == AF_INET6) &&
	       (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP);
}

/* The current task has accepted a connection. */
static __always_inline void accepted(struct sock *sk)
{
	struct owner owner;
	struct flow flow;

	if (!is_tcp(sk) || bpf_get_current_pid_tgid() >> 32 == own_tgid)
		return;
	owner_fill(&owner);
	flow_of_socket(&flow, sk, IPPROTO_TCP);
	network_report(&owner, &flow, false, false);
}

/* The best: where accept() gets the connection, in whatever way it was called. */
SEC("?fentry/security_sock_graft")
int BPF_PROG(tcp_accept_grafted, struct sock *sk, struct socket *parent)
{
	accepted(sk);
	return 0;
}

static __always_inline struct file *file_of_fd(int fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct files_struct *files = KREAD(task, files);
	struct fdtable *table = KREAD(files, fdt);
	struct file **files_open = KREAD(table, fd);
	struct file *file = NULL;

	if (fd < 0 || fd >= KREAD(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), &files_open[fd]);
	return file;
}

static __always_inline void accepted_file(struct file *file)
{
	struct socket *socket;
	struct inode *inode;

	inode = file ? KREAD(file, f_inode) : NULL;
	if (!inode || (KREAD(inode, i_mode) & S_IFMT) != S_IFSOCK)
		return;
	socket = KREAD(file, private_data);
	accepted(KREAD(socket, sk));
}

SEC("?tp/syscalls/sys_exit_accept")
int tcp_accept_exit(struct trace_event_raw_sys_exit *ctx)
{
	if (ctx->ret >= 0)
		accepted_file(file_of_fd(ctx->ret));
	return 0;
}

SEC("?tp/syscalls/sys_exit_accept4")
int tcp_accept4_exit(struct trace_event_raw_sys_exit *ctx)
{
	if (ctx->ret >= 0)
		accepted_file(file_of_fd(ctx->ret));
	return 0;
}
