// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory of which a process can run code from now on. hooks/syscall_exit.bpf.c calls these
 * functions when a call has mapped memory or changed its protection. Here the areas of memory are
 * found. A file in one goes to hooks/library.bpf.c; an area whose content no file has is told to
 * hooks/tampering.bpf.c. Areas that the kernel maps itself in execve(2) do not come here.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/file.bpf.h"
#include "kernel/mapping.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/wanted.bpf.h"
#include "hooks/functions.bpf.h"

#define ENOENT 2
#define AREAS_CHANGED 8 /* areas of memory that one call makes executable, and are looked at */

/* An area of memory: numbers alone, since a global function takes no pointer of a known type. */
struct area {
	__u64 file; /* that is mapped there; 0: none */
	__u64 end;
	__u64 flags; /* VM_EXEC and so on, and HAS_OWN_PAGES */
};

#define HAS_OWN_PAGES (1ULL << 63) /* pages of it were written: they are not those of the file */

static long area_seen(struct task_struct *task, struct vm_area_struct *vma, struct area *area)
{
	__u64 pages = 0;

	bpf_core_read(&area->file, sizeof(area->file), &vma->vm_file);
	bpf_core_read(&area->end, sizeof(area->end), &vma->vm_end);
	bpf_core_read(&area->flags, sizeof(area->flags), &vma->vm_flags);
	bpf_core_read(&pages, sizeof(pages), &vma->anon_vma);
	if (pages)
		area->flags |= HAS_OWN_PAGES;
	return 0;
}

/* Where the kernel keeps the area at an address of the current process; 0: not found. */
__noinline __u64 area_place(__u64 address)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct vm_area_struct *mapping = mapping_of(KREAD(task, mm), address);
	__u64 place = 0;

	/* To the verifier a number may leave a function, and no pointer: this makes one of it. */
	bpf_probe_read_kernel(&place, sizeof(place), &mapping);
	return place;
}

/* Fill `area` without the lock of the process's memory. Returns whether it was found. */
static __always_inline bool area_read(struct area *area, __u64 address)
{
	__u64 place = area_place(address);

	if (place)
		area_seen(NULL, (void *)place, area);
	return place;
}

#ifdef WITHOUT_BPF_LOOP
/* These kernels have no bpf_find_vma(). */
#define area_look_up(area, address) (-ENOENT)
#else
/* Returns 0; -EBUSY while another thread changes the memory of the process; -ENOENT. */
#define area_look_up(area, address) \
	bpf_find_vma(bpf_get_current_task_btf(), (address), area_seen, (area), 0)
#endif

/* Returns whether the area at an address of the current process was found. Fills `area`. */
static __always_inline bool area_find(struct area *area, __u64 address)
{
	return !area_look_up(area, address) || area_read(area, address);
}

/* Returns whether no file system shows the file: a memfd, shared memory, a device. */
static __always_inline bool is_memory(__u64 file_address)
{
	struct file *file = (void *)file_address;
	struct inode *inode = KREAD(file, f_inode);
	struct vfsmount *mnt = KREAD(file, f_path.mnt);

	return (KREAD(inode, i_mode) & S_IFMT) != S_IFREG || KREAD(mnt, mnt_flags) & MNT_INTERNAL;
}

/*
 * Returns whether code in the area need not be that of a file: there is none, or the process has
 * pages of its own there, or may write some at any time.
 */
static __always_inline bool is_without_file(const struct area *area)
{
	if (!area->file || is_memory(area->file))
		return true;
	return !(area->flags & VM_SHARED) && area->flags & (HAS_OWN_PAGES | VM_WRITE);
}

/* Neither the area nor all of them could be looked at. */
static __always_inline void areas_missed(bool asks_memory)
{
	if (is_wanted(RECORD_BIT(RECORD_LIBRARY_LOAD))) {
		count_seen(RECORD_LIBRARY_LOAD);
		count_lost(RECORD_LIBRARY_LOAD, LOSS_UNREADABLE);
	}
	if (asks_memory) {
		count_seen(RECORD_PROCESS_TAMPERING);
		count_lost(RECORD_PROCESS_TAMPERING, LOSS_UNREADABLE);
	}
}

/*
 * An area with this `file` and these `flags` was found: report the file in it. Returns 1 if the
 * area itself is to be told, else 0.
 */
__noinline int area_found(__u64 file, __u64 flags, bool asks_memory)
{
	struct area area = {.file = file, .flags = flags};

	if (file && is_wanted(RECORD_BIT(RECORD_LIBRARY_LOAD)))
		library_found(file);
	return asks_memory && is_without_file(&area);
}

/* mmap(2) has mapped memory without a file, as its arguments say. */
__noinline int memory_mapped(void)
{
	return memory_asked(WAY_MMAP) ? memory_told(WAY_MMAP) : 0;
}

/*
 * A file was mapped at `address`. Another thread may have put another file behind the descriptor by
 * now: the file of the area of memory counts, if it can be looked at. `written`: the process may
 * write to the area, and the file does not get what it writes. `surely`: the call has asked for
 * code; otherwise the area must say that it can be run.
 */
__noinline int file_mapped(__u64 address, __u32 fd, bool written, bool surely)
{
	bool asks_memory = memory_asked(WAY_MMAP);
	struct area area = {};

	if (!asks_memory && !is_wanted(RECORD_BIT(RECORD_LIBRARY_LOAD)))
		return 0;
	if (!area_find(&area, address) || !area.file) {
		area.file = (__u64)task_file((void *)bpf_get_current_task(), fd);
		area.flags = VM_EXEC | (written ? VM_WRITE : VM_SHARED);
		if (!area.file)
			areas_missed(asks_memory);
	}
	if (area.file && (surely || area.flags & VM_EXEC) &&
	    area_found(area.file, area.flags, asks_memory))
		memory_told(WAY_MMAP);
	return 0;
}

/* `bytes` of memory from `address` on were made executable: report what their areas hold. */
__noinline int memory_made_executable(__u64 address, __u64 bytes, __u32 way, bool surely)
{
	bool asks_memory = memory_asked(way), tells = false;
	__u64 end = address + bytes;

	if (!asks_memory && !is_wanted(RECORD_BIT(RECORD_LIBRARY_LOAD)))
		return 0;
	for (int i = 0; i < AREAS_CHANGED && address < end; i++) {
		struct area area = {};

		if (!area_find(&area, address))
			break;
		if ((surely || area.flags & VM_EXEC) &&
		    area_found(area.file, area.flags, asks_memory))
			tells = true;
		address = area.end;
	}
	if (tells)
		memory_told(way);
	if (address < end && surely)
		areas_missed(asks_memory && !tells);
	return 0;
}
