# SPDX-License-Identifier: MIT
"""How a process gives up its rights before it reads a file that may be hostile.

These are its user, its capabilities, its files and its network. A service manager may
have forbidden to change some of them. The child keeps those, without an error.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import resource
import sys
from collections.abc import Iterable

from sysmonlx.errors import CaptureError
from sysmonlx.host import capabilities

#: Memory beyond that of the parent, in bytes: four times the need of the largest
#: published configuration.
MEMORY_BYTES = 512 << 20
CPU_S = 30
_FILES = 32

_CLONE_NEWNET = 0x40000000


def confine(pipe: int, libraries: Iterable[str], folders: Iterable[str]) -> None:
    """Give up everything for good, but `pipe` and reading what everybody may read.

    The process imports `libraries` and reads files of `folders` afterwards. Where the
    user "nobody" cannot read those (a checkout below /root), the process keeps the
    right to read any file, and no other right.
    """
    needed = [*_origins(libraries), os.__file__, *folders]
    sys.dont_write_bytecode = True
    _close_files(pipe)
    _limit()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).unshare(_CLONE_NEWNET)
    capabilities.become_nobody()
    can_read = all(os.access(each, os.R_OK, effective_ids=True) for each in needed)
    reading = frozenset({capabilities.CAP_DAC_READ_SEARCH})
    with contextlib.suppress(CaptureError):
        capabilities.keep_only(frozenset() if can_read else reading)


def _origins(libraries: Iterable[str]) -> list[str]:
    """Return a file of each library that is there; nothing is imported for that."""
    found = map(importlib.util.find_spec, libraries)
    return [spec.origin for spec in found if spec is not None and spec.origin]


def _close_files(pipe: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    last = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(3, pipe)
    os.closerange(pipe + 1, max(last, pipe + 1))


def _limit() -> None:
    limits = {
        resource.RLIMIT_AS: _address_space_bytes() + MEMORY_BYTES,
        resource.RLIMIT_NOFILE: _FILES,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    for kind, most in limits.items():
        _set_limit(kind, most, most)
    _set_limit(resource.RLIMIT_CPU, CPU_S, CPU_S + 1)  # SIGXCPU, not at once SIGKILL


def _address_space_bytes() -> int:
    """Return what this process has of its parent's address space; proc_pid_statm(5)."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def _set_limit(kind: int, soft: int, hard: int) -> None:
    most = resource.getrlimit(kind)[1]
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (soft, hard))
