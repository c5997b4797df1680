# SPDX-License-Identifier: MIT
"""Instructions that a process executes: they do not depend on who else is busy.

Processor time for the same work differs by a factor of two from minute to minute where
processors and caches are shared; the number of instructions does not.
"""

from __future__ import annotations

import ctypes
import os
import platform

#: perf_event_open(2) has no wrapper in the C library.
_CALLS = {"x86_64": 298, "aarch64": 241}
_HARDWARE, _INSTRUCTIONS = 0, 1  # PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS
#: In perf_event_attr's bits.
_EXCLUDE_USER, _EXCLUDE_KERNEL, _EXCLUDE_HV = 1 << 4, 1 << 5, 1 << 6


class _Attributes(ctypes.Structure):
    """struct perf_event_attr, perf_event_open(2), in its size of Linux 5.0."""

    _fields_ = [
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("bits", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * 64),
    ]


class Instructions:
    """Counts the instructions of a thread, in the program and in the kernel."""

    def __init__(self, tid: int) -> None:
        parts = (_EXCLUDE_KERNEL, _EXCLUDE_USER)
        self._fds = [_opened(tid, part | _EXCLUDE_HV) for part in parts]

    def counts(self) -> tuple[int, int] | None:
        """Return those of the program and of the kernel; None: not to be had here."""
        if min(self._fds) < 0:
            return None
        own, kernel = (int.from_bytes(os.read(fd, 8), "little") for fd in self._fds)
        return own, kernel

    def close(self) -> None:
        """Stop counting."""
        for fd in self._fds:
            if fd >= 0:
                os.close(fd)


def _opened(tid: int, bits: int) -> int:
    """Return a descriptor to read the count from, -1 where there is no counter."""
    number = _CALLS.get(platform.machine())
    if number is None:
        return -1
    attributes = _Attributes(
        type=_HARDWARE,
        size=ctypes.sizeof(_Attributes),
        config=_INSTRUCTIONS,
        bits=bits,
    )
    call = ctypes.CDLL(None).syscall
    return int(call(number, ctypes.byref(attributes), tid, -1, -1, 0))
