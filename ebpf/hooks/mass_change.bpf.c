// SPDX-License-Identifier: GPL-2.0-only
/*
 * Processes that write many existing files and rename or remove them in the same minute, as
 * programs do that encrypt the files of others. A file that the process has made itself does not
 * count, so whoever writes new files and renames them over old ones is none of these.
 * hooks/file.bpf.c tells which files are opened for writing; hooks/changes.bpf.c, or
 * hooks/file_names.bpf.c, which ones lose their names. Only counters are kept; no record of a file
 * is sent.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/functions.bpf.h"

#define MASS_CHANGE_NS 60000000000ULL

/* An image of a process. */
struct changing_image {
	__u64 start_boot_ns;
	__u32 tgid;
	__u32 exec_id;
};

/* A file that the image has made or opened for writing. */
struct changing_file {
	struct changing_image image;
	__u64 inode;
	__u32 device;
	__u32 generation; /* of the inode: its number may be another file's later */
};

enum changing_state {
	FILE_OPENED, /* for writing, and it existed before */
	FILE_MADE_HERE,
	FILE_COUNTED, /* it was renamed or removed, and counts as one file */
};

struct changing_file_state {
	__u64 opened_boot_ns; /* for writing, last */
	__s64 mtime_ns; /* before it was written; 0: opening it has emptied it */
	__u32 state; /* enum changing_state */
	__u32 pad;
};

/* One that is thrown out does not count. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct changing_file);
	__type(value, struct changing_file_state);
} changing_files SEC(".maps");

struct changed_files {
	__u64 begin_boot_ns; /* of the minute in which files are counted */
	__u32 files;
	__u32 is_told;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct changing_image);
	__type(value, struct changed_files);
} changing_images SEC(".maps");

static __always_inline void changing_file_fill(struct changing_file *key, struct inode *inode)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *leader = KREAD(task, group_leader);
	struct super_block *sb = KREAD(inode, i_sb);

	key->image.start_boot_ns = KREAD(leader, start_boottime);
	key->image.tgid = KREAD(task, tgid);
	key->image.exec_id = KREAD(task, self_exec_id);
	key->inode = KREAD(inode, i_ino);
	key->generation = KREAD(inode, i_generation);
	key->device = KREAD(sb, s_dev);
}

#ifdef WITHOUT_BPF_LOOP
#define mass_change_is_excluded() false
#define maker_is_excluded() false
#else
/*
 * Returns whether the image of the process is enough to exclude these events. During a self-test
 * none is: each question would take one off what its processes may have.
 */
static __always_inline bool image_excludes(__u64 events)
{
	return !*(volatile bool *)&processes_pass && file_events_excluded(events);
}

static __always_inline bool mass_change_is_excluded(void)
{
	return image_excludes(FILTER_ASKED(FILTER_PROCESS_TAMPERING));
}

/* Returns whether all is excluded that asks who has made a file. */
static __always_inline bool maker_is_excluded(void)
{
	__u64 events = 0;

	if (mass_change_files)
		events |= FILTER_ASKED(FILTER_PROCESS_TAMPERING);
	if (is_wanted(RECORD_BIT(RECORD_TIME_SET)))
		events |= FILTER_ASKED(FILTER_FILE_TIME);
	return image_excludes(events);
}
#endif

/* The current process has made this file. The note is the dearest part of making one. */
__noinline int file_made_here(__u64 inode_address)
{
	struct changing_file_state state = {.state = FILE_MADE_HERE};
	struct changing_file key = {};

	if (is_own() || maker_is_excluded())
		return 0;
	changing_file_fill(&key, (void *)inode_address);
	return bpf_map_update_elem(&changing_files, &key, &state, BPF_ANY);
}

/* Returns whether the current process has made this file. */
__noinline int is_file_made_here(__u64 inode_address)
{
	struct changing_file_state *known;
	struct changing_file key = {};

	changing_file_fill(&key, (void *)inode_address);
	known = bpf_map_lookup_elem(&changing_files, &key);
	return known && known->state == FILE_MADE_HERE;
}

/*
 * The current process has opened a regular file for writing that existed. `truncated`: that has
 * emptied it.
 */
__noinline int existing_file_opened_to_write(__u64 inode_address, bool truncated)
{
	struct changing_file_state first = {.state = FILE_OPENED}, *known;
	struct inode *inode = (void *)inode_address;
	struct changing_file key = {};

	if (is_own() || mass_change_is_excluded())
		return 0;
	changing_file_fill(&key, inode);
	first.opened_boot_ns = bpf_ktime_get_boot_ns();
	first.mtime_ns = truncated ? 0 : inode_mtime_ns(inode);
	known = bpf_map_lookup_elem(&changing_files, &key);
	if (!known)
		return bpf_map_update_elem(&changing_files, &key, &first, BPF_NOEXIST);
	known->opened_boot_ns = first.opened_boot_ns;
	if (truncated)
		known->mtime_ns = 0;
	return 0;
}

/* Count one more file of the image. Returns whether that makes a mass change. */
static __always_inline bool is_one_too_many(const struct changing_image *image, __u64 now)
{
	struct changed_files first = {.begin_boot_ns = now, .files = 1}, *known;

	known = bpf_map_lookup_elem(&changing_images, image);
	if (!known) {
		bpf_map_update_elem(&changing_images, image, &first, BPF_NOEXIST);
		return false;
	}
	if (now - known->begin_boot_ns > MASS_CHANGE_NS) {
		known->begin_boot_ns = now;
		known->files = 0;
	}
	__sync_fetch_and_add(&known->files, 1);
	if (known->is_told || known->files < mass_change_files)
		return false;
	known->is_told = 1;
	return true;
}

/* The current process takes the name of a file, or gives it another one. */
__noinline int written_file_taken(__u64 inode_address)
{
	struct inode *inode = (void *)inode_address;
	struct changing_file_state *known;
	struct changing_file key = {};
	__u64 now;

	if (!inode)
		return 0;
	changing_file_fill(&key, inode);
	known = bpf_map_lookup_elem(&changing_files, &key);
	if (!known || known->state != FILE_OPENED)
		return 0;
	now = bpf_ktime_get_boot_ns();
	if (now - known->opened_boot_ns > MASS_CHANGE_NS ||
	    known->mtime_ns == inode_mtime_ns(inode))
		return 0;
	known->state = FILE_COUNTED;
	return is_one_too_many(&key.image, now) ? files_changed() : 0;
}
