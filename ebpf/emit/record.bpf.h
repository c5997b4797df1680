/* SPDX-License-Identifier: GPL-2.0-only */
/* A record: begun with its header, appended to, finished and sent. */
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

/* Fill the header with the process of `task`; size and time are set when it is whole. */
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

/* The same for a record of fixed size, which is whole at once. */
static __always_inline void record_header_fill(struct record_header *header,
					       struct task_struct *task, enum record_type type)
{
	record_header_begin(header, task, type);
	header->boot_ns = bpf_ktime_get_boot_ns();
}

/* Start a record of `size` fixed bytes in scratch, zeroed but for its header. */
#define record_begin(scratch, task, type, record_struct)                  \
	({                                                                \
		struct record_struct *__record = (void *)(scratch)->data; \
		__builtin_memset(__record, 0, sizeof(*__record));         \
		record_header_begin(&__record->header, (task), (type));   \
		(scratch)->used = sizeof(*__record);                      \
		__record;                                                 \
	})

/* What is left of a long path while the ring is filling. */
#define PATH_ENDS 512
#define PATH_MARK "..."
#define PATH_MARK_LENGTH 3
#define PATH_SHORT (PATH_ENDS + PATH_MARK_LENGTH + PATH_ENDS)

/* Its two ends at `to`. Returns how many bytes that are; 0: it is none of our paths. */
static __always_inline __u32 path_copy_ends(__u8 *to, const struct path_buffer *path, __u32 at)
{
	const __u32 most = PATH_SIZE + NAME_SIZE - PATH_ENDS;
	__u32 tail = path->end - PATH_ENDS;

	barrier_var(at); /* keep what the verifier wants to see */
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
 * Append a path to the record; not more than STRINGS_SIZE holds. A long one loses its middle
 * while the ring is filling, which `shortened` in `flags` says then; 0: it may not.
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

/* Append the path of (mnt, dentry). `truncated` in `flags` says that its front is missing. */
static __always_inline void record_append_dentry(struct scratch *scratch, struct varlen *string,
						 struct dentry *dentry, struct vfsmount *mnt,
						 __u32 *flags, __u32 truncated, __u32 shortened)
{
	if (!path_build(&scratch->path, dentry, mnt))
		*flags |= truncated;
	record_append_path(scratch, string, &scratch->path, flags, shortened);
}

/* Send what was built in scratch. */
static __always_inline void record_finish(struct scratch *scratch, enum record_type type,
					  bool urgent)
{
	struct record_header *header = (void *)scratch->data;
	__u32 used = scratch->used & (STRINGS_SIZE + ARGS_SIZE - 1);

	header->boot_ns = bpf_ktime_get_boot_ns();
	header->size = used;
	if (flood_leaves_out_built(scratch, type))
		return;
	record_send(scratch->data, used, type, urgent);
}

#endif /* EMIT_RECORD_BPF_H */
