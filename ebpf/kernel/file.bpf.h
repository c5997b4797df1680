/* SPDX-License-Identifier: GPL-2.0-only */
/* Files: behind a descriptor, and what is told from a struct file. */
#ifndef KERNEL_FILE_BPF_H
#define KERNEL_FILE_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/compat.bpf.h"

#define AT_FDCWD -100
#define AT_REMOVEDIR 0x200
#define O_CREAT 0100 /* these two are the same on x86 and arm64 */
#define O_TRUNC 01000
#define RENAME_EXCHANGE 2

#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFSOCK 0140000
#define S_IFLNK 0120000
#define S_IFDIR 0040000
#define S_IFBLK 0060000
#define S_IFCHR 0020000
#define S_IFIFO 0010000

/* Of file->f_mode, <linux/fs.h>. */
#define FMODE_READ 0x1
#define FMODE_WRITE 0x2
#define FMODE_PATH 0x4000
#define FMODE_CREATED 0x100000

/* The file behind a descriptor of `task`, NULL when there is none. */
static __always_inline struct file *task_file(struct task_struct *task, __u32 fd)
{
	struct files_struct *files = KREAD(task, files);
	struct fdtable *table = KREAD(files, fdt);
	struct file **slots = KREAD(table, fd);

	return fd < KREAD(table, max_fds) ? (struct file *)KREAD_WORD(slots + fd) : NULL;
}

#endif /* KERNEL_FILE_BPF_H */
