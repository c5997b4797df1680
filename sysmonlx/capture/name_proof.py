# SPDX-License-Identifier: MIT
"""The proof that the stacks of this kernel's calls tell names, by calls of our own.

Where no hook is given the directory entry of a name, the kernel side searches the
call's stack for it. The layout of a stack belongs to a kernel, so each start tries:
files are made, linked, renamed and removed in a private directory, and each time the
kernel side must tell the name that was used.
"""

from __future__ import annotations

import os
import stat
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Protocol

from sysmonlx.errors import LibbpfError
from sysmonlx.host import file_systems

#: Directories of root in file systems that tell of changes, in order of preference.
FOLDERS = ("/run", "/dev/shm", "/var/lib")

#: The kernel moves the frames of each call by a random distance.
_ROUNDS = 8
#: States of a found name, enum found_state.
_NOTHING, _NAME = 0, 1
#: struct proved_name: state, length, bytes.
_PROVED = struct.Struct("=II512s")


class _Map(Protocol):
    def lookup(self, key: bytes, size: int = 0) -> bytes: ...

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None: ...


class NameProof:
    """Tries whether the kernel side finds names; it must be attached."""

    def __init__(self, told: _Map, set_variable: Callable[[str, int], None]) -> None:
        """Take the map `proved_names`, and what sets a variable of the programs."""
        self._told = told
        self._set = set_variable

    def fails(self, folders: Iterable[str] = FOLDERS) -> str:
        """Return why names cannot be told; "": they can.

        Args:
            folders: Where to make the private directory; the first that serves is
                used. Those of another file system may serve where one does not. Those
                in memory come first: nobody waits for a disk there.
        """
        reason = "no directory to try it in"
        for folder in sorted(folders, key=_may_wait):
            try:
                with _private(folder) as place, self._watched():
                    reason = self._try(place)
            except (OSError, LibbpfError) as error:
                reason = str(error)
            if not reason:
                return ""
        return reason

    def _try(self, place: str) -> str:
        for _ in range(_ROUNDS):
            for what, act, name in _calls(place):
                self._told.update(bytes(4), bytes(_PROVED.size))
                act()
                state, length, text = _PROVED.unpack(self._told.lookup(bytes(4)))
                if state == _NOTHING:
                    return f"{what} was not seen"
                if state != _NAME or not text[:length].endswith(os.fsencode(name)):
                    return f"{what} did not tell its name"
        return ""

    @contextmanager
    def _watched(self) -> Iterator[None]:
        self._set("proving_thread", threading.get_native_id())
        try:
            yield
        finally:
            self._set("proving_thread", 0)


def _may_wait(folder: str) -> bool:
    """Return whether files there are not in memory alone."""
    try:
        fd = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        try:
            return not file_systems.is_in_memory(fd)
        finally:
            os.close(fd)
    except OSError:
        return True


def _calls(place: str) -> Iterator[tuple[str, Callable[[], None], str]]:
    """Yield each call: its name, what makes it, and the path that it gives or takes."""
    first, second, third = (f"{place}/{name}" for name in ("made", "linked", "in/it"))
    regular = stat.S_IFREG | 0o600
    yield "mknod", partial(os.mknod, first, regular), first
    yield "link", partial(os.link, first, second), second
    yield "rename", partial(os.rename, second, third), third
    yield "unlink", partial(os.unlink, first), first
    yield "unlink", partial(os.unlink, third), third


@contextmanager
def _private(folder: str) -> Iterator[str]:
    """Make a directory with a directory `in` that is the caller's alone."""
    place = _new_directory(os.path.realpath(folder))
    try:
        os.mkdir(f"{place}/in", 0o700)
        yield place
    finally:
        for name in ("made", "linked", "in/it"):
            with suppress(OSError):
                os.unlink(f"{place}/{name}")
        with suppress(OSError):
            os.rmdir(f"{place}/in")
        with suppress(OSError):
            os.rmdir(place)


def _new_directory(folder: str) -> str:
    """Make a directory by a name that nobody guesses; one that is taken fails."""
    place = f"{folder}/.sysmonlx-{os.urandom(8).hex()}"
    os.mkdir(place, 0o700)
    return place
