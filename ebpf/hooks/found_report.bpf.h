/* SPDX-License-Identifier: GPL-2.0-only */
/* Records of a call that has given or taken a name: the frames of the call have told the name. */
#ifndef HOOKS_FOUND_REPORT_BPF_H
#define HOOKS_FOUND_REPORT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/syscall_numbers.bpf.h"
#include "kernel/syscall.bpf.h"
#include "emit/wanted.bpf.h"
#include "hooks/changed_inodes.bpf.h"
#include "hooks/file_record.bpf.h"
#include "hooks/found_names.bpf.h"
#include "hooks/functions.bpf.h"

#ifdef WITHOUT_BPF_LOOP
#define found_reported(call, notes, changes) false
#define faked_reported(call, name, changes) false
#define name_is_unproved(name, changes, type) false
#else
/* Report what a call has done by the name that its frames have told. */
static __always_inline int found_report(enum call call, struct found_name *found,
					const struct changes *changes)
{
	switch (call) {
	case CALL_UNLINK:
	case CALL_UNLINKAT:
		return file_event_of_found(RECORD_FILE_DELETE, found, changes->mode, 0, 0);
	case CALL_LINK:
	case CALL_LINKAT:
		return file_event_of_found(RECORD_FILE_CREATE, found, changes_mode(changes, true),
					   changes_birth_ns(changes), RECORD_BY_LINK);
	case CALL_MKNOD:
	case CALL_MKNODAT:
		return (changes->mode & S_IFMT) == S_IFREG
			       ? file_event_of_found(RECORD_FILE_CREATE, found, changes->mode,
						     changes_birth_ns(changes), RECORD_FILE_IS_NEW)
			       : 0;
	default:
		return found_renamed(found);
	}
}

/* How a call that changes names makes a FileCreate, as a flag of the record. */
static __always_inline __u32 how_made(enum call call)
{
	if (call == CALL_LINK || call == CALL_LINKAT)
		return RECORD_BY_LINK;
	if (call == CALL_MKNOD || call == CALL_MKNODAT)
		return RECORD_FILE_IS_NEW;
	return RECORD_BY_RENAME;
}

/* The frames did not tell the name: report it as unknown. It is counted. */
static __always_inline int unproved_report(__u32 type, const struct changes *changes, __u32 how)
{
	bool takes = type == RECORD_FILE_DELETE;
	__u32 mode = takes ? changes->mode : changes_mode(changes, false);

	if (!takes && mode && (mode & S_IFMT) != S_IFREG)
		return 0;
	__sync_fetch_and_add(&names_unproved, 1);
	return file_event_of_string(AT_FDCWD, 0, type, MODE_AND_FLAGS(mode, how), 0);
}

/* Returns whether the frames of the call were searched, and reports what they told. */
static __always_inline bool found_reported(enum call call, struct call_notes *notes,
					   const struct changes *changes)
{
	bool takes = call == CALL_UNLINK || call == CALL_UNLINKAT;
	__u32 type = takes ? RECORD_FILE_DELETE : RECORD_FILE_CREATE;

	if (!notes || notes->name.state == FOUND_NOTHING)
		return false;
	if (notes->name.state != FOUND_UNPROVED)
		found_report(call, &notes->name, changes);
	else if (is_wanted(RECORD_BIT(type)))
		unproved_report(type, changes, takes ? 0 : how_made(call));
	return true;
}

/*
 * Returns whether a call that gives or takes a name may never have run: nothing has changed, no
 * hook has been given the name, and others may have answered for the kernel. On file systems that
 * do not tell changes it may be true nevertheless.
 */
static __always_inline bool name_is_unproved(const struct name_under_way *name,
					     const struct changes *changes, __u32 type)
{
	return !name && !changes->kinds && (names_from_frames || names_are_kept) &&
	       name_may_be_faked(type);
}

/*
 * If a call may never have run, see name_is_unproved(), report it without a name, where it is
 * wanted. Returns whether the call may never have run.
 */
static __always_inline bool faked_reported(enum call call, const struct name_under_way *name,
					   const struct changes *changes)
{
	bool takes = call == CALL_UNLINK || call == CALL_UNLINKAT;
	__u32 type = takes ? RECORD_FILE_DELETE : RECORD_FILE_CREATE;

	if (!name_is_unproved(name, changes, type))
		return false;
	unproved_report(type, changes, takes ? 0 : how_made(call));
	return true;
}
#endif

#endif /* HOOKS_FOUND_REPORT_BPF_H */
