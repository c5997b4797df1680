// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one program that sees system calls end. It reads their arguments and calls the function of
 * the family that reports them: hooks/attribute.bpf.c, hooks/file.bpf.c, hooks/file_record.bpf.h,
 * hooks/access.bpf.c, hooks/injection.bpf.c, hooks/bpf_load.bpf.c, hooks/fifo.bpf.c,
 * hooks/memory.bpf.c, hooks/tampering.bpf.c, hooks/tcp.bpf.c, hooks/unix_socket.bpf.c,
 * hooks/stamp.bpf.c, hooks/quiet_requests.bpf.c.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "record.h"
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"
#include "kernel/file.bpf.h"
#include "kernel/syscall_numbers.bpf.h"
#include "kernel/syscall.bpf.h"
#include "emit/wanted.bpf.h"
#include "hooks/changed_inodes.bpf.h"
#include "hooks/file_record.bpf.h"
#include "hooks/found_names.bpf.h"
#include "hooks/found_report.bpf.h"
#include "hooks/quiet_notes.bpf.h"
#include "hooks/quiet_walk.bpf.h"
#include "hooks/functions.bpf.h"

/* Returns whether an open asked to empty the file; false unless the setting wants to know. */
static __always_inline bool is_truncating(enum call call, struct pt_regs *regs, bool compat)
{
	__u64 flags = 0;

	if (!truncation_as_create && !write_as_create && !mass_change_files)
		return false;
	if (call == CALL_OPEN)
		flags = ARGUMENT_1(regs, compat);
	else if (call == CALL_OPENAT || call == CALL_OPEN_BY_HANDLE)
		flags = ARGUMENT_2(regs, compat);
	else if (call == CALL_CREAT)
		flags = O_TRUNC;
	else
		bpf_probe_read_user(&flags, sizeof(flags), (void *)ARGUMENT_2(regs, compat));
	return flags & O_TRUNC;
}

/* Report the file that an open has made, by the caller's string. */
static __always_inline int file_made_by_open(enum call call, struct pt_regs *regs, bool compat)
{
	__u64 first = ARGUMENT_0(regs, compat), second = ARGUMENT_1(regs, compat);
	bool has_directory = call == CALL_OPENAT || call == CALL_OPENAT2;

	if (is_own())
		return 0;
	return file_event_of_string(has_directory ? first : AT_FDCWD,
				    has_directory ? second : first, RECORD_FILE_CREATE,
				    MODE_AND_FLAGS(S_IFREG, RECORD_FILE_IS_NEW), 0);
}

/*
 * An open may fail after it has made the file: Landlock may allow a process to make a file but not
 * to open it, and some file systems have no O_DIRECT. Another thread may have replaced the
 * descriptor by now. In both cases the notes about changed inodes tell that a file was made.
 */
static __always_inline int open_call_done(enum call call, struct pt_regs *regs, bool compat,
					  long result)
{
	bool may_make = may_make_file(call, regs, compat);
	struct changes changes = {};
	struct file *file = NULL;

	if (may_make ? !are_opens_wanted() : !are_existing_wanted())
		return 0;
	if (may_make && is_wanted(RECORD_BIT(RECORD_FILE_CREATE)))
		changes_take(call_notes_get(), &changes);
	if (result >= 0)
		file = task_file((void *)bpf_get_current_task(), result);
	if (changes_made_file(&changes) && changes.file != (__u64)KREAD(file, f_inode))
		return file_made_by_open(call, regs, compat);
	return result < 0 ? 0 : file_opened((__u64)file, is_truncating(call, regs, compat));
}

static __always_inline bool is_regular_mode(__u32 mode)
{
	return !(mode & S_IFMT) || (mode & S_IFMT) == S_IFREG; /* as mknod(2) takes it */
}

/* A call that changes names has succeeded: report each name that was given or taken. */
static __always_inline int name_changed(enum call call, struct pt_regs *regs, bool compat,
					struct name_under_way *name, const struct changes *changes)
{
	__u64 first = ARGUMENT_0(regs, compat), second = ARGUMENT_1(regs, compat);
	__u64 third = ARGUMENT_2(regs, compat), fourth = ARGUMENT_3(regs, compat);

	switch (call) {
	case CALL_UNLINK:
		return name_taken(name, AT_FDCWD, first);
	case CALL_UNLINKAT:
		return third & AT_REMOVEDIR ? 0 : name_taken(name, first, second);
	case CALL_LINK:
		return name_given(name, changes, AT_FDCWD, second, true);
	case CALL_LINKAT:
		return name_given(name, changes, third, fourth, true);
	case CALL_RENAMEAT2:
		if (ARGUMENT_4(regs, compat) & RENAME_EXCHANGE)
			return 0;
		return name_given(name, changes, third, fourth, false);
	case CALL_RENAME:
		return name_given(name, changes, AT_FDCWD, second, false);
	case CALL_RENAMEAT:
		return name_given(name, changes, third, fourth, false);
	case CALL_MKNOD:
		return is_regular_mode(second) ? file_made(AT_FDCWD, first) : 0;
	case CALL_MKNODAT:
		return is_regular_mode(third) ? file_made(first, second) : 0;
	default:
		return 0;
	}
}

/* Returns whether a call that has succeeded has made a named pipe. */
static __always_inline bool is_making_fifo(enum call call, struct pt_regs *regs, bool compat)
{
	if (call == CALL_MKNOD)
		return (ARGUMENT_1(regs, compat) & S_IFMT) == S_IFIFO;
	return call == CALL_MKNODAT && (ARGUMENT_2(regs, compat) & S_IFMT) == S_IFIFO;
}

static __always_inline int fifo_call_done(enum call call, struct pt_regs *regs, bool compat,
					  const struct changes *changes)
{
	__u64 first = ARGUMENT_0(regs, compat), second = ARGUMENT_1(regs, compat);
	bool has_directory = call == CALL_MKNODAT;
	__u64 string = has_directory ? second : first;

	if (name_is_unproved(NULL, changes, RECORD_PIPE_CREATE))
		string = 0;
	if (is_wanted(RECORD_BIT(RECORD_PIPE_CREATE)) && !is_own())
		fifo_made(has_directory ? first : AT_FDCWD, string);
	return 0;
}

/* A call that gives a name to a file, or takes one, has ended: report it if it has succeeded. */
static __always_inline void file_name_done(enum call call, struct pt_regs *regs, bool compat,
					   long result, struct call_notes *notes,
					   const struct changes *changes)
{
	struct name_under_way *name = NULL;
	__u32 thread = 0;

	if (names_are_kept) {
		thread = bpf_get_current_pid_tgid();
		name = bpf_map_lookup_elem(&names_under_way, &thread);
	}
	if (!result && !is_own() && !found_reported(call, notes, changes) &&
	    !faked_reported(call, name, changes))
		name_changed(call, regs, compat, name, changes);
	if (name)
		bpf_map_delete_elem(&names_under_way, &thread);
}

static __always_inline int name_call_done(enum call call, struct pt_regs *regs, bool compat,
					  long result)
{
	bool deletes = call == CALL_UNLINK || call == CALL_UNLINKAT;
	struct call_notes *notes = call_notes_get();
	struct changes changes = {};

	changes_take(notes, &changes);
	if (!result && is_making_fifo(call, regs, compat))
		fifo_call_done(call, regs, compat, &changes);
	else if (is_wanted(deletes ? RECORD_BIT(RECORD_FILE_DELETE) : NAME_RECORDS) &&
		 !(call == CALL_UNLINKAT && ARGUMENT_2(regs, compat) & AT_REMOVEDIR))
		file_name_done(call, regs, compat, result, notes, &changes);
	names_forget(notes);
	return 0;
}

/*
 * Returns the flag of the record for a ptrace(2) request that writes memory or general registers;
 * 0: the request writes neither.
 */
static __always_inline __u32 written_by_ptrace(__u32 request, __u64 address, bool compat)
{
	switch (request) {
	case PTRACE_POKETEXT:
	case PTRACE_POKEDATA:
		return RECORD_BY_POKE;
	case PTRACE_POKEUSR: /* behind the registers are those for breakpoints */
		return address < USER_REGISTERS_SIZE(compat) ? RECORD_BY_REGISTERS : 0;
	case PTRACE_SETREGSET:
		return address == NT_PRSTATUS ? RECORD_BY_REGISTERS : 0;
	case PTRACE_SETREGS:
	case PTRACE_SET_SYSCALL_INFO:
		return RECORD_BY_REGISTERS;
	default:
		return 0;
	}
}

/*
 * A ptrace(2) has succeeded. The registers of each task lie at the same place of its stack: here it
 * is that of the current task. The probe read makes a number of the pointer that the verifier knows
 * as one.
 */
static __always_inline int ptrace_call_done(void *ctx, struct pt_regs *regs, bool compat)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 request = ARGUMENT_0(regs, compat), pid = ARGUMENT_1(regs, compat);
	__u64 address = ARGUMENT_2(regs, compat), registers = 0;
	__u32 how = written_by_ptrace(request, address, compat);

	if (request == PTRACE_ATTACH || request == PTRACE_SEIZE)
		return is_wanted(RECORD_BIT(RECORD_PROCESS_ACCESS)) ? ptrace_attached(pid) : 0;
	if (!how || !is_wanted(RECORD_BIT(RECORD_PROCESS_WRITE)))
		return 0;
	bpf_probe_read_kernel(&registers, sizeof(registers), ctx);
	return ptrace_has_written(pid, how == RECORD_BY_POKE ? address : 0, how,
				  registers - (__u64)KREAD(task, stack));
}

static __always_inline int access_call_done(void *ctx, enum call call, struct pt_regs *regs,
					    bool compat, long result)
{
	__u64 first = ARGUMENT_0(regs, compat);

	if (call == CALL_BPF)
		return (__u16)first == BPF_PROG_LOAD && result >= 0 &&
				       is_wanted(RECORD_BIT(RECORD_BPF_PROGRAM_LOAD))
			       ? bpf_program_loaded(result)
			       : 0;
	if (!is_wanted(ACCESS_RECORDS))
		return 0;
	if (call == CALL_PTRACE)
		return result ? 0 : ptrace_call_done(ctx, regs, compat);
	if (call == CALL_PROCESS_VM_WRITEV && result > 0 &&
	    is_wanted(RECORD_BIT(RECORD_PROCESS_WRITE)))
		memory_copied_to(first, ARGUMENT_3(regs, compat), ARGUMENT_4(regs, compat),
				 has_short_pointers(regs, compat));
	if (!is_wanted(RECORD_BIT(RECORD_PROCESS_ACCESS)))
		return 0;
	if (call == CALL_PIDFD_GETFD)
		return result >= 0 ? descriptor_taken(first) : 0;
	return result > 0 ? process_memory_copied(first, call == CALL_PROCESS_VM_WRITEV) : 0;
}

/* prctl(2) may have put another file in the place of the image. */
static __always_inline int prctl_call_done(struct pt_regs *regs, bool compat, long result)
{
	__u32 option = ARGUMENT_0(regs, compat), request = ARGUMENT_1(regs, compat);

	if (option != PR_SET_MM || result)
		return 0;
	return is_wanted(RECORD_BIT(RECORD_PROCESS_TAMPERING)) ? image_replaced(request) : 0;
}

#define IS_ADDRESS(result) ((__u64)(result) < -4096ULL)

#define ONLY_ASKS 0xffffffff /* personality(2) changes nothing then */

/*
 * Returns whether the process can run all memory that it can read: personality(2) has asked for it,
 * or the file of an old program.
 */
static __always_inline bool reading_implies_running(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return KREAD(task, personality) & READ_IMPLIES_EXEC;
}

/* Memory was mapped by mmap(2). `surely`: it can be run whatever it holds. */
static __always_inline int mmap_call_done(struct pt_regs *regs, bool compat, __u64 address,
					  bool surely)
{
	__u32 protection = ARGUMENT_2(regs, compat), flags = ARGUMENT_3(regs, compat);
	bool written = protection & PROT_WRITE && (flags & MAP_TYPE) == MAP_PRIVATE;

	if (flags & MAP_ANONYMOUS)
		return memory_mapped();
	return file_mapped(address, ARGUMENT_4(regs, compat), written, surely);
}

/* A call has succeeded in which the protection of memory was given. */
static __always_inline int protection_given(enum call call, struct pt_regs *regs, bool compat,
					    __u64 address)
{
	__u32 protection = ARGUMENT_2(regs, compat);
	bool surely = protection & PROT_EXEC;

	if (!surely && !(protection & PROT_READ && reading_implies_running()))
		return 0;
	if (call == CALL_MMAP)
		return mmap_call_done(regs, compat, address, surely);
	return memory_made_executable(ARGUMENT_0(regs, compat), ARGUMENT_1(regs, compat),
				      WAY_MPROTECT, surely);
}

/*
 * Memory was mapped, or its protection changed: report what can be run now. The arguments of the
 * old mmap(2) lie in memory, which another thread may have changed by now: the area itself tells.
 */
static __always_inline int memory_call_done(enum call call, struct pt_regs *regs, bool compat,
					    long result)
{
	__u64 address = compat ? (__u32)result : result;
	bool surely = ARGUMENT_2(regs, compat) & SHM_EXEC;

	if ((!is_wanted(RECORD_BIT(RECORD_LIBRARY_LOAD)) && !executable_memory) ||
	    !IS_ADDRESS(result))
		return 0;
	if (call == CALL_MMAP || call == CALL_MPROTECT)
		return protection_given(call, regs, compat, address);
	if (call == CALL_OLD_MMAP)
		return memory_made_executable(address, 1, WAY_MMAP, false);
	if (call == CALL_SHMAT)
		return surely || reading_implies_running()
			       ? memory_made_executable(address, 1, WAY_SHMAT, surely)
			       : 0;
	return ARGUMENT_0(regs, compat) != ONLY_ASKS && reading_implies_running() &&
			       memory_asked(WAY_PERSONALITY)
		       ? memory_told(WAY_PERSONALITY)
		       : 0;
}

/* A call that sets an extended attribute has ended; `result` is 0 if it was set. */
static __always_inline int attribute_call_done(enum call call, struct pt_regs *regs, bool compat,
					       long result)
{
	__u64 first = ARGUMENT_0(regs, compat), name = ARGUMENT_1(regs, compat);
	bool has_path = call == CALL_SETXATTR;

	if (result || !is_wanted(RECORD_BIT(RECORD_ATTRIBUTE_SET)))
		return 0;
	if (call == CALL_SETXATTRAT)
		return attribute_set_at(first, name, ARGUMENT_3(regs, compat),
					ARGUMENT_4(regs, compat));
	return attribute_set(has_path ? AT_FDCWD : first, has_path ? first : 0, name,
			     ARGUMENT_2(regs, compat), ARGUMENT_3(regs, compat));
}

/* Returns whether a call names the file by its string, and not by the descriptor alone. */
static __always_inline bool has_name(__u64 string)
{
	char first = 0;

	bpf_probe_read_user(&first, sizeof(first), (void *)string);
	return first;
}

/* A call that sets the times of a file has ended; `result` is 0 if they were set. */
static __always_inline int time_call_done(enum call call, struct pt_regs *regs, bool compat,
					  long result)
{
	__u64 first = ARGUMENT_0(regs, compat), second = ARGUMENT_1(regs, compat);

	if (!is_wanted(RECORD_BIT(RECORD_TIME_SET)))
		return 0;
	if (result)
		return time_forget();
	if (call == CALL_UTIMES)
		return time_set(AT_FDCWD, first);
	return time_set(first, second && has_name(second) ? second : 0);
}

static __always_inline int accept_done(long result)
{
	if (result < 0 || !is_wanted(RECORD_BIT(RECORD_NETWORK_CONNECT)))
		return 0;
	return connection_accepted((__u64)task_file((void *)bpf_get_current_task(), result), false);
}

/* bind() or connect() has ended. */
static __always_inline int naming_call_done(bool binds, long result, const __u64 given[3])
{
	if (!is_wanted(RECORD_BIT(binds ? RECORD_PIPE_CREATE : RECORD_PIPE_CONNECT)))
		return 0;
	if (binds)
		return result ? 0 : socket_bound(given[0], given[1]);
	return result ? socket_not_connected() : socket_connected(given[0], given[1], given[2]);
}

/* 32-bit programs on x86 may use socketcall(): a function's number, and where its arguments are. */
static __always_inline int socketcall_done(struct pt_regs *regs, bool compat, long result)
{
	__u32 what = ARGUMENT_0(regs, compat), words[3] = {};

	if (what == SYS_ACCEPT || what == SYS_ACCEPT4)
		return accept_done(result);
	if ((what != SYS_BIND && what != SYS_CONNECT) || !is_wanted(PIPE_RECORDS))
		return 0;
	bpf_probe_read_user(words, sizeof(words), (void *)ARGUMENT_1(regs, compat));
	return naming_call_done(what == SYS_BIND, result, (__u64[]){words[0], words[1], words[2]});
}

static __always_inline int socket_call_done(enum call call, struct pt_regs *regs, bool compat,
					    long result)
{
	if (call == CALL_SOCKETCALL)
		return socketcall_done(regs, compat, result);
	if (call == CALL_ACCEPT)
		return accept_done(result);
	return naming_call_done(call == CALL_BIND, result,
				(__u64[]){ARGUMENT_0(regs, compat), ARGUMENT_1(regs, compat),
					  ARGUMENT_2(regs, compat)});
}

/*
 * The end of each system call. Records: file_create, file_delete, raw_access_read, process_access,
 * process_write, bpf_program_load, library_load, process_tampering, pipe_create, pipe_connect,
 * attribute_set, time_set, and network_connect for an accepted connection.
 */
SEC("?tp_btf/sys_exit")
int BPF_PROG(syscall_exit, struct pt_regs *regs, long result)
{
	__u32 calls = calls_of(regs);
	enum call call;
	bool compat;

	if (!calls)
		return 0;
	if (calls == BOTH(CALL_IO_URING_ENTER))
		return quiet_requests_begun
			       ? quiet_requests_look(bpf_get_current_task_btf(), QUIET_MAY_RUN)
			       : 0;
	compat = task_in_compat_call((void *)bpf_get_current_task());
	call = call_among(calls, compat);
	if (call == CALL_UNWANTED)
		return 0;
	if (compat)
		result = (int)result;
	if (call <= CALL_CREAT)
		return open_call_done(call, regs, compat, result);
	if (call <= CALL_MKNODAT)
		return name_call_done(call, regs, compat, result);
	if (call == CALL_PRCTL)
		return prctl_call_done(regs, compat, result);
	if (call >= CALL_UTIMES)
		return time_call_done(call, regs, compat, result);
	if (call >= CALL_SETXATTR)
		return attribute_call_done(call, regs, compat, result);
	if (call >= CALL_MMAP)
		return memory_call_done(call, regs, compat, result);
	if (call >= CALL_ACCEPT)
		return socket_call_done(call, regs, compat, result);
	return access_call_done(ctx, call, regs, compat, result);
}
