/* SPDX-License-Identifier: GPL-2.0 */
/* What one file hands on to another: scalars only. */
#ifndef ACCESS_BPF_H
#define ACCESS_BPF_H

#include "vmlinux.h"

/* access.bpf.c */
int ptrace_attached(__u32 pid);
int process_memory_copied(__u32 pid, bool writing);
int descriptor_taken(__u32 pidfd);
int process_file_opened(__u64 file_address);

/* file.bpf.c */
int file_opened(__u64 file_address, bool truncated);

/* bpf.bpf.c */
int bpf_program_loaded(__u32 fd);

#endif /* ACCESS_BPF_H */
