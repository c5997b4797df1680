/* SPDX-License-Identifier: GPL-2.0-only */
/* Layout of every record that programs send. User space reads it from the object's BTF. */
#ifndef RECORD_H
#define RECORD_H

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* padding is stated, never implied */

/*
 * Every type of record: number, enumerator, member of union record, struct. User space pairs
 * RECORD_PROCESS_FORK with the member process_fork by their names.
 */
/* clang-format off */
#define RECORDS(each)                                                           \
	each(1, RECORD_PROCESS_SCAN, process_scan, process_create)              \
	each(2, RECORD_PROCESS_FORK, process_fork, process_fork)                \
	each(3, RECORD_PROCESS_CREATE, process_create, process_create)          \
	each(4, RECORD_PROCESS_TERMINATE, process_terminate, process_terminate) \
	each(5, RECORD_CGROUP_CREATE, cgroup_create, cgroup_create)             \
	each(6, RECORD_MODULE_LOAD, module_load, module_load)                   \
	each(7, RECORD_LIBRARY_LOAD, library_load, library_load)                \
	each(10, RECORD_FILE_CREATE, file_create, file_event)                   \
	each(11, RECORD_FILE_DELETE, file_delete, file_event)                   \
	each(12, RECORD_RAW_ACCESS_READ, raw_access_read, raw_access_read)      \
	each(13, RECORD_PROCESS_ACCESS, process_access, process_access)         \
	each(14, RECORD_BPF_PROGRAM_LOAD, bpf_program_load, bpf_program_load)   \
	each(15, RECORD_DNS_MESSAGE, dns_message, dns_message)                  \
	each(16, RECORD_PROCESS_TAMPERING, process_tampering, process_tampering) \
	each(17, RECORD_ATTRIBUTE_SET, attribute_set, attribute_set)            \
	each(18, RECORD_TIME_SET, time_set, time_set)                           \
	each(20, RECORD_PROCESS_WRITE, process_write, process_write)            \
	each(24, RECORD_PIPE_CREATE, pipe_create, pipe_event)                   \
	each(25, RECORD_PIPE_CONNECT, pipe_connect, pipe_event)                 \
	each(30, RECORD_NETWORK_CONNECT, network_connect, network_connect)

#define RECORD_NUMBER(number, enumerator, member, layout) enumerator = number,
#define RECORD_MEMBER(number, enumerator, member, layout) struct layout member;

enum record_type {
	RECORDS(RECORD_NUMBER)
	RECORD_TYPE_MAX,
};
/* clang-format on */

/* Reasons why a record that was wanted did not reach the ring buffer. */
enum loss_reason {
	LOSS_RING_FULL,
	LOSS_UNREADABLE,
	LOSS_OVER_SHARE, /* its user had used up its share of the ring */
	LOSS_REASON_MAX,
};

enum record_flag {
	RECORD_KERNEL_THREAD = 1 << 0,
	RECORD_ARGS_TRUNCATED = 1 << 1, /* the command line is longer than args */
	RECORD_IMAGE_TRUNCATED = 1 << 2, /* components at the front of the path are missing */
	RECORD_CWD_TRUNCATED = 1 << 3,
	RECORD_ARGS_UNREADABLE = 1 << 4,
	RECORD_TTY_IS_PTS = 1 << 5,
	RECORD_PATH_TRUNCATED = 1 << 7, /* as IMAGE_TRUNCATED, of the event's path */
	RECORD_PATH_GIVEN = 1 << 8, /* the path is the caller's string, not resolved */
	RECORD_PATH_UNREADABLE = 1 << 9,
	RECORD_FILE_IS_NEW = 1 << 10, /* this call made the file; else it only gave it a name */
	/* These three: the ring was filling, so "..." stands for the middle of the string. */
	RECORD_ARGS_SHORTENED = 1 << 11,
	RECORD_PATH_SHORTENED = 1 << 12, /* path, base or root of the event */
	RECORD_CWD_SHORTENED = 1 << 13,
	RECORD_ENVIRONMENT_TRUNCATED = 1 << 14, /* variables, or a part of one, are missing */
	RECORD_ENVIRONMENT_UNREADABLE = 1 << 15,
	/* These five: how a file_create came about; none of them: the file was made. */
	RECORD_BY_RENAME = 1 << 17,
	RECORD_BY_LINK = 1 << 18,
	RECORD_BY_WRITE = 1 << 19, /* a file that existed was opened for writing */
	RECORD_BY_APPEND = 1 << 20, /* the same with O_APPEND */
	RECORD_BY_TRUNCATION = 1 << 21, /* the same with O_TRUNC */
	RECORD_TELLS_MORE = 1 << 16, /* process_create has the members that come on request */
	/* These four: by which way a process_write was done. */
	RECORD_BY_MEMORY_COPY = 1 << 22, /* process_vm_writev(2) */
	RECORD_BY_POKE = 1 << 23, /* ptrace(2) wrote a word of memory */
	RECORD_BY_REGISTERS = 1 << 24, /* ptrace(2) set registers */
	RECORD_BY_MEMORY_FILE = 1 << 25, /* /proc/PID/mem was opened for writing */
	RECORD_UNPROVEN = 1 << 26, /* asked for; nothing tells whether it was done */
};

/* First member of every record: the process that acted, and when. */
struct record_header {
	enum record_type type;
	__u32 size; /* whole record with its strings, bytes */
	__u64 boot_ns; /* bpf_ktime_get_boot_ns() */
	/* The process and its image; user space looks both up by these 16 bytes. */
	__u64 start_boot_ns; /* start of the process; with tgid, its identity */
	__u32 tgid;
	__u32 exec_id; /* task->self_exec_id: tells the images of one process apart */
	__u32 tid;
	__u32 uid; /* real user id, as in the initial user namespace */
};

/* A string kept behind the fixed part. */
struct varlen {
	__u16 offset; /* from the start of the record, bytes */
	__u16 length; /* bytes, no NUL; 0: empty or unknown */
};

/*
 * A file and the state of its content. For a file on overlayfs, the numbers are those of the file
 * in the layer that holds the data. They are the same in each overlay that shows this file.
 */
struct file_identity {
	__u64 inode;
	__s64 size; /* bytes */
	__s64 mtime_ns;
	__s64 ctime_ns;
	__u64 subvolume; /* of btrfs, which numbers inodes by subvolume; 0: other file system */
	__u32 device; /* super block's, kernel dev_t: major << 20 | minor */
	__u32 mode;
	__u32 filesystem; /* magic number of the super block, as statfs(2) has it */
	/* Booleans that leave no gap: the whole struct is a key of maps. */
	__u16 in_user_namespace; /* a user namespace mounted the super block, or a layer's */
	__u16 is_layered; /* on overlayfs, and the file in the layer is not known */
};

/*
 * A process that has taken a new image, or (process_scan) a process that runs already. The bytes
 * from `file` to the end of the string of `cwd` repeat each time that a session runs one program
 * in one directory. They are a key under which user space keeps what it has worked out for them.
 * The string of `args` is the last one.
 */
struct process_create {
	struct record_header header;
	__u64 image_id; /* see image_id_of() */
	/* Where parent_uid is a user, the process that forked this one; else real_parent. */
	__u64 parent_start_boot_ns;
	__u32 parent_tgid;
	__u32 parent_exec_id;
	__u32 parent_uid; /* at the fork; NO_UID: the parent was told before, or a scan */
	__u32 flags; /* enum record_flag */
	struct varlen args;
	/* These two and those below with a star are there where `execs_tell_more` is set. */
	__u32 namespace_pid; /* in the innermost pid namespace */
	__u32 session_leader; /* tgid of the leader of its session, 0: none here */
	__u32 pad;
	struct file_identity file; /* the image */
	__u64 cgroup_id; /* cgroup_number() of task_cgroup() */
	__u64 capabilities; /* * effective ones, a bit each */
	__u32 loginuid; /* audit login; NO_UID: none */
	__u32 session_id; /* audit session */
	__u32 tty_index;
	__u32 mount_namespace;
	__u32 effective_uid; /* * */
	__u32 mount_owner; /* * user who made the user namespace of the mount namespace */
	struct varlen cwd;
	struct varlen image;
	struct varlen script; /* * what exec was given, where another program runs it */
	struct varlen
		environment; /* chosen variables, each with a NUL; see `execs_tell_environment` */
	char comm[16];
	char tty_name[16]; /* * */
};

#define NO_UID -1U /* chown(2): no user has this number */

/*
 * A new process (not a thread); the header is the child's. Most children run another program before
 * they do anything that is reported. For those, process_create names the parent, and this record is
 * never sent.
 */
struct process_fork {
	struct record_header header;
	__u64 parent_start_boot_ns;
	__u32 parent_tgid; /* the process that called fork */
	__u32 parent_exec_id;
	__u32 flags;
	__u32 pad;
};

/* The last thread of a process has ended. */
struct process_terminate {
	struct record_header header;
	__u32 flags;
	__u32 pad;
};

/* A control group that was made. `path` begins at the root of its hierarchy. */
struct cgroup_create {
	struct record_header header;
	__u64 cgroup_id; /* as in process_create */
	struct varlen path;
	__u32 pad;
};

/*
 * A TCP connection, or the first datagram of a UDP flow. The header's process is at the source if
 * `initiated`, else at the destination. An IPv4 address fills the first four bytes.
 */
struct network_connect {
	struct record_header header;
	__u8 source_address[16];
	__u8 destination_address[16];
	__be16 source_port;
	__be16 destination_port;
	__u8 family; /* AF_INET or AF_INET6 */
	__u8 protocol; /* IPPROTO_TCP, IPPROTO_UDP or IPPROTO_UDPLITE */
	bool initiated; /* the header's process began it and is at the source */
	bool failed; /* the connection was not established */
};

/*
 * A file that got a name (file_create) or lost one (file_delete). `path` is absolute and resolved.
 * With RECORD_PATH_GIVEN, `path` is the string of the call: relative to `base`, or to `root` when
 * it begins with "/". `base` and `root` are absolute; an empty `root` is the mount namespace's.
 */
struct file_event {
	struct record_header header;
	__s64 created_ns; /* wall clock; 0: unknown */
	__u32 mode; /* 0: unknown */
	__u32 mount_namespace;
	__u32 flags; /* enum record_flag */
	struct varlen path;
	struct varlen base;
	struct varlen root;
};

/* A block device that was opened. */
struct raw_access_read {
	struct record_header header;
	__u32 device; /* kernel dev_t */
	__u32 flags;
	struct varlen path;
	__u32 pad;
};

/* A process that reached into another one. target_tgid 0: the target has ended. */
struct process_access {
	struct record_header header;
	__u64 target_start_boot_ns;
	__u32 target_tgid;
	__u32 target_tid;
	__u32 target_uid;
	__u32 target_exec_id;
	__u32 given_pid; /* in the caller's pid namespace; 0: none was given */
	__u32 granted_access; /* access rights of Windows */
};

/* Answers of the kernel about the signature of a module. */
enum module_signature {
	MODULE_SIGNATURE_UNKNOWN, /* this kernel checks none */
	MODULE_SIGNATURE_BAD, /* there is none, or it is not by a key that the kernel has */
	MODULE_SIGNATURE_GOOD,
};

/*
 * A module that the kernel has accepted, and whose own code has not run yet. `file` and `path` are
 * of the file that it was read from; without one, the inode is 0.
 */
struct module_load {
	struct record_header header;
	struct file_identity file;
	__u64 taints; /* a bit for each; see Documentation/admin-guide/tainted-kernels.rst */
	__u64 image_bytes; /* size of the memory that init_module(2) was given; 0: other call */
	__u32 mount_namespace;
	__u32 descriptor; /* of the file, in the process that loaded it */
	__u32 flags; /* enum record_flag */
	__u32 signature; /* enum module_signature */
	/*
	 * 1: init_module(2) was given memory, and the file is one that the process has open and
	 * that is named like the module. 0: the module was read from this very file.
	 */
	__u32 is_guess;
	struct varlen path;
	struct varlen parameters; /* the caller's string */
	struct varlen tail; /* the end of that memory: a signature stands there */
	char name[56];
};

/* A file other than the program that a process has mapped to run code of it. */
struct library_load {
	struct record_header header;
	struct file_identity file;
	__u32 mount_namespace;
	__u32 flags; /* enum record_flag */
	struct varlen path;
	__u32 pad;
};

#define NO_PROGRAM_TYPE -1U

/* An eBPF program that was loaded. */
struct bpf_program_load {
	struct record_header header;
	__u32 program_id;
	__u32 program_type; /* enum bpf_prog_type; NO_PROGRAM_TYPE: it had gone when it was told */
	char name[16];
};

/* What carried a DNS message. */
enum dns_carrier {
	DNS_BY_UDP, /* a whole message */
	DNS_BY_TCP, /* a part of a stream: each message is behind two bytes with its length */
	DNS_BY_CALL, /* a part of a stream of systemd-resolved: a NUL ends each message */
};

/*
 * A DNS message, or a part of the stream of such messages: of questions that a process sent, or of
 * answers that came to its socket. The header's process is the one that asked. Bytes of the record
 * behind `data` have no meaning.
 */
struct dns_message {
	struct record_header header;
	__u64 cookie; /* of the socket */
	__u32 full_length; /* bytes of the message, of which `data` may be the beginning */
	__u32 is_answer; /* 0 or 1 */
	struct varlen data;
	__u32 sequence; /* number of the first byte of `data` in a stream */
	__u32 carrier; /* enum dns_carrier */
	__u32 pad;
};

/* What makes an image one that no file system keeps: the texts of Type, by their position. */
enum tampering {
	TAMPERING_MEMFD,
	TAMPERING_DELETED,
	TAMPERING_SHARED_MEMORY,
	TAMPERING_REPLACED,
	TAMPERING_MASS_CHANGE, /* of files, see hooks/mass_change.bpf.c */
	TAMPERING_EXECUTABLE_MEMORY, /* without a file, see hooks/memory.bpf.c */
	TAMPERING_MAX, /* none of them */
};

/* By which call memory without a file was made executable: the texts of Reason of event 25. */
enum memory_way {
	WAY_NONE, /* of the other kinds of tampering */
	WAY_MMAP,
	WAY_MPROTECT, /* and pkey_mprotect(2) */
	WAY_SHMAT,
	WAY_PERSONALITY, /* from then on readable memory, as the heap, can be run */
	WAY_EXECVE, /* the stack, as the file of the program asks for it */
	WAY_MEMORY_FILE, /* the process opened its own /proc/PID/mem for writing */
};

/*
 * A process that runs an image, or a script, that is in memory alone or has no name; or that has
 * put another file in the place of its image, or has changed many files, or has made memory
 * executable whose content no file has.
 */
struct process_tampering {
	struct record_header header;
	__u32 kind; /* enum tampering */
	__u32 way; /* enum memory_way */
};

/*
 * A named pipe or a socket of AF_UNIX that got its name (pipe_create), or that was opened or
 * connected to (pipe_connect). `path` is as in file_event, or "@" and the bytes of an abstract
 * name, of which each NUL is shown as "@". target: the process that listens at the socket, 0: not
 * known.
 */
struct pipe_event {
	struct record_header header;
	__u64 target_start_boot_ns; /* 0: it has ended */
	__u32 target_tgid;
	__u32 target_exec_id;
	__u32 mount_namespace;
	__u32 flags; /* enum record_flag */
	struct varlen path;
	struct varlen base;
	struct varlen root;
	__u32 pad;
};

/*
 * A process that wrote into the memory or the registers of another one. target_tgid 0: the target
 * has ended.
 */
struct process_write {
	struct record_header header;
	__u64 target_start_boot_ns;
	__u32 target_tgid;
	__u32 target_tid; /* the thread that ptrace(2) was given, else the first one */
	__u32 target_uid;
	__u32 target_exec_id;
	__u32 given_pid; /* in the caller's pid namespace; 0: none was given */
	__u32 flags; /* enum record_flag */
	/* Of what was written; of registers, where the thread goes on. 0: unknown */
	__u64 address;
	struct varlen module; /* path of the file that is mapped there, as in /proc/PID/maps */
	__u32 pad;
};

/*
 * An extended attribute that was set. `path` is as in file_event. `value` is empty where it is
 * longer than what is told.
 */
struct attribute_set {
	struct record_header header;
	__u32 mode; /* of the file; 0: unknown */
	__u32 mount_namespace;
	__u32 flags; /* enum record_flag */
	struct varlen path;
	struct varlen base;
	struct varlen root;
	struct varlen name;
	struct varlen value;
	__u32 value_size; /* bytes of the whole value */
	__u32 pad;
};

/*
 * A file whose time of change was put back. `path` is as in file_event. Times are in ns since the
 * epoch.
 */
struct time_set {
	struct record_header header;
	__s64 mtime_ns; /* as it is now */
	__s64 previous_ns; /* before the call */
	__s64 birth_ns; /* of the file; 0: unknown */
	__u32 mode;
	__u32 mount_namespace;
	__u32 flags; /* enum record_flag */
	struct varlen path;
	struct varlen base;
	struct varlen root;
};

/* Every record that the ring buffer carries. User space decodes by this union's BTF. */
union record {
	RECORDS(RECORD_MEMBER)
};

#define COUNTERS_MAX 32 /* a power of two: any number can be made an index */
_Static_assert(RECORD_TYPE_MAX <= COUNTERS_MAX, "a record type has no counters");

/*
 * Fates of records, counted by type; one struct for each processor. A program counts a record in
 * `seen` before it counts the record's fate. User space copies the struct from its beginning while
 * programs go on counting. `seen` is the last member, so the copy never has more fates than `seen`.
 */
struct record_counters {
	__u64 lost[COUNTERS_MAX][LOSS_REASON_MAX];
	__u64 submitted[COUNTERS_MAX];
	__u64 left_out[COUNTERS_MAX]; /* repeats in a flood, see emit/flood.bpf.h */
	__u64 filtered[COUNTERS_MAX];
	__u64 seen[COUNTERS_MAX];
};

/*
 * Number of one image of one process. From the highest bit: the low 30 bits of the process's start
 * in nanoseconds (they differ between any two nanoseconds of one second), 22 bits of its tgid, the
 * low 12 bits of its exec id. User space prints it in ProcessGuid. Identity.process_guid() makes
 * the same number where there is no record: change both or none.
 */
static inline __u64 image_id_from(__u64 start_boot_ns, __u32 tgid, __u32 exec_id)
{
	return (start_boot_ns << 22 | (tgid & 0x3fffff)) << 12 | (exec_id & 0xfff);
}

static inline __u64 image_id_of(const struct record_header *header)
{
	return image_id_from(header->start_boot_ns, header->tgid, header->exec_id);
}

#pragma clang diagnostic pop

#endif /* RECORD_H */
