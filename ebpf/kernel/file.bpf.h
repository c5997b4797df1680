/* SPDX-License-Identifier: GPL-2.0-only */
/* Reader of file descriptors. */
#ifndef KERNEL_FILE_BPF_H
#define KERNEL_FILE_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "kernel/compat.bpf.h"

/* The file behind descriptor `fd` of `task`; NULL: there is none. */
static __always_inline struct file *task_file(struct task_struct *task, __u32 fd)
{
	struct files_struct *files = KREAD(task, files);
	struct fdtable *table = KREAD(files, fdt);
	struct file **slots = KREAD(table, fd);

	return fd < KREAD(table, max_fds) ? (struct file *)KREAD_WORD(slots + fd) : NULL;
}

#endif /* KERNEL_FILE_BPF_H */
