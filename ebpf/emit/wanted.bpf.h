/* SPDX-License-Identifier: GPL-2.0-only */
/* Records that user space wants, and the process that is never reported: the daemon. */
#ifndef EMIT_WANTED_BPF_H
#define EMIT_WANTED_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/compat.bpf.h"

/* User space sets these at any time. */
__u64 wanted_records = 0; /* RECORD_BIT(type) of each record that is wanted */
bool truncation_as_create = 0; /* FileCreate also for O_TRUNC of a file that existed */
bool write_as_create = 0; /* FileCreate also for the first open for writing of such a file */
__u32 write_round = 0; /* another one for each configuration, after which files are told anew */

/*
 * Number of files that a process has to write, and then to rename or remove, within a minute to be
 * told; 0: no process is told.
 */
__u32 mass_change_files = 0;

/* Whether processes are told that make memory executable whose content no file has. */
bool executable_memory = 0;

#define RECORD_BIT(type) (1ULL << (type))
#define ACCESS_RECORDS (RECORD_BIT(RECORD_PROCESS_ACCESS) | RECORD_BIT(RECORD_PROCESS_WRITE))
#define OPEN_RECORDS                                                                            \
	(RECORD_BIT(RECORD_FILE_CREATE) | RECORD_BIT(RECORD_RAW_ACCESS_READ) | ACCESS_RECORDS | \
	 RECORD_BIT(RECORD_PIPE_CONNECT))
#define PIPE_RECORDS (RECORD_BIT(RECORD_PIPE_CREATE) | RECORD_BIT(RECORD_PIPE_CONNECT))
#define NAME_RECORDS (RECORD_BIT(RECORD_FILE_CREATE) | RECORD_BIT(RECORD_FILE_DELETE))

static __always_inline bool is_wanted(__u64 records)
{
	return wanted_records & records;
}

/* Returns whether files that are opened matter. */
static __always_inline bool are_opens_wanted(void)
{
	return is_wanted(OPEN_RECORDS | RECORD_BIT(RECORD_TIME_SET)) || mass_change_files ||
	       executable_memory;
}

/* Returns whether an open matters that has made no file. */
static __always_inline bool are_existing_wanted(void)
{
	return is_wanted(OPEN_RECORDS & ~RECORD_BIT(RECORD_FILE_CREATE)) || truncation_as_create ||
	       write_as_create || mass_change_files || executable_memory;
}

__u32 own_tgid = 0; /* of the daemon: its own acts are not reported */

static __always_inline bool is_own(void)
{
	return bpf_get_current_pid_tgid() >> 32 == own_tgid;
}

static __always_inline bool is_own_task(struct task_struct *task)
{
	return KREAD(task, tgid) == own_tgid;
}

#endif /* EMIT_WANTED_BPF_H */
