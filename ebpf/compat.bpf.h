/* SPDX-License-Identifier: GPL-2.0 */
/* Every difference between kernels, one inline function each. */
#ifndef COMPAT_BPF_H
#define COMPAT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Set by user space from the running kernel's BTF before load. */
const volatile bool has_bpf_loop __weak; /* v5.17, e6f2dd0f8067 ("bpf: Add bpf_loop helper") */
const volatile bool has_rdonly_cast __weak; /* v6.2, a35b9af4ec2c ("bpf: Add a kfunc to type cast ...") */

extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;

/*
 * Read object->field without a type known to the verifier: one load where the kernel
 * can cast, else a probe read. A bad address gives zeroes in both.
 */
#define KREAD(object, field)                                                                \
	({                                                                                  \
		typeof(({ (object)->field; })) __value;                                           \
		if (has_rdonly_cast)                                                        \
			__value = ((typeof(object))bpf_rdonly_cast(                         \
					   (object),                                        \
					   bpf_core_type_id_kernel(typeof(*(object)))))     \
					  ->field;                                          \
		else                                                                        \
			bpf_core_read(&__value, sizeof(__value), &(object)->field);         \
		__value;                                                                    \
	})

struct inode___timespec { /* before v6.6 */
	struct timespec64 i_mtime;
	struct timespec64 i_ctime;
} __attribute__((preserve_access_index));

struct inode___private { /* v6.6 and v6.7, 13bc24457850 ("fs: rename i_ctime field") */
	struct timespec64 __i_mtime;
	struct timespec64 __i_ctime;
} __attribute__((preserve_access_index));

/* Nanoseconds hold a flag above bit 29 on kernels with multigrain timestamps. */
#define NSEC_BITS 0x3fffffff
#define NSEC(sec, nsec) ((__s64)(sec) * 1000000000 + ((nsec) & NSEC_BITS))

/* v6.11: 3aa63a569c64 ("fs: switch timespec64 fields in inode to discrete integers") */
static __always_inline __s64 inode_mtime_ns(struct inode *inode)
{
	struct inode___timespec *old = (void *)inode;
	struct inode___private *mid = (void *)inode;

	if (bpf_core_field_exists(inode->i_mtime_sec))
		return NSEC(BPF_CORE_READ(inode, i_mtime_sec), BPF_CORE_READ(inode, i_mtime_nsec));
	if (bpf_core_field_exists(mid->__i_mtime))
		return NSEC(BPF_CORE_READ(mid, __i_mtime.tv_sec),
			    BPF_CORE_READ(mid, __i_mtime.tv_nsec));
	return NSEC(BPF_CORE_READ(old, i_mtime.tv_sec), BPF_CORE_READ(old, i_mtime.tv_nsec));
}

static __always_inline __s64 inode_ctime_ns(struct inode *inode)
{
	struct inode___timespec *old = (void *)inode;
	struct inode___private *mid = (void *)inode;

	if (bpf_core_field_exists(inode->i_ctime_sec))
		return NSEC(BPF_CORE_READ(inode, i_ctime_sec), BPF_CORE_READ(inode, i_ctime_nsec));
	if (bpf_core_field_exists(mid->__i_ctime))
		return NSEC(BPF_CORE_READ(mid, __i_ctime.tv_sec),
			    BPF_CORE_READ(mid, __i_ctime.tv_nsec));
	return NSEC(BPF_CORE_READ(old, i_ctime.tv_sec), BPF_CORE_READ(old, i_ctime.tv_nsec));
}

/* Audit may be compiled out (CONFIG_AUDIT): then nobody has logged in. */
static __always_inline __u32 task_loginuid(struct task_struct *task)
{
	return bpf_core_field_exists(task->loginuid) ? BPF_CORE_READ(task, loginuid.val) : -1;
}

static __always_inline __u32 task_sessionid(struct task_struct *task)
{
	return bpf_core_field_exists(task->sessionid) ? BPF_CORE_READ(task, sessionid) : -1;
}

struct super_block___list { /* before v6.18 */
	struct list_head s_mounts;
} __attribute__((preserve_access_index));

struct mount___list {
	struct list_head mnt_instance;
} __attribute__((preserve_access_index));

/* v6.18 chains the mounts of a file system without a list head. */
static __always_inline struct mount *mount_of_list(struct super_block *sb, struct list_head *at)
{
	struct super_block___list *old = (void *)sb;

	if (at == &old->s_mounts)
		return NULL;
	return (void *)container_of(at, struct mount___list, mnt_instance);
}

static __always_inline struct mount *first_mount(struct super_block *sb)
{
	struct super_block___list *old = (void *)sb;
	struct mount *mount = NULL;

	if (bpf_core_field_exists(mount->mnt_next_for_sb))
		return KREAD(sb, s_mounts);
	return mount_of_list(sb, BPF_CORE_READ(old, s_mounts.next));
}

static __always_inline struct mount *next_mount(struct super_block *sb, struct mount *mount)
{
	struct mount___list *old = (void *)mount;

	if (bpf_core_field_exists(mount->mnt_next_for_sb))
		return KREAD(mount, mnt_next_for_sb);
	return mount_of_list(sb, BPF_CORE_READ(old, mnt_instance.next));
}

#endif /* COMPAT_BPF_H */
