# SPDX-License-Identifier: MIT
"""What a container keeps from the program, in words.

It may lack capabilities, namespaces of the machine, and system calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Collection
from pathlib import Path

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


#: bpf(2): its number on 64-bit processors, and a command that no kernel has.
_BPF = {"x86_64": 321, "aarch64": 280}
_NO_COMMAND = 0x7FFFFFFF
#: Seccomp of proc_pid_status(5): system calls are filtered.
_IS_FILTERED = "\nSeccomp:\t2\n"


def refusal() -> str:
    """Return why the kernel will load no program of ours; "": it may."""
    return why_not(is_first("user"), capabilities.effective()) or without_bpf()


def without_bpf(status: Path = Path("/proc/self/status")) -> str:
    """Return the sentence that a seccomp filter forbids bpf(2), and what helps.

    The text is empty where no filter forbids it. Runtimes have such filters for
    containers; they forbid the call whatever the capabilities are. bpf(2) is called
    with a command that does not exist: the kernel itself would answer EINVAL.
    """
    try:
        is_filtered = _IS_FILTERED in status.read_text("utf-8", "replace")
    except OSError:
        return ""
    number = _BPF.get(os.uname().machine)
    if not is_filtered or number is None:
        return ""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(ctypes.c_long(number), _NO_COMMAND, None, 0)
    if ctypes.get_errno() not in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        return ""
    return (
        "seccomp forbids bpf(2): the container's profile has to allow it with BPF, as"
        " those of Docker 23 and containerd 1.7 do; else --security-opt"
        " seccomp=unconfined, or seccompProfile: {type: Unconfined}"
    )


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
