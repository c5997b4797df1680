// SPDX-License-Identifier: GPL-2.0-only
/*
 * eBPF programs that were loaded, as the kernel keeps them. hooks/syscall_exit.bpf.c calls this at
 * the end of bpf(). Record: bpf_program_load. A program that another program has loaded is in no
 * system call of its own: the kernel tells user space of it beside, through perf_event_open(2).
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/file.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/record.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/functions.bpf.h"

#define PROGRAMS_REMEMBERED 4096

/*
 * Programs that were told, so that each one is told once: by the hook below, or by user space,
 * which reads what perf tells. The one that makes the entry tells. Key: id of the program.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PROGRAMS_REMEMBERED);
	__type(key, __u32);
	__type(value, __u8);
} programs_told SEC(".maps");

bool programs_by_perf = 0; /* set by user space at any time: it reads what perf tells */

/* Returns whether user space has told a program already; else the caller is to tell it. */
static __always_inline bool is_told_by_perf(__u32 program_id)
{
	__u8 here = 1;

	return programs_by_perf &&
	       bpf_map_update_elem(&programs_told, &program_id, &here, BPF_NOEXIST) == -EEXIST;
}

/*
 * bpf(BPF_PROG_LOAD) has returned a descriptor. If it is another file's now, the program is told by
 * perf.
 */
__noinline int bpf_program_loaded(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file *file = task_file(task, fd);
	struct bpf_prog *program = KREAD(file, private_data);
	struct bpf_prog_aux *aux = KREAD(program, aux);
	struct bpf_program_load r = {};

	if (is_own())
		return 0;
	if (!program || KREAD(aux, prog) != program) {
		if (programs_by_perf)
			return 0;
		count_seen(RECORD_BPF_PROGRAM_LOAD);
		count_lost(RECORD_BPF_PROGRAM_LOAD, LOSS_UNREADABLE);
		return 0;
	}
	if (is_told_by_perf(KREAD(aux, id)))
		return 0;
	count_seen(RECORD_BPF_PROGRAM_LOAD);
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

/*
 * A program that the kernel has. User space runs this iterator when perf has told of programs, and
 * takes the name, the type and the user from what it writes: bpf_program_load. The process that
 * loaded the program is not known here.
 */
SEC("?iter/bpf_prog")
int programs_alive(struct bpf_iter__bpf_prog *ctx)
{
	struct bpf_prog *program = ctx->prog;
	struct bpf_program_load r = {};
	struct user_struct *user;
	struct bpf_prog_aux *aux;

	if (!program)
		return 0;
	aux = KREAD(program, aux);
	user = KREAD(aux, user);
	r.header.type = RECORD_BPF_PROGRAM_LOAD;
	r.header.size = sizeof(r);
	r.header.uid = KREAD(user, uid.val);
	r.program_id = KREAD(aux, id);
	r.program_type = KREAD(program, type);
	bpf_probe_read_kernel_str(r.name, sizeof(r.name), aux->name);
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}
