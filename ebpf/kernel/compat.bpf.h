/* SPDX-License-Identifier: GPL-2.0-only */
/* Differences between kernels: one inline function each, with the version or the commit. */
#ifndef KERNEL_COMPAT_BPF_H
#define KERNEL_COMPAT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/*
 * bpf_loop(): v5.17, e6f2dd0f8067 ("bpf: Add bpf_loop helper"). Kernels before v5.13, 69c087ba6225
 * ("bpf: Add bpf_for_each_map_elem() helper"), refuse a pointer to a function even in code that is
 * never reached. Therefore an object is built without bpf_loop() for them.
 */
#ifdef WITHOUT_BPF_LOOP
#define has_bpf_loop false
#else
#define has_bpf_loop true
#endif

/*
 * A function that takes pointers and that the verifier checks once, not for every caller: a global
 * one. Before v5.13, e5069b9c23b3 ("bpf: Support pointers in global func args"), global functions
 * take numbers alone.
 */
#ifdef WITHOUT_BPF_LOOP
#define VERIFIED_ONCE static __noinline
#else
#define VERIFIED_ONCE __noinline
#endif

/*
 * bpf_rdonly_cast(): v6.2, a35b9af4ec2c ("bpf: Add a kfunc to type cast from bpf uapi ctx to kernel
 * ctx"). The object with it is one of its own: a switch at each read would be thousands of branches
 * that the verifier takes out one by one, which doubles the time to load.
 */
#ifdef WITH_RDONLY_CAST
#define has_rdonly_cast true
#else
#define has_rdonly_cast false
#endif

extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;

/*
 * Read object->field where the verifier does not know the type of `object`: by one load if the
 * kernel can cast, else by a probe read. A bad address reads as zeroes in both.
 */
#define KREAD(object, field)                                                                      \
	({                                                                                        \
		typeof(({ (object)->field; })) __value;                                           \
		if (has_rdonly_cast)                                                              \
			__value = ((typeof(object))bpf_rdonly_cast(                               \
					   (object), bpf_core_type_id_kernel(typeof(*(object))))) \
					  ->field;                                                \
		else                                                                              \
			bpf_core_read(&__value, sizeof(__value), &(object)->field);               \
		__value;                                                                          \
	})

/* Read eight bytes at any address, by way of a struct that begins with eight bytes. */
#define KREAD_WORD(address) ((__u64)KREAD((struct timespec64 *)(address), tv_sec))

struct inode___timespec { /* before v6.6 */
	struct timespec64 i_mtime;
	struct timespec64 i_ctime;
} __attribute__((preserve_access_index));

struct inode___private { /* v6.6 and v6.7, 13bc24457850 ("fs: rename i_ctime field") */
	struct timespec64 __i_mtime;
	struct timespec64 __i_ctime;
} __attribute__((preserve_access_index));

/* v6.11: 3aa63a569c64 ("fs: switch timespec64 fields in inode to discrete integers") */
struct inode___discrete {
	time64_t i_mtime_sec;
	u32 i_mtime_nsec;
	time64_t i_ctime_sec;
	u32 i_ctime_nsec;
} __attribute__((preserve_access_index));

/* On kernels with multigrain timestamps (v6.13), nanoseconds have a flag above bit 29. */
#define NSEC_BITS 0x3fffffff
#define NSEC(sec, nsec) ((__s64)(sec)*1000000000 + ((nsec)&NSEC_BITS))

static __always_inline __s64 inode_mtime_ns(struct inode *inode)
{
	struct inode___timespec *old = (void *)inode;
	struct inode___private *mid = (void *)inode;
	struct inode___discrete *now = (void *)inode;

	if (bpf_core_field_exists(now->i_mtime_sec))
		return NSEC(KREAD(now, i_mtime_sec), KREAD(now, i_mtime_nsec));
	if (bpf_core_field_exists(mid->__i_mtime))
		return NSEC(KREAD(mid, __i_mtime.tv_sec), KREAD(mid, __i_mtime.tv_nsec));
	return NSEC(KREAD(old, i_mtime.tv_sec), KREAD(old, i_mtime.tv_nsec));
}

static __always_inline __s64 inode_ctime_ns(struct inode *inode)
{
	struct inode___timespec *old = (void *)inode;
	struct inode___private *mid = (void *)inode;
	struct inode___discrete *now = (void *)inode;

	if (bpf_core_field_exists(now->i_ctime_sec))
		return NSEC(KREAD(now, i_ctime_sec), KREAD(now, i_ctime_nsec));
	if (bpf_core_field_exists(mid->__i_ctime))
		return NSEC(KREAD(mid, __i_ctime.tv_sec), KREAD(mid, __i_ctime.tv_nsec));
	return NSEC(KREAD(old, i_ctime.tv_sec), KREAD(old, i_ctime.tv_nsec));
}

/* Time of birth: of the file systems here, ext4 keeps it since v2.6.23, tmpfs since v6.1. */
struct ext4_inode_info___birth {
	struct timespec64 i_crtime;
	struct inode vfs_inode;
} __attribute__((preserve_access_index));

struct shmem_inode_info___birth {
	struct timespec64 i_crtime;
	struct inode vfs_inode;
} __attribute__((preserve_access_index));

#define BIRTH_NS(inode, info)                                                                     \
	({                                                                                        \
		__s64 __ns = 0;                                                                   \
		if (bpf_core_field_exists((info)->i_crtime)) {                                    \
			(info) = (void *)(inode)-bpf_core_field_offset((info)->vfs_inode);        \
			__ns = NSEC(KREAD(info, i_crtime.tv_sec), KREAD(info, i_crtime.tv_nsec)); \
		}                                                                                 \
		__ns;                                                                             \
	})

static __always_inline __s64 ext4_inode_birth_ns(struct inode *inode)
{
	struct ext4_inode_info___birth *info = NULL;

	return BIRTH_NS(inode, info);
}

static __always_inline __s64 shmem_inode_birth_ns(struct inode *inode)
{
	struct shmem_inode_info___birth *info = NULL;

	return BIRTH_NS(inode, info);
}

/* Without CONFIG_AUDIT there is no login uid: the value is that of a task without login. */
static __always_inline __u32 task_loginuid(struct task_struct *task)
{
	return bpf_core_field_exists(task->loginuid) ? BPF_CORE_READ(task, loginuid.val) : -1;
}

static __always_inline __u32 task_sessionid(struct task_struct *task)
{
	return bpf_core_field_exists(task->sessionid) ? BPF_CORE_READ(task, sessionid) : -1;
}

/* Before v6.18 the members are numbers, of which <linux/tty_driver.h> had macros. */
#define OLD_TTY_DRIVER_TYPE_PTY 0x0004
#define OLD_PTY_TYPE_SLAVE 0x0002

struct tty_driver___short {
	short type;
	short subtype;
} __attribute__((preserve_access_index));

/* v6.18 has enumerations, with other numbers; libbpf looks these up by their names. */
enum tty_driver_type___any {
	TTY_DRIVER_TYPE_PTY___any,
};

enum tty_driver_subtype___any {
	PTY_TYPE_SLAVE___any,
};

struct tty_driver___enum {
	enum tty_driver_type___any type;
	enum tty_driver_subtype___any subtype;
} __attribute__((preserve_access_index));

static __always_inline bool tty_driver_is_pts(struct tty_driver *driver)
{
	struct tty_driver___short *old = (void *)driver;
	struct tty_driver___enum *now = (void *)driver;

	if (bpf_core_field_exists(now->type))
		return BPF_CORE_READ(now, type) == bpf_core_enum_value(enum tty_driver_type___any,
								       TTY_DRIVER_TYPE_PTY___any) &&
		       BPF_CORE_READ(now, subtype) ==
			       bpf_core_enum_value(enum tty_driver_subtype___any,
						   PTY_TYPE_SLAVE___any);
	return BPF_CORE_READ(old, type) == OLD_TTY_DRIVER_TYPE_PTY &&
	       BPF_CORE_READ(old, subtype) == OLD_PTY_TYPE_SLAVE;
}

struct super_block___list { /* before v6.18 */
	struct list_head s_mounts;
} __attribute__((preserve_access_index));

struct mount___list {
	struct list_head mnt_instance;
} __attribute__((preserve_access_index));

/* v6.18 chains the mounts of a file system without a list head. */
struct super_block___chain {
	struct mount *s_mounts;
} __attribute__((preserve_access_index));

struct mount___chain {
	struct mount *mnt_next_for_sb;
} __attribute__((preserve_access_index));

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
	struct super_block___chain *now = (void *)sb;
	struct mount___chain *mount = NULL;

	if (bpf_core_field_exists(mount->mnt_next_for_sb))
		return BPF_CORE_READ(now, s_mounts);
	return mount_of_list(sb, BPF_CORE_READ(old, s_mounts.next));
}

static __always_inline struct mount *next_mount(struct super_block *sb, struct mount *mount)
{
	struct mount___list *old = (void *)mount;
	struct mount___chain *now = (void *)mount;

	if (bpf_core_field_exists(now->mnt_next_for_sb))
		return BPF_CORE_READ(now, mnt_next_for_sb);
	return mount_of_list(sb, BPF_CORE_READ(old, mnt_instance.next));
}

/* v6.13: 7029acd8a950 ("io_uring/rsrc: get rid of per-ring io_rsrc_node list") */
struct io_rsrc_node___file {
	unsigned long file_ptr;
} __attribute__((preserve_access_index));

struct io_rsrc_data___nodes {
	unsigned int nr;
	struct io_rsrc_node___file **nodes;
} __attribute__((preserve_access_index));

struct io_file_table___data {
	struct io_rsrc_data___nodes data;
} __attribute__((preserve_access_index));

struct io_ring_ctx___data {
	struct io_file_table___data file_table;
} __attribute__((preserve_access_index));

/* Types of overlayfs. The kernel has no BTF of them before the module is loaded. */
struct ovl_path___any {
	struct dentry *dentry;
} __attribute__((preserve_access_index));

struct ovl_inode___any {
	unsigned long flags;
	struct inode vfs_inode;
	struct dentry *__upperdentry;
} __attribute__((preserve_access_index));

struct ovl_inode___lower { /* before v5.19 */
	struct inode *lower;
} __attribute__((preserve_access_index));

/* v5.19: ffa5723c6d25 ("ovl: store lower path in ovl_inode") */
struct ovl_inode___path {
	struct ovl_path___any lowerpath;
} __attribute__((preserve_access_index));

struct ovl_inode___data { /* before v6.5; NULL: the lower file holds the data itself */
	struct inode *lowerdata;
} __attribute__((preserve_access_index));

struct ovl_entry___stack {
	unsigned int __numlower;
	struct ovl_path___any __lowerstack[1];
} __attribute__((preserve_access_index));

/* v6.5: 0af950f57fef ("ovl: move ovl_entry into ovl_inode") */
struct ovl_inode___entry {
	struct ovl_entry___stack *oe;
} __attribute__((preserve_access_index));

#define OVL_UPPERDATA_BIT 3 /* enum ovl_inode_flag, OVL_UPPERDATA; the same since v4.19 */

/*
 * The inode in the lower layer that holds the data. NULL: there is none, or the data is in yet
 * another file, which a later mount may replace.
 */
static __always_inline struct inode *overlay_lower_inode(struct inode *inode)
{
	struct ovl_inode___any *any = container_of(inode, struct ovl_inode___any, vfs_inode);
	struct ovl_inode___entry *now = (void *)any;
	struct ovl_inode___data *old = (void *)any;
	struct ovl_inode___path *path = (void *)any;
	struct ovl_inode___lower *lower = (void *)any;
	struct ovl_entry___stack *stack;

	if (bpf_core_field_exists(now->oe)) {
		stack = BPF_CORE_READ(now, oe);
		if (BPF_CORE_READ(stack, __numlower) != 1)
			return NULL;
		return BPF_CORE_READ(stack, __lowerstack[0].dentry, d_inode);
	}
	if (!bpf_core_field_exists(old->lowerdata) || BPF_CORE_READ(old, lowerdata))
		return NULL;
	if (bpf_core_field_exists(path->lowerpath))
		return BPF_CORE_READ(path, lowerpath.dentry, d_inode);
	if (bpf_core_field_exists(lower->lower))
		return BPF_CORE_READ(lower, lower);
	return NULL;
}

/* The inode in a layer that holds the data of an inode of overlayfs; NULL: not known. */
static __always_inline struct inode *overlay_data_inode(struct inode *inode)
{
	struct ovl_inode___any *any = NULL;
	struct dentry *upper;

	if (!bpf_core_field_exists(any->__upperdentry))
		return NULL;
	barrier_var(inode); /* no offset of an unknown type in front of the question */
	any = container_of(inode, struct ovl_inode___any, vfs_inode);
	upper = BPF_CORE_READ(any, __upperdentry);
	if (!upper)
		return overlay_lower_inode(inode);
	if (!(BPF_CORE_READ(any, flags) & 1UL << OVL_UPPERDATA_BIT))
		return NULL;
	return BPF_CORE_READ(upper, d_inode);
}

struct btrfs_key___any {
	__u64 objectid;
} __attribute__((preserve_access_index));

struct btrfs_root___any {
	struct btrfs_key___any root_key;
} __attribute__((preserve_access_index));

struct btrfs_inode___any {
	struct btrfs_root___any *root;
	struct inode vfs_inode;
} __attribute__((preserve_access_index));

/* Number of the btrfs subvolume that holds the inode; 0: not known. */
static __always_inline __u64 btrfs_subvolume(struct inode *inode)
{
	struct btrfs_inode___any *any = NULL;

	if (!bpf_core_field_exists(any->root))
		return 0;
	barrier_var(inode); /* as above */
	any = container_of(inode, struct btrfs_inode___any, vfs_inode);
	return BPF_CORE_READ(any, root, root_key.objectid);
}

/* Types of modules: a kernel without CONFIG_MODULES has the first one without meaning. */
struct module___any {
	char name[56];
	unsigned long taints;
} __attribute__((preserve_access_index));

struct module___signed { /* with CONFIG_MODULE_SIG */
	bool sig_ok;
} __attribute__((preserve_access_index));

#define KERNEL_STACK_BYTES 16384 /* on x86 and arm64 with pages of 4 KiB, without KASAN */

/*
 * Copy the registers with which the current task has entered the kernel. Before v5.15,
 * dd6e10fbd9fb ("bpf: Add bpf_task_pt_regs() helper"), they are looked for where the stack begins:
 * whoever uses them compares the number of the call.
 */
static __always_inline void registers_read(struct pt_regs *registers)
{
#ifdef WITHOUT_BPF_LOOP
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 address = (__u64)KREAD(task, stack) + KERNEL_STACK_BYTES - sizeof(*registers);
#else
	__u64 address = bpf_task_pt_regs(bpf_get_current_task_btf());
#endif
	bpf_probe_read_kernel(registers, sizeof(*registers), (void *)address);
}

/*
 * The first of some pointers in memory, for example the first argument of a tracepoint, as a
 * number: global functions take no other ones.
 */
static __always_inline __u64 first_address(const void *pointers)
{
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), pointers);
	return address;
}

#endif /* KERNEL_COMPAT_BPF_H */
