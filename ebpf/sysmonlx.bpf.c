// SPDX-License-Identifier: GPL-2.0-only
/*
 * All programs as one translation unit: libbpf 1.1 cannot link objects that call the same
 * kernel function. Each file compiles alone, too; "make lint" checks that.
 *
 * Folders, each of which includes only itself and those above it in this list:
 *
 *	record.h	layout of the records that user space reads
 *	kernel/		readers of kernel structures, and numbers of the kernel's interfaces
 *	emit/		records, the ring buffer that carries them, counters, floods
 *	filter/		rules of the configuration, asked before a record is sent
 *	hooks/		programs, one family of events a file; docs/architecture.md says which
 *	test/		objects for tests and benchmarks only
 *
 * Of each hook, user space loads the first programs that the running kernel takes: it tries. The
 * comment on a program says since when it serves; without that, since 5.10.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "hooks/faked.bpf.c"
#include "hooks/access.bpf.c"
#include "hooks/attribute.bpf.c"
#include "hooks/bpf_load.bpf.c"
#include "hooks/cgroup.bpf.c"
#include "hooks/found_names.bpf.c"
#include "hooks/changes.bpf.c"
#include "hooks/file_names.bpf.c"
#include "hooks/file.bpf.c"
#include "hooks/syscall_exit.bpf.c"
#include "hooks/identify.bpf.c"
#include "hooks/library.bpf.c"
#include "hooks/memory.bpf.c"
#include "hooks/module.bpf.c"
#include "hooks/fifo.bpf.c"
#include "hooks/unix_socket.bpf.c"
#include "hooks/stamp.bpf.c"
#include "hooks/tampering.bpf.c"
#include "hooks/mass_change.bpf.c"
#include "hooks/injection.bpf.c"
#include "hooks/tcp.bpf.c"
#include "hooks/process.bpf.c"
#include "hooks/udp.bpf.c"
#include "hooks/io_uring.bpf.c"
#include "hooks/quiet_requests.bpf.c"
#include "hooks/dns.bpf.c"
#include "hooks/dns_call.bpf.c"

char LICENSE[] SEC("license") = "GPL";
