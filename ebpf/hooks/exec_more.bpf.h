/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Members of process_create that are filled only where the configuration asks for them. The record
 * is made by process_create() in hooks/process.bpf.c.
 */
#ifndef HOOKS_EXEC_MORE_BPF_H
#define HOOKS_EXEC_MORE_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/compat.bpf.h"
#include "kernel/path.bpf.h"
#include "emit/ring.bpf.h"
#include "emit/scratch.bpf.h"

/* User space sets these two at any time. */
bool execs_tell_more = 0;
bool execs_tell_environment = 0;

#ifdef WITHOUT_BPF_LOOP

/* These kernels cannot walk the environment, and refuse process_create with the rest of it. */
#define fill_more(scratch, r, task, bprm) ((void)(bprm))
#define append_environment(scratch, r, mm) ((void)(r)->flags)

#else

/* Variables of one process that are looked at; who has more has something to hide. */
#define ENVIRONMENT_MOST 16384
/* Bytes of a variable with its NUL, of a part of a longer one, and of all that are kept. */
#define VARIABLE_SIZE 1024
#define VARIABLE_SHORT 256 /* while the ring is filling */
#define ENVIRONMENT_SIZE 3072 /* STRINGS_SIZE has room for it beside three paths */

static __always_inline __u32 task_namespace_pid(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid upid = {};

	bpf_core_read(&upid, sizeof(upid), &pid->numbers[level]);
	return upid.nr;
}

static __always_inline __u32 task_session_leader(struct task_struct *task)
{
	struct pid *session = BPF_CORE_READ(task, signal, pids[PIDTYPE_SID]);
	struct upid upid = {};

	bpf_core_read(&upid, sizeof(upid), &session->numbers[0]);
	return upid.nr;
}

/* Append the string that exec was given, if what runs now is an interpreter of that file. */
static __always_inline void append_script(struct scratch *scratch, struct process_create *r,
					  struct linux_binprm *bprm)
{
	const char *given = BPF_CORE_READ(bprm, filename);
	__u32 used = scratch->used & (STRINGS_SIZE - 1);
	long length;

	if (given == BPF_CORE_READ(bprm, interp))
		return;
	length = bpf_probe_read_kernel_str(&scratch->data[used], PATH_SIZE, given);
	if (length < 1)
		return;
	r->script.offset = used;
	r->script.length = (length - 1) & (PATH_SIZE - 1);
	scratch->used = used + r->script.length;
}

static __always_inline void fill_more(struct scratch *scratch, struct process_create *r,
				      struct task_struct *task, struct linux_binprm *bprm)
{
	struct tty_struct *tty = BPF_CORE_READ(task, signal, tty);
	const struct cred *cred = BPF_CORE_READ(task, cred);

	if (!*(volatile bool *)&execs_tell_more)
		return;
	r->flags |= RECORD_TELLS_MORE;
	r->namespace_pid = task_namespace_pid(task);
	r->session_leader = task_session_leader(task);
	r->effective_uid = BPF_CORE_READ(cred, euid.val);
	r->mount_owner = BPF_CORE_READ(task, nsproxy, mnt_ns, user_ns, owner.val);
	bpf_core_read(&r->capabilities, sizeof(r->capabilities), &cred->cap_effective);
	if (tty)
		bpf_probe_read_kernel_str(r->tty_name, sizeof(r->tty_name), tty->name);
	append_script(scratch, r, bprm);
}

/* Returns whether a string begins with a constant one. */
#define BEGINS_WITH(text, constant)                                               \
	({                                                                        \
		bool __begins = true;                                             \
		_Pragma("unroll") for (int __i = 0; __i < sizeof(constant) - 1;   \
				       __i++) if ((text)[__i] != (constant)[__i]) \
		{                                                                 \
			__begins = false;                                         \
			break;                                                    \
		}                                                                 \
		__begins;                                                         \
	})

/* Variables that make the dynamic linker, the C library or Python load code of one's choice. */
static __always_inline bool variable_is_told(const __u8 *text)
{
	if (text[0] == 'L' && text[1] == 'D' && text[2] == '_')
		return BEGINS_WITH(text, "LD_PRELOAD=") || BEGINS_WITH(text, "LD_AUDIT=") ||
		       BEGINS_WITH(text, "LD_LIBRARY_PATH=");
	if (text[0] == 'G')
		return BEGINS_WITH(text, "GCONV_PATH=") || BEGINS_WITH(text, "GLIBC_TUNABLES=");
	return BEGINS_WITH(text, "PYTHONPATH=");
}

/* A position in the environment of the current task. */
struct environment_walk {
	struct scratch *scratch;
	__u64 at;
	__u64 end;
	__u32 begin; /* of what is kept, in scratch */
	__u32 flags; /* for the record */
	__u32 size; /* bytes read at once */
	bool is_inside; /* `at` is not at the begin of a variable */
};

static long environment_step(__u32 index, struct environment_walk *walk)
{
	struct scratch *scratch = walk->scratch;
	__u32 used = scratch->used & (STRINGS_SIZE - 1), size = walk->size;
	__u8 *to = &scratch->data[used];
	bool is_cut, was_inside = walk->is_inside;
	long length;

	if (walk->at >= walk->end)
		return 1;
	if (used - walk->begin > ENVIRONMENT_SIZE - VARIABLE_SIZE) {
		walk->flags |= RECORD_ENVIRONMENT_TRUNCATED;
		return 1;
	}
	if (size > VARIABLE_SIZE)
		return 1;
	length = bpf_probe_read_user_str(to, size, (void *)walk->at);
	if (length < 1) {
		walk->flags |= RECORD_ENVIRONMENT_UNREADABLE;
		return 1;
	}
	is_cut = length == size;
	walk->at += length - is_cut; /* the last byte of a part was not read yet */
	walk->is_inside = is_cut;
	if (was_inside || !variable_is_told(to))
		return 0;
	scratch->used = used + (length & (2 * VARIABLE_SIZE - 1));
	if (is_cut)
		walk->flags |= RECORD_ENVIRONMENT_TRUNCATED;
	return 0;
}

/*
 * Append the variables that are told. The stack of the new image is read, which exec has just
 * written: none of its pages is missing, and nobody else serves them.
 */
static __always_inline void append_environment(struct scratch *scratch, struct process_create *r,
					       struct mm_struct *mm)
{
	struct environment_walk walk = {.scratch = scratch, .size = VARIABLE_SIZE};

	if (!*(volatile bool *)&execs_tell_environment)
		return;
	walk.at = BPF_CORE_READ(mm, env_start);
	walk.end = BPF_CORE_READ(mm, env_end);
	walk.begin = scratch->used;
	if (ring_is_filling())
		walk.size = VARIABLE_SHORT;
	bpf_loop(ENVIRONMENT_MOST, environment_step, &walk, 0);
	if (walk.at < walk.end)
		walk.flags |= RECORD_ENVIRONMENT_TRUNCATED;
	r->flags |= walk.flags;
	r->environment.offset = walk.begin;
	r->environment.length = scratch->used - walk.begin;
}

#endif /* WITHOUT_BPF_LOOP */

#endif /* HOOKS_EXEC_MORE_BPF_H */
