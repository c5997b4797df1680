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

/*
 * Returns whether the request will complete without an entry that tells of success: since v5.17,
 * 04c76b41ca97 ("io_uring: add option to skip CQE posting"). Where the kernel's enumeration has no
 * name, it cannot be asked: the function returns false.
 */
static __always_inline bool request_ends_unseen(struct io_kiocb *request)
{
	return bpf_core_enum_value_exists(enum io_uring_sqe_flags_bit,
					  IOSQE_CQE_SKIP_SUCCESS_BIT) &&
	       KREAD(request, flags) & REQ_F_CQE_SKIP;
}

static __always_inline bool is_naming(__u8 opcode)
{
	return opcode == IORING_OP_BIND || opcode == IORING_OP_CONNECT;
}

/* A socket is to get a name, or to be connected. When that ends, the request holds the file. */
static __always_inline int naming_begun(struct io_kiocb *request, __u8 opcode)
{
	bool is_fixed = KREAD(request, flags) & REQ_F_FIXED_FILE;
	__s32 fd = KREAD(request, cqe.fd);

	if (!request_ends_unseen(request))
		return 0;
	return ring_socket_unseen(is_fixed ? (__u64)ring_file(KREAD(request, ctx), fd)
					   : (__u64)task_file((void *)bpf_get_current_task(), fd),
				  opcode == IORING_OP_CONNECT);
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

/* A request begins: the kernel has copied its names, which are gone when it completes. */
static __always_inline int name_begun(struct io_kiocb *request)
{
	struct request_name given = {};
	__u8 opcode = KREAD(request, opcode);

	overflow_forget((__u64)request, opcode, NAMING_OPCODES);
	if (is_naming(opcode))
		return is_wanted(PIPE_RECORDS) ? naming_begun(request, opcode) : 0;

	request_read(&given, request);
	if (!given.type || !is_wanted(RECORD_BIT(given.type)) || is_own())
		return 0;
	/* If it were kept, its entry would stay for ever and take the room of others. */
	if (request_ends_unseen(request))
		return request_lost(&given, LOSS_UNREADABLE);
	return request_remember((__u64)request, &given);
}

/* Add to the record what the notes about changed inodes tell of the file. */
static __always_inline void request_tell_file(struct request_record *record, __u8 opcode)
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

/* Send the record that was kept for a request, if the request has succeeded. */
static __always_inline int request_done(__u64 request, __u8 opcode, __s32 result,
					enum record_type type)
{
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

/* Returns whether an open failed by a signal or because it was cancelled. */
static __always_inline bool never_made(__s32 result)
{
	return result == -ECANCELED || result == -EINTR || result == -ERESTARTSYS;
}

/*
 * An open without an entry has ended. If it failed, it may have made a file: count that as lost.
 * One that was cancelled never ran; one that was interrupted has waited, for the other end of a
 * pipe mostly, and no local file system waits behind the making of a file.
 */
static __always_inline void refused_open_done(__u64 request, bool failed)
{
	__u32 *why = bpf_map_lookup_elem(&opens_refused, &request);
	__u32 reason;

	if (!why)
		return;
	reason = *why == LOSS_OVER_SHARE ? LOSS_OVER_SHARE : LOSS_UNREADABLE;
	if (bpf_map_delete_elem(&opens_refused, &request) || !failed)
		return;
	count_seen(RECORD_FILE_CREATE);
	count_lost(RECORD_FILE_CREATE, reason);
}

/*
 * An open has ended. If it made a file and failed, for example because the ring's table had no
 * room, or if another file has taken the descriptor or slot by now, the record that was kept is
 * sent. Else the file behind the descriptor or slot tells all.
 */
static __always_inline int open_done(struct io_ring_ctx *ring, struct io_kiocb *request,
				     __u8 opcode, __s32 result)
{
	struct changes *changes = request_changes((__u64)request);
	struct io_open *open = (void *)&request->cmd;
	struct file *file = NULL;
	__u64 key = (__u64)request;

	if (!are_opens_wanted())
		return 0;
	if (result >= 0)
		file = ring_made_file(ring, KREAD(open, file_slot), result);
	if (changes && changes_made_file(changes) && changes->file != (__u64)KREAD(file, f_inode))
		return request_done(key, opcode, 0, RECORD_FILE_CREATE);
	if (changes)
		request_forget(key);
	else if (opens_were_refused)
		refused_open_done(key, result < 0 && !never_made(result));
	if (result < 0)
		return 0;
	return file_opened((__u64)file, KREAD(open, how.flags) & O_TRUNC);
}

/* A request has ended. It runs in the context of the process or of a worker, one of its threads. */
static __always_inline int name_done(struct io_ring_ctx *ring, struct io_kiocb *request,
				     __s32 result)
{
	__u8 opcode;

	if (!request)
		return 0;
	opcode = KREAD(request, opcode);
	switch (opcode) {
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
		return open_done(ring, request, opcode, result);
	case IORING_OP_UNLINKAT:
		return request_done((__u64)request, opcode, result, RECORD_FILE_DELETE);
	case IORING_OP_RENAMEAT:
	case IORING_OP_LINKAT:
		return request_done((__u64)request, opcode, result, RECORD_FILE_CREATE);
	case IORING_OP_BIND:
		return result ? 0 : ring_socket_bound(request_file(request));
	case IORING_OP_CONNECT:
		return result ? 0 : naming_connected(request);
	default:
		return 0;
	}
}

/* A request begins. Since v6.4. */
SEC("?tp_btf/io_uring_submit_req")
int BPF_PROG(io_uring_name_begun, struct io_kiocb *request)
{
	return name_begun(request);
}

/* The same before v6.4, when the tracepoint had this name. */
SEC("?tp_btf/io_uring_submit_sqe")
int BPF_PROG(io_uring_name_begun_sqe, struct io_kiocb *request)
{
	return name_begun(request);
}

/* A request has ended. 6.18 has it; on 6.12 the completion is no argument. */
SEC("?tp_btf/io_uring_complete")
int BPF_PROG(io_uring_name_done, struct io_ring_ctx *ring, struct io_kiocb *request,
	     struct io_uring_cqe *completion)
{
	return name_done(ring, request, completion->res);
}

/* The same on older kernels: members of the completion are arguments. */
SEC("?tp_btf/io_uring_complete")
int BPF_PROG(io_uring_name_done_by_result, struct io_ring_ctx *ring, struct io_kiocb *request,
	     __u64 user_data, int result)
{
	return name_done(ring, request, result);
}

#ifndef WITHOUT_BPF_LOOP

/* A request has ended, and its completion finds no room in the ring's queue. */
SEC("?tp_btf/io_uring_cqe_overflow")
int BPF_PROG(io_uring_name_overflowed, struct io_ring_ctx *ring, __u64 user_data, __s32 result)
{
	__u64 request = overflowed_request(ring, user_data, result, NAMING_OPCODES);

	return request ? name_done(ring, (void *)request, result) : 0;
}

#endif /* WITHOUT_BPF_LOOP */
