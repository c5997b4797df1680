/* SPDX-License-Identifier: GPL-2.0-only */
/* Readers of io_uring: the files that requests have opened. */
#ifndef KERNEL_IO_URING_BPF_H
#define KERNEL_IO_URING_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/file.bpf.h"

#define RING_FILE_FLAGS 7UL /* the table keeps flags in the low bits of a file's address */

/* A file of the ring's own table; NULL: the slot is free, or before v6.13. */
static __always_inline struct file *ring_file(struct io_ring_ctx *any_ring, __u32 slot)
{
	struct io_ring_ctx___data *ring = (void *)any_ring;
	struct io_rsrc_node___file **nodes, *node = NULL;

	if (!bpf_core_field_exists(ring->file_table.data.nodes))
		return NULL;
	nodes = KREAD(ring, file_table.data.nodes);
	if (slot < KREAD(ring, file_table.data.nr))
		bpf_probe_read_kernel(&node, sizeof(node), nodes + slot);
	return node ? (void *)(KREAD(node, file_ptr) & ~RING_FILE_FLAGS) : NULL;
}

/*
 * The file that a request has opened or accepted. `slot` and `result` are the request's. `slot` 0:
 * the result is a descriptor. IORING_FILE_INDEX_ALLOC: the result is a slot of the ring's table.
 * Any other number: it is the slot plus one.
 */
static __always_inline struct file *ring_made_file(struct io_ring_ctx *ring, __u32 slot,
						   __u32 result)
{
	if (!slot)
		return task_file((void *)bpf_get_current_task(), result);
	return ring_file(ring, slot == IORING_FILE_INDEX_ALLOC ? result : slot - 1);
}

/*
 * Returns whether an accept goes on after the first connection; false where the kernel does not
 * keep these flags, as v6.1.
 */
static __always_inline bool accept_goes_on(struct io_accept *accept)
{
	return bpf_core_field_exists(accept->iou_flags) &&
	       KREAD(accept, iou_flags) & IORING_ACCEPT_MULTISHOT;
}

#endif /* KERNEL_IO_URING_BPF_H */
