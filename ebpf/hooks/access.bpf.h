/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions of hooks/access.bpf.c, hooks/file.bpf.c and hooks/bpf_load.bpf.c that other files call.
 * Scalars alone are handed on: the verifier walks each of these functions once, whoever calls it.
 */
#ifndef HOOKS_ACCESS_BPF_H
#define HOOKS_ACCESS_BPF_H

#include "vmlinux.h"

/* hooks/access.bpf.c */
int ptrace_attached(__u32 pid);
int process_memory_copied(__u32 pid, bool writing);
int descriptor_taken(__u32 pidfd);
int process_file_opened(__u64 file_address);

/* hooks/file.bpf.c */
int file_opened(__u64 file_address, bool truncated);

/* hooks/bpf_load.bpf.c */
int bpf_program_loaded(__u32 fd);

#endif /* HOOKS_ACCESS_BPF_H */
