// SPDX-License-Identifier: GPL-2.0-only
/* Tells user space which file one of its descriptors leads to. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/file_identity.bpf.h"

/* The question and, in place of zeroes, the answer. */
struct descriptor_query {
	struct file_identity file; /* inode 0: there is no such descriptor */
	__u32 fd;
	__u32 pad;
};

/*
 * User space runs it: what fstat(2) says depends on what a file system, or whoever is
 * behind it, chooses to answer, and when.
 */
SEC("?syscall")
int descriptor_identify(struct descriptor_query *query)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file_identity identity = {};
	struct file **files = BPF_CORE_READ(table, fd), *file = NULL;
	__u32 fd = query->fd;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), &files[fd]);
	if (!file)
		return 0;
	file_identify(&identity, BPF_CORE_READ(file, f_inode));
	query->file = identity;
	return 0;
}
