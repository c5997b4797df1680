/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Records of pipes: of their names, judged by the rules, and told once in a while. hooks/fifo.bpf.c
 * has named pipes, hooks/unix_socket.bpf.c sockets.
 */
#ifndef HOOKS_PIPE_BPF_H
#define HOOKS_PIPE_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/task.bpf.h"
#include "kernel/pid.bpf.h"
#include "kernel/path.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/flood.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/record.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/file_record.bpf.h"

__u64 pipe_interval_ns = 0; /* time until the same is reported again; set by user space */
__u64 pipe_secret = 0; /* begins the hashes of names, so that nobody makes two names alike */

/* Key of an action of a process image on a pipe name that was told already. */
struct pipe_told {
	__u64 start_boot_ns;
	__u64 name; /* hash of the record's strings */
	__u32 tgid;
	__u32 exec_id;
	__u32 type; /* enum record_type */
	__u32 round; /* write_round: another one for each configuration */
};

/* Value: when, nanoseconds of the boot clock. One that is thrown out is told again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct pipe_told);
	__type(value, __u64);
} pipes_told SEC(".maps");

#define STRINGS_HASH_PRIME 0x9e3779b97f4a7c15ULL
#define HASH_STEPS_WITHOUT_LOOP 96

/* A hash in the making, over the strings of the record in scratch. */
struct strings_hash {
	struct scratch *scratch;
	__u64 hash;
	__u32 begin;
	__u32 end;
};

static __always_inline long strings_hash_step(struct strings_hash *walk, __u32 index)
{
	__u32 at = walk->begin + index * 8, left = walk->end - at;
	__u64 word;

	if (at >= walk->end)
		return 1;
	word = *(__u64 *)&walk->scratch->data[at & (STRINGS_SIZE - 1)];
	if (left < 8)
		word &= (1ULL << left * 8) - 1;
	word = (walk->hash ^ word) * STRINGS_HASH_PRIME;
	walk->hash = word ^ word >> 32;
	return 0;
}

static long strings_hash_loop_step(__u32 index, struct strings_hash *walk)
{
	return strings_hash_step(walk, index);
}

static __noinline long strings_hash_called_step(struct strings_hash *walk, __u32 index)
{
	return strings_hash_step(walk, index);
}

/* Returns a number made of all strings of the pipe_event in scratch, and where each ends. */
static __always_inline __u64 strings_hash(struct scratch *scratch)
{
	const struct pipe_event *r = (void *)scratch->data;
	struct strings_hash walk = {.scratch = scratch, .end = scratch->used};

	if (!pipe_secret)
		pipe_secret = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32() | 1;
	walk.begin = sizeof(struct pipe_event);
	walk.hash = pipe_secret ^ ((__u64)r->path.length << 32 | r->base.length);
	if (has_bpf_loop)
		bpf_loop(STRINGS_SIZE / 8, strings_hash_loop_step, &walk, 0);
	else
		for (int i = 0; i < HASH_STEPS_WITHOUT_LOOP && !strings_hash_called_step(&walk, i);
		     i++)
			;
	return walk.hash;
}

/* Returns whether the record was told within the interval; else it counts as told from now on. */
static __always_inline bool pipe_is_told(const struct record_header *header, __u64 name)
{
	struct pipe_told key = {.name = name, .type = header->type, .round = write_round};
	__u64 now = bpf_ktime_get_boot_ns(), *told;

	if (!pipe_interval_ns)
		return false;
	key.start_boot_ns = header->start_boot_ns;
	key.tgid = header->tgid;
	key.exec_id = header->exec_id;
	told = bpf_map_lookup_elem(&pipes_told, &key);
	if (told && now - *told < pipe_interval_ns)
		return true;
	bpf_map_update_elem(&pipes_told, &key, &now, BPF_ANY);
	return false;
}

static __always_inline int pipe_filtered(__u32 type)
{
	count_seen(type);
	count_filtered(type);
	return 0;
}

/* Count an event of which is known only that it happened. */
static __always_inline int pipe_lost(__u32 type)
{
	count_seen(type);
	count_lost(type, LOSS_UNREADABLE);
	return 0;
}

/* Note the process that listened at the socket to which `sk` is connected. */
static __always_inline void listener_fill(struct pipe_event *r, struct sock *sk)
{
	struct pid *pid = KREAD(sk, sk_peer_pid);
	struct task_struct *task = task_of_pid(pid);
	struct upid upid;

	if (!pid)
		return;
	bpf_core_read(&upid, sizeof(upid), &pid->numbers[0]);
	r->target_tgid = upid.nr;
	if (!task)
		return;
	r->target_start_boot_ns = KREAD(task, start_boottime);
	r->target_exec_id = KREAD(task, self_exec_id);
}

/* Send the pipe_event in scratch, unless the same was told. */
static __always_inline int pipe_send(struct scratch *scratch, __u32 type)
{
	struct pipe_event *r = (void *)scratch->data;
	__u64 name = strings_hash(scratch);

	if (pipe_is_told(&r->header, name))
		return 0;
	count_seen(type);
	if (flood_leaves_out(&r->header, flood_image((void *)bpf_get_current_task()), name))
		return 0;
	if (r->target_tgid)
		fork_tell(r->target_tgid);
	record_finish(scratch, type, false);
	return 0;
}

/* Report the pipe whose name is in scratch->path. `sk` is connected to who listens; else NULL. */
static __noinline int pipe_report(struct scratch *scratch, __u32 type, struct sock *sk)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct path_buffer *path = &scratch->path;
	struct pipe_event *r;

	if (pipe_event_excluded(pipe_filter_of(type), path))
		return pipe_filtered(type);
	r = record_begin(scratch, task, type, pipe_event);
	if (!path->given && !path->whole)
		r->flags = RECORD_PATH_TRUNCATED;
	record_append_path(scratch, &r->path, path, &r->flags, RECORD_PATH_SHORTENED);
	if (sk)
		listener_fill(r, sk);
	return pipe_send(scratch, type);
}

/* Returns where to build the name of a pipe; NULL: it is not to be told, and is counted. */
static __always_inline struct scratch *pipe_begin(__u32 type)
{
	struct scratch *scratch;

	if (pipe_actor_excluded(pipe_filter_of(type))) {
		pipe_filtered(type);
		return NULL;
	}
	scratch = task_scratch_get();
	if (!scratch)
		pipe_lost(type);
	return scratch;
}

/* Report a pipe by the caller's string, which is in scratch->path. User space resolves it. */
static __noinline int pipe_report_given(struct scratch *scratch, __u32 type, __s32 dirfd,
					struct sock *sk)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct path_buffer *path = &scratch->path;
	struct pipe_event *r;

	if (pipe_event_excluded(pipe_filter_of(type), path))
		return pipe_filtered(type);
	r = record_begin(scratch, task, type, pipe_event);
	r->flags = path->at < path->end ? RECORD_PATH_GIVEN : RECORD_PATH_UNREADABLE;
	r->mount_namespace = task_mount_namespace(task);
	record_append_path(scratch, &r->path, path, &r->flags, RECORD_PATH_SHORTENED);
	if (!r->path.length || scratch->data[r->path.offset & (STRINGS_SIZE - 1)] != '/')
		append_base(scratch, &r->base, &r->flags, dirfd);
	append_root(scratch, &r->root, &r->flags);
	if (sk)
		listener_fill(r, sk);
	return pipe_send(scratch, type);
}

#endif /* HOOKS_PIPE_BPF_H */
