/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Constants of the kernel's interfaces. vmlinux.h lacks them: BTF holds types and enumerations,
 * but no macros. The values are the same on x86 and arm64.
 */
#ifndef KERNEL_UAPI_H
#define KERNEL_UAPI_H

/* Types of files in a mode, <linux/stat.h>. */
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFLNK 0120000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFIFO 0010000
#define S_IXUGO 0111 /* may be executed by anybody */

/* Flags of open(2) and its family, <asm-generic/fcntl.h> and <linux/fcntl.h>. */
#define O_CREAT 0100
#define O_TRUNC 01000
#define O_APPEND 02000
#define AT_FDCWD -100
#define AT_REMOVEDIR 0x200
#define RENAME_EXCHANGE 2 /* <linux/fs.h> */

#define EEXIST 17 /* <asm-generic/errno-base.h> */

/* Bits of file->f_mode, <linux/fs.h>. */
#define FMODE_READ 0x1
#define FMODE_WRITE 0x2
#define FMODE_PATH 0x4000
#define FMODE_CREATED 0x100000
#define FMODE_BACKING 0x2000000

/* Magic numbers of file systems, <linux/magic.h>; of XFS, fs/xfs/libxfs/xfs_format.h. */
#define BTRFS_SUPER_MAGIC 0x9123683e
#define EXT4_SUPER_MAGIC 0xef53
#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define PID_FS_MAGIC 0x50494446
#define PIPEFS_MAGIC 0x50495045
#define PROC_SUPER_MAGIC 0x9fa0
#define TMPFS_MAGIC 0x01021994
#define XFS_SUPER_MAGIC 0x58465342

/* Bits of task->flags, <linux/sched.h>. */
#define PF_IO_WORKER 0x00000010
#define PF_DUMPCORE 0x00000200
#define PF_KTHREAD 0x00200000

/* Flags of a mount and of an open file that only the kernel sets, <linux/mount.h>, <linux/fs.h>. */
#define MNT_INTERNAL 0x4000
#define FMODE_EXEC 0x20 /* in file->f_flags: execve(2) has opened the file */

/* Memory, <asm-generic/mman-common.h>. */
#define PROT_READ 0x1
#define PROT_WRITE 0x2
#define PROT_EXEC 0x4
#define MAP_TYPE 0xf
#define MAP_PRIVATE 0x2
#define MAP_ANONYMOUS 0x20
#define SHM_EXEC 0100000 /* <linux/shm.h> */
#define READ_IMPLIES_EXEC 0x0400000 /* of personality(2), <linux/personality.h> */

/* Bits of an area of memory that the kernel keeps, <linux/mm.h>. */
#define VM_WRITE 0x2
#define VM_EXEC 0x4
#define VM_SHARED 0x8

/* Requests of prctl(2), <linux/prctl.h>. */
#define PR_SET_MM 35
#define PR_SET_MM_EXE_FILE 13
#define PR_SET_MM_MAP 14

/* Requests of ptrace(2), <linux/ptrace.h> and <asm/ptrace-abi.h>. */
#define PTRACE_POKETEXT 4
#define PTRACE_POKEDATA 5
#define PTRACE_POKEUSR 6
#define PTRACE_SETREGS 13
#define PTRACE_ATTACH 16
#define PTRACE_SETREGSET 0x4205
#define PTRACE_SEIZE 0x4206
#define PTRACE_SET_SYSCALL_INFO 0x4212
#define NT_PRSTATUS 1 /* <linux/elf.h>: the set of general registers */

/* Sockets and packets: <linux/socket.h>, <linux/if_ether.h>, <linux/in6.h>. */
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define MSG_PEEK 0x2
#define MSG_ERRQUEUE 0x2000
#define EFAULT 14 /* <asm-generic/errno-base.h> */
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define IPPROTO_HOPOPTS 0
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_DSTOPTS 60

/* First argument of socketcall(2), <linux/net.h>. */
#define SYS_BIND 2
#define SYS_CONNECT 3
#define SYS_ACCEPT 5
#define SYS_ACCEPT4 18

/* io_uring, <linux/io_uring.h>. */
#define IORING_FILE_INDEX_ALLOC -1U
#define IORING_CQE_F_MORE (1U << 1)
#define IORING_ACCEPT_MULTISHOT (1U << 0)
#define EINTR 4
#define ERESTARTSYS 512 /* of the kernel: a signal has interrupted what waits */
#define ECANCELED 125

/* Filters of system calls, <linux/seccomp.h>, and their instructions, <linux/bpf_common.h>. */
#define SECCOMP_MODE_FILTER 2
#define SECCOMP_RET_TRAP 0x00030000U
#define SECCOMP_RET_ERRNO 0x00050000U
#define SECCOMP_RET_USER_NOTIF 0x7fc00000U
#define SECCOMP_RET_ACTION_FULL 0xffff0000U
#define SECCOMP_RET_DATA 0x0000ffffU
#define BPF_CLASS(code) ((code)&0x07)
#define BPF_RET 0x06
#define BPF_RVAL(code) ((code)&0x18)
#define BPF_K 0x00

/* Number of the mount namespaces that nobody is in; before v6.18 it is 0. */
#define MNT_NS_ANON_INO 0xEFFFFFF7U

/* <linux/capability.h> */
#define CAP_SYS_PTRACE 19

#endif /* KERNEL_UAPI_H */
