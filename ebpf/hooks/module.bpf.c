// SPDX-License-Identifier: GPL-2.0-only
/*
 * Modules of the kernel that are loaded, before their own code runs. A kernel without
 * CONFIG_MODULES has none of these hooks. Record: module_load.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/file.bpf.h"
#include "kernel/file_identity.bpf.h"
#include "kernel/path.bpf.h"
#include "kernel/syscall.bpf.h"
#include "kernel/task.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/forks.bpf.h"
#include "emit/ring.bpf.h"
#include "emit/scratch.bpf.h"
#include "emit/record.bpf.h"
#include "emit/wanted.bpf.h"

#define MODULE_NAME 56 /* bytes, with its NUL: of struct module, on 64-bit machines */
#define PARAMETERS_SIZE 1024
#define TAIL_SIZE 2048 /* more than a signature by RSA has */
#define DESCRIPTORS_SEARCHED 24

/* The file that a call reads a module from, and its inode to know it again. */
struct module_file {
	__u64 file; /* struct file */
	__u64 inode; /* struct inode */
};

/* Key: the thread. If a module is refused, the thread's next one replaces its entry. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 512);
	__type(key, __u32);
	__type(value, struct module_file);
} module_files SEC(".maps");

/* Later kernels read packed modules under a number of their own. */
enum kernel_read_file_id___packed {
	READING_MODULE_COMPRESSED___packed,
};

static __always_inline bool is_module_read(__u32 id)
{
	if (id == bpf_core_enum_value(enum kernel_read_file_id, READING_MODULE))
		return true;
	return bpf_core_enum_value_exists(enum kernel_read_file_id___packed,
					  READING_MODULE_COMPRESSED___packed) &&
	       id == bpf_core_enum_value(enum kernel_read_file_id___packed,
					 READING_MODULE_COMPRESSED___packed);
}

/* finit_module() is about to read a file. Needs fentry. */
SEC("?fentry/security_kernel_read_file")
int BPF_PROG(module_read, struct file *file, enum kernel_read_file_id id)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct module_file found = {};

	if (!is_module_read(id) || !is_wanted(RECORD_BIT(RECORD_MODULE_LOAD)))
		return 0;
	found.file = (__u64)file;
	found.inode = (__u64)KREAD(file, f_inode);
	bpf_map_update_elem(&module_files, &thread, &found, BPF_ANY);
	return 0;
}

/* The call that loads the module, as its registers tell it. */
struct module_call {
	__u64 memory; /* init_module(): the image in the caller's memory */
	__u64 bytes;
	__u64 parameters; /* a string in the caller's memory */
	__u32 fd; /* finit_module() */
	bool is_init;
	bool is_finit;
	__u8 pad[2];
};

static __always_inline void module_call_read(struct module_call *call)
{
	bool compat = task_in_compat_call((void *)bpf_get_current_task());
	struct pt_regs registers = {};
	__u32 number;

	registers_read(&registers);
	number = call_number(&registers);
	call->is_init = number == NUMBER_OF_INIT_MODULE(compat);
	call->is_finit = number == NUMBER_OF_FINIT_MODULE(compat);
	if (call->is_init) {
		call->memory = ARGUMENT_0(&registers, compat);
		call->bytes = ARGUMENT_1(&registers, compat);
		call->parameters = ARGUMENT_2(&registers, compat);
	} else if (call->is_finit) {
		call->fd = ARGUMENT_0(&registers, compat);
		call->parameters = ARGUMENT_1(&registers, compat);
	}
}

/*
 * The file that finit_module() has read. Another thread may have closed it by now: it is the same
 * as long as it has the same inode. Without fentry it is what the descriptor leads to now.
 */
static __always_inline struct file *module_file_read(__u32 fd)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct module_file *known = bpf_map_lookup_elem(&module_files, &thread);
	struct file *file;

	if (!known)
		return task_file((void *)bpf_get_current_task(), fd);
	file = (struct file *)known->file;
	if ((__u64)KREAD(file, f_inode) != known->inode)
		file = NULL;
	bpf_map_delete_elem(&module_files, &thread);
	return file;
}

#define ENDING_WORD(a, b, c, d, e, f, g)                                                         \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | \
	 (__u64)(f) << 40 | (__u64)(g) << 48)

/* Returns the length of ".ko", or of that with the ending of a compressed file; 0: not there. */
static __always_inline __u32 module_ending(const unsigned char *name, __u32 length)
{
	__u64 last = KREAD_WORD(name + length - 8); /* the last letter is in the highest byte */

	if (last >> 40 == ENDING_WORD('.', 'k', 'o', 0, 0, 0, 0))
		return 3;
	if (last >> 16 == ENDING_WORD('.', 'k', 'o', '.', 'x', 'z', 0) ||
	    last >> 16 == ENDING_WORD('.', 'k', 'o', '.', 'g', 'z', 0))
		return 6;
	return last >> 8 == ENDING_WORD('.', 'k', 'o', '.', 'z', 's', 't') ? 7 : 0;
}

/*
 * Returns whether a regular file is named like the module of the record in scratch: "-" and "_" are
 * the same there.
 */
__noinline int file_is_named_like_module(__u64 file_address)
{
	struct scratch *scratch = task_scratch_get();
	struct file *file = (void *)file_address;
	struct dentry *dentry = KREAD(file, f_path.dentry);
	struct inode *inode = KREAD(file, f_inode);
	const unsigned char *name = KREAD(dentry, d_name.name);
	__u32 length = KREAD(dentry, d_name.len);
	const struct module_load *r;
	char found[MODULE_NAME] = {};

	if ((KREAD(inode, i_mode) & S_IFMT) != S_IFREG || length < 4)
		return 0;
	length -= module_ending(name, length);
	if (length == KREAD(dentry, d_name.len) || length >= MODULE_NAME || !scratch)
		return 0;
	r = (void *)scratch->data;
	bpf_probe_read_kernel(found, sizeof(found), name);
	for (__u32 i = 0; i < MODULE_NAME; i++) {
		char letter = i < length ? found[i] : 0;

		if ((letter == '-' ? '_' : letter) != r->name[i])
			return 0;
		if (!letter)
			return 1;
	}
	return 0;
}

/*
 * A file that the process has open and that is named like the module: modprobe(8) gives the kernel
 * what it has unpacked itself. User space compares it with the memory that was given.
 */
static __always_inline struct file *module_file_guessed(struct module_load *r)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	for (__u32 i = 0; i < DESCRIPTORS_SEARCHED; i++) {
		struct file *file = task_file(task, i);

		if (file && file_is_named_like_module((__u64)file)) {
			r->descriptor = i;
			return file;
		}
	}
	return NULL;
}

static __always_inline __u32 signature_of(struct module *module)
{
	struct module___signed *checked = (void *)module;

	if (!bpf_core_field_exists(checked->sig_ok))
		return MODULE_SIGNATURE_UNKNOWN;
	return BPF_CORE_READ(checked, sig_ok) ? MODULE_SIGNATURE_GOOD : MODULE_SIGNATURE_BAD;
}

static __always_inline void module_append_file(struct scratch *scratch, struct module_load *r,
					       struct file *file)
{
	file_identify(&r->file, KREAD(file, f_inode));
	record_append_dentry(scratch, &r->path, KREAD(file, f_path.dentry), KREAD(file, f_path.mnt),
			     &r->flags, RECORD_PATH_TRUNCATED, 0);
}

/* Append the module as the caller's memory has it; no bytes, where that cannot be read. */
static __always_inline void module_append_memory(struct scratch *scratch, struct module_load *r,
						 const struct module_call *call)
{
	__u32 used = scratch->used & (STRINGS_SIZE - 1);
	long length;

	length = bpf_probe_read_user_str(&scratch->data[used], PARAMETERS_SIZE,
					 (void *)call->parameters);
	r->parameters.offset = used;
	r->parameters.length = length > 0 ? (length - 1) & (PARAMETERS_SIZE - 1) : 0;
	used = (used + r->parameters.length) & (STRINGS_SIZE - 1);
	r->tail.offset = used;
	if (call->bytes >= TAIL_SIZE &&
	    !bpf_probe_read_user(&scratch->data[used], TAIL_SIZE,
				 (void *)(call->memory + call->bytes - TAIL_SIZE)))
		r->tail.length = TAIL_SIZE;
	scratch->used = used + r->tail.length;
}

/*
 * Send what stands in scratch, behind the fork of its process. Like a record of a process, it may
 * use the reserve of the ring.
 */
static __always_inline void module_send(struct scratch *scratch)
{
	struct record_header *header = (void *)scratch->data;
	__u32 used = scratch->used & (STRINGS_SIZE + ARGS_SIZE - 1);

	header->boot_ns = bpf_ktime_get_boot_ns();
	header->size = used;
	fork_tell(header->tgid);
	record_put(scratch->data, used, RECORD_MODULE_LOAD, ring_waiting(), true);
}

/*
 * The kernel has accepted a module; the module's own code runs next. Modules that the kernel
 * refuses do not come here.
 */
SEC("?tp_btf/module_load")
int BPF_PROG(module_loaded, struct module *module)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct scratch *scratch = task_scratch_get();
	struct module___any *any = (void *)module;
	struct module_call call = {};
	struct file *file = NULL;
	struct module_load *r;

	if (!is_wanted(RECORD_BIT(RECORD_MODULE_LOAD)))
		return 0;
	count_seen(RECORD_MODULE_LOAD);
	if (!scratch) {
		count_lost(RECORD_MODULE_LOAD, LOSS_UNREADABLE);
		return 0;
	}
	module_call_read(&call);
	r = record_begin(scratch, task, RECORD_MODULE_LOAD, module_load);
	BPF_CORE_READ_STR_INTO(&r->name, any, name);
	r->taints = BPF_CORE_READ(any, taints);
	r->signature = signature_of(module);
	r->mount_namespace = task_mount_namespace(task);
	r->image_bytes = call.bytes;
	r->descriptor = call.fd;
	r->is_guess = call.is_init;
	if (call.is_finit)
		file = module_file_read(call.fd);
	else if (call.is_init)
		file = module_file_guessed(r);
	if (file)
		module_append_file(scratch, r, file);
	module_append_memory(scratch, r, &call);
	module_send(scratch);
	return 0;
}
