/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Floods: records that repeat each other while the ring buffer is nearly full. User space watches
 * floods where the administrator has asked for it, and names the pairs of image and user that make
 * them. Of their repeated records one in FLOOD_KEEP_ONE_IN is sent. Each other one is counted as
 * left out.
 */
#ifndef EMIT_FLOOD_BPF_H
#define EMIT_FLOOD_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "kernel/path.bpf.h"
#include "emit/counters.bpf.h"
#include "emit/ring.bpf.h"
#include "emit/scratch.bpf.h"

bool floods_watched = 0; /* set by user space at any time; false: nothing here is done */

enum flood_limit {
	FLOOD_KEEP_ONE_IN = 100, /* one of this many records that repeat each other is sent */
	FLOOD_FILL_PERCENT = 50, /* of the ring's bytes: from here on it is nearly full */
	FLOOD_PAIRS = 256, /* entries of flood_pairs */
	FLOOD_SAMPLED = 16, /* entries of flood_sampled */
};

/* Image, type of record and user. One user's flood does not thin out another user's records. */
struct flood_pair {
	__u64 image; /* number made of inode and device of the program's file; 0: unknown */
	__u32 type; /* enum record_type */
	__u32 uid;
};

/*
 * `sent` counts the records of a pair while the ring buffer was nearly full, those left out
 * included. The other members name the process of the first of these records.
 */
struct flood_count {
	__u64 sent;
	__u64 start_boot_ns;
	__u32 tgid;
	__u32 exec_id;
};

/* A pair that user space wants sampled, until when, and its records that were left out. */
struct flood_sampled {
	__u64 until_boot_ns;
	__u64 left_out;
};

/* Records repeat each other if they have this in common. */
struct flood_repeat {
	struct flood_pair pair;
	__u64 subject; /* number made of the directory, peer, device or target process */
};

/* These variables keep the types in the object's BTF, where user space reads them. */
const struct flood_sampled *flood_sampled_layout;
const struct flood_count *flood_count_layout;
const struct flood_pair *flood_pair_layout;
enum flood_limit flood_limits;

#ifdef WITHOUT_BPF_LOOP

#define flood_leaves_out_built(scratch, type) ((void)(scratch), false)
#define flood_leaves_out(header, image, subject) false
#define flood_image(task) 0

#else

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOOD_PAIRS);
	__type(key, struct flood_pair);
	__type(value, struct flood_count);
} flood_pairs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOOD_SAMPLED);
	__type(key, struct flood_pair);
	__type(value, struct flood_sampled);
} flood_sampled SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct flood_repeat);
	__type(value, __u64);
} flood_repeats SEC(".maps");

static __always_inline bool ring_is_nearly_full(void)
{
	__u64 waiting = bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA);
	__u64 size = bpf_ringbuf_query(&records, BPF_RB_RING_SIZE);

	return waiting * 100 > size * FLOOD_FILL_PERCENT;
}

/* Number of the program that a task runs, made of inode and device of its file. */
static __always_inline __u64 flood_image(struct task_struct *task)
{
	struct inode *inode;

	if (!*(volatile bool *)&floods_watched)
		return 0;
	inode = BPF_CORE_READ(task, mm, exe_file, f_inode);
	return inode ? BPF_CORE_READ(inode, i_ino) ^ (__u64)BPF_CORE_READ(inode, i_sb, s_dev) << 40
		     : 0;
}

static __always_inline void flood_count(const struct flood_pair *pair,
					const struct record_header *header)
{
	struct flood_count *count = bpf_map_lookup_elem(&flood_pairs, pair), first = {};

	if (count) {
		__sync_fetch_and_add(&count->sent, 1);
		return;
	}
	first.sent = 1;
	first.start_boot_ns = header->start_boot_ns;
	first.tgid = header->tgid;
	first.exec_id = header->exec_id;
	bpf_map_update_elem(&flood_pairs, pair, &first, BPF_ANY);
}

/* The first record of a kind repeats none: it is always sent. */
static __always_inline bool flood_is_repeat(const struct flood_repeat *record)
{
	__u64 *seen = bpf_map_lookup_elem(&flood_repeats, record), one = 1;

	if (!seen) {
		bpf_map_update_elem(&flood_repeats, record, &one, BPF_ANY);
		return false;
	}
	return __sync_fetch_and_add(seen, 1) % FLOOD_KEEP_ONE_IN;
}

/* Returns 1 if a record is to be left out; it is counted then. */
__noinline int flood_record_left_out(const struct record_header *header, __u64 image, __u64 subject)
{
	struct flood_repeat record = {.subject = subject};
	struct flood_sampled *sampled;

	if (!header || !image || !ring_is_nearly_full())
		return 0;
	record.pair.image = image;
	record.pair.type = header->type;
	record.pair.uid = header->uid;
	flood_count(&record.pair, header);
	sampled = bpf_map_lookup_elem(&flood_sampled, &record.pair);
	if (!sampled || bpf_ktime_get_boot_ns() >= sampled->until_boot_ns ||
	    !flood_is_repeat(&record))
		return 0;
	__sync_fetch_and_add(&sampled->left_out, 1);
	count_left_out(header->type);
	return 1;
}

#define flood_leaves_out(header, image, subject) \
	(*(volatile bool *)&floods_watched && flood_record_left_out((header), (image), (subject)))

/* A hash in the making, over bytes of a record in scratch. */
struct flood_hash {
	struct scratch *scratch;
	__u64 hash; /* of all bytes so far */
	__u64 cut; /* of the bytes before the last slash so far */
	__u32 at;
	__u32 end;
};

#define FLOOD_HASH_PRIME 0x100000001b3ULL /* of FNV-1a, 64 bits */
#define FLOOD_HASH_BEGIN 0xcbf29ce484222325ULL

static long flood_hash_step(__u32 index, struct flood_hash *walk)
{
	__u32 at = walk->at + index;
	__u8 byte;

	if (at >= walk->end)
		return 1;
	byte = walk->scratch->data[at & (STRINGS_SIZE - 1)];
	if (byte == '/')
		walk->cut = walk->hash;
	walk->hash = (walk->hash ^ byte) * FLOOD_HASH_PRIME;
	return 0;
}

/* Hash of the directory that a path is in: of its bytes before the last slash, and `before`. */
static __always_inline __u64 flood_directory(struct scratch *scratch, const struct varlen *path,
					     __u64 before)
{
	struct flood_hash walk = {.scratch = scratch, .hash = before};

	walk.at = path->offset;
	walk.end = walk.at + path->length;
	walk.cut = before;
	bpf_loop(PATH_SIZE, flood_hash_step, &walk, 0);
	return walk.cut;
}

/* The same for a file or disk record that was built in scratch; returns 1 to leave it out. */
__noinline int flood_built_left_out(__u64 type)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct scratch *scratch = task_scratch_get();
	__u64 subject = FLOOD_HASH_BEGIN;
	struct file_event *file;

	if (!scratch || !ring_is_nearly_full())
		return 0;
	if (type == RECORD_RAW_ACCESS_READ) {
		subject = ((struct raw_access_read *)scratch->data)->device;
	} else {
		file = (void *)scratch->data;
		subject = flood_directory(scratch, &file->base, subject) ^ file->base.length;
		subject = flood_directory(scratch, &file->path, subject);
	}
	return flood_record_left_out((void *)scratch->data, flood_image(task), subject);
}

#define flood_leaves_out_built(scratch, type)                             \
	(*(volatile bool *)&floods_watched &&                             \
	 ((type) == RECORD_FILE_CREATE || (type) == RECORD_FILE_DELETE || \
	  (type) == RECORD_RAW_ACCESS_READ) &&                            \
	 flood_built_left_out(type))

#endif /* WITHOUT_BPF_LOOP */

#endif /* EMIT_FLOOD_BPF_H */
