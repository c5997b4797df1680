# SPDX-License-Identifier: MIT
"""The one way in which files are opened that root writes to.

A path is walked from "/", one component at a time. A directory has to belong to root
or to the effective user, and only a sticky one may be writable by all: nobody else can
then rename or remove what lies in it. Writable by its group is accepted, as /var/log is
on Ubuntu (root:syslog 0775).

A symbolic link is followed only where nobody but root could have made it: the link is
root's, it stands in a directory of a local file system, and neither this directory nor
any that the walk came through is writable by others. The last component is never
followed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import time
from collections import deque
from collections.abc import Iterator
from functools import cache

#: Links that a walk follows at most: as many as the kernel does, path_resolution(7).
_MOST_LINKS = 40
#: How often a name may change between a look and the opening before that is an error.
_MOST_TRIES = 8
#: Longer than a file system's clock stands still: a jiffy, 10 ms at most.
_SETTLED_S = 0.05

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: O_NONBLOCK is for the sake of a FIFO without a reader.
_SAFE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH

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


class UntrustedError(OSError):
    """Something in a path that others than root could have put there."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EPERM, reason)


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
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc().fstatfs(fd, buffer) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


class _Walk:
    """Where a walk has come to: `fd`, an O_PATH descriptor of the directory `path`."""

    def __init__(self, *, trusts_owners: bool) -> None:
        self._trusts_owners = trusts_owners
        self._links = 0
        self._is_ours_alone = True
        self.path = "/"
        self.fd = os.open("/", _PATH)
        self._check(os.fstat(self.fd), "/")

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)

    def go(self, path: str, *, follows_last: bool) -> None:
        """Walk on to the directory `path`, relative to this one unless absolute.

        Raises:
            OSError: it is not there, or no directory.
            UntrustedError: others could have a say in where that leads.
        """
        pending = deque(_components(path))
        if path.startswith("/"):
            self._restart()
        while pending:
            name = pending.popleft()
            shown = os.path.join(self.path, name)
            with _naming(shown):
                child = os.open(name, _PATH, dir_fd=self.fd)
            try:
                found = os.fstat(child)
                if stat.S_ISLNK(found.st_mode) and (pending or follows_last):
                    target = self._target(child, found, shown)
                    pending.extendleft(reversed(_components(target)))
                    if target.startswith("/"):
                        self._restart()
                    continue
                self._check(found, shown)
                child, self.fd, self.path = self.fd, child, shown
            finally:
                os.close(child)

    def _restart(self) -> None:
        root = os.open("/", _PATH)
        os.close(self.fd)
        self.fd, self.path = root, "/"

    def _check(self, found: os.stat_result, shown: str) -> None:
        if not stat.S_ISDIR(found.st_mode):
            code = errno.ENOTDIR
            raise NotADirectoryError(code, f"{os.strerror(code)}: {shown}")
        is_open_to_all = found.st_mode & stat.S_IWOTH and not (
            found.st_mode & stat.S_ISVTX
        )
        if not self._trusts_owners and not _is_ours(found):
            raise UntrustedError(f"the directory {shown} {_whose(found)}")
        if not self._trusts_owners and is_open_to_all:
            raise UntrustedError(
                f"the directory {shown} is writable by all, without the sticky bit"
            )
        if found.st_mode & _BY_OTHERS or not _is_ours(found):
            self._is_ours_alone = False

    def _target(self, link: int, found: os.stat_result, shown: str) -> str:
        """Return where a link leads that only root can have made."""
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, f"{os.strerror(errno.ELOOP)}: {shown}")
        if not _is_ours(found):
            raise UntrustedError(f"the symbolic link {shown} {_whose(found)}")
        if not self._is_ours_alone:
            raise UntrustedError(
                f"the symbolic link {shown} is below a directory that others write to"
            )
        if not is_local(self.fd):
            raise UntrustedError(
                f"the symbolic link {shown} is not on a local file system"
            )
        return os.readlink("", dir_fd=link)


def open_directory(
    path: str | os.PathLike[str], *, follows_last: bool = True, makes: bool = False
) -> int:
    """Return an O_PATH descriptor of a directory that only root has a say in.

    With `makes`, directories that are not there are made, with mode 0755.

    Raises:
        OSError: it is not there, or no directory.
        UntrustedError: see the module's docstring; names the component.
    """
    return _opened(os.fspath(path), follows_last=follows_last, makes=makes)


def _opened(
    path: str,
    *,
    follows_last: bool = True,
    makes: bool = False,
    trusts_owners: bool = False,
) -> int:
    walk = _Walk(trusts_owners=trusts_owners)
    try:
        if not makes:
            walk.go(_absolute(path), follows_last=follows_last)
            return walk.fd
        names = _components(_absolute(path))
        for at, name in enumerate(names, 1):
            with contextlib.suppress(FileExistsError), _naming(f"{walk.path}/{name}"):
                os.mkdir(name, 0o755, dir_fd=walk.fd)
            walk.go(name, follows_last=follows_last or at < len(names))
    except BaseException:
        walk.close()
        raise
    return walk.fd


def open_file(
    path: str | os.PathLike[str], flags: int, *, regular_only: bool = True
) -> int:
    """Open a file to write to, mode 0600 where it is new: with O_EXCL then.

    One that is there has to be root's, with one name only, and a regular file; with
    `regular_only` off also a FIFO or a character device.

    Raises:
        OSError: it cannot be opened.
        UntrustedError: it, or a directory on the way, may be somebody else's.
    """
    directory, name = os.path.split(os.fspath(path))
    parent = open_directory(directory)
    try:
        return open_in(parent, name, flags, regular_only=regular_only)
    finally:
        os.close(parent)


def open_in(directory: int, name: str, flags: int, *, regular_only: bool = True) -> int:
    """Do what `open_file` does, for a name in a directory that was opened."""
    owners = {0, os.geteuid()}
    return _open_in(directory, name, flags, owners, regular_only=regular_only)


def _open_in(
    directory: int, name: str, flags: int, owners: set[int], *, regular_only: bool
) -> int:
    if name in ("", ".", ".."):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    for _ in range(_MOST_TRIES):
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
            with contextlib.suppress(FileExistsError):
                return os.open(name, flags | os.O_EXCL | _SAFE, 0o600, dir_fd=directory)
            continue
        _check_file(found, owners, regular_only=regular_only)
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(name, flags & ~os.O_CREAT | _SAFE, dir_fd=directory)
            try:  # again: the name may lead to another file by now
                _check_file(os.fstat(fd), owners, regular_only=regular_only)
                if _is_settled(fd, directory):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
            time.sleep(_SETTLED_S)
    raise UntrustedError("the file changes all the time")


def _is_settled(fd: int, directory: int) -> bool:
    """Tell whether the one name that a file has is certainly the name it was opened by.

    In a directory of others a second name could have been there when it was opened,
    and gone when the names were counted. Either would have set the time of change.
    """
    parent = os.fstat(directory)
    if _is_ours(parent) and not parent.st_mode & _BY_OTHERS:
        return True
    return abs(time.time() - os.fstat(fd).st_ctime) > _SETTLED_S


def _check_file(found: os.stat_result, owners: set[int], *, regular_only: bool) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFLNK:
        raise UntrustedError("the file is a symbolic link")
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    special = () if regular_only else (stat.S_IFIFO, stat.S_IFCHR)
    if kind not in (stat.S_IFREG, *special):
        raise UntrustedError("the file is not a regular one")
    if found.st_uid not in owners:
        raise UntrustedError(f"the file {_whose(found)}")
    if found.st_nlink > 1:
        raise UntrustedError(f"the file has {found.st_nlink} names (hard links)")
    if found.st_nlink == 0:
        raise UntrustedError("the file was removed meanwhile")


def write_new(
    directory: int, name: str, data: bytes, mode: int, *, syncs: bool = True
) -> None:
    """Make a file that did not exist; with `syncs` its data is on disk afterwards.

    Raises:
        OSError: writing failed; the part written until then stays.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE
    with open(os.open(name, flags, 0o600, dir_fd=directory), "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), mode)
        if syncs:
            os.fsync(file.fileno())


def replace(directory: int, name: str, data: bytes, mode: int = 0o600) -> None:
    """Replace a file as a whole: a reader sees the old or the new one.

    The data are written under a random name, which is then renamed to `name`. A
    symbolic link of that name is replaced, not followed. Nothing is synced: use this
    for files that need not outlive a sudden end of the machine.

    Raises:
        OSError: writing failed; the old file is then unchanged.
    """
    temporary = f".{name}.{os.urandom(8).hex()}"
    try:
        write_new(directory, temporary, data, mode, syncs=False)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise


def make_way(path: str | os.PathLike[str]) -> str:
    """Free a name in a directory of root's, which a file or a directory may have.

    An empty directory, or a file of any type, is removed. A directory that holds
    something gets another name beside it.

    Returns:
        In words which directory was moved, and where to; empty when none was.

    Raises:
        OSError: the name cannot be had.
    """
    directory, name = os.path.split(os.fspath(path))
    parent = open_directory(directory)
    try:
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return ""
        except IsADirectoryError:
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=parent)
                return ""
            moved = f"{name}.moved-{os.urandom(4).hex()}"
            os.rename(name, moved, src_dir_fd=parent, dst_dir_fd=parent)
            return f"{path} was a directory: moved to {moved}"
    finally:
        os.close(parent)
    return ""


def write_typed(path: str, data: bytes) -> None:
    """Write a file that the administrator named on the command line.

    It may lie in a directory of another user (his own home, under sudo); even there no
    link of theirs is followed, and a file that is there has to be root's, the
    effective user's or the directory's owner's, with one name only.

    Raises:
        OSError: it cannot be written, or others could have put it there.
    """
    directory, name = os.path.split(path)
    parent = _opened(directory, trusts_owners=True)
    try:
        owners = {0, os.geteuid(), os.fstat(parent).st_uid}
        flags = os.O_WRONLY | os.O_CREAT
        fd = _open_in(parent, name, flags, owners, regular_only=False)
        with open(fd, "wb") as file:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                os.ftruncate(fd, 0)
            file.write(data)
    finally:
        os.close(parent)


def _absolute(path: str) -> str:
    return path if path.startswith("/") else os.path.join(os.getcwd(), path)


def _components(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _is_ours(found: os.stat_result) -> bool:
    return found.st_uid in (0, os.geteuid())


def _whose(found: os.stat_result) -> str:
    return f"belongs to the user {found.st_uid}, not to root"


@contextlib.contextmanager
def _naming(shown: str) -> Iterator[None]:
    """Let an error say which component of a path it is about."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno or 0, f"{error.strerror}: {shown}") from error
