# SPDX-License-Identifier: MIT
"""A Unix socket that readers connect to: its file, and who may connect.

The file is made in a directory that only root has a say in (`host.root_files`), for
root alone, or for root and one group. A socket that a program left behind is replaced;
one that is in use, and anything else, is left as it is and refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from functools import partial

from sysmonlx.host import root_files
from sysmonlx.host.access_lists import gid_of, give_group
from sysmonlx.host.file_calls import Worker
from sysmonlx.host.root_files import UntrustedError
from sysmonlx.policy import GROUP_SOCKET

#: Connections that wait to be taken; connect(2) waits while there are so many.
_BACKLOG = 8
#: How long the caller waits for the directory, in seconds: its file system may hang.
_DIRECTORY_WAIT_S = 0.5
_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_READ_WRITE, _ENTER, _ALL = 6, 5, 7


class Listener:
    """A listening socket of the stream kind, which never waits.

    Raises:
        OSError: it cannot be had, and why.
    """

    def __init__(self, path: str, group: str) -> None:
        directory, self._name = os.path.split(path)
        self._is_own_directory = path == GROUP_SOCKET
        self._directory, gid = _opened(directory, group, makes=self._is_own_directory)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            self._bind(gid)
            self._identity = self._present()
            self._socket.listen(_BACKLOG)
        except BaseException:
            self._socket.close()
            os.close(self._directory)
            raise

    def _bind(self, gid: int | None) -> None:
        if gid is not None:
            _check_is_roots_alone(self._directory)
        place = _place(self._directory, self._name)
        _make_room(self._directory, self._name)
        before = os.umask(0o177)
        try:
            self._socket.bind(place)
        finally:
            os.umask(before)
        if gid is not None:
            try:
                give_group(place, gid, _READ_WRITE, _READ_WRITE)
            except OSError:
                os.unlink(self._name, dir_fd=self._directory)
                raise

    def _present(self) -> tuple[int, int]:
        found = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        return found.st_dev, found.st_ino

    def fileno(self) -> int:
        """Return the descriptor, readable when somebody connects."""
        return self._socket.fileno()

    def accept(self) -> socket.socket | None:
        """Return a connection that waits, as one that never waits; None: none does."""
        try:
            connection, _ = self._socket.accept()
        except OSError:  # none is left, or no descriptor is free
            return None
        connection.setblocking(False)
        return connection

    def is_in_place(self) -> bool:
        """Return whether who connects to the path connects to this socket."""
        try:
            is_there = os.fstat(self._directory).st_nlink > 0
            return is_there and self._present() == self._identity
        except OSError:
            return False

    def close(self) -> None:
        """Listen no more, and remove the file if it is this socket's still."""
        if self.is_in_place():
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._directory)
        if self._is_own_directory:
            with contextlib.suppress(OSError):  # an update may have put another there
                os.rmdir(os.path.dirname(GROUP_SOCKET))
        self._socket.close()
        os.close(self._directory)


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return pid and uid of the other end, as the kernel noted them at connect(2).

    The pid is 0 where the program is of another pid namespace.

    Raises:
        OSError: that is not known.
    """
    size = struct.calcsize("3i")
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, _ = struct.unpack("3i", data)
    return int(pid), int(uid)


def _place(directory: int, name: str) -> str:
    """Return a path that leads to a name in an open directory, whatever is renamed."""
    return f"/proc/self/fd/{directory}/{name}"


def _opened(path: str, group: str, *, makes: bool) -> tuple[int, int | None]:
    """Return the directory of a socket, and the number of a group.

    A thread finds them out, since file systems may hang.
    """
    worker = Worker()
    try:
        call = worker.begin(partial(_hand_over, worker, path, group, makes=makes))
        if not call.wait(_DIRECTORY_WAIT_S):
            raise TimeoutError(errno.ETIMEDOUT, "does not answer")
        gid = call.result()
        return worker.take_over(), gid
    finally:
        worker.end()


def _hand_over(worker: Worker, path: str, group: str, *, makes: bool) -> int | None:
    gid = gid_of(group) if group else None
    if makes:
        _make_own(path)
    fd = root_files.open_directory(path, follows_last=not makes)
    try:
        if not root_files.is_local(fd):
            raise UntrustedError(f"the directory {path} is not on a local file system")
        if makes and gid is not None:
            give_group(f"/proc/thread-self/fd/{fd}/.", gid, _ALL, _ENTER)
    except OSError:
        os.close(fd)
        raise
    worker.hand_over(fd)
    return gid


def _make_own(path: str) -> None:
    """Make a directory for root alone, where nothing has its name."""
    above, name = os.path.split(path)
    parent = root_files.open_directory(above)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
    finally:
        os.close(parent)


def _check_is_roots_alone(directory: int) -> None:
    """Refuse a directory in which another file could get the name meanwhile."""
    if os.fstat(directory).st_mode & _BY_OTHERS:
        raise UntrustedError("with a group, its directory must be root's alone")


def _make_room(directory: int, name: str) -> None:
    """Remove a socket that nobody listens at any more.

    Raises:
        OSError: it is in use, or something else has the name.
    """
    if name in ("", ".", ".."):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise UntrustedError("something that is no socket has this name: remove it")
    if found.st_uid not in (0, os.geteuid()):
        raise UntrustedError(f"a socket of the user {found.st_uid} has this name")
    if _is_served(_place(directory, name)):
        raise OSError(errno.EADDRINUSE, "another program listens there")
    os.unlink(name, dir_fd=directory)


def _is_served(place: str) -> bool:
    """Return whether another process listens; this one may, before an update."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)
        try:
            trial.connect(place)
        except OSError as error:
            return error.errno != errno.ECONNREFUSED
        pid, _ = peer_of(trial)
    return pid != os.getpid()
