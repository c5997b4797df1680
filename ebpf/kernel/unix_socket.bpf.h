/* SPDX-License-Identifier: GPL-2.0-only */
/* Readers of sockets of AF_UNIX: their names, their peers, and who listens. */
#ifndef KERNEL_UNIX_SOCKET_BPF_H
#define KERNEL_UNIX_SOCKET_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/path.bpf.h"

#define SUN_PATH_SIZE 108 /* bytes of sockaddr_un.sun_path, <linux/un.h> */
#define SUN_PATH_AT 2 /* behind the family */
#define ABSTRACT_WORDS 14 /* words of eight bytes that hold the longest name */

/* The socket of AF_UNIX that a file is; NULL: it is something else, or there is no file. */
static __always_inline struct unix_sock *unix_socket_of(struct file *file)
{
	struct inode *inode = file ? KREAD(file, f_inode) : NULL;
	struct socket *socket;
	struct sock *sk;

	if (!inode || (KREAD(inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = KREAD(file, private_data);
	sk = KREAD(socket, sk);
	return KREAD(sk, __sk_common.skc_family) == AF_UNIX ? (struct unix_sock *)sk : NULL;
}

/* Make each NUL of an abstract name "@". The name is at the end of the path. */
static __always_inline void abstract_name_show(struct path_buffer *path)
{
	__u64 *words = (void *)&path->bytes[PATH_SIZE - ABSTRACT_WORDS * 8];

	for (int i = 0; i < ABSTRACT_WORDS; i++) {
		const __u64 low = 0x7f7f7f7f7f7f7f7fULL;
		__u64 nuls = ~(((words[i] & low) + low) | words[i] | low);

		words[i] |= nuls >> 1; /* 0x80 becomes 0x40, which is "@" */
	}
}

/*
 * The name as it was given to bind(2). Returns 1 if it is an abstract one. Another one is that of a
 * socket that was closed a moment ago: where it is relative, the front is missing.
 */
static __noinline long unix_address_build(struct path_buffer *path, struct unix_address *address)
{
	__u32 length = KREAD(address, len) - SUN_PATH_AT, at = PATH_SIZE - length;

	path->whole = path->given = false;
	path->at = path->end = PATH_SIZE;
	if (!length || length > SUN_PATH_SIZE)
		return 0;
	barrier_var(at); /* keep the masks below, which the verifier needs */
	barrier_var(length);
	bpf_probe_read_kernel(&path->bytes[at & (PATH_SIZE - 1)], length & 127,
			      address->name[0].sun_path);
	path->at = at;
	if (!path->bytes[at & (PATH_SIZE - 1)]) {
		abstract_name_show(path);
		path->whole = true;
		return 1;
	}
	path->end = PATH_SIZE - 1; /* the NUL */
	path->given = path->bytes[at & (PATH_SIZE - 1)] == '/';
	return 0;
}

/*
 * Build the name of a socket that has one: the path as it is now, or the abstract name. `path` is
 * the one in scratch. Returns false if there is only the path as it was given to bind(2), since the
 * socket is closed.
 */
static __always_inline bool unix_name_build(struct path_buffer *path, struct unix_sock *socket)
{
	struct dentry *dentry = KREAD(socket, path.dentry);

	if (!dentry)
		return unix_address_build(path, KREAD(socket, addr));
	path_build_in(path, dentry, KREAD(socket, path.mnt), true);
	return true;
}

#endif /* KERNEL_UNIX_SOCKET_BPF_H */
