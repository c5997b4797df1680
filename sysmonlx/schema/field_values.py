# SPDX-License-Identifier: MIT
"""Texts of fields that have few values, by the numbers that records have for them."""

from __future__ import annotations

#: Values of BpfProgramType: names of enum bpf_prog_type, <linux/bpf.h>, by number.
PROGRAM_TYPES = (
    *("UNSPEC", "SOCKET_FILTER", "KPROBE", "SCHED_CLS", "SCHED_ACT", "TRACEPOINT"),
    *("XDP", "PERF_EVENT", "CGROUP_SKB", "CGROUP_SOCK", "LWT_IN", "LWT_OUT"),
    *("LWT_XMIT", "SOCK_OPS", "SK_SKB", "CGROUP_DEVICE", "SK_MSG", "RAW_TRACEPOINT"),
    *("CGROUP_SOCK_ADDR", "LWT_SEG6LOCAL", "LIRC_MODE2", "SK_REUSEPORT"),
    *("FLOW_DISSECTOR", "CGROUP_SYSCTL", "RAW_TRACEPOINT_WRITABLE", "CGROUP_SOCKOPT"),
    *("TRACING", "STRUCT_OPS", "EXT", "LSM", "SK_LOOKUP", "SYSCALL", "NETFILTER"),
)

#: Values of Type of event 25, by the numbers of `enum tampering` in ebpf/record.h. The
#: fourth one has the text that Sysmon has on Windows.
TAMPERINGS = (
    "Fileless (memfd)",
    "Image is deleted",
    "Image in shared memory",
    "Image is replaced",
    "Mass file change",
    "Anonymous memory made executable",
)

#: Values of Reason of event 25, by the numbers of `enum memory_way` in ebpf/record.h.
MEMORY_WAYS = (
    *("-", "Mmap", "Mprotect", "Shmat", "Personality", "Stack", "MemoryFile"),
)

#: Values of SignatureStatus of event 6: the kernel believes the signature; does not;
#: there is none, or this kernel checks none.
SIGNATURE_STATES = ("Valid", "Invalid", "Unavailable", "-")
