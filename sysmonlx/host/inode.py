# SPDX-License-Identifier: MIT
"""Files as the kernel has them in memory: calls that ask no file system anything.

A file system of user space or of the network may take for ever to answer. openat2(2)
with RESOLVE_CACHED gives up where it would have to ask, and statx(2) with
AT_STATX_DONT_SYNC tells what was known before. An O_PATH descriptor is closed without a
word to the file system.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from ctypes import c_char_p, c_int, c_long, c_size_t, c_uint, c_void_p
from errno import EAGAIN, EINVAL
from functools import cache
from typing import NamedTuple

_OPENAT2 = 437  # the same on every architecture
RESOLVE_IN_ROOT = 0x10
#: v5.12, 99668f618062 ("fs: expose LOOKUP_CACHED through openat2()")
RESOLVE_CACHED = 0x20
DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
NAME = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_ANY = os.O_PATH | os.O_CLOEXEC
_HOW = struct.Struct("=QQQ")  # struct open_how
_HERE = -100  # AT_FDCWD

_AT_EMPTY_PATH = 0x1000
_AT_STATX_DONT_SYNC = 0x4000
_ASK_NOBODY = _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC
_TYPE, _LINKS, _BASIC, _BIRTH = 0x1, 0x4, 0x7FF, 0x800  # STATX_TYPE, _NLINK, ...
_STATX_BYTES = 256
#: stx_mask, stx_nlink, stx_mode, stx_ino, stx_size, and the times, of struct statx.
_FIELDS = struct.Struct("=I12xI8xH2xQQ32xqI4xqI4xqI4x8xII")

#: stx_ino, stx_size, stx_mtime and stx_dev.
_STAMP = struct.Struct("=32xQQ64xqI12xII")

_LINKS_AT, _NUMBER = 16, struct.Struct("=I")
_KIND_AND_BIRTH = struct.Struct("=I24xH50xqI")  # stx_mask, stx_mode, stx_btime


class Known(NamedTuple):
    """The attributes of a file; `birth_ns` is 0 where the kernel does not know it."""

    mode: int
    links: int
    inode: int
    size_bytes: int
    birth_ns: int
    changed_ns: int
    modified_ns: int
    device: tuple[int, int]


def open_cached(path: bytes, flags: int, root: int = _HERE, resolve: int = 0) -> int:
    """Return an O_PATH descriptor of `path`, from the kernel's memory alone.

    Raises:
        OSError: with EAGAIN where only the file system knows. Linux before v5.12 never
            tells what it knows by itself.
    """
    fd = _opened_cached(path, flags, root, resolve)
    if fd < 0:
        raise OSError(-fd, os.strerror(-fd))
    return fd


def openat2(path: bytes, flags: int, root: int, resolve: int) -> int:
    """Return a descriptor of `path` below `root`, or an errno as a negative number.

    `flags` and `resolve` are those of struct open_how. Without RESOLVE_CACHED it may
    block.
    """
    how = _HOW.pack(flags, 0, resolve)
    fd: int = _libc().syscall(_OPENAT2, root, path, how, _HOW.size)
    return fd if fd >= 0 else -ctypes.get_errno()


def _opened_cached(path: bytes, flags: int, root: int, resolve: int) -> int:
    """Return a descriptor, or an errno as a negative number."""
    fd = openat2(path, flags, root, resolve | RESOLVE_CACHED)
    return -EAGAIN if fd == -EINVAL else fd


def stamp(path: bytes) -> tuple[int, ...] | None:
    """Return numbers that change with a file's content; the last is when, in ns.

    Empty: there is no such file. None: only the file system knows.
    """
    fd = _opened_cached(path, _ANY, _HERE, 0)
    if fd == -EAGAIN:
        return None
    if fd < 0:
        return ()
    data = _asked(fd, _BASIC)
    os.close(fd)
    if data is None:
        return None
    *what, second, ns, major, minor = _STAMP.unpack_from(data)
    return *what, major, minor, second * 10**9 + ns


def why_not() -> str:
    """Return why openat2(2) cannot be used at all, empty where it can.

    Before Linux 5.6 there is none, and a service manager may refuse it.
    """
    try:
        os.close(open_cached(b"/", DIRECTORY))
    except OSError as error:
        return "" if error.errno == EAGAIN else os.strerror(error.errno or 0)
    return ""


def open_anyhow(path: bytes, flags: int, root: int, resolve: int) -> int:
    """Return a descriptor of `path` by openat2(2), which may block.

    Raises:
        OSError: there is none.
    """
    fd = openat2(path, flags, root, resolve)
    if fd < 0:
        raise OSError(-fd, os.strerror(-fd))
    return fd


def link_count(fd: int) -> int:
    """Return how many names an open file has, 0 where the kernel does not know."""
    data = _asked(fd, _LINKS)
    return _NUMBER.unpack_from(data, _LINKS_AT)[0] if data is not None else 0


def kind_and_birth(fd: int) -> tuple[int, int]:
    """Return mode and birth (ns since the epoch) of an open file; 0: unknown."""
    data = _asked(fd, _TYPE | _BIRTH)
    if data is None:
        return 0, 0
    mask, mode, second, ns = _KIND_AND_BIRTH.unpack_from(data)
    return mode, second * 10**9 + ns if mask & _BIRTH else 0


def known(fd: int) -> Known | None:
    """Return what the kernel knows of an open file; None: it tells nothing."""
    data = _asked(fd, _BASIC | _BIRTH)
    if data is None:
        return None
    mask, links, mode, inode, size, *rest = _FIELDS.unpack_from(data)
    birth_s, birth_ns, changed_s, changed_ns, modified_s, modified_ns, *device = rest
    return Known(
        mode,
        links,
        inode,
        size,
        birth_s * 10**9 + birth_ns if mask & _BIRTH else 0,
        changed_s * 10**9 + changed_ns,
        modified_s * 10**9 + modified_ns,
        (device[0], device[1]),
    )


def _asked(fd: int, mask: int) -> ctypes.Array[ctypes.c_char] | None:
    """Return struct statx, valid until this thread asks again."""
    try:
        data: ctypes.Array[ctypes.c_char] = _own.buffer
    except AttributeError:
        data = _own.buffer = ctypes.create_string_buffer(_STATX_BYTES)
    failed = _libc().statx(fd, b"", _ASK_NOBODY, mask, data)
    return None if failed else data


_own = threading.local()


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype, libc.statx.restype = c_long, c_int
    libc.syscall.argtypes = [c_long, c_int, c_char_p, c_char_p, c_size_t]
    libc.statx.argtypes = [c_int, c_char_p, c_int, c_uint, c_void_p]
    return libc
