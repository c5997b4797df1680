// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sockets of AF_UNIX: that get a name, and that are connected to one. hooks/syscall_exit.bpf.c and
 * hooks/io_uring.bpf.c call these functions when the call has succeeded. Records: pipe_create,
 * pipe_connect.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
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
#include "hooks/found_names.bpf.h"
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
 * has changed it meanwhile: it is not known which socket got a name.
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
struct connecting_socket {
	__u64 address; /* 0: none */
	__u32 round; /* write_round: a note from before does not count, its call may have ended */
};

#ifndef WITHOUT_BPF_LOOP
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connecting_socket);
} connecting_sockets SEC(".maps");

/* Returns the note about a task, or a new one with `made`; NULL: there is none, or no memory. */
static __always_inline struct connecting_socket *connecting_get(struct task_struct *task, bool made)
{
	return bpf_task_storage_get(&connecting_sockets, task, NULL,
				    made ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
}

static __always_inline void connecting_forget(struct connecting_socket *note)
{
	note->address = 0;
}

/* Returns whether the current task is in a system call that connects, not in io_uring_enter(2). */
static __always_inline bool is_in_connect(struct task_struct *task)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	enum call call = call_among(calls_of(regs), task_in_compat_call(task));

	return call == CALL_CONNECT || call == CALL_SOCKETCALL;
}
#define connecting_task() bpf_get_current_task_btf()
#else
/*
 * Key: the thread. An entry lives to the end of the call. Tracing programs have no storage of tasks
 * before v5.12: a10787e6d58c ("bpf: Enable task local storage for tracing programs").
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct connecting_socket);
} connecting_sockets SEC(".maps");

static __always_inline struct connecting_socket *connecting_get(struct task_struct *task, bool made)
{
	__u32 thread = KREAD(task, pid);
	struct connecting_socket none = {};

	if (made && bpf_map_update_elem(&connecting_sockets, &thread, &none, BPF_ANY))
		return NULL;
	return bpf_map_lookup_elem(&connecting_sockets, &thread);
}

static __always_inline void connecting_forget(struct connecting_socket *note)
{
	__u32 thread = KREAD(current_task(), pid);

	bpf_map_delete_elem(&connecting_sockets, &thread);
}

static __always_inline bool is_in_connect(struct task_struct *task)
{
	struct pt_regs regs = {};
	enum call call;

	if (!task_registers_read(task, &regs))
		return false;
	call = call_among(calls_of(&regs), task_in_compat_call(task));
	return call == CALL_CONNECT || call == CALL_SOCKETCALL;
}
#define connecting_task() current_task()
#endif

/*
 * A socket of AF_UNIX is to be connected: note it, if a system call asks for it, and if the table
 * of descriptors is shared, so that somebody else could change it meanwhile.
 */
static __always_inline void connecting_note(__u64 socket)
{
	struct task_struct *task = connecting_task();
	struct files_struct *files = KREAD(task, files);
	struct connecting_socket *note;

	if (!is_wanted(RECORD_BIT(RECORD_PIPE_CONNECT)) || KREAD(files, count.counter) == 1 ||
	    KREAD(task, flags) & PF_IO_WORKER || !is_in_connect(task))
		return;
	note = connecting_get(task, true);
	if (!note) {
		__sync_fetch_and_add(&names_unproved, 1);
		return;
	}
	note->address = socket;
	note->round = write_round;
}

/*
 * Since v6.7, 859051dd165e ("bpf: Implement cgroup sockaddr hooks for unix sockets"). Programs of
 * this type may use the storage of tasks after v6.12. libbpf 1.1 does not know the section
 * cgroup/connect_unix: user space sets the type of the attachment.
 */
SEC("?cgroup/connect6")
int unix_connecting(struct bpf_sock_addr *context)
{
#ifndef WITHOUT_BPF_LOOP /* no kernel that the other object serves takes it */
	connecting_note((__u64)context->sk);
#endif
	return 1;
}

/* The same for older kernels. Needs fentry. */
SEC("?fentry/security_socket_connect")
int BPF_PROG(socket_connecting, struct socket *socket)
{
	struct sock *sk = KREAD(socket, sk);

	if (KREAD(sk, __sk_common.skc_family) == AF_UNIX)
		connecting_note((__u64)sk);
	return 0;
}

/* Take the note about the current thread; NULL: there is none. */
static __always_inline struct unix_sock *connecting_take(void)
{
	struct connecting_socket *note = connecting_get(connecting_task(), false);
	__u64 address = note && note->round == write_round ? note->address : 0;

	if (note)
		connecting_forget(note);
	return (void *)address;
}

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

/*
 * A request of io_uring was to name or connect a socket, and nothing will tell whether it has:
 * count the event as lost, where the socket is one of AF_UNIX. File 0 says that it was one.
 */
__noinline int ring_socket_unseen(__u64 file_address, bool connects)
{
	__u32 type = connects ? RECORD_PIPE_CONNECT : RECORD_PIPE_CREATE;

	if (!is_wanted(RECORD_BIT(type)) || is_own() ||
	    (file_address && !unix_socket_of((void *)file_address)))
		return 0;
	return pipe_lost(type);
}
