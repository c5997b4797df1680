# SPDX-License-Identifier: MIT
"""Namespaces and a file system of a process's own, which end with it."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from errno import ESRCH

_CLONE_NEWNS, _CLONE_NEWPID, _CLONE_NEWNET = 0x20000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 8, 1 << 14, 1 << 18
_PR_SET_PDEATHSIG = 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1
_IFREQ = struct.Struct("16sh22x")
_DIRECTORIES = ("/tmp", "/mnt", "/srv", "/media", "/run")
_SIZE = b"size=1m,nr_inodes=64,mode=700"


def die_with(parent: int) -> None:
    """Have this process killed when its parent ends, which may have happened already.

    Raises:
        OSError: the kernel refuses, or the parent has ended.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise _error("prctl(2)")
    if os.getppid() != parent:
        raise OSError(ESRCH, "the parent has ended")


def enter() -> str:
    """Give this process a network and mounts of its own, its children a pid namespace.

    Returns:
        An empty directory on a file system that nobody else sees.

    Raises:
        OSError: the kernel refuses, and what.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET):
        raise _error("unshare(2)")
    if libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None):
        raise _error("mount(2) of private mounts")
    directory = _directory()
    flags = _MS_NOSUID | _MS_NOEXEC
    name = directory.encode()
    if libc.mount(b"tmpfs", name, b"tmpfs", flags, _SIZE):
        raise _error(f"mount(2) of a tmpfs at {directory}")
    _raise_loopback()
    return directory


def _directory() -> str:
    """Return a directory that may be covered: nothing of this program lies in it."""
    needed = [os.path.realpath(sys.executable), sys.prefix, __file__]
    for each in _DIRECTORIES:
        covers = any(os.path.realpath(path).startswith(f"{each}/") for path in needed)
        if not covers and os.path.realpath(each) == each and os.path.isdir(each):
            return each
    raise OSError(2, "no directory for a tmpfs")


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        _, flags = _IFREQ.unpack(
            fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0))
        )
        up = _IFREQ.pack(b"lo", flags | _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, up)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
