# SPDX-License-Identifier: MIT
"""Memory that only the start needed, given back to the system."""

from __future__ import annotations

import ctypes
import gc

#: mallopt(3): one heap for all threads; large blocks go back when they are freed.
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3

#: Generations of objects, for the collector: those made since the last look, and all.
_YOUNGEST, _OLDEST = 0, 2


def bound_heap() -> None:
    """Use one heap for all threads, and keep blocks of 128 KiB and more out of it."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 17)


def give_back(*, of_new: bool = False) -> None:
    """Free objects in unused cycles, and give free pages back to the system.

    `of_new`: only cycles of objects made since the last call are looked for. That takes
    as long as these are many; to look at all takes 0.3 us an object.
    """
    gc.collect(_YOUNGEST if of_new else _OLDEST)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(ctypes.c_size_t(0))
