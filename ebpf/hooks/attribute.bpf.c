// SPDX-License-Identifier: GPL-2.0-only
/*
 * Extended attributes that a process sets: those of users, of root, and the capabilities of a
 * program. hooks/syscall_exit.bpf.c calls attribute_set() when the call has succeeded. Labels of
 * security modules, access lists and what overlayfs keeps are not told. Record: attribute_set.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/file.bpf.h"
#include "kernel/path.bpf.h"
#include "kernel/task.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/record.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/file_record.bpf.h"
#include "hooks/found_names.bpf.h"
#include "hooks/functions.bpf.h"

#define ATTRIBUTES_UNDER_WAY 1024
#define ATTRIBUTE_NAME_SIZE 256 /* bytes, with the NUL: no longer one can be set */
#define ATTRIBUTE_VALUE_SIZE 1024 /* bytes of a value that are told */
#define OVERLAY "trusted.overlay."
#define CAPABILITY "security.capability"

/* The attribute that the kernel set last for a thread, from its own copy, which nobody can change.
 */
struct attribute_known {
	__u32 value_size;
	char name[ATTRIBUTE_NAME_SIZE];
	__u8 value[ATTRIBUTE_VALUE_SIZE];
};

/* Key: thread id. An entry lives from the hook that is given the attribute to the call's end. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, ATTRIBUTES_UNDER_WAY);
	__type(key, __u32);
	__type(value, struct attribute_known);
} attributes_known SEC(".maps");

/* A place to make an entry in, one for each processor. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct attribute_known);
} attribute_scratch SEC(".maps");

bool attributes_are_known; /* attributes_known has had an entry */

static __always_inline bool begins_with(const char *text, const char *with, __u32 length)
{
	for (__u32 i = 0; i < length; i++)
		if (text[i] != with[i])
			return false;
	return true;
}

/* Returns whether attributes that are named so are told. `name` has 24 bytes. */
static __always_inline bool is_told_name(const char *name)
{
	if (begins_with(name, "user.", 5))
		return true;
	if (begins_with(name, "trusted.", 8))
		return !begins_with(name, OVERLAY, sizeof(OVERLAY) - 1);
	return begins_with(name, CAPABILITY, sizeof(CAPABILITY));
}

/*
 * The kernel has set an attribute. On overlayfs the hook comes twice, first for the file in the
 * layer. Name and value are the kernel's own copies, which no thread of the caller can change.
 * Where the program cannot be attached, the caller's strings are read when the call has ended.
 */
SEC("?fentry/security_inode_post_setxattr")
int attribute_was_set(__u64 *ctx)
{
	__u32 thread = bpf_get_current_pid_tgid(), zero = 0, length;
	struct attribute_known *known = bpf_map_lookup_elem(&attribute_scratch, &zero);
	__u64 given[4] = {}; /* dentry, name, value, size */

	if (!known || !is_wanted(RECORD_BIT(RECORD_ATTRIBUTE_SET)))
		return 0;
	/* The verifier of older kernels lets no program have pointers to what is no struct. */
	bpf_probe_read_kernel(given, sizeof(given), ctx);
	length = given[3];
	known->value_size = length;
	if (bpf_probe_read_kernel_str(known->name, sizeof(known->name), (void *)given[1]) < 1)
		return 0;
	if (length > ATTRIBUTE_VALUE_SIZE)
		length = 0;
	length &= 2 * ATTRIBUTE_VALUE_SIZE - 1;
	if (length <= ATTRIBUTE_VALUE_SIZE)
		bpf_probe_read_kernel(known->value, length, (void *)given[2]);
	bpf_map_update_elem(&attributes_known, &thread, known, BPF_ANY);
	attributes_are_known = true;
	return 0;
}

/* Append the file of a descriptor. */
static __always_inline void append_file(struct scratch *scratch, struct attribute_set *r,
					__s32 descriptor)
{
	struct file *file = task_file((void *)bpf_get_current_task(), descriptor);
	struct inode *inode = KREAD(file, f_inode);

	r->mode = KREAD(inode, i_mode);
	record_append_dentry(scratch, &r->path, KREAD(file, f_path.dentry), KREAD(file, f_path.mnt),
			     &r->flags, RECORD_PATH_TRUNCATED, RECORD_PATH_SHORTENED);
}

/* Append the file of the caller's string, as file_event_begin_given() does. */
static __always_inline void append_given(struct scratch *scratch, struct attribute_set *r,
					 __s32 dirfd, __u64 string)
{
	struct path_buffer *path = &scratch->path;

	r->flags |= RECORD_PATH_GIVEN;
	if (!path_read(path, (void *)string, false))
		r->flags |= RECORD_PATH_UNREADABLE;
	record_append_path(scratch, &r->path, path, &r->flags, RECORD_PATH_SHORTENED);
	if (!r->path.length || scratch->data[r->path.offset & (STRINGS_SIZE - 1)] != '/')
		append_base(scratch, &r->base, &r->flags, dirfd);
	append_root(scratch, &r->root, &r->flags);
}

/* Append the file whose attribute it is; unknown, if nothing proves that the call ran. */
static __always_inline void append_whose(struct scratch *scratch, struct attribute_set *r,
					 __s32 descriptor, __u64 string, bool is_proved)
{
	if (!is_proved && call_may_be_faked()) {
		r->flags |= RECORD_PATH_GIVEN | RECORD_PATH_UNREADABLE;
		__sync_fetch_and_add(&names_unproved, 1);
	} else if (string) {
		append_given(scratch, r, descriptor, string);
	} else {
		append_file(scratch, r, descriptor);
	}
}

/* Append bytes of the kernel's memory, or of the caller's. Returns how many. */
static __always_inline __u32 append_bytes(struct scratch *scratch, struct varlen *to, __u64 from,
					  __u32 length, bool in_kernel)
{
	__u32 used = scratch->used & (STRINGS_SIZE - 1);
	long error;

	if (length > ATTRIBUTE_VALUE_SIZE)
		return 0;
	barrier_var(length);
	length &= 2 * ATTRIBUTE_VALUE_SIZE - 1;
	error = in_kernel ? bpf_probe_read_kernel(&scratch->data[used], length, (void *)from)
			  : bpf_probe_read_user(&scratch->data[used], length, (void *)from);
	if (error)
		return 0;
	to->offset = used;
	to->length = length;
	scratch->used = used + length;
	return length;
}

/* Append a name with its NUL, which the string does not count. Returns false: unreadable. */
static __always_inline bool append_name(struct scratch *scratch, struct varlen *to, __u64 from,
					bool in_kernel)
{
	__u32 used = scratch->used & (STRINGS_SIZE - 1);
	long size;

	size = in_kernel ? bpf_probe_read_kernel_str(&scratch->data[used], ATTRIBUTE_NAME_SIZE,
						     (void *)from)
			 : bpf_probe_read_user_str(&scratch->data[used], ATTRIBUTE_NAME_SIZE,
						   (void *)from);
	if (size < 1)
		return false;
	to->offset = used;
	to->length = (size - 1) & (ATTRIBUTE_NAME_SIZE - 1);
	scratch->used = used + to->length;
	return true;
}

/* Forget what the hook was given for the current call. */
static __always_inline int attribute_end(const struct attribute_known *known)
{
	__u32 thread = bpf_get_current_pid_tgid();

	if (known)
		bpf_map_delete_elem(&attributes_known, &thread);
	return 0;
}

/*
 * The call has succeeded, or seems to: where no hook was given the attribute, and others may have
 * answered for the kernel, the file is unknown. `string` is the path of the file, which begins at
 * the directory of the descriptor; 0: the descriptor is that of the file. `name` and `value` are
 * addresses in the caller's memory.
 */
__noinline int attribute_set(__s32 descriptor, __u64 string, __u64 name, __u64 value, __u64 size)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 thread = bpf_get_current_pid_tgid();
	struct scratch *scratch = task_scratch_get();
	struct attribute_known *known = NULL;
	struct attribute_set *r;
	char begin[24] = {};

	if (attributes_are_known)
		known = bpf_map_lookup_elem(&attributes_known, &thread);
	if (known) {
		name = (__u64)known->name;
		value = (__u64)known->value;
		size = known->value_size;
		bpf_probe_read_kernel_str(begin, sizeof(begin), (void *)name);
	} else {
		bpf_probe_read_user_str(begin, sizeof(begin), (void *)name);
	}
	if (!is_told_name(begin) || is_own())
		return attribute_end(known);
	count_seen(RECORD_ATTRIBUTE_SET);
	if (actor_excluded(FILTER_ATTRIBUTE_SET)) {
		count_filtered(RECORD_ATTRIBUTE_SET);
		return attribute_end(known);
	}
	if (!scratch) {
		count_lost(RECORD_ATTRIBUTE_SET, LOSS_UNREADABLE);
		return attribute_end(known);
	}
	r = record_begin(scratch, task, RECORD_ATTRIBUTE_SET, attribute_set);
	r->mount_namespace = task_mount_namespace(task);
	r->value_size = size;
	append_whose(scratch, r, descriptor, string, known);
	append_name(scratch, &r->name, name, known);
	append_bytes(scratch, &r->value, value, size, known);
	record_finish(scratch, RECORD_ATTRIBUTE_SET, HASTE_SOON);
	return attribute_end(known);
}

/* The arguments of setxattrat(2) that lie in memory: struct xattr_args, <linux/xattr.h>. */
struct attribute_given {
	__u64 value;
	__u32 size;
	__u32 flags;
};

/* setxattrat(2) has succeeded: with an empty path, on the file of the descriptor. */
__noinline int attribute_set_at(__s32 descriptor, __u64 string, __u64 name, __u64 given_address)
{
	struct attribute_given given = {};
	char first = 0;

	bpf_probe_read_user(&given, sizeof(given), (void *)given_address);
	bpf_probe_read_user(&first, sizeof(first), (void *)string);
	return attribute_set(descriptor, first ? string : 0, name, given.value, given.size);
}
