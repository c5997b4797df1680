/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Requests of io_uring whose completion finds no room in the ring's queue: the kernel keeps it and
 * hands it over later. The tracepoint of completions does not fire for it, then or later. Another
 * one does, which names no request. The request is among those whose completions the current task
 * hands over just now, or it is the one of the current worker.
 */
#ifndef HOOKS_OVERFLOW_BPF_H
#define HOOKS_OVERFLOW_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/compat.bpf.h"
#include "hooks/request.bpf.h"

#define OVERFLOW_STEPS 8192 /* requests that are looked at */

/*
 * Requests whose completion found no room and that were reported, by address: two requests may have
 * the same result and `user_data`. When a request begins, the entry at its address is deleted. If
 * an entry is thrown out, a file may be reported twice.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OVERFLOW_STEPS);
	__type(key, __u64);
	__type(value, __u8);
} overflows_seen SEC(".maps");

bool overflows_were_seen; /* overflows_seen has had an entry; until then it is not searched */

#define OPCODE_BIT(opcode) (1ULL << (opcode))

static __always_inline bool is_among(__u8 opcode, __u64 opcodes)
{
	return opcode < 64 && opcodes >> opcode & 1;
}

/* A request of these opcodes begins, or one that no entry can be of. */
static __always_inline void overflow_forget(__u64 request, __u8 opcode, __u64 opcodes)
{
	if (overflows_were_seen && is_among(opcode, opcodes))
		bpf_map_delete_elem(&overflows_seen, &request);
}

#ifndef WITHOUT_BPF_LOOP

/* The completion, and a position in the list of requests that complete. */
struct overflow_walk {
	__u64 node; /* struct io_wq_work_node; 0: the end */
	__u64 opcodes; /* bits OPCODE_BIT() of those that matter */
	__u64 user_data;
	__u64 found; /* struct io_kiocb; 0: not yet */
	__s32 result;
	__u32 pad;
};

/* Returns whether the request has this completion, and was not found before. */
static __always_inline bool overflow_is_of(const struct overflow_walk *walk,
					   struct io_kiocb *request)
{
	__u64 key = (__u64)request;
	__u8 opcode = KREAD(request, opcode);

	return is_among(opcode, walk->opcodes) &&
	       KREAD(request, cqe.user_data) == walk->user_data &&
	       KREAD(request, cqe.res) == walk->result &&
	       !bpf_map_lookup_elem(&overflows_seen, &key);
}

static long overflow_step(__u32 index, struct overflow_walk *walk)
{
	struct io_wq_work_node *node = (void *)walk->node;
	struct io_kiocb *request =
		(void *)(walk->node - bpf_core_field_offset(struct io_kiocb, comp_list));

	if (!node)
		return 1;
	walk->node = (__u64)KREAD(node, next);
	if (!overflow_is_of(walk, request))
		return 0;
	walk->found = (__u64)request;
	return 1;
}

/* Returns the address of the request, of these opcodes; 0: the completion is of another one. */
static __noinline __u64 overflowed_request(struct io_ring_ctx *ring, __u64 user_data, __s32 result,
					   __u64 opcodes)
{
	struct overflow_walk walk = {.user_data = user_data, .result = result, .opcodes = opcodes};
	__u64 request = request_of_worker((void *)bpf_get_current_task());
	__u8 yes = 1;

	if (request && overflow_is_of(&walk, (void *)request)) {
		walk.found = request;
	} else if (bpf_core_field_exists(ring->submit_state.compl_reqs)) {
		walk.node = (__u64)KREAD(ring, submit_state.compl_reqs.first);
		bpf_loop(OVERFLOW_STEPS, overflow_step, &walk, 0);
	}
	if (!walk.found)
		return 0;
	overflows_were_seen = true;
	bpf_map_update_elem(&overflows_seen, &walk.found, &yes, BPF_ANY);
	return first_address(&walk.found);
}

/* How a request has ended. */
struct ring_end {
	__u64 ring;
	__u64 request; /* 0: the kernel names none, or it is of other opcodes */
	__u64 user_data;
	__s32 result;
	__u32 flags; /* of the completion */
};

/*
 * Read the arguments of io_uring_complete (the ring, the request and the completion, as on 6.18)
 * or of io_uring_cqe_overflow (the ring, user_data, the result and flags of the completion). They
 * tell themselves apart: no result of 32 bits is an address of the kernel. So one program serves
 * both, and the verifier looks at it once.
 */
static __always_inline void ring_end_read(struct ring_end *end, struct bpf_raw_tracepoint_args *ctx,
					  __u64 opcodes)
{
	struct io_uring_cqe *completion = (void *)ctx->args[2];
	__u64 flags = 0;

	end->ring = ctx->args[0];
	if ((__u64)completion >> 32) {
		end->request = ctx->args[1];
		end->user_data = KREAD(completion, user_data);
		end->result = KREAD(completion, res);
		end->flags = KREAD(completion, flags);
		return;
	}
	/* io_uring_complete has no fourth argument: the verifier must not see that it is read. */
	bpf_probe_read_kernel(&flags, sizeof(flags), &ctx->args[3]);
	end->user_data = ctx->args[1];
	end->result = (__u64)completion;
	end->flags = flags;
	end->request = overflowed_request((void *)end->ring, end->user_data, end->result, opcodes);
}

#endif /* WITHOUT_BPF_LOOP */

#endif /* HOOKS_OVERFLOW_BPF_H */
