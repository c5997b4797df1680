/* SPDX-License-Identifier: GPL-2.0-only */
/* Building a record: begin it with its header, append strings, finish and send it. */
#ifndef EMIT_RECORD_BPF_H
#define EMIT_RECORD_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/compat.bpf.h"
#include "kernel/path.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/ring.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/flood.bpf.h"

/* Number of the image that the process of `task` runs. */
static __always_inline __u64 image_id_of_task(struct task_struct *task)
{
	struct task_struct *leader = KREAD(task, group_leader);

	return image_id_from(KREAD(leader, start_boottime), KREAD(task, tgid),
			     KREAD(task, self_exec_id));
}

/* Fill the header with the process of `task`. record_finish() sets size and time. */
static __always_inline void record_header_begin(struct record_header *header,
						struct task_struct *task, enum record_type type)
{
	struct task_struct *leader = KREAD(task, group_leader);
	const struct cred *cred = KREAD(task, cred);

	header->start_boot_ns = KREAD(leader, start_boottime);
	header->type = type;
	header->tgid = KREAD(task, tgid);
	header->tid = KREAD(task, pid);
	header->uid = KREAD(cred, uid.val);
	header->exec_id = KREAD(task, self_exec_id);
}

/*
 * Fill the header as record_header_begin() does, and set the time. This is for a record without
 * strings, which does not pass record_finish(). The caller sets the size.
 */
static __always_inline void record_header_fill(struct record_header *header,
					       struct task_struct *task, enum record_type type)
{
	record_header_begin(header, task, type);
	header->boot_ns = bpf_ktime_get_boot_ns();
}

/* Begin a `struct record_struct` in scratch: its header is filled, the rest is zeroes. */
#define record_begin(scratch, task, type, record_struct)                  \
	({                                                                \
		struct record_struct *__record = (void *)(scratch)->data; \
		__builtin_memset(__record, 0, sizeof(*__record));         \
		record_header_begin(&__record->header, (task), (type));   \
		(scratch)->used = sizeof(*__record);                      \
		__record;                                                 \
	})

/* A longer path keeps this many bytes of each end while the ring is filling. */
#define PATH_ENDS 512
#define PATH_MARK "..."
#define PATH_MARK_LENGTH 3
#define PATH_SHORT (PATH_ENDS + PATH_MARK_LENGTH + PATH_ENDS)

/* Copy both ends of a path to `to`. Returns the bytes written; 0: offsets are out of bounds. */
static __always_inline __u32 path_copy_ends(__u8 *to, const struct path_buffer *path, __u32 at)
{
	const __u32 most = PATH_SIZE + NAME_SIZE - PATH_ENDS;
	__u32 tail = path->end - PATH_ENDS;

	barrier_var(at); /* keep the comparisons below, which the verifier needs */
	barrier_var(tail);
	if (at > most || tail > most)
		return 0;
	bpf_probe_read_kernel(to, PATH_ENDS, &path->bytes[at]);
	__builtin_memcpy(to + PATH_ENDS, PATH_MARK, PATH_MARK_LENGTH);
	bpf_probe_read_kernel(to + PATH_ENDS + PATH_MARK_LENGTH, PATH_ENDS, &path->bytes[tail]);
	__sync_fetch_and_add(&paths_shortened, 1);
	return PATH_SHORT;
}

/*
 * Append a path to the record and note its place in `string`. While the ring is filling, a long
 * path loses its middle, and `shortened` is set in `flags`. With `shortened` 0 it is always kept
 * whole. STRINGS_SIZE has room for all paths of any record.
 */
static __always_inline void record_append_path(struct scratch *scratch, struct varlen *string,
					       struct path_buffer *path, __u32 *flags,
					       __u32 shortened)
{
	__u32 at = path->at & (PATH_SIZE - 1);
	__u32 length = (path->end - at) & (PATH_SIZE - 1);
	__u32 used = scratch->used & (STRINGS_SIZE - 1);
	__u32 ends = 0;

	if (shortened && length > PATH_SHORT && ring_is_filling())
		ends = path_copy_ends(&scratch->data[used], path, at);
	if (ends) {
		*flags |= shortened;
		length = ends;
	} else {
		bpf_probe_read_kernel(&scratch->data[used], length, &path->bytes[at]);
	}
	string->offset = used;
	string->length = length;
	scratch->used = used + length;
}

/*
 * Append the path of (mnt, dentry). `truncated` is set in `flags` if its front is missing.
 * `scratch` is that of the task.
 */
static __always_inline void record_append_dentry(struct scratch *scratch, struct varlen *string,
						 struct dentry *dentry, struct vfsmount *mnt,
						 __u32 *flags, __u32 truncated, __u32 shortened)
{
	if (!scratch_path_build(scratch, dentry, mnt))
		*flags |= truncated;
	record_append_path(scratch, string, &scratch->path, flags, shortened);
}

/* The same with the scratch of process_scan(), or that of the task. */
static __always_inline void
record_append_process_dentry(struct scratch *scratch, struct varlen *string, struct dentry *dentry,
			     struct vfsmount *mnt, __u32 *flags, __u32 truncated, __u32 shortened)
{
	if (!path_build_in(&scratch->path, dentry, mnt, false))
		*flags |= truncated;
	record_append_path(scratch, string, &scratch->path, flags, shortened);
}

/* Set size and time of the record in scratch, and send it unless it repeats in a flood. */
static __always_inline void record_finish(struct scratch *scratch, enum record_type type,
					  enum haste haste)
{
	struct record_header *header = (void *)scratch->data;
	__u32 used = scratch->used & (STRINGS_SIZE + ARGS_SIZE - 1);

	header->boot_ns = bpf_ktime_get_boot_ns();
	header->size = used;
	if (flood_leaves_out_built(scratch, type))
		return;
	record_send(scratch->data, used, type, haste);
}

#endif /* EMIT_RECORD_BPF_H */
