// SPDX-License-Identifier: GPL-2.0-only
/*
 * All programs as one translation unit: libbpf 1.1 cannot link objects that call the same
 * kernel function. Each file compiles alone, too; "make lint" checks that.
 *
 *	kernel/	readers of kernel structures
 *	emit/	the ring buffer, records, counters
 *	filter/	the rules of the configuration, asked before a record is sent
 *	hooks/	programs, one family a file
 *	test/	objects for tests and benchmarks only
 */
#include "hooks/access.bpf.c"
#include "hooks/bpf_load.bpf.c"
#include "hooks/changes.bpf.c"
#include "hooks/file_names.bpf.c"
#include "hooks/file.bpf.c"
#include "hooks/identify.bpf.c"
#include "hooks/tcp.bpf.c"
#include "hooks/process.bpf.c"
#include "hooks/udp.bpf.c"
#include "hooks/io_uring.bpf.c"
