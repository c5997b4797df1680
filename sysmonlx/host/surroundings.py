# SPDX-License-Identifier: MIT
"""What a container keeps from the program: capabilities and namespaces, in words."""

from __future__ import annotations

import os
from collections.abc import Collection

from sysmonlx.host import capabilities
from sysmonlx.host.capabilities import (
    CAP_BPF,
    CAP_DAC_READ_SEARCH,
    CAP_PERFMON,
    CAP_SYS_PTRACE,
)

#: Stands for the two that loading needs. The daemon does not keep it.
CAP_SYS_ADMIN = 21

#: Numbers of the first namespaces, the same on every machine: <linux/proc_ns.h>.
_FIRST = {"user": 0xEFFFFFFD, "pid": 0xEFFFFFFC, "cgroup": 0xEFFFFFFB}
_HOW = "a container gets them by --cap-add or securityContext.capabilities.add"


def refusal() -> str:
    """Return why the kernel will load no program of ours; "": it may."""
    return why_not(is_first("user"), capabilities.effective())


def remarks() -> list[str]:
    """Return what cannot be known from here, a line each."""
    return limits(is_first("pid"), capabilities.effective())


def is_first(kind: str) -> bool:
    """Return whether this process is in the machine's own namespace of a kind."""
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino == _FIRST[kind]
    except OSError:
        return True


def why_not(is_first_user: bool, has: Collection[int]) -> str:
    """Return why no program can be loaded with these capabilities."""
    if not is_first_user:
        return (
            "the program runs in a user namespace of its own (a rootless container,"
            " say): there the kernel loads no eBPF programs"
        )
    needed = () if CAP_SYS_ADMIN in has else (CAP_BPF, CAP_PERFMON)
    lacking = _lacking(needed, has)
    return f"{lacking}: run it as root; {_HOW}" if lacking else ""


def limits(is_first_pid: bool, has: Collection[int]) -> list[str]:
    """Return what cannot be known with these capabilities."""
    found = []
    if not is_first_pid:
        found.append(
            "processes from before the start, hashes of most programs (a pid namespace"
            " of its own: give the container that of the host, --pid=host or hostPID)"
        )
    if lacking := _lacking((CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH), has):
        found.append(f"hashes of programs of others ({lacking}: {_HOW})")
    return found


def _lacking(needed: Collection[int], has: Collection[int]) -> str:
    names = ", ".join(capabilities.NAMES[each] for each in needed if each not in has)
    return f"capabilities are missing, {names}" if names else ""
