// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sockets of AF_UNIX: that get a name, and that are connected to one. hooks/syscall_exit.bpf.c and
 * hooks/io_uring.bpf.c call these functions when the call has succeeded. Records: pipe_create,
 * pipe_connect.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/task.bpf.h"
#include "kernel/file.bpf.h"
#include "kernel/path.bpf.h"
#include "kernel/unix_socket.bpf.h"
#include "kernel/syscall_numbers.bpf.h"
#include "kernel/syscall.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/wanted.bpf.h"
#include "hooks/functions.bpf.h"
#include "hooks/pipe.bpf.h"

/* A socket of AF_UNIX got a name. It returns false if it has none: it is another socket. */
static __always_inline bool unix_bound(struct unix_sock *socket)
{
	struct scratch *scratch;

	if (!socket || !KREAD(socket, addr))
		return false;
	scratch = pipe_begin(RECORD_PIPE_CREATE);
	if (!scratch)
		return true;
	unix_name_build(&scratch->path, socket);
	pipe_report(scratch, RECORD_PIPE_CREATE, NULL);
	return true;
}

/*
 * Read the path of the address that a call was given, of `length` bytes, as the kernel does: up to
 * its first NUL. Returns false if it is no path.
 */
static __always_inline bool given_path_read(struct path_buffer *path, __u64 address, __u32 length)
{
	__u8 *to = &path->bytes[PATH_GIVEN_AT];
	long size;

	length -= SUN_PATH_AT;
	if (length > SUN_PATH_SIZE)
		return false;
	barrier_var(length); /* keep the mask, which the verifier needs */
	size = bpf_probe_read_user_str(to, (length & 127) + 1, (void *)address + SUN_PATH_AT);
	path->given = true;
	path->whole = false;
	path->at = PATH_GIVEN_AT;
	path->end = PATH_GIVEN_AT + (size > 1 ? size - 1 : 0);
	return size > 1;
}

/*
 * A socket of AF_UNIX was connected. It returns false if it is not: it is another socket. If the
 * peer has been closed since, the kernel knows the name no more, and that of the call is told.
 */
static __always_inline bool unix_connected(struct unix_sock *socket, __u64 address, __u32 length)
{
	struct unix_sock *peer = socket ? (void *)KREAD(socket, peer) : NULL;
	struct scratch *scratch;

	if (!peer)
		return false;
	if (!KREAD(peer, addr))
		return true;
	scratch = pipe_begin(RECORD_PIPE_CONNECT);
	if (!scratch)
		return true;
	if (unix_name_build(&scratch->path, peer) ||
	    !given_path_read(&scratch->path, address, length))
		pipe_report(scratch, RECORD_PIPE_CONNECT, (void *)socket);
	else
		pipe_report_given(scratch, RECORD_PIPE_CONNECT, AT_FDCWD, (void *)socket);
	return true;
}

/* Returns whether a call names an address of AF_UNIX. */
static __always_inline bool is_unix_address(__u64 address)
{
	__u16 family = 0;

	bpf_probe_read_user(&family, sizeof(family), (void *)address);
	return family == AF_UNIX;
}

/*
 * bind(2) has succeeded. If the descriptor does not lead to a socket with a name, another thread
 * has changed it meanwhile: what got a name is not known.
 */
__noinline int socket_bound(__u32 fd, __u64 address)
{
	if (is_own() || unix_bound(unix_socket_of(task_file(current_task(), fd))))
		return 0;
	return is_unix_address(address) ? pipe_lost(RECORD_PIPE_CREATE) : 0;
}

/*
 * The socket that a thread is connecting. The descriptor of the call may lead elsewhere when the
 * call ends: another thread has time enough to change it while a path is looked up.
 */
#ifndef WITHOUT_BPF_LOOP
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64); /* address of the socket; 0: none */
} connecting_sockets SEC(".maps");

/*
 * A socket of AF_UNIX is to be connected: note it, if a system call asks for it, and if the table
 * of descriptors is shared, so that somebody else could change it meanwhile. Since v6.7,
 * 859051dd165e ("bpf: Implement cgroup sockaddr hooks for unix sockets"). libbpf 1.1 does not know
 * the section cgroup/connect_unix: user space sets the type of the attachment.
 */
SEC("?cgroup/connect6")
int unix_connecting(struct bpf_sock_addr *context)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	enum call call = call_among(calls_of(regs), task_in_compat_call(task));
	__u64 *socket;

	if (!is_wanted(RECORD_BIT(RECORD_PIPE_CONNECT)) || task->files->count.counter == 1 ||
	    task->flags & PF_IO_WORKER || (call != CALL_CONNECT && call != CALL_SOCKETCALL))
		return 1;
	socket = bpf_task_storage_get(&connecting_sockets, task, NULL,
				      BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (socket)
		*socket = (__u64)context->sk;
	return 1;
}

/* Take the note about the current thread; NULL: there is none. */
static __always_inline struct unix_sock *connecting_take(void)
{
	__u64 *noted =
		bpf_task_storage_get(&connecting_sockets, bpf_get_current_task_btf(), NULL, 0);
	__u64 socket = noted ? *noted : 0;

	if (socket)
		*noted = 0;
	return (void *)socket;
}
#else
#define connecting_take() NULL

/* No kernel that this object serves takes it. */
SEC("?cgroup/connect6")
int unix_connecting(struct bpf_sock_addr *context)
{
	return 1;
}
#endif

/* connect(2) has failed. */
__noinline int socket_not_connected(void)
{
	connecting_take();
	return 0;
}

/* connect(2) has succeeded. */
__noinline int socket_connected(__u32 fd, __u64 address, __u32 length)
{
	struct unix_sock *socket = connecting_take();

	if (!socket)
		socket = unix_socket_of(task_file(current_task(), fd));
	if (is_own() || unix_connected(socket, address, length))
		return 0;
	return is_unix_address(address) ? pipe_lost(RECORD_PIPE_CONNECT) : 0;
}

/* The same through io_uring, which holds the file of its request. */
__noinline int ring_socket_bound(__u64 file_address)
{
	if (is_wanted(RECORD_BIT(RECORD_PIPE_CREATE)) && !is_own())
		unix_bound(unix_socket_of((void *)file_address));
	return 0;
}

__noinline int ring_socket_connected(__u64 file_address, __u64 address, __u32 length)
{
	if (is_wanted(RECORD_BIT(RECORD_PIPE_CONNECT)) && !is_own())
		unix_connected(unix_socket_of((void *)file_address), address, length);
	return 0;
}

/* A request of io_uring begins of which nothing will tell the end. */
__noinline int ring_socket_unseen(__u64 file_address, bool connects)
{
	__u32 type = connects ? RECORD_PIPE_CONNECT : RECORD_PIPE_CREATE;

	if (!is_wanted(RECORD_BIT(type)) || is_own() || !unix_socket_of((void *)file_address))
		return 0;
	return pipe_lost(type);
}
