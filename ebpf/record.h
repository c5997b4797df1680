/* SPDX-License-Identifier: GPL-2.0-only */
/* Layout of everything that the kernel side sends: the only statement of it. */
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
	each(10, RECORD_FILE_CREATE, file_create, file_event)                   \
	each(11, RECORD_FILE_DELETE, file_delete, file_event)                   \
	each(12, RECORD_RAW_ACCESS_READ, raw_access_read, raw_access_read)      \
	each(13, RECORD_PROCESS_ACCESS, process_access, process_access)         \
	each(14, RECORD_BPF_PROGRAM_LOAD, bpf_program_load, bpf_program_load)   \
	each(30, RECORD_NETWORK_CONNECT, network_connect, network_connect)

#define RECORD_NUMBER(number, enumerator, member, layout) enumerator = number,
#define RECORD_MEMBER(number, enumerator, member, layout) struct layout member;

enum record_type {
	RECORDS(RECORD_NUMBER)
	RECORD_TYPE_MAX,
};
/* clang-format on */

/* Why a record that was wanted did not reach the ring buffer. */
enum loss_reason {
	LOSS_RING_FULL,
	LOSS_UNREADABLE,
	LOSS_OVER_SHARE, /* its user had enough of what all users share */
	LOSS_REASON_MAX,
};

enum record_flag {
	RECORD_KERNEL_THREAD = 1 << 0,
	RECORD_ARGS_TRUNCATED = 1 << 1, /* the command line is longer than args */
	RECORD_IMAGE_TRUNCATED = 1 << 2, /* components at the front are missing */
	RECORD_CWD_TRUNCATED = 1 << 3,
	RECORD_ARGS_UNREADABLE = 1 << 4,
	RECORD_TTY_IS_PTS = 1 << 5,
	RECORD_PATH_TRUNCATED = 1 << 7, /* of the event's own path */
	RECORD_PATH_GIVEN = 1 << 8, /* as the caller wrote it, not resolved */
	RECORD_PATH_UNREADABLE = 1 << 9,
	RECORD_FILE_IS_NEW = 1 << 10, /* made by this very call, not only named */
	/* "..." stands for the middle: the ring was filling */
	RECORD_ARGS_SHORTENED = 1 << 11,
	RECORD_PATH_SHORTENED = 1 << 12, /* path, base or root of the event */
	RECORD_CWD_SHORTENED = 1 << 13,
};

/* First member of every record; who did it: the current task's process. */
struct record_header {
	enum record_type type;
	__u32 size; /* whole record with its strings, bytes */
	__u64 boot_ns; /* bpf_ktime_get_boot_ns() */
	/* Which image of which process; user space looks it up by these bytes. */
	__u64 start_boot_ns; /* of the process; with tgid, its identity */
	__u32 tgid;
	__u32 exec_id; /* task->self_exec_id */
	__u32 tid;
	__u32 uid; /* real, initial user namespace */
};

/* A string kept behind the fixed part. */
struct varlen {
	__u16 offset; /* from the start of the record, bytes */
	__u16 length; /* bytes, no NUL; 0: empty or unknown */
};

/*
 * Which file, and in which state. Of a file that overlayfs shows, these are the numbers of
 * the file in the layer that has the data, whichever overlay shows it.
 */
struct file_identity {
	__u64 inode;
	__s64 size; /* bytes */
	__s64 mtime_ns;
	__s64 ctime_ns;
	__u64 subvolume; /* btrfs numbers inodes in each anew; 0: another file system */
	__u32 device; /* of the super block, kernel dev_t: major << 20 | minor */
	__u32 mode;
	__u32 filesystem; /* magic number of the super block, as statfs(2) has it */
	/* Booleans that leave no gap: the whole struct is a key of maps. */
	__u16 in_user_namespace; /* a super block on the way was mounted in one, by anybody */
	__u16 is_layered; /* overlayfs, and the file in the layer is not known */
};

/*
 * A process that took a new image, or (process_scan) one that runs already. From `file` to
 * the end of the string of `cwd`, it is the same each time that a session runs one program
 * in one directory; user space looks up by these bytes what it found out about them. The
 * string of `args` is the last of all.
 */
struct process_create {
	struct record_header header;
	__u64 image_id; /* made of the header's three: see image_id_of() */
	/* The process that forked this one, if parent_uid says so, else real_parent. */
	__u64 parent_start_boot_ns;
	__u32 parent_tgid;
	__u32 parent_exec_id;
	__u32 parent_uid; /* when it forked; NO_UID: there is or was a record of the fork */
	__u32 flags; /* enum record_flag */
	struct varlen args;
	__u32 pad;
	struct file_identity file; /* of the image */
	__u64 cgroup_id; /* not read yet: for the container of an event */
	__u32 loginuid; /* not read yet: for the login of an event */
	__u32 session_id; /* audit session */
	__u32 tty_index;
	__u32 mount_namespace;
	struct varlen cwd;
	struct varlen image;
	char comm[16];
};

#define NO_UID -1U /* chown(2): no user has this number */

/*
 * A new process (not a thread). The header is the child's. Most run another program before
 * they do anything that is reported: then process_create says whose child it is, and this
 * record is never sent.
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

/*
 * A connection, or the first datagram of a flow. The header's process is at the source
 * where it began, else at the destination. IPv4 fills the first four bytes of an address.
 */
struct network_connect {
	struct record_header header;
	__u8 source_address[16];
	__u8 destination_address[16];
	__be16 source_port;
	__be16 destination_port;
	__u8 family; /* AF_INET or AF_INET6 */
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	bool initiated; /* by the process: it is at the source */
	bool failed; /* the connection was not established */
};

/*
 * A file that came into being, or lost a name; `path` is absolute and resolved. With
 * RECORD_PATH_GIVEN it is the string of the call: relative to `base`, or, when it begins
 * with "/", to `root`. Both are absolute; an empty `root` is that of the mount namespace.
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

/* Another process that was opened, so to say; target_tgid 0: it has gone. */
struct process_access {
	struct record_header header;
	__u64 target_start_boot_ns;
	__u32 target_tgid;
	__u32 target_tid;
	__u32 target_uid;
	__u32 target_exec_id;
	__u32 given_pid; /* in the caller's pid namespace; 0: none was given */
	__u32 granted_access; /* Windows' bits */
};

/* An eBPF program that was loaded. */
struct bpf_program_load {
	struct record_header header;
	__u32 program_id;
	__u32 program_type; /* enum bpf_prog_type */
	char name[16];
};

/* Every record the ring buffer carries. User space decodes by this union's BTF. */
union record {
	RECORDS(RECORD_MEMBER)
};

#define COUNTERS_MAX 32 /* a power of two: any number can be made an index */
_Static_assert(RECORD_TYPE_MAX <= COUNTERS_MAX, "a record type has no counters");

/*
 * What became of the records, by type; one of these for each processor. A reader copies them
 * in this order while they count on: no fate is ever found without its `seen`.
 */
struct record_counters {
	__u64 lost[COUNTERS_MAX][LOSS_REASON_MAX];
	__u64 submitted[COUNTERS_MAX];
	__u64 left_out[COUNTERS_MAX]; /* of a flood, see emit/flood.bpf.h */
	__u64 filtered[COUNTERS_MAX];
	__u64 seen[COUNTERS_MAX];
};

/*
 * The low 30 bits of the nanosecond in which the process was forked, of which no second has
 * two alike; its tgid; the low 12 bits of its exec id. User space prints it. Where it has no
 * such record, Identity.process_guid() makes the same key: change both or none.
 */
static inline __u64 image_id_of(const struct record_header *header)
{
	__u64 id = header->start_boot_ns << 22 | (header->tgid & 0x3fffff);

	return id << 12 | (header->exec_id & 0xfff);
}

#pragma clang diagnostic pop

#endif /* RECORD_H */
