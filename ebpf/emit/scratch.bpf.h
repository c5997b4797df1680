/* SPDX-License-Identifier: GPL-2.0-only */
/* Scratch memory in which a record is built: the stack has 512 bytes. */
#ifndef EMIT_SCRATCH_BPF_H
#define EMIT_SCRATCH_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "kernel/path.bpf.h"

#define STRINGS_SIZE 16384 /* bytes for the fixed part and all strings but `args` */
#define ARGS_SIZE 16384 /* bytes for `args`, with its last NUL */

/* One record under construction. */
struct scratch {
	__u32 used; /* bytes of data */
	__u8 data[STRINGS_SIZE + ARGS_SIZE];
	struct path_buffer path;
};

/*
 * An entry for each processor. It is an array because a per-CPU map holds 32 KiB at most; user
 * space sets max_entries. Only programs that run in the context of a task may use it: they do not
 * interrupt each other on one processor. Programs that may run in softirq must not use it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} task_scratch SEC(".maps");

static __always_inline struct scratch *task_scratch_get(void)
{
	__u32 processor = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&task_scratch, &processor);
}

#ifdef WITHOUT_BPF_LOOP
/* Write all components from the start of the walk in scratch->path up, as path_climb() does. */
__noinline int scratch_climb(void)
{
	struct scratch *scratch = task_scratch_get();

	return scratch && path_climb(&scratch->path);
}
#endif

/* Build a path in scratch, see path_build_in(). */
static __always_inline bool scratch_path_build(struct scratch *scratch, struct dentry *dentry,
					       struct vfsmount *mnt)
{
	return path_build_in(&scratch->path, dentry, mnt, true);
}

/* The same as path_build_name() does. */
static __always_inline bool scratch_path_build_name(struct scratch *scratch, struct dentry *dentry,
						    struct vfsmount *mnt)
{
	path_begin(&scratch->path, dentry, mnt);
	return path_climb_in(&scratch->path, true);
}

#endif /* EMIT_SCRATCH_BPF_H */
