# SPDX-License-Identifier: MIT
"""Memory that only the start needed, given back to the system."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Iterator
from contextlib import suppress

#: mallopt(3): one heap for all threads; what is large goes back when it is freed.
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3
_MADV_DONTNEED = 4
#: A mapping of a file that is not written to, and its head lines in smaps.
_OF_FILE = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ [1-9]\d* +/[^\n]*\n"
    rb"(?:[A-Z][^\n]*\n)*?Anonymous: +0 kB",
    re.MULTILINE,
)


def bound_heap() -> None:
    """Use one heap for all threads, and keep what is large out of it."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 17)


def give_back() -> None:
    """Free what nobody needs, and forget the pages of programs and libraries.

    Those that are used again come back from the page cache, where they stay: a few
    hundred of a thousand, in a fraction of a millisecond.
    """
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(ctypes.c_size_t(0))
    for start, size in clean_mappings():
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)


def clean_mappings() -> Iterator[tuple[int, int]]:
    """Yield (address, size in bytes) of mapped files of which no page was changed."""
    with suppress(OSError), open("/proc/self/smaps", "rb") as file:
        for start, end in _OF_FILE.findall(file.read()):
            yield int(start, 16), int(end, 16) - int(start, 16)
