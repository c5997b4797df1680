# SPDX-License-Identifier: MIT
"""Which file systems answer by themselves, and which are memory and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

#: f_type of statfs(2), from <linux/magic.h> and the file systems' own headers. A file
#: system that is not here may ask another machine or another program for an answer.
_LOCAL = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # XFS
        0x9123683E,  # Btrfs
        0xCA451A4E,  # bcachefs
        0x2FC12FC1,  # ZFS
        0xF2F52010,  # F2FS
        0x3153464A,  # JFS
        0x01021994,  # tmpfs, devtmpfs
        0x858458F6,  # ramfs
        0x794C7630,  # overlayfs
        0x4D44,  # vfat
        0x2011BAB0,  # exFAT
        0x1CD1,  # devpts
    }
)
#: f_type of file systems that are memory and nothing else.
_MEMORY = frozenset({0x01021994, 0x858458F6})
#: Larger than any struct statfs; its first member is f_type, a long.
_STATFS_BYTES = 512


def is_local(fd: int) -> bool:
    """Return whether a file system answers without another machine or program.

    It is the one that `fd` is on. A file system that is not known counts as one that
    needs another. fstatfs(2), which is asked here, may wait without limit.

    Raises:
        OSError: fstatfs(2) failed.
    """
    return _file_system_of(fd) in _LOCAL


def is_in_memory(fd: int) -> bool:
    """Return whether a file is in memory alone: nothing can make who uses it wait.

    A file system on a disk may be frozen, fail or be full.

    Raises:
        OSError: fstatfs(2) failed.
    """
    return _file_system_of(fd) in _MEMORY


def _file_system_of(fd: int) -> int:
    return _fstatfs()(fd)


@cache
def _fstatfs() -> Callable[[int], int]:
    """Return a function that says what kind of file system a descriptor is on."""
    import ctypes  # processes that stay in memory and seldom ask do without it

    libc = ctypes.CDLL(None, use_errno=True)

    def ask(fd: int) -> int:
        buffer = ctypes.create_string_buffer(_STATFS_BYTES)
        if libc.fstatfs(fd, buffer) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return int(ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF)

    return ask
