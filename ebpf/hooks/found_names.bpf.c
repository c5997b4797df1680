// SPDX-License-Identifier: GPL-2.0-only
/*
 * The search for a name in the frames of the call that is about to give or take it. It serves where
 * no hook is given the directory entry.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/path.bpf.h"
#include "kernel/frames.bpf.h"
#include "kernel/syscall_numbers.bpf.h"
#include "kernel/syscall.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/changed_inodes.bpf.h"
#include "hooks/file_record.bpf.h"
#include "hooks/found_names.bpf.h"
#include "hooks/request.bpf.h"
#include "hooks/functions.bpf.h"

#ifndef WITHOUT_BPF_LOOP

/* Address of the string that names what is given or taken; 0: the call is a rename. */
static __always_inline __u64 string_of(enum call call, struct pt_regs *regs, bool compat)
{
	switch (call) {
	case CALL_UNLINK:
	case CALL_MKNOD:
		return ARGUMENT_0(regs, compat);
	case CALL_UNLINKAT:
	case CALL_MKNODAT:
	case CALL_LINK:
		return ARGUMENT_1(regs, compat);
	case CALL_LINKAT:
		return ARGUMENT_3(regs, compat);
	default:
		return 0;
	}
}

/* A directory has one directory entry: 0 means that none is in the kernel's memory. */
static __always_inline __u64 entry_of_directory(struct inode *inode)
{
	struct hlist_node *first = KREAD(inode, i_dentry.first);

	return first ? (__u64)first - bpf_core_field_offset(struct dentry, d_u.d_alias) : 0;
}

static __always_inline void search_begin(struct frame_search *search, __u64 frame,
					 struct inode *inode, __u64 string)
{
	__builtin_memset(search, 0, offsetof(struct frame_search, words));
	search->at = frame & ~7ULL;
	search->directory = entry_of_directory(inode);
	search->super_block = (__u64)KREAD(inode, i_sb);
	search->string = string;
	search->is_rename = !string;
}

/* The room for a search: no record is being built meanwhile. */
static __always_inline struct frame_search *search_in(struct scratch *scratch)
{
	return (void *)(scratch->data + sizeof(scratch->data) - sizeof(struct frame_search));
}

/* A new entry of names_under_way; NULL: there is no room. */
static __always_inline struct name_under_way *name_slot(struct scratch *scratch, __u32 key)
{
	if (bpf_map_update_elem(&names_under_way, &key, scratch->data, BPF_ANY))
		return NULL;
	return bpf_map_lookup_elem(&names_under_way, &key);
}

/* Keep the path in scratch->path until the call ends. */
static __noinline int found_keep(struct found_name *found, struct scratch *scratch)
{
	__u32 at = scratch->path.at, length = PATH_SIZE - at;
	struct name_under_way *name;

	if (length < FOUND_SIZE) {
		barrier_var(length);
		length &= FOUND_SIZE - 1;
		bpf_probe_read_kernel(found->bytes, length,
				      &scratch->path.bytes[PATH_SIZE - length]);
		found->length = length;
		found->is_whole = scratch->path.whole;
		found->state = FOUND_NAME;
		return 0;
	}
	name = name_slot(scratch, bpf_get_current_pid_tgid());
	if (!name)
		return 0;
	bpf_probe_read_kernel(&name->path, sizeof(name->path), &scratch->path);
	found->state = FOUND_LONG;
	return 0;
}

static __noinline int name_build(struct scratch *scratch, const struct frame_search *search)
{
	struct path_buffer *path = &scratch->path;
	__u32 length = search->name_length & (NAME_SIZE - 1);

	path_begin(path, (void *)search->directory, (void *)search->mnt);
	path_prepend_name(path, (void *)(search->text + search->length - length), length);
	return path_climb(path);
}

/* Keep the old name for the file that RENAME_EXCHANGE brings there. */
static __noinline int other_keep(struct found_name *found, struct scratch *scratch,
				 struct dentry *old, struct inode *inode, struct vfsmount *mnt)
{
	struct super_block *sb = KREAD(inode, i_sb);
	struct name_under_way *name;

	name = name_slot(scratch, OTHER_NAME_OF(bpf_get_current_pid_tgid()));
	if (!name)
		return 0;
	found->has_other = true;
	found->other_created_ns = inode_birth_ns(inode, KREAD(sb, s_magic));
	name->mode = KREAD(inode, i_mode);
	path_build_name(&name->path, old, mnt);
	return 0;
}

static __always_inline bool is_kind(__u32 mode, __u32 kind)
{
	return (mode & S_IFMT) == kind;
}

static __noinline int rename_found(struct found_name *found, struct scratch *scratch,
				   const struct frame_search *search, bool exchanges)
{
	struct dentry *old = (void *)search->old_dentry, *new = (void *)search->new_dentry;
	struct inode *moved = KREAD(old, d_inode), *other = KREAD(new, d_inode);
	struct vfsmount *mnt = (void *)search->mnt;
	struct super_block *sb = KREAD(moved, i_sb);
	__u32 other_mode = other ? KREAD(other, i_mode) : 0;

	found->mode = KREAD(moved, i_mode);
	found->created_ns = inode_birth_ns(moved, KREAD(sb, s_magic));
	found->replaced_mode = exchanges || is_kind(other_mode, S_IFDIR) ? 0 : other_mode;
	if (exchanges && is_kind(other_mode, S_IFREG))
		other_keep(found, scratch, old, other, mnt);
	scratch_path_build_name(scratch, new, mnt);
	return found_keep(found, scratch);
}

/* Show user space the name that its own call has told. */
static __noinline int name_show(const struct found_name *found)
{
	__u32 zero = 0;
	struct proved_name *proved = bpf_map_lookup_elem(&proved_names, &zero);

	if (!proved)
		return 0;
	proved->state = found->state;
	proved->length = found->length;
	__builtin_memcpy(proved->bytes, found->bytes, sizeof(proved->bytes));
	return 0;
}

static __always_inline bool is_exchange(enum call call, struct pt_regs *regs, bool compat)
{
	return call == CALL_RENAMEAT2 && ARGUMENT_4(regs, compat) & RENAME_EXCHANGE;
}

/*
 * Returns whether a change of this directory may tell the name. The walk to a directory may change
 * the ctime of one on its way, but the directory of the name is the last. A rename has two, and
 * either tells all.
 */
static __always_inline bool may_tell_name(const struct found_name *found, __u64 directory,
					  enum call call)
{
	bool renames = call >= CALL_RENAME && call <= CALL_RENAMEAT2;

	if (!directory || found->directory == directory)
		return false;
	return !renames || (found->state != FOUND_NAME && found->state != FOUND_LONG);
}

/* A call has changed the directory that is in its notes: find the name that it gives or takes. */
__noinline int name_search(struct call_notes *notes)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	struct scratch *scratch = task_scratch_get();
	bool compat = task_in_compat_call(task);
	enum call call = call_among(calls_of(regs), compat);
	struct frame_search *search;
	struct found_name *found;
	__u64 directory, string;

	if (!notes || !scratch)
		return 0;
	found = &notes->name;
	directory = entry_of_directory((void *)notes->inode);
	if (!may_tell_name(found, directory, call))
		return 0;
	found_forget(found);
	found->directory = directory;
	found->state = FOUND_UNPROVED;
	string = string_of(call, regs, compat);
	search = search_in(scratch);
	search_begin(search, notes->frame, (void *)notes->inode, string);
	search->end = (__u64)regs;
	if (frames_search(search)) {
		if (!string) {
			rename_found(found, scratch, search, is_exchange(call, regs, compat));
		} else {
			name_build(scratch, search);
			found_keep(found, scratch);
		}
	}
	return is_proving() ? name_show(found) : 0;
}

/* The name that a request gives or takes is in the request; 0: it is a rename, or neither. */
static __always_inline __u64 filename_of(struct io_kiocb *request, __u8 opcode)
{
	struct io_unlink *unlink = (void *)&request->cmd;
	struct io_link *link = (void *)&request->cmd;

	if (opcode == IORING_OP_UNLINKAT)
		return (__u64)KREAD(unlink, filename);
	return opcode == IORING_OP_LINKAT ? (__u64)KREAD(link, newpath) : 0;
}

/* Put the path in scratch->path into the record, instead of the string of the request. */
static __noinline int request_name_keep(struct request_record *record, struct scratch *scratch)
{
	struct file_event *r = (void *)record->data;
	__u32 at = scratch->path.at, length = PATH_SIZE - at;

	barrier_var(at); /* keep the masks below, which the verifier needs */
	barrier_var(length);
	length &= PATH_SIZE - 1;
	bpf_probe_read_kernel(record->data + sizeof(*r), length,
			      &scratch->path.bytes[at & (PATH_SIZE - 1)]);
	r->path.offset = sizeof(*r);
	r->path.length = length;
	r->base.length = r->root.length = 0;
	r->flags = scratch->path.whole ? 0 : RECORD_PATH_TRUNCATED;
	record->used = sizeof(*r) + length;
	return 0;
}

/* A request has changed the directory that is in its notes: find the name likewise. */
__noinline int request_name_search(void)
{
	__u64 address = request_of_worker(bpf_get_current_task_btf());
	struct request_record *record = request_find(address);
	struct io_kiocb *request = (void *)address;
	struct scratch *scratch = task_scratch_get();
	struct frame_search *search;
	__u8 opcode;

	if (!record || !scratch)
		return 0;
	opcode = KREAD(request, opcode);
	search = search_in(scratch);
	search_begin(search, record->frame, (void *)record->inode, 0);
	search->end = (__u64)bpf_task_pt_regs(bpf_get_current_task_btf());
	search->filename = filename_of(request, opcode);
	search->is_rename = opcode == IORING_OP_RENAMEAT;
	if (!search->directory || (!search->filename && !search->is_rename) ||
	    !frames_search(search))
		return 0;
	if (search->is_rename)
		scratch_path_build_name(scratch, (void *)search->new_dentry, (void *)search->mnt);
	else
		name_build(scratch, search);
	return request_name_keep(record, scratch);
}

#endif /* WITHOUT_BPF_LOOP */
