// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names that programs ask systemd-resolved for through its socket, as nss-resolve does: calls of
 * varlink, JSON with a NUL behind each. They are read from the memory of systemd-resolved, when it
 * has received or sent them: the program that asks may send them in any way, and cannot change what
 * is shown. Record: dns_message.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/pid.bpf.h"
#include "kernel/task.bpf.h"
#include "kernel/syscall.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/wanted.bpf.h"
#include "hooks/dns_record.bpf.h"

/* The name of the socket of systemd-resolved, with its NUL. */
#define RESOLVER_WORDS 5
static const char resolver_path[RESOLVER_WORDS * 8] __attribute__((aligned(8))) =
	"/run/systemd/resolve/io.systemd.Resolve";
#define DNS_CALL_PARTS 16 /* records of one call that sends or receives */

/* Numbers of the calls by which data are sent and received, <asm/unistd.h>. */
#if defined(__TARGET_ARCH_x86)
#define NUMBER_OF_READ 0
#define NUMBER_OF_WRITE 1
#define NUMBER_OF_SENDTO 44
#define NUMBER_OF_RECVFROM 45
#define NUMBER_OF_SENDMSG 46
#define NUMBER_OF_RECVMSG 47
#else
#define NUMBER_OF_READ 63
#define NUMBER_OF_WRITE 64
#define NUMBER_OF_SENDTO 206
#define NUMBER_OF_RECVFROM 207
#define NUMBER_OF_SENDMSG 211
#define NUMBER_OF_RECVMSG 212
#endif

DNS_SENDER(dns_call_send_1024, void, dns_of_memory, 1024)
DNS_SENDER(dns_call_send_4096, void, dns_of_memory, DNS_PART)

/* Returns whether a socket has the name of that of systemd-resolved: a connection that it accepted.
 */
static __always_inline bool is_of_resolver(struct sock *sk)
{
	struct unix_address *address;
	const __u64 *wanted = (const void *)resolver_path;
	__u64 path[RESOLVER_WORDS], differs = 0;

	if (sk->__sk_common.skc_family != AF_UNIX)
		return false;
	address = KREAD((struct unix_sock *)sk, addr);
	if (!address || bpf_probe_read_kernel(path, sizeof(path), address->name[0].sun_path))
		return false;
	for (int i = 0; i < RESOLVER_WORDS; i++)
		differs |= path[i] ^ wanted[i];
	return !differs;
}

/* Where the current system call has its data; 0: not known. Of several buffers it is the first. */
static __always_inline __u64 data_of_call(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	__u32 number = call_number(regs);
	struct user_msghdr message;
	struct iovec first;

	if (task_in_compat_call(task))
		return 0;
	if (number == NUMBER_OF_READ || number == NUMBER_OF_WRITE || number == NUMBER_OF_SENDTO ||
	    number == NUMBER_OF_RECVFROM)
		return ARGUMENT_1(regs, false);
	if ((number != NUMBER_OF_SENDMSG && number != NUMBER_OF_RECVMSG) ||
	    bpf_probe_read_user(&message, sizeof(message), (void *)ARGUMENT_1(regs, false)) ||
	    bpf_probe_read_user(&first, sizeof(first), message.msg_iov))
		return 0;
	return (__u64)first.iov_base;
}

/* Note the process that connected to a socket: it asks. One that has ended has its id alone. */
static __always_inline void dns_caller_fill(struct dns_process *process, struct sock *sk)
{
	struct pid *pid = KREAD(sk, sk_peer_pid);
	struct task_struct *task = task_of_pid(pid);
	const struct cred *cred = KREAD(sk, sk_peer_cred);
	struct upid upid = {};

	if (task) {
		dns_process_fill(process, task);
	} else if (pid) {
		bpf_core_read(&upid, sizeof(upid), &pid->numbers[0]);
		process->tgid = upid.nr;
		process->uid = KREAD(cred, uid.val);
	}
}

/* Send what the current task has in its memory, part by part. */
static __noinline int dns_call_parts(struct dns_seen *seen, __u32 left)
{
	for (int i = 0; i < DNS_CALL_PARTS && left; i++) {
		seen->length = seen->sent = left < DNS_PART ? left : DNS_PART;
		count_seen(RECORD_DNS_MESSAGE);
		if (seen->sent <= 1024)
			dns_call_send_1024(NULL, seen);
		else
			dns_call_send_4096(NULL, seen);
		seen->address += seen->length;
		seen->sequence += seen->length;
		left -= seen->length;
	}
	return left ? dns_leave_out() : 0;
}

/* systemd-resolved has received a part of calls, or sent a part of answers, of `length` bytes. */
static __always_inline int dns_call_part(struct sock *sk, int length, __u32 is_answer)
{
	struct dns_seen seen = {.is_answer = is_answer, .carrier = DNS_BY_CALL};
	struct dns_asker *asker;

	if (length <= 0 || !is_of_resolver(sk))
		return 0;
	asker = bpf_sk_storage_get(&dns_askers, sk, NULL,
				   is_answer ? 0 : BPF_SK_STORAGE_GET_F_CREATE);
	if (!asker)
		return dns_leave_out();
	if (!is_answer)
		dns_caller_fill(&asker->process, sk);
	seen.process = asker->process;
	seen.sequence = asker->passed[is_answer];
	asker->passed[is_answer] += length;
	if (!seen.process.tgid || seen.process.tgid == own_tgid)
		return 0;
	if (dns_is_spent(asker, length, DNS_STREAM_BYTES))
		return dns_leave_out();
	seen.cookie = bpf_get_socket_cookie(sk);
	seen.address = data_of_call();
	if (!is_answer)
		fork_tell(seen.process.tgid);
	return dns_call_parts(&seen, length);
}

/* A socket has received. v6.3: 6e6eda44b939 ("sock: add tracepoint for send recv length"). */
SEC("?tp_btf/sock_recv_length")
int BPF_PROG(dns_call_received, struct sock *sk, int result, int flags)
{
	return flags & MSG_PEEK ? 0 : dns_call_part(sk, result, 0);
}

/* A socket has sent. v6.3, as above. */
SEC("?tp_btf/sock_send_length")
int BPF_PROG(dns_call_answered, struct sock *sk, int result, int flags)
{
	return dns_call_part(sk, result, 1);
}

/* The same before v6.3. */
SEC("?fexit/unix_stream_recvmsg")
int BPF_PROG(dns_call_received_by_function, struct socket *socket, struct msghdr *message,
	     size_t size, int flags, int result)
{
	return flags & MSG_PEEK ? 0 : dns_call_part(socket->sk, result, 0);
}

SEC("?fexit/unix_stream_sendmsg")
int BPF_PROG(dns_call_answered_by_function, struct socket *socket, struct msghdr *message,
	     size_t size, int result)
{
	return dns_call_part(socket->sk, result, 1);
}
