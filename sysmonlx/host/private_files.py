# SPDX-License-Identifier: MIT
"""Files of our own: replaced as a whole, for root alone, read without waiting."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from pathlib import Path

from sysmonlx.errors import InstallError
from sysmonlx.host import root_files

#: More than any file of ours has; larger files are not read.
FILE_LIMIT_BYTES = 64 << 20

#: The other names of files that a `StagedFile` writes.
_UNFINISHED = re.compile(r"\.\w[\w.]*\.[0-9a-f]{16}(\.old)?")

_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFLNK: "a symbolic link"}


def private_directory(path: Path) -> None:
    """Make `path` a directory that we alone may use, mode 0700.

    Raises:
        InstallError: it cannot be made, is a link, or belongs to someone else.
    """
    try:
        parent = root_files.open_directory(path.parent, makes=True)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path.name, 0o700, dir_fd=parent)
        finally:
            os.close(parent)
        fd = _open_own_directory(path)
        try:
            if stat.S_IMODE(os.fstat(fd).st_mode) != 0o700:
                os.fchmod(fd, 0o700)
        finally:
            os.close(fd)
    except OSError as error:
        raise InstallError(f"Cannot create {path}: {error.strerror}") from error


def write_private(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file at `path` as a whole: a reader sees the old or the new one.

    The directory must be ours and writable by us alone, so that nobody can put a
    link in the way. The data is on disk when this returns.

    Raises:
        InstallError: the directory is not ours alone, the name is taken by a link or
            a directory, or writing fails; the old file is then unchanged.
    """
    staged = StagedFile(path, data, mode)
    try:
        staged.commit()
    except InstallError:
        staged.undo()
        raise
    finally:
        staged.close()


class StagedFile:
    """The next content of a file, on disk under another name in the same directory.

    `commit` puts it in the place of the file, `undo` puts the file back as it was, and
    `close` removes what only those two need. Until `close` a hard link keeps the file
    that was there: `undo` needs no space on the disk.

    Raises:
        InstallError: as `write_private`; nothing is left behind then.
    """

    def __init__(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        self._path = path
        self._is_committed = False
        suffix = os.urandom(8).hex()
        self._new, self._old = f".{path.name}.{suffix}", f".{path.name}.{suffix}.old"
        try:
            self._directory = _open_own_directory(path.parent)
        except OSError as error:
            raise self._error(error) from error
        try:
            self._had_file = _refuse_what_is_no_file(path, self._directory)
            root_files.write_new(self._directory, self._new, data, mode)
            if self._had_file:
                self._keep_old(mode)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise self._error(error) from error
            raise

    def _keep_old(self, mode: int) -> None:
        """Give the file that is there a second name; a copy where links are unknown."""
        name, fd = self._path.name, self._directory
        try:
            os.link(name, self._old, src_dir_fd=fd, dst_dir_fd=fd)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise
            root_files.write_new(fd, self._old, self._path.read_bytes(), mode)

    def _rename(self, name: str, other: str) -> None:
        fd = self._directory
        os.rename(name, other, src_dir_fd=fd, dst_dir_fd=fd)

    def _error(self, error: OSError) -> InstallError:
        return InstallError(f"Cannot write {self._path}: {error.strerror}")

    def commit(self) -> None:
        """Put the new content in place; it is on disk under that name on return.

        Raises:
            InstallError: the file system fails; `undo` puts back what was there.
        """
        try:
            self._rename(self._new, self._path.name)
            self._is_committed = True
            os.fsync(self._directory)
        except OSError as error:
            raise self._error(error) from error

    def undo(self) -> None:
        """Put back the file that was there, or none where none was.

        Raises:
            InstallError: the file system fails.
        """
        if not self._is_committed:
            return
        try:
            if self._had_file:
                self._rename(self._old, self._path.name)
            else:
                os.unlink(self._path.name, dir_fd=self._directory)
            self._is_committed = False
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Remove what is left of the other names."""
        if self._directory < 0:
            return
        for name in (self._new, self._old):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._directory)
        os.close(self._directory)
        self._directory = -1


def remove_unfinished(directory: Path, unchanged_s: float = 0.0) -> list[Path]:
    """Remove what a process that was killed while it wrote has left in a directory.

    Args:
        directory: One of our own; nothing is done where it is none.
        unchanged_s: Files that were changed less than this many seconds ago stay:
        somebody may be writing them just now.

    Returns:
        The files that were removed.
    """
    removed = []
    try:
        fd = _open_own_directory(directory)
    except (OSError, InstallError):
        return []
    try:
        for name in filter(_UNFINISHED.fullmatch, os.listdir(fd)):
            with contextlib.suppress(OSError):
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if abs(time.time() - found.st_ctime) >= unchanged_s:
                    os.unlink(name, dir_fd=fd)
                    removed.append(directory / name)
    finally:
        os.close(fd)
    return removed


def _open_own_directory(path: Path) -> int:
    walked = root_files.open_directory(path, follows_last=False)
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        fd = os.open(".", flags, dir_fd=walked)  # fsync(2) needs more than O_PATH
    finally:
        os.close(walked)
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        os.close(fd)
        raise InstallError(f"Cannot use {path}: others may write to this directory")
    return fd


def _refuse_what_is_no_file(path: Path, directory: int) -> bool:
    """Return whether there is a file at a path, whose directory is open.

    Raises:
        InstallError: there is something else.
    """
    try:
        found = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        what = _KINDS.get(stat.S_IFMT(found.st_mode), "something that is no file")
        raise InstallError(
            f"Cannot write {path}: {what} is in its place, remove it first"
        )
    return True


def read_file(path: Path, limit_bytes: int = FILE_LIMIT_BYTES) -> bytes:
    """Return what a file holds; never waits, whatever stands in its place.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger than the limit.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:  # of a directory no file can be made, which would close the descriptor
        with open(fd, "rb", closefd=False) as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "Not a regular file", os.fspath(path))
            data = file.read(limit_bytes + 1)
    finally:
        os.close(fd)
    if len(data) > limit_bytes:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(path))
    return data
