// SPDX-License-Identifier: GPL-2.0-only
/*
 * Named pipes: made, and opened. hooks/syscall_exit.bpf.c and hooks/file.bpf.c call these functions
 * when the call has succeeded. Records: pipe_create, pipe_connect.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/compat.bpf.h"
#include "kernel/path.bpf.h"
#include "emit/scratch.bpf.h"
#include "hooks/file_record.bpf.h"
#include "hooks/found_names.bpf.h"
#include "hooks/functions.bpf.h"
#include "hooks/pipe.bpf.h"

/* A named pipe was opened by the current task. */
__noinline int fifo_opened(__u64 file_address)
{
	struct file *file = (void *)file_address;
	struct scratch *scratch = pipe_begin(RECORD_PIPE_CONNECT);

	if (!scratch)
		return 0;
	scratch_path_build(scratch, KREAD(file, f_path.dentry), KREAD(file, f_path.mnt));
	return pipe_report(scratch, RECORD_PIPE_CONNECT, NULL);
}

#ifdef WITHOUT_BPF_LOOP
#define fifo_is_found(scratch) false
#else
/* Put the name that the frames of the call have told into scratch->path; false: they did not. */
static __always_inline bool fifo_is_found(struct scratch *scratch)
{
	struct call_notes *notes = call_notes_get();

	return notes && found_path(&notes->name, scratch);
}
#endif

/* mknod(2) has made a named pipe. */
__noinline int fifo_made(__s32 dirfd, __u64 string)
{
	struct scratch *scratch = pipe_begin(RECORD_PIPE_CREATE);

	if (!scratch)
		return 0;
	if (fifo_is_found(scratch))
		return pipe_report(scratch, RECORD_PIPE_CREATE, NULL);
	path_read(&scratch->path, (void *)string, false);
	return pipe_report_given(scratch, RECORD_PIPE_CREATE, dirfd, NULL);
}
