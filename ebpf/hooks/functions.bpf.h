/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions that one file of hooks/ defines and another calls. All are global and take numbers
 * alone: the verifier checks each once, whoever calls it, and before v5.13 it takes no pointers
 * as arguments of global functions.
 */
#ifndef HOOKS_FUNCTIONS_BPF_H
#define HOOKS_FUNCTIONS_BPF_H

#include "vmlinux.h"

/* hooks/access.bpf.c */
int ptrace_attached(__u32 pid);
int process_memory_copied(__u32 pid, bool writing);
int descriptor_taken(__u32 pidfd);
int process_file_opened(__u64 file_address);

/* hooks/found_names.bpf.c */
int name_search(void);
int request_name_search(void);

/* hooks/file.bpf.c */
int file_opened(__u64 file_address, bool truncated);

/* hooks/bpf_load.bpf.c */
int bpf_program_loaded(__u32 fd);

/* hooks/library.bpf.c */
int file_mapped(__u64 address, __u32 fd);
int memory_made_executable(__u64 address, __u64 bytes);

/* hooks/tampering.bpf.c */
int image_taken(__u64 script_name);
int image_replaced(__u32 request);

/* hooks/tcp.bpf.c */
int connection_accepted(__u32 fd);

#endif /* HOOKS_FUNCTIONS_BPF_H */
