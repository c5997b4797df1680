// SPDX-License-Identifier: GPL-2.0-only
/*
 * Images that no file system keeps, and images that are not what they were: a program run from
 * memory, from shared memory or from a file without a name; a script run from such a file by its
 * descriptor; a process whose image was replaced. hooks/process.bpf.c calls image_taken() at each
 * exec, hooks/syscall_exit.bpf.c calls image_replaced(), hooks/mass_change.bpf.c files_changed(),
 * hooks/memory.bpf.c and hooks/access.bpf.c memory_told(). Record: process_tampering.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/file.bpf.h"
#include "kernel/mapping.bpf.h"
#include "kernel/path.bpf.h"
#include "kernel/pid.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/ring.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/record.bpf.h"
#include "emit/wanted.bpf.h"
#include "filter/events.bpf.h"
#include "hooks/functions.bpf.h"

/* Kernel dev_t of the tmpfs at /dev/shm, wherever else it is mounted; 0: none. User space sets it.
 */
__u32 shared_memory_device = 0;

/* These variables keep the types in the object's BTF, where user space reads them. */
enum tampering tamperings;
enum memory_way memory_ways;

#define MEMORY_TOLD 16384

/* A way in which an image of a process has made memory executable before. */
struct memory_told {
	__u64 image_id;
	__u64 generation; /* of the rules: under others the image is told anew */
	__u32 uid;
	__u32 way; /* enum memory_way */
};

/* If it is full, what was told longest ago may be told again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MEMORY_TOLD);
	__type(key, struct memory_told);
	__type(value, __u8);
} memory_told_before SEC(".maps");

#define LETTERS(a, b, c, d, e, f, g, h)                                                          \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | \
	 (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)

static __always_inline bool is_named_memfd(struct dentry *dentry)
{
	union {
		char text[8];
		__u64 word;
	} name = {};

	bpf_probe_read_kernel(name.text, sizeof("memfd:") - 1, KREAD(dentry, d_name.name));
	return name.word == LETTERS('m', 'e', 'm', 'f', 'd', ':', 0, 0);
}

/* Returns whether the mount's source is "shm", as in the /dev/shm that container runtimes mount. */
static __always_inline bool is_mounted_as_shm(struct vfsmount *mnt)
{
	struct mount *mount = container_of(mnt, struct mount, mnt);
	char name[4] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), KREAD(mount, mnt_devname));
	return name[0] == 's' && name[1] == 'h' && name[2] == 'm' && !name[3];
}

#define DEV_SHM LETTERS('/', 'd', 'e', 'v', '/', 's', 'h', 'm')
#define RUN_SHM LETTERS('/', 'r', 'u', 'n', '/', 's', 'h', 'm')

/* Returns whether the path of (mnt, dentry) is below /dev/shm or /run/shm. */
static __always_inline bool is_below_shm(struct dentry *dentry, struct vfsmount *mnt)
{
	struct scratch *scratch = task_scratch_get();
	const __u8 *text;
	__u64 word;

	if (!scratch || !scratch_path_build_name(scratch, dentry, mnt))
		return false;
	text = &scratch->path.bytes[scratch->path.at & (PATH_SIZE - 1)];
	word = *(const __u64 *)text;
	return text[8] == '/' && (word == DEV_SHM || word == RUN_SHM);
}

/* Returns the tampering that the kind of a file shows; TAMPERING_MAX: none. */
__noinline int tampering_of(__u64 file_address)
{
	struct file *file = (void *)file_address;
	struct dentry *dentry = KREAD(file, f_path.dentry);
	struct vfsmount *mnt = KREAD(file, f_path.mnt);
	struct super_block *sb = KREAD(dentry, d_sb);

	if (KREAD(mnt, mnt_flags) & MNT_INTERNAL)
		return is_named_memfd(dentry) ? TAMPERING_MEMFD : TAMPERING_SHARED_MEMORY;
	if (KREAD(dentry, d_parent) != dentry && dentry_is_unhashed(dentry))
		return TAMPERING_DELETED;
	if (KREAD(sb, s_magic) != TMPFS_MAGIC)
		return TAMPERING_MAX;
	if (KREAD(sb, s_dev) == shared_memory_device || is_mounted_as_shm(mnt) ||
	    is_below_shm(dentry, mnt))
		return TAMPERING_SHARED_MEMORY;
	return TAMPERING_MAX;
}

#define NAME_WORDS 4
#define NAME_STEPS_WITHOUT_LOOP 96

/*
 * The last components of a name, "." left out: the last one is words[0]. A word has the first eight
 * letters, the very first in its lowest byte; no letters: 0. It lies in scratch->data, in the place
 * of a record that was sent; the name lies in scratch->path.
 */
struct name_tail {
	__u64 words[NAME_WORDS];
	__u32 at; /* letters that are not read yet */
	__u32 word; /* that is being read */
};

/* Read one letter, from the end to the front. Returns 1 at the end, as bpf_loop() wants. */
static __always_inline long name_step(struct scratch *scratch)
{
	struct name_tail *tail = (void *)scratch->data;
	__u32 at = tail->at - 1, word = tail->word & (NAME_WORDS - 1);
	__u8 letter;

	if (!tail->at || word == NAME_WORDS - 1)
		return 1;
	tail->at = at;
	letter = scratch->path.bytes[at & (PATH_SIZE - 1)];
	if (letter != '/')
		tail->words[word] = tail->words[word] << 8 | letter;
	else if (tail->words[word] == '.')
		tail->words[word] = 0;
	else if (tail->words[word])
		tail->word = word + 1;
	return 0;
}

static long name_loop_step(__u32 index, struct scratch **scratch)
{
	return name_step(*scratch);
}

static __noinline long name_called_step(struct scratch *scratch)
{
	return name_step(scratch);
}

/* Read the last components of the first `length` letters of the path. */
static __always_inline void name_read(struct scratch *scratch, __u32 length)
{
	struct name_tail *tail = (void *)scratch->data;

	__builtin_memset(tail, 0, sizeof(*tail));
	tail->at = length;
	if (has_bpf_loop)
		bpf_loop(PATH_SIZE, name_loop_step, &scratch, 0);
	else
		for (int i = 0; i < NAME_STEPS_WITHOUT_LOOP && !name_called_step(scratch); i++)
			;
	for (int i = 0; i < NAME_WORDS; i++)
		if (tail->words[i] == '.')
			tail->words[i] = 0;
}

/* Returns the value of a word of decimal digits; -1: the word is no number. */
__noinline int word_number(__u64 word)
{
	__u32 number = 0;

	if (!word)
		return -1;
	for (int i = 0; i < 8; i++) {
		__u8 letter = word >> i * 8;

		if (!letter)
			break;
		if (letter < '0' || letter > '9')
			return -1;
		number = number * 10 + (letter - '0');
	}
	return number;
}

/* The task whose directory in procfs this is, or a directory in that; NULL: it is none. */
static __always_inline struct task_struct *task_of_directory(struct dentry *dentry)
{
	struct super_block *sb = KREAD(dentry, d_sb);
	struct proc_inode *inode;

	if (KREAD(sb, s_magic) != PROC_SUPER_MAGIC)
		return NULL;
	inode = container_of(KREAD(dentry, d_inode), struct proc_inode, vfs_inode);
	return task_of_pid(KREAD(inode, pid));
}

#define WORD_FD LETTERS('f', 'd', 0, 0, 0, 0, 0, 0)
#define WORD_DEV LETTERS('d', 'e', 'v', 0, 0, 0, 0, 0)
#define WORD_SELF LETTERS('s', 'e', 'l', 'f', 0, 0, 0, 0)
#define WORD_THREAD_SELF LETTERS('t', 'h', 'r', 'e', 'a', 'd', '-', 's')

/* The task whose descriptors a directory shows that is named so. */
static __always_inline struct task_struct *task_of_words(struct task_struct *task, __u64 last,
							 __u64 above)
{
	if (above == WORD_FD) /* /dev/fd/7/3: execveat(2) began at descriptor 7 */
		return task_of_directory(KREAD(task_file(task, word_number(last)), f_path.dentry));
	if (last != WORD_FD)
		return NULL;
	if (above == WORD_DEV || above == WORD_SELF || above == WORD_THREAD_SELF)
		return task;
	return word_number(above) > 0 ? task_by_vpid(word_number(above)) : NULL;
}

/*
 * The file of a script that was given as a descriptor: /dev/fd/N, /proc/PID/fd/N and so on, of
 * which `tail` has the last components. NULL: the name does not lead there, or by a link.
 */
static __always_inline struct file *file_of_name(const struct name_tail *tail, bool is_absolute)
{
	struct task_struct *task = (void *)bpf_get_current_task(), *of;
	__u64 last = tail->words[1], above = tail->words[2];
	int fd = word_number(tail->words[0]);

	if (fd < 0 || (last && last != WORD_FD && above != WORD_FD))
		return NULL;
	if (last && above)
		of = task_of_words(task, last, above);
	else
		of = is_absolute ? NULL : task_of_directory(BPF_CORE_READ(task, fs, pwd.dentry));
	return of ? task_file(of, fd) : NULL;
}

/* Returns the tampering that a script's file shows; TAMPERING_MAX: none, or it is not known. */
__noinline int tampering_of_script(__u64 name_address)
{
	struct scratch *scratch = task_scratch_get();
	struct file *file;
	long length;

	if (!scratch)
		return TAMPERING_MAX;
	length = bpf_probe_read_kernel_str(scratch->path.bytes, PATH_SIZE, (void *)name_address);
	if (length < 2)
		return TAMPERING_MAX;
	name_read(scratch, length - 1);
	file = file_of_name((void *)scratch->data, scratch->path.bytes[0] == '/');
	return file ? tampering_of((__u64)file) : TAMPERING_MAX;
}

static __always_inline void memory_told_fill(struct memory_told *key, __u32 way)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const struct cred *cred = KREAD(task, cred);

	key->image_id = image_id_of_task(task);
	key->generation = write_round;
	key->uid = KREAD(cred, uid.val);
	key->way = way;
}

/* Returns whether it matters that the current process makes memory executable in that way. */
__noinline int memory_asked(__u32 way)
{
	struct memory_told key = {};

	if (!executable_memory || is_own())
		return 0;
	memory_told_fill(&key, way);
	return !bpf_map_lookup_elem(&memory_told_before, &key);
}

/* Fill and judge the record. Returns whether it is to be sent. */
static __always_inline bool tampering_begin(struct process_tampering *r, enum tampering kind)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	count_seen(RECORD_PROCESS_TAMPERING);
	record_header_fill(&r->header, task, RECORD_PROCESS_TAMPERING);
	r->header.size = sizeof(*r);
	r->kind = kind;
	if (!tampering_excluded(r))
		return true;
	count_filtered(RECORD_PROCESS_TAMPERING);
	return false;
}

/*
 * The current process can run code in memory whose content no file has: tell it once for each of
 * its images, user and way, and remember as well that the rules exclude it.
 */
__noinline int memory_told(__u32 way)
{
	struct process_tampering r = {.way = way};
	struct memory_told key = {};
	__u8 known = 1;

	memory_told_fill(&key, way);
	bpf_map_update_elem(&memory_told_before, &key, &known, BPF_ANY);
	if (tampering_begin(&r, TAMPERING_EXECUTABLE_MEMORY))
		record_send(&r, sizeof(r), RECORD_PROCESS_TAMPERING, false);
	return 0;
}

/* The current task has taken an image whose file may ask for a stack that can be run. */
__noinline int stack_taken(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct vm_area_struct *stack =
		mapping_of(KREAD(task, mm), BPF_CORE_READ(task, mm, start_stack));

	if (stack && KREAD(stack, vm_flags) & VM_EXEC && memory_asked(WAY_EXECVE))
		memory_told(WAY_EXECVE);
	return 0;
}

/*
 * The current task has taken an image, and the record of it is sent. `script_name`: the name that
 * was run, where another program reads the file; else 0. The record goes where records of processes
 * go: a user's share of the ring does not hold it back, as it does not hold back the exec.
 */
__noinline int image_taken(__u64 script_name)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file *image = BPF_CORE_READ(task, mm, exe_file);
	struct process_tampering r = {};
	int kind = image ? tampering_of((__u64)image) : TAMPERING_MAX;

	if (kind == TAMPERING_MAX && script_name)
		kind = tampering_of_script(script_name);
	if (kind != TAMPERING_MAX && tampering_begin(&r, kind))
		record_put(&r, sizeof(r), RECORD_PROCESS_TAMPERING, ring_waiting(), false);
	return 0;
}

/*
 * prctl(PR_SET_MM) has succeeded, or seems to. PR_SET_MM_MAP may leave the image as it is, and a
 * call that never ran leaves it so. The flag FMODE_EXEC tells: a file has it that execve(2) has
 * opened, and a file that replaces an image has been opened by open(2), which does not set it.
 */
__noinline int image_replaced(__u32 request)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct process_tampering r = {};

	if (request != PR_SET_MM_EXE_FILE && request != PR_SET_MM_MAP)
		return 0;
	if (BPF_CORE_READ(task, mm, exe_file, f_flags) & FMODE_EXEC &&
	    (request == PR_SET_MM_MAP || call_may_be_faked()))
		return 0;
	if (tampering_begin(&r, TAMPERING_REPLACED))
		record_send(&r, sizeof(r), RECORD_PROCESS_TAMPERING, false);
	return 0;
}

/* The current process has changed as many files as the setting allows. */
__noinline int files_changed(void)
{
	struct process_tampering r = {};

	if (tampering_begin(&r, TAMPERING_MASS_CHANGE))
		record_send(&r, sizeof(r), RECORD_PROCESS_TAMPERING, false);
	return 0;
}
