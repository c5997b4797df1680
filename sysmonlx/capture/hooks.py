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
    """A raw tracepoint, and the name of the program that is attached there.

    `fact` names what `kernel_facts` says of kernels that have it.
    """

    program: str
    tracepoint: str
    fact: str


_HAS_CTIME, _HAS_WORK = "has_ctime_tracepoints", "has_ring_work_tracepoints"
_HAS_SUBMIT_REQ = "has_submit_req_tracepoint"
_HAS_COMPLETION = "has_completion_argument"
_LOOK = "quiet_work_done"
_DONE, _OVERFLOW = "io_uring_complete", "io_uring_cqe_overflow"
_NAMES, _ACCEPTS = "io_uring_name_ended", "io_uring_accept_ended"

#: Hooks that share a program, so that the verifier looks at it once. Groups of a hook
#: name them as they name programs.
PLACES = {
    "ctime_set": Place("inode_changed", "inode_set_ctime_to_ts", _HAS_CTIME),
    "ctime_exchanged": Place("inode_changed", "ctime_ns_xchg", _HAS_CTIME),
    "ctime_kept": Place("inode_changed", "ctime_xchg_skip", _HAS_CTIME),
    "io_uring_name_done": Place(_NAMES, _DONE, _HAS_COMPLETION),
    "io_uring_name_overflowed": Place(_NAMES, _OVERFLOW, _HAS_COMPLETION),
    "io_uring_accepted": Place(_ACCEPTS, _DONE, _HAS_COMPLETION),
    "io_uring_accept_overflowed": Place(_ACCEPTS, _OVERFLOW, _HAS_COMPLETION),
    "quiet_task_work": Place(_LOOK, "io_uring_task_work_run", _HAS_WORK),
    "quiet_local_work": Place(_LOOK, "io_uring_local_work_run", _HAS_WORK),
    "quiet_thread_ended": Place(_LOOK, "sched_process_exit", _HAS_WORK),
    "quiet_memory_used": Place(_LOOK, "io_uring_submit_req", _HAS_SUBMIT_REQ),
    "quiet_memory_used_sqe": Place(_LOOK, "io_uring_submit_sqe", _HAS_WORK),
}

#: They see the inodes that a call changes, and search its frames for the name. Linux
#: 6.13 or newer has them.
NAME_PROGRAMS = ("ctime_set", "ctime_exchanged", "ctime_kept")

#: They see the files that io_uring opens and names: groups in order of preference.
RING_PROGRAMS = (
    ("io_uring_name_begun", "io_uring_name_done"),
    ("io_uring_name_begun", "io_uring_name_done_by_result"),
    ("io_uring_name_begun_sqe", "io_uring_name_done_by_result"),
)

#: They see the same where the completion found no room in the ring's queue.
RING_OVERFLOW_PROGRAMS = (
    ("io_uring_name_overflowed",),
    ("io_uring_name_overflowed_by_result",),
)

#: They look how requests of io_uring have ended that ask for no completion entry:
#: groups in order of preference. Linux 6.1 or newer has them. The last is an iterator,
#: which `capture.quiet_requests` runs. Hooks with them come before those of
#: `RING_PROGRAMS`: what is attached first runs first, and who notes a new request would
#: write over what is known of the one before in the same memory.
QUIET_SWEEP = "quiet_requests_sweep"
_QUIET_LOOKS = ("quiet_task_work", "quiet_local_work", "quiet_thread_ended")
QUIET_PROGRAMS = (
    ("quiet_memory_used", *_QUIET_LOOKS, QUIET_SWEEP),
    ("quiet_memory_used_sqe", *_QUIET_LOOKS, QUIET_SWEEP),
)

#: By a program or place: those at the same tracepoint that must be attached after it.
FOLLOWERS = {
    "quiet_memory_used": ("io_uring_name_begun", "io_uring_accept_begun"),
    "quiet_memory_used_sqe": ("io_uring_name_begun_sqe",),
}


def ring_hooks(
    name: str, events: frozenset[int], missing: str, needs_setting: str = ""
) -> tuple[Hook, ...]:
    """Return the hooks of what io_uring does with files, in the order of attaching.

    `name` and `missing` are those of requests that complete in the ring's queue. The
    others are of requests that ask for no completion entry, and of those for which the
    queue has no room.
    """
    return (
        Hook(
            name=f"{name} without completion",
            events=events,
            alternatives=QUIET_PROGRAMS,
            missing="io_uring requests that ask for no completion come late, or not at"
            " all",
            needs_setting=needs_setting,
            behind=name,
        ),
        Hook(
            name=name,
            events=events,
            alternatives=RING_PROGRAMS,
            missing=missing,
            needs_setting=needs_setting,
        ),
        Hook(
            name=f"{name} beyond its queue",
            events=events,
            alternatives=RING_OVERFLOW_PROGRAMS,
            missing="what io_uring completes while its queue is full",
            needs_setting=needs_setting,
            behind=name,
        ),
    )


def program_of(name: str) -> str:
    """Return the program of a name in a group: its own, or the one that it shares."""
    return PLACES[name].program if name in PLACES else name
