/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions of access.bpf.c, file.bpf.c and bpf.bpf.c that other files call. Scalars alone
 * are handed on: the verifier walks each of these functions once, whoever calls it.
 */
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
