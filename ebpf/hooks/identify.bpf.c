// SPDX-License-Identifier: GPL-2.0-only
/* Identity of the file behind one of user space's descriptors. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/file_identity.bpf.h"

/* The question `fd`; the answer is written to `file`, which user space has zeroed. */
struct descriptor_query {
	struct file_identity file; /* inode 0: there is no such descriptor */
	__u32 fd;
	__u32 pad;
};

/*
 * User space runs this program; it sends no record. fstat(2) would ask the file system, which may
 * be a server that gives any answer or none. Since v5.14: 79a7f8bdb159 ("bpf: Introduce
 * bpf_sys_bpf() helper and program type.").
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
