// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files that are opened, named and removed through io_uring, and sockets that are named and
 * connected: no system call shows it. A record of a name is built when the request begins, because
 * its names are gone when it completes, and sent when it has succeeded. hooks/overflow.bpf.h finds
 * the requests whose completion has no room; hooks/tcp.bpf.c looks at accepts itself. Records:
 * file_create, file_delete, pipe_create, pipe_connect, and those of file_opened(). Kernels from 6.1
 * on serve.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/io_uring.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/wanted.bpf.h"
#include "hooks/changed_inodes.bpf.h"
#include "hooks/file_record.bpf.h"
#include "hooks/overflow.bpf.h"
#include "hooks/request.bpf.h"
#include "hooks/quiet_notes.bpf.h"
#include "hooks/request_end.bpf.h"
#include "hooks/functions.bpf.h"

/* A name that a request is about to give or take; `name` is a struct filename. */
struct request_name {
	__u64 name;
	__s32 dirfd;
	__u32 type; /* enum record_type; 0: not to be reported */
	bool is_open; /* its file tells more, unless it fails or the file is replaced */
};

static __always_inline int request_lost(const struct request_name *given, enum loss_reason reason)
{
	count_seen(given->type);
	count_lost(given->type, reason);
	return 0;
}

/*
 * There is no room for the record of a request. An open can still be reported by its file; it is
 * counted as lost only if it fails.
 */
static __always_inline int request_refused(__u64 request, const struct request_name *given,
					   enum loss_reason reason)
{
	__u32 why = reason;

	if (!given->is_open)
		return request_lost(given, reason);
	opens_were_refused = true;
	return bpf_map_update_elem(&opens_refused, &request, &why, BPF_ANY)
		       ? request_lost(given, reason)
		       : 0;
}

static __always_inline int request_remember(__u64 request, const struct request_name *given)
{
	struct scratch *scratch = task_scratch_get();
	struct filename *filename = (void *)given->name;
	__u32 uid = bpf_get_current_uid_gid(), flags = 0;

	request_forget(request); /* an entry of a request that ended unseen at this address */
	if (has_requests_enough(uid))
		return request_refused(request, given, LOSS_OVER_SHARE);
	if (!scratch)
		return request_refused(request, given, LOSS_UNREADABLE);
	if (!path_read(&scratch->path, KREAD(filename, name), true))
		flags = RECORD_PATH_UNREADABLE;
	file_event_begin_given(scratch, given->type, given->dirfd, flags);
	if (scratch->used > REQUEST_RECORD_SIZE ||
	    bpf_map_update_elem(&requests_under_way, &request, scratch, BPF_ANY))
		return request_refused(request, given, LOSS_UNREADABLE);
	requests_count(uid, 1);
	request_changes_forget(request);
	return 0;
}

static __always_inline void request_read(struct request_name *given, struct io_kiocb *request)
{
	struct io_rename *rename = (void *)&request->cmd;
	struct io_unlink *unlink = (void *)&request->cmd;
	struct io_link *link = (void *)&request->cmd;
	struct io_open *open = (void *)&request->cmd;

	switch (request->opcode) {
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
		given->name = (__u64)KREAD(open, filename);
		given->dirfd = KREAD(open, dfd);
		given->type = KREAD(open, how.flags) & O_CREAT ? RECORD_FILE_CREATE : 0;
		given->is_open = true;
		return;
	case IORING_OP_UNLINKAT:
		given->name = (__u64)KREAD(unlink, filename);
		given->dirfd = KREAD(unlink, dfd);
		given->type = KREAD(unlink, flags) & AT_REMOVEDIR ? 0 : RECORD_FILE_DELETE;
		return;
	case IORING_OP_RENAMEAT:
		given->name = (__u64)KREAD(rename, newpath);
		given->dirfd = KREAD(rename, new_dfd);
		given->type = KREAD(rename, flags) & RENAME_EXCHANGE ? 0 : RECORD_FILE_CREATE;
		return;
	case IORING_OP_LINKAT:
		given->name = (__u64)KREAD(link, newpath);
		given->dirfd = KREAD(link, new_dfd);
		given->type = RECORD_FILE_CREATE;
		return;
	}
}

/* A socket is to get a name, or to be connected. When that ends, the request holds the file. */
static __always_inline int naming_begun(const void *arguments, struct io_kiocb *request,
					__u8 opcode)
{
	__u64 file;

	if (!request_ends_unseen(request) || is_own() ||
	    !quiet_request_begun(first_address(arguments), false))
		return 0;
	file = request_named_file(request);
	return file ? ring_socket_unseen(file, opcode == IORING_OP_CONNECT) : 0;
}

/* Address of the file of a request, as a number. */
static __always_inline __u64 request_file(struct io_kiocb *request)
{
	__u64 file = 0;

	bpf_core_read(&file, sizeof(file), &request->file);
	return file;
}

static __always_inline int naming_connected(struct io_kiocb *request)
{
	struct io_connect *connect = (void *)&request->cmd;
	__u64 address = 0;

	bpf_core_read(&address, sizeof(address), &connect->addr);
	return ring_socket_connected(request_file(request), address, KREAD(connect, addr_len));
}

#define NAMING_OPCODES                                                     \
	(OPCODE_BIT(IORING_OP_OPENAT) | OPCODE_BIT(IORING_OP_OPENAT2) |    \
	 OPCODE_BIT(IORING_OP_UNLINKAT) | OPCODE_BIT(IORING_OP_RENAMEAT) | \
	 OPCODE_BIT(IORING_OP_LINKAT) | OPCODE_BIT(IORING_OP_BIND) |       \
	 OPCODE_BIT(IORING_OP_CONNECT))

/* A request has begun that asks for no completion entry. */
static __always_inline int quiet_name_begun(__u64 request, const struct request_name *given)
{
	if (!quiet_request_begun(request, request_find(request) != NULL))
		return 0;
	/* If its entry were kept, it would stay for ever and take the room of others. */
	request_forget(request);
	if (given->type)
		return request_lost(given, LOSS_UNREADABLE);
	__sync_fetch_and_add(&requests_unproven, 1);
	return 0;
}

/* A request begins: the kernel has copied its names, which are gone when it completes. */
static __always_inline int name_begun(const void *arguments, struct io_kiocb *request)
{
	struct request_name given = {};
	__u8 opcode = KREAD(request, opcode);
	bool is_quiet;
	__u64 address;

	if (!is_among(opcode, NAMING_OPCODES))
		return 0;
	overflow_forget((__u64)request, opcode, NAMING_OPCODES);
	if (is_naming(opcode))
		return is_wanted(PIPE_RECORDS) ? naming_begun(arguments, request, opcode) : 0;

	request_read(&given, request);
	is_quiet = request_ends_unseen(request);
	if (!is_wanted(RECORD_BIT(given.type)))
		given.type = 0;
	if (!given.type && !(is_quiet && given.is_open && are_opens_wanted()))
		return 0;
	if (is_own())
		return 0;
	address = first_address(arguments);
	if (given.type)
		request_remember(address, &given);
	return is_quiet ? quiet_name_begun(address, &given) : 0;
}

/* Add to the record what the notes about changed inodes tell of the file. */
static __always_inline void request_tell_file(struct request_record *record, __u32 opcode)
{
	struct file_event *r = (void *)record->data;

	if (opcode == IORING_OP_UNLINKAT) {
		r->mode = record->changes.mode;
		return;
	}
	if (opcode == IORING_OP_OPENAT || opcode == IORING_OP_OPENAT2) {
		r->mode = S_IFREG;
		r->flags |= RECORD_FILE_IS_NEW;
		return;
	}
	r->flags |= opcode == IORING_OP_LINKAT ? RECORD_BY_LINK : RECORD_BY_RENAME;
	r->mode = changes_mode(&record->changes, opcode == IORING_OP_LINKAT);
	r->created_ns = changes_birth_ns(&record->changes);
}

/*
 * A request that gives or takes a name has ended: send the record that was kept for it, if it has
 * succeeded.
 */
__noinline int ring_name_ended(__u64 request, __u32 opcode, __s32 result)
{
	__u32 type = opcode == IORING_OP_UNLINKAT ? RECORD_FILE_DELETE : RECORD_FILE_CREATE;
	struct request_record *record = bpf_map_lookup_elem(&requests_under_way, &request);
	struct record_header *header;
	__u32 used;

	if (!record)
		return 0;
	header = (void *)record->data;
	used = record->used;
	if (!result && used <= REQUEST_RECORD_SIZE) {
		count_seen(type);
		request_tell_file(record, opcode);
		header->boot_ns = bpf_ktime_get_boot_ns();
		header->size = used;
		record_send(record->data, used, type, file_event_haste((void *)record->data, type));
	}
	request_forget(request);
	return 0;
}

static __always_inline int open_done(struct io_ring_ctx *ring, struct io_kiocb *request,
				     __u64 address, __s32 result)
{
	struct io_open *open = (void *)&request->cmd;
	struct file *file = NULL;

	if (result >= 0)
		file = ring_made_file(ring, KREAD(open, file_slot), result);
	if (open_is_told_by_file(address, file, result))
		file_opened((__u64)file, KREAD(open, how.flags) & O_TRUNC);
	return 0;
}

/* A request has ended. It runs in the context of the process or of a worker, one of its threads. */
static __always_inline int name_done(struct io_ring_ctx *ring, __u64 address, __s32 result)
{
	struct io_kiocb *request = (void *)address;
	__u8 opcode = request ? KREAD(request, opcode) : IORING_OP_NOP;

	if (!is_among(opcode, NAMING_OPCODES))
		return 0;
	quiet_request_forget(address);
	switch (opcode) {
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
		return open_done(ring, request, address, result);
	case IORING_OP_BIND:
		return result ? 0 : ring_socket_bound(request_file(request));
	case IORING_OP_CONNECT:
		return result ? 0 : naming_connected(request);
	default:
		return ring_name_ended(address, opcode, result);
	}
}

/* A request begins. Since v6.4. */
SEC("?tp_btf/io_uring_submit_req")
int BPF_PROG(io_uring_name_begun, struct io_kiocb *request)
{
	return name_begun(ctx, request);
}

/* The same before v6.4, when the tracepoint had this name. */
SEC("?tp_btf/io_uring_submit_sqe")
int BPF_PROG(io_uring_name_begun_sqe, struct io_kiocb *request)
{
	return name_begun(ctx, request);
}

/* A request has ended. On kernels to 6.12 members of the completion are arguments. */
SEC("?tp_btf/io_uring_complete")
int BPF_PROG(io_uring_name_done_by_result, struct io_ring_ctx *ring, struct io_kiocb *request,
	     __u64 user_data, int result)
{
	return name_done(ring, first_address(&request), result);
}

#ifndef WITHOUT_BPF_LOOP

/* The same where the completion finds no room in the ring's queue. */
SEC("?tp_btf/io_uring_cqe_overflow")
int BPF_PROG(io_uring_name_overflowed_by_result, struct io_ring_ctx *ring, __u64 user_data,
	     __s32 result)
{
	__u64 request = overflowed_request(ring, user_data, result, NAMING_OPCODES);

	return name_done(ring, request, result);
}

/* Both on 6.18, where io_uring_complete gives the completion. */
SEC("?raw_tp/io_uring_complete")
int io_uring_name_ended(struct bpf_raw_tracepoint_args *ctx)
{
	struct ring_end end;

	ring_end_read(&end, ctx, NAMING_OPCODES);
	return name_done((void *)end.ring, end.request, end.result);
}

#endif /* WITHOUT_BPF_LOOP */
