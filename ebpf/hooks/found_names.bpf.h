/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names that the frames of a call have told before the call changes them. They wait for its end:
 * hooks/changes.bpf.c finds them, hooks/syscall_exit.bpf.c reports them if the call succeeds.
 */
#ifndef HOOKS_FOUND_NAMES_BPF_H
#define HOOKS_FOUND_NAMES_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/compat.bpf.h"
#include "kernel/path.bpf.h"
#include "emit/scratch.bpf.h"
#include "hooks/changed_inodes.bpf.h"
#include "hooks/file_record.bpf.h"

/* User space sets these two: the first when the frames of this kernel have proved themselves. */
bool names_from_frames = 0;
__u32 proving_thread = 0; /* of the daemon: its calls prove the frames; 0: none does */
__u64 names_unproved = 0; /* calls whose frames did not tell the name; it is reported as unknown */

/* Kernels before v5.17 have no ctime tracepoints, and v5.10 lacks the storage of tasks. */
#ifndef WITHOUT_BPF_LOOP

static __always_inline bool is_proving(void)
{
	return proving_thread && proving_thread == (__u32)bpf_get_current_pid_tgid();
}

#define FOUND_SIZE 512 /* a longer name waits in names_under_way */

enum found_state {
	FOUND_NOTHING,
	FOUND_NAME, /* in `bytes` */
	FOUND_LONG, /* in names_under_way */
	FOUND_UNPROVED, /* a directory has changed, but its frames did not tell the name */
};

/* A name that the current call gives or takes. */
struct found_name {
	__u64 directory; /* struct dentry whose frames were searched last; 0: none */
	__s64 created_ns; /* of the file that a rename moves, wall clock; 0: unknown */
	__s64 other_created_ns; /* of the file that RENAME_EXCHANGE puts under the old name */
	__u32 mode; /* of the file that a rename moves */
	__u32 replaced_mode; /* of the file that loses the name to a rename; 0: none */
	__u16 length; /* of `bytes` */
	__u8 state; /* enum found_state */
	bool is_whole; /* the path reaches the root of the mount namespace */
	bool has_other; /* RENAME_EXCHANGE: the old name, in names_under_way */
	__u8 pad[3];
	__u8 bytes[FOUND_SIZE];
};

/* Notes about the system call that a thread is in. */
struct call_notes {
	struct changes changes;
	__u64 frame; /* address on the kernel stack, below the frames of the call */
	__u64 inode; /* of the directory that has changed; of a core dump, its open file */
	__u64 dumps; /* searches for the file of the core dump; DUMP_SEARCHES: no more */
	struct found_name name;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct call_notes);
} notes_of_threads SEC(".maps");

/* The last name that the proving thread's frames have told. */
struct proved_name {
	__u32 state; /* enum found_state */
	__u32 length;
	__u8 bytes[FOUND_SIZE];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct proved_name);
} proved_names SEC(".maps");

/* Notes about the current thread's call; NULL: none. */
static __always_inline struct call_notes *call_notes_get(void)
{
	return bpf_task_storage_get(&notes_of_threads, bpf_get_current_task_btf(), NULL, 0);
}

/* Take what the notes tell of changes. `notes` are those of the current thread's call, or NULL. */
static __always_inline void changes_take(struct call_notes *notes, struct changes *taken)
{
	if (!notes)
		return;
	*taken = notes->changes;
	__builtin_memset(&notes->changes, 0, sizeof(notes->changes));
}

/* Returns whether the frames of the current thread's call have told its name. */
static __always_inline bool name_is_found(void)
{
	struct call_notes *notes = call_notes_get();

	return notes && (notes->name.state == FOUND_NAME || notes->name.state == FOUND_LONG);
}

static __always_inline struct name_under_way *found_elsewhere(__u32 key)
{
	return bpf_map_lookup_elem(&names_under_way, &key);
}

/* Put the name that was found into scratch->path. Returns false if none was. */
static __always_inline bool found_path(const struct found_name *found, struct scratch *scratch)
{
	__u32 length = found->length, at = PATH_SIZE - length;
	struct name_under_way *name;

	if (found->state == FOUND_LONG) {
		name = found_elsewhere(bpf_get_current_pid_tgid());
		return name &&
		       !bpf_probe_read_kernel(&scratch->path, sizeof(scratch->path), &name->path);
	}
	if (found->state != FOUND_NAME)
		return false;
	scratch->path.at = at;
	scratch->path.end = PATH_SIZE;
	scratch->path.whole = found->is_whole;
	scratch->path.given = false;
	barrier_var(at); /* keep the masks below, which the verifier needs */
	barrier_var(length);
	bpf_probe_read_kernel(&scratch->path.bytes[at & (PATH_SIZE - 1)], length & (FOUND_SIZE - 1),
			      found->bytes);
	return true;
}

/* Report a file by the name that was found. */
static __noinline int file_event_of_found(__u32 type, struct found_name *found, __u32 mode,
					  __s64 created_ns, __u32 flags)
{
	struct scratch *scratch = task_scratch_get();
	struct name_under_way *name;

	if (found->state == FOUND_LONG) {
		name = found_elsewhere(bpf_get_current_pid_tgid());
		return name ? file_event_of_path(type, &name->path, mode, created_ns, flags) : 0;
	}
	if (!scratch || !found_path(found, scratch))
		return 0;
	return file_event_of_path(type, &scratch->path, mode, created_ns, flags);
}

/* The file that RENAME_EXCHANGE has put under the old name. */
static __always_inline int file_event_of_other(struct found_name *found)
{
	struct name_under_way *name = found_elsewhere(OTHER_NAME_OF(bpf_get_current_pid_tgid()));

	if (!name || (name->mode & S_IFMT) != S_IFREG)
		return 0;
	return file_event_of_path(RECORD_FILE_CREATE, &name->path, name->mode,
				  found->other_created_ns, RECORD_BY_RENAME);
}

/* A rename has succeeded. */
static __always_inline int found_renamed(struct found_name *found)
{
	if (found->replaced_mode && is_wanted(RECORD_BIT(RECORD_FILE_DELETE)))
		file_event_of_found(RECORD_FILE_DELETE, found, found->replaced_mode, 0, 0);
	if (!is_wanted(RECORD_BIT(RECORD_FILE_CREATE)))
		return 0;
	if ((found->mode & S_IFMT) == S_IFREG)
		file_event_of_found(RECORD_FILE_CREATE, found, found->mode, found->created_ns,
				    RECORD_BY_RENAME);
	return found->has_other ? file_event_of_other(found) : 0;
}

/* Forget the name that was found so far. */
static __always_inline void found_forget(struct found_name *found)
{
	__u32 thread, other;

	if (found->state == FOUND_LONG || found->has_other) {
		thread = bpf_get_current_pid_tgid();
		other = OTHER_NAME_OF(thread);
		if (found->state == FOUND_LONG)
			bpf_map_delete_elem(&names_under_way, &thread);
		if (found->has_other)
			bpf_map_delete_elem(&names_under_way, &other);
	}
	found->state = FOUND_NOTHING;
	found->has_other = false;
	found->directory = 0;
}

/* The current thread's call has ended. `notes` are its notes, or NULL. */
static __always_inline void names_forget(struct call_notes *notes)
{
	if (notes && notes->name.state)
		found_forget(&notes->name);
}

#else
struct call_notes;
#define call_notes_get() NULL
#define changes_take(notes, taken) ((void)(notes))
#define names_forget(notes)
#define name_is_found() false
#endif

#endif /* HOOKS_FOUND_NAMES_BPF_H */
