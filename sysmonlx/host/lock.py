# SPDX-License-Identifier: MIT
"""One daemon at a time, and one change of the installation at a time.

Both locks end with the process that holds them, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from sysmonlx.errors import InstallError
from sysmonlx.host.root_files import make_way, open_file

#: struct flock of fcntl(2) with the C library's padding: type, whence, start, length,
#: pid.
_FLOCK = struct.Struct("@hhqqi0q")


class PidFile:
    """The daemon's pid file, locked for as long as the process lives.

    A record lock of fcntl(2): the kernel names its holder, so a file that was left
    behind is never mistaken for a daemon, nor is another process with its number.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            InstallError: another daemon has it, or the file cannot be written.
        """
        self._path = path
        try:
            self._fd = self._locked()
        except OSError as error:
            raise InstallError(f"Cannot write {path}: {error.strerror}") from error
        with contextlib.suppress(OSError):  # a full disk: the lock alone will do
            os.truncate(self._fd, 0)
            os.write(self._fd, f"{os.getpid()}\n".encode())

    def _locked(self) -> int:
        while True:
            try:
                fd = open_file(self._path, os.O_RDWR | os.O_CREAT)
            except IsADirectoryError:
                make_way(self._path)
                continue
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                pid = _locker(fd)
                os.close(fd)
                raise InstallError(f"sysmonlx runs already: process {pid}") from error
            if _is_still(fd, self._path):
                return fd
            os.close(fd)  # its last holder removed it meanwhile

    def close(self) -> None:
        """Remove the file and give the lock back."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._fd)


def daemon_pid(path: Path) -> int:
    """Return the process that holds the pid file at `path`, 0 when none does.

    Raises:
        InstallError: it is in a PID namespace that we do not see.
    """
    try:
        fd = open_file(path, os.O_RDWR)
    except OSError:
        return 0
    try:
        pid = _locker(fd)
    finally:
        os.close(fd)
    if pid < 0:
        raise InstallError("sysmonlx runs in another PID namespace: stop it there")
    return pid


def _locker(fd: int) -> int:
    """Return who keeps us from locking, 0 for nobody, -1 for a process unseen."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    if kind == fcntl.F_UNLCK:
        return 0
    return pid if pid > 0 else -1


def _is_still(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Wait for all others that change the installation, and keep them out.

    Where the directory does not exist there is nothing to keep anybody from.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
