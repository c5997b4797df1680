// SPDX-License-Identifier: GPL-2.0-only
/*
 * System calls that seem to have succeeded and never ran. A filter of seccomp(2) can answer a call
 * in the kernel's stead, and so can a tracer, by PTRACE_SYSEMU. The tracepoint at the end of calls
 * fires all the same, with the number, the arguments and the result that they chose. Any user may
 * do that to own processes. Where the end of a call is all that tells of an action, other modules
 * ask here whether it may be faked, and look for a proof then.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/functions.bpf.h"

#ifdef WITHOUT_BPF_LOOP

/* Without bpf_loop() filters cannot be walked, and no hook proves what a call has done. */
__noinline int call_may_be_faked(void)
{
	return 0;
}

#else

#define SECCOMP_STEPS 32768 /* instructions of all filters of a task that are looked at */

/* A position in the filters of a task. Addresses are numbers, which the verifier lets one compare.
 */
struct seccomp_walk {
	__u64 filter; /* struct seccomp_filter; 0: no more */
	__u64 instruction; /* struct sock_filter */
	__u32 left; /* instructions of this filter */
	bool fakes; /* a filter may answer so that a call seems to succeed */
	__u8 pad[3];
};

/* Returns whether an instruction of a filter may answer so that a call seems to succeed. */
static __always_inline bool answers_for_kernel(__u32 code, __u32 value)
{
	__u32 action = value & SECCOMP_RET_ACTION_FULL;

	if (BPF_CLASS(code) != BPF_RET)
		return false;
	if (BPF_RVAL(code) != BPF_K) /* it is computed */
		return true;
	if (action == SECCOMP_RET_ERRNO)
		return !(value & SECCOMP_RET_DATA);
	/* A trap leaves the number of the call as its result, which is no error. */
	return action == SECCOMP_RET_USER_NOTIF || action == SECCOMP_RET_TRAP;
}

static long seccomp_step(__u32 index, struct seccomp_walk *walk)
{
	struct seccomp_filter *filter = (void *)walk->filter;
	struct sock_filter *instruction = (void *)walk->instruction;
	struct sock_fprog_kern *original;
	struct bpf_prog *program;

	if (walk->left) {
		walk->left--;
		walk->instruction = (__u64)(instruction + 1);
		walk->fakes = answers_for_kernel(KREAD(instruction, code), KREAD(instruction, k));
		return walk->fakes;
	}
	if (!filter)
		return 1;
	program = KREAD(filter, prog);
	original = KREAD(program, orig_prog);
	bpf_core_read(&walk->filter, sizeof(walk->filter), &filter->prev);
	walk->left = KREAD(original, len);
	bpf_core_read(&walk->instruction, sizeof(walk->instruction), &original->filter);
	walk->fakes = !original; /* kernels before v5.11 may not keep it */
	return walk->fakes;
}

/* Returns 1 if the current call may have been answered by somebody else than the kernel. */
__noinline int call_may_be_faked(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct seccomp_walk walk = {};

	if (KREAD(task, ptrace))
		return 1;
	if (!bpf_core_field_exists(task->seccomp.filter) ||
	    KREAD(task, seccomp.mode) != SECCOMP_MODE_FILTER)
		return 0;
	bpf_core_read(&walk.filter, sizeof(walk.filter), &task->seccomp.filter);
	bpf_loop(SECCOMP_STEPS, seccomp_step, &walk, 0);
	return walk.fakes || walk.filter || walk.left;
}

#endif

/*
 * The same for a call that gives or takes a name, as that record would tell. Of an actor whose
 * records the rules exclude nothing was noted: that is no reason to look at filters.
 */
__noinline int name_may_be_faked(__u32 type)
{
	if (!is_wanted(RECORD_BIT(type)))
		return 0;
	if (type == RECORD_PIPE_CREATE ? pipe_actor_excluded(FILTER_PIPE_CREATE)
				       : file_actor_excluded(type))
		return 0;
	return call_may_be_faked();
}

/* Returns whether the current process traces the target: an attach has succeeded. */
static __always_inline bool is_traced_here(struct task_struct *target)
{
	return KREAD(target, ptrace) &&
	       BPF_CORE_READ(target, parent, tgid) == bpf_get_current_pid_tgid() >> 32;
}

#define USER_NAMESPACES 33 /* one in the other: the kernel allows 32 below the first */

/* Returns whether the target's user namespace is below that of the current task. */
static __always_inline bool is_below(struct user_namespace *own, struct user_namespace *other)
{
	for (int i = 0; i < USER_NAMESPACES && other; i++) {
		other = KREAD(other, parent);
		if (other == own)
			return own;
	}
	return false;
}

/*
 * Returns false if the kernel cannot have allowed the current task to reach into the target,
 * ptrace(2), "Ptrace access mode checking".
 */
static __always_inline bool may_reach(struct task_struct *target)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const struct cred *own = KREAD(task, cred), *other = KREAD(target, real_cred);
	struct user_namespace *own_space = KREAD(own, user_ns), *space = KREAD(other, user_ns);
	__u32 uid = KREAD(own, uid.val);
	__u64 capabilities = 0;

	if (uid == KREAD(other, uid.val) || uid == KREAD(other, euid.val) ||
	    uid == KREAD(other, suid.val))
		return true;
	if (own_space != space)
		return is_below(own_space, space);
	bpf_core_read(&capabilities, sizeof(capabilities), &own->cap_effective);
	return capabilities >> CAP_SYS_PTRACE & 1;
}

/*
 * Returns 1 unless the current call, which says that it reached into the target, may be faked and
 * nothing proves it. `traces`: it attaches to the target, or needs that it is attached.
 */
__noinline int reach_is_proved(__u64 target_address, bool traces)
{
	struct task_struct *target = (void *)target_address;

	if (!call_may_be_faked())
		return 1;
	return target && (traces ? is_traced_here(target) : may_reach(target));
}
