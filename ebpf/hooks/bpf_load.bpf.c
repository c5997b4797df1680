// SPDX-License-Identifier: GPL-2.0-only
/*
 * eBPF programs that were loaded, as the kernel keeps them. hooks/syscall_exit.bpf.c calls this at
 * the end of bpf(). Record: bpf_program_load.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/compat.bpf.h"
#include "kernel/file.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/record.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/functions.bpf.h"

/* bpf(BPF_PROG_LOAD) has returned a descriptor. */
__noinline int bpf_program_loaded(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file *file = task_file(task, fd);
	struct bpf_prog *program = KREAD(file, private_data);
	struct bpf_prog_aux *aux = KREAD(program, aux);
	struct bpf_program_load r = {};

	if (is_own())
		return 0;
	count_seen(RECORD_BPF_PROGRAM_LOAD);
	if (!program || KREAD(aux, prog) != program) { /* the descriptor is another file's now */
		count_lost(RECORD_BPF_PROGRAM_LOAD, LOSS_UNREADABLE);
		return 0;
	}
	record_header_fill(&r.header, task, RECORD_BPF_PROGRAM_LOAD);
	r.header.size = sizeof(r);
	r.program_id = KREAD(aux, id);
	r.program_type = KREAD(program, type);
	bpf_probe_read_kernel_str(r.name, sizeof(r.name), aux->name);
	if (program_load_excluded(&r))
		count_filtered(RECORD_BPF_PROGRAM_LOAD);
	else
		record_send(&r, sizeof(r), RECORD_BPF_PROGRAM_LOAD, false);
	return 0;
}
