# SPDX-License-Identifier: MIT
"""The hooks of an event: programs and where they are attached, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Hook:
    """One thing to watch, by the first group of programs that loads and attaches.

    The hook is wanted where one of `events` (ids) is, and all of this holds: the switch
    of `policy.Settings` that `needs_setting` names is on, or it is empty; one of
    `fields`, which are fields of ours, is configured, or there are none. It is also
    wanted where the event `helps` is and the switch `helps_with` is on, since values of
    that event come from there.

    `alternatives` are groups of programs in order of preference; all programs of a
    group are needed. `missing` says what is not seen where no group works. It is not
    said where no group of the hook with the name `behind` works: this one is of no use
    then. With `has_side_band`, perf is asked beside the programs, see `bpf.side_band`.
    """

    name: str
    events: frozenset[int]
    alternatives: tuple[tuple[str, ...], ...]
    missing: str
    has_side_band: bool = False
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

#: Iterator over the eBPF programs that the kernel has: name, type and user of each.
#: `capture.told_programs` runs it when perf has told of a program.
ALIVE_PROGRAM = "programs_alive"

#: Programs of kinds that libbpf 1.1 does not know, with their enum bpf_attach_type,
#: <linux/bpf.h>: BPF_CGROUP_UNIX_CONNECT.
ATTACH_TYPES = {"unix_connecting": 49}

#: Programs attached to the root of the control groups.
CGROUP_PROGRAMS = frozenset(
    {
        *("udp_sent", "udp_sent_of_any", "udp_arrived", "unix_connecting"),
        *("dns_sent", "dns_arrived", "dns_addressed_v4", "dns_addressed_v6"),
        *("dns_connected_v4", "dns_connected_v6"),
    }
)


class Place(NamedTuple):
    """A raw tracepoint, and the name of the program that is attached there."""

    program: str
    tracepoint: str


#: Hooks that share a program, so that the verifier looks at it once. Groups of a hook
#: name them as they name programs.
PLACES = {
    "ctime_set": Place("inode_changed", "inode_set_ctime_to_ts"),
    "ctime_exchanged": Place("inode_changed", "ctime_ns_xchg"),
    "ctime_kept": Place("inode_changed", "ctime_xchg_skip"),
}

#: They see the inodes that a call changes, and search its frames for the name. Linux
#: 6.13 or newer has them.
NAME_PROGRAMS = tuple(PLACES)

#: They see the files that io_uring opens and names: groups in order of preference.
RING_PROGRAMS = (
    ("io_uring_name_begun", "io_uring_name_done"),
    ("io_uring_name_begun", "io_uring_name_done_by_result"),
    ("io_uring_name_begun_sqe", "io_uring_name_done_by_result"),
)

#: They see the same where the completion found no room in the ring's queue.
RING_OVERFLOW_PROGRAMS = (("io_uring_name_overflowed",),)
#: They look how requests of io_uring have ended that ask for no completion entry. Linux
#: 6.1 or newer has them. The last is an iterator, which `capture.quiet_requests` runs.
QUIET_SWEEP = "quiet_requests_sweep"
QUIET_PROGRAMS = (
    *("quiet_task_work", "quiet_local_work", "quiet_thread_ended"),
    QUIET_SWEEP,
)


def program_of(name: str) -> str:
    """Return the program of a name in a group: its own, or the one that it shares."""
    return PLACES[name].program if name in PLACES else name
