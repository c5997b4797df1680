# SPDX-License-Identifier: MIT
"""Which program file it is: as the kernel recorded it, and as a descriptor shows it."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from functools import cache
from typing import NamedTuple

#: `f_type` of statfs(2), <linux/magic.h>.
_BTRFS = 0x9123683E
_FUSE = 0x65735546
_OVERLAYFS = 0x794C7630

#: File systems whose data are on this machine: no program and no other machine is asked
#: before a read returns. Any other may keep its reader waiting for ever.
_LOCAL = frozenset(
    {
        *(
            0xEF53,
            0x58465342,
            _BTRFS,
            0xF2F52010,
            0xCA451A4E,
        ),  # ext, XFS, F2FS, bcachefs
        *(0x01021994, 0x858458F6, 0x958458F6),  # tmpfs, ramfs, hugetlbfs
        *(0x73717368, 0xE0F5E1E2, 0x28CD3D45, 0x7275),  # squashfs, EROFS, cramfs, romfs
        *(0x2FC12FC1, 0x3153464A, 0x52654973, 0x3434),  # ZFS, JFS, reiserfs, NILFS
        *(0x4D44, 0x2011BAB0, 0x7366746E, 0x482B),  # FAT, exFAT, NTFS3, HFS+
        *(0x9660, 0x15013346, 0x24051905, 0x72B6),  # ISO 9660, UDF, UBIFS, JFFS2
        _OVERLAYFS,  # of layers that are not known: root mounted them
    }
)

_AT_EMPTY_PATH = 0x1000
_AT_STATX_DONT_SYNC = 0x4000
_STATX_BASIC = 0x7FF
_STATX_BYTES = 256
#: stx_mode, stx_ino and stx_size; stx_ctime and stx_mtime; stx_dev_major and _minor.
_STATX = struct.Struct("=28xH2xQQ48xqI4xqI4x8xII")
_SECOND = 1_000_000_000


class FileId(NamedTuple):
    """Which content: it changes with every write, so it keys the cache.

    The members are those of struct file_identity in ebpf/record.h, but for its mode.
    `dev` is the kernel's dev_t of the superblock, major << 20 | minor; times in ns.
    """

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int
    subvolume: int = 0
    filesystem: int = 0
    in_user_namespace: int = 0
    is_layered: int = 0


#: The fields of a process_create record that are its struct file_identity.
FILE_FIELDS = (
    *("file_inode", "file_size", "file_mtime_ns", "file_ctime_ns"),
    *("file_subvolume", "file_device", "file_mode", "file_filesystem"),
    *("file_in_user_namespace", "file_is_layered"),
)
#: Those of them that are a FileId.
FILE_ID_FIELDS = (
    *("file_device", "file_inode", "file_size", "file_mtime_ns", "file_ctime_ns"),
    *("file_subvolume", "file_filesystem", "file_in_user_namespace"),
    "file_is_layered",
)


def answers_at_once(file: FileId) -> bool:
    """Tell whether nobody but this machine's kernel and disks is asked for the file.

    A user may have mounted anything in a user namespace of his own.
    """
    return file.filesystem in _LOCAL and not file.in_user_namespace


def names_one_content(file: FileId) -> bool:
    """Tell whether the identity stands for one content, so that a hash can be kept.

    A program behind FUSE chooses number, size and times of a file, and its data anew
    at each read; an overlay of layers that are not known shows what it likes as well,
    where anybody could mount it.
    """
    if file.filesystem == _FUSE:
        return False
    return not (file.is_layered and file.in_user_namespace)


def file_id(fd: int) -> FileId:
    """Return the identity of an open file as statx(2) shows it, from memory alone.

    Raises:
        OSError: with the reason.
    """
    return _status(fd)[1]


def leads_to(fd: int, wanted: FileId, path: bytes) -> bool:
    """Tell whether a descriptor leads to the regular file that the kernel recorded."""
    mode, found = _status(fd)
    return stat.S_ISREG(mode) and is_same_file(found, wanted, fd, path)


def _status(fd: int) -> tuple[int, FileId]:
    data = ctypes.create_string_buffer(_STATX_BYTES)
    flags = _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC
    if _libc().statx(fd, b"", flags, _STATX_BASIC, data) != 0:
        raise OSError(ctypes.get_errno(), "statx")
    mode, ino, size, change_s, change_ns, write_s, write_ns, *dev = _STATX.unpack_from(
        data
    )
    mtime_ns, ctime_ns = write_s * _SECOND + write_ns, change_s * _SECOND + change_ns
    return mode, FileId(dev[0] << 20 | dev[1], ino, size, mtime_ns, ctime_ns)


def is_same_file(found: FileId, wanted: FileId, fd: int, path: bytes) -> bool:
    """Tell whether `found`, seen by statx(2) of `fd`, is what the kernel recorded.

    For kernels that cannot be asked what a descriptor leads to. Size and times must
    always agree. Where the device agrees the inode must too. It cannot on btrfs, where
    stat(2) shows a device for each subvolume, nor on overlayfs, where the kernel
    recorded a file in a layer: there the inode, and the path, stand in. Nobody but root
    mounts overlayfs on those kernels.
    """
    if found[2:5] != wanted[2:5]:
        return False
    if found.dev == wanted.dev:
        return found.ino == wanted.ino
    kind = _filesystem_type(fd)
    if kind == _BTRFS:
        return found.ino == wanted.ino
    return kind == _OVERLAYFS and os.readlink(b"/proc/self/fd/%d" % fd) == path


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _filesystem_type(fd: int) -> int:
    # struct statfs begins with f_type; 256 bytes hold it on every machine.
    buffer = (ctypes.c_long * 32)()
    if _libc().fstatfs(ctypes.c_int(fd), buffer) != 0:
        raise OSError(ctypes.get_errno(), "fstatfs")
    return int(buffer[0]) & 0xFFFFFFFF
