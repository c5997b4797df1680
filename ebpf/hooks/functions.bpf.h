/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions that one file of hooks/ defines and another calls. All are global and take numbers
 * alone: the verifier checks each once, whoever calls it, and before v5.13 it takes no pointers
 * as arguments of global functions. The one that takes a pointer is not in the object for these.
 */
#ifndef HOOKS_FUNCTIONS_BPF_H
#define HOOKS_FUNCTIONS_BPF_H

#include "vmlinux.h"

/* hooks/access.bpf.c */
int ptrace_attached(__u32 pid);
int process_memory_copied(__u32 pid, bool writing);
int descriptor_taken(__u32 pidfd);
int process_file_opened(__u64 file_address);

/* hooks/faked.bpf.c */
int call_may_be_faked(void);
int name_may_be_faked(__u32 type);
int reach_is_proved(__u64 target_address, bool traces);

/* hooks/injection.bpf.c */
int process_written(__u64 target_address, __u32 given_pid, __u64 address, __u32 how);
int memory_copied_to(__u32 pid, __u64 spans, __u32 count, bool are_short);
int ptrace_has_written(__u32 pid, __u64 address, __u32 how, __u64 registers_at);

/* hooks/changes.bpf.c */
int core_dumped(void);

/* hooks/found_names.bpf.c */
struct call_notes;
int name_search(struct call_notes *notes);
int request_name_search(void);

/* hooks/file.bpf.c */
int new_file_opened(__u64 file_address);
int file_opened(__u64 file_address, bool truncated);

/* hooks/bpf_load.bpf.c */
int bpf_program_loaded(__u32 fd);

/* hooks/fifo.bpf.c */
int fifo_opened(__u64 file_address);
int fifo_made(__s32 dirfd, __u64 string);

/* hooks/unix_socket.bpf.c */
int socket_bound(__u32 fd, __u64 address);
int socket_not_connected(void);
int socket_connected(__u32 fd, __u64 address, __u32 length);
int ring_socket_bound(__u64 file_address);
int ring_socket_connected(__u64 file_address, __u64 address, __u32 length);
int ring_socket_unseen(__u64 file_address, bool connects);

/* hooks/library.bpf.c */
int library_found(__u64 file_address);

/* hooks/memory.bpf.c */
int memory_mapped(void);
int file_mapped(__u64 address, __u32 fd, bool written, bool surely);
int memory_made_executable(__u64 address, __u64 bytes, __u32 way, bool surely);

/* hooks/attribute.bpf.c */
int attribute_set(__s32 descriptor, __u64 string, __u64 name, __u64 value, __u64 size);
int attribute_set_at(__s32 descriptor, __u64 string, __u64 name, __u64 given_address);

/* hooks/stamp.bpf.c */
int time_note(__u64 inode_address);
int time_forget(void);
int time_set(__s32 descriptor, __u64 string);

/* hooks/tampering.bpf.c */
int image_taken(__u64 script_name);
int stack_taken(void);
int image_replaced(__u32 request);
int files_changed(void);
int memory_asked(__u32 way);
int memory_told(__u32 way);

/* hooks/mass_change.bpf.c */
int file_made_here(__u64 inode_address);
int is_file_made_here(__u64 inode_address);
int existing_file_opened_to_write(__u64 inode_address, bool truncated);
int written_file_taken(__u64 inode_address);

/* hooks/tcp.bpf.c */
int connection_accepted(__u64 file_address, bool by_ring);
int ring_accepting_ended(__u64 ring, __u64 user_data, bool into_table);

/* hooks/io_uring.bpf.c */
int ring_name_ended(__u64 request_address, __u32 opcode, __s32 result);

/* hooks/quiet_requests.bpf.c */
int quiet_request_begun(__u64 request_address, bool has_record);
int quiet_request_judge(__u64 request_address, __u32 look);

#endif /* HOOKS_FUNCTIONS_BPF_H */
