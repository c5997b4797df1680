# SPDX-License-Identifier: MIT
"""The hooks of an event: programs and where they are attached, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hook:
    """One thing to watch, by the first group of programs that loads and attaches.

    `alternatives` are groups in order of preference; all programs of a group are
    needed. `events` are the ids of the events that want it. `missing` says what is not
    seen where no group works. `kind` is "" or "cgroup", or "side band" where perf tells
    something beside. `needs_setting` names a switch
    of `policy.Settings` that must be on. `fields` are those of ours that want it: one
    of them must be configured; empty: the events want it without. Event `helps` wants
    it too where the switch `helps_with` is on: its values come from there. Where no
    group of the hook `behind` works, this one is of no use: that it is missing too is
    not told.
    """

    name: str
    events: frozenset[int]
    alternatives: tuple[tuple[str, ...], ...]
    missing: str
    kind: str = ""
    needs_setting: str = ""
    fields: frozenset[str] = frozenset()
    helps: int = 0
    helps_with: str = ""
    behind: str = ""


PROCESS_HOOKS: tuple[Hook, ...] = (
    Hook(
        name="processes",
        events=frozenset(),
        alternatives=(
            ("process_fork", "process_create", "process_terminate"),
            ("process_fork", "process_create", "process_terminate_by_live"),
        ),
        missing="all events",
    ),
)

#: Iterator over the running tasks; run, not attached.
SCAN_PROGRAM = "process_scan"

#: Says which file a descriptor leads to; run, not attached. Linux 5.14 or newer has it:
#: 79a7f8bdb159 ("bpf: Introduce bpf_sys_bpf() helper and program type.").
IDENTIFY_PROGRAM = "descriptor_identify"

#: Tells name and type of each eBPF program that the kernel has: a reader of the side
#: band asks it.
ALIVE_PROGRAM = "programs_alive"

#: Programs of kinds that libbpf 1.1 does not know, with their enum bpf_attach_type,
#: <linux/bpf.h>: BPF_CGROUP_UNIX_CONNECT.
ATTACH_TYPES = {"unix_connecting": 49}

#: They see the inodes that a call changes, and search its frames for the name. Linux
#: 6.13 or newer has them.
NAME_PROGRAMS = ("ctime_set", "ctime_exchanged", "ctime_kept")

#: They see the files that io_uring opens and names: groups in order of preference.
RING_PROGRAMS = (
    ("io_uring_name_begun", "io_uring_name_done"),
    ("io_uring_name_begun", "io_uring_name_done_by_result"),
    ("io_uring_name_begun_sqe", "io_uring_name_done_by_result"),
)
