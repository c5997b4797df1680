# SPDX-License-Identifier: MIT
"""Files of Sigma rules found and fetched, by a child: a file system may hang."""

from __future__ import annotations

import marshal
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sysmonlx.errors import SysmonlxError
from sysmonlx.host import child_process
from sysmonlx.schema.options import SHIPPED

YAML, PACKS = (".yml", ".yaml"), (".sigma.json",)
#: The pack that comes with the program, in its package or else in the checkout.
_SHIPPED_PACK = ("config_schema", "shipped.sigma.json")
#: The largest file, and all files together, in bytes.
_FILE, _ALL = 16 << 20, 64 << 20
_MOST_FILES = 8192
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Found:
    """A file of rules; `reason` says why it has no data."""

    name: str
    data: bytes
    reason: str = ""

    @property
    def is_pack(self) -> bool:
        """Whether it is compiled, by its name."""
        return self.name.endswith(PACKS)


def place_of(path: str) -> str:
    """Return the path of a pack: of the word SHIPPED that of the program's own."""
    if path != SHIPPED:
        return path
    package = os.path.abspath(__file__)
    for _ in range(3):
        package = os.path.dirname(package)
    installed = os.path.join(package, *_SHIPPED_PACK)
    if os.path.exists(installed):
        return installed
    return os.path.join(os.path.dirname(package), *_SHIPPED_PACK)


def fetch(paths: Iterable[str]) -> list[Found]:
    """Return the files of some paths, those of a directory in order of their names.

    The word `options.SHIPPED` is the pack that comes with the program.

    Raises:
        SysmonlxError: they cannot be had.
    """
    wanted = [place_of(path) for path in paths]
    try:
        answer = child_process.ask(lambda _: _fetched(wanted), _ALL + _FILE, _TIMEOUT_S)
    except TimeoutError:
        raise SysmonlxError(f"no rules within {_TIMEOUT_S:g} s: try again") from None
    except child_process.TooLargeError:
        raise SysmonlxError(f"more than {_ALL >> 20} MiB: name fewer files") from None
    if answer.status:
        reason = answer.data.decode("utf-8", "replace")
        raise SysmonlxError(f"the files cannot be read: {reason or answer.status}")
    return [Found(*each) for each in marshal.loads(answer.data)]


def _fetched(paths: list[str]) -> bytes:
    found: list[tuple[str, bytes, str]] = []
    left = _ALL
    for path in paths:
        for name in _names_in(path):
            if len(found) == _MOST_FILES:
                found.append(
                    (path, b"", f"more than {_MOST_FILES} files: not all read")
                )
                return marshal.dumps(found)
            data, reason = _read(name, min(_FILE, left))
            left -= len(data)
            found.append((name, data, reason))
    return marshal.dumps(found)


def _names_in(path: str) -> Iterator[str]:
    """Yield a file, or the files of rules below a directory; no links are followed."""
    if not os.path.isdir(path):
        yield path
        return
    for folder, folders, names in os.walk(path, onerror=_refuse):
        folders.sort()
        for name in sorted(names):
            if name.endswith((*YAML, *PACKS)):
                yield os.path.join(folder, name)


def _refuse(error: OSError) -> None:
    raise error


def _read(name: str, most: int) -> tuple[bytes, str]:
    try:
        # A FIFO would make the open wait, a device might act on it.
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        return b"", f"cannot be read: {error.strerror}"
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b"", "is no regular file"
        try:
            data = file.read(most + 1)
        except OSError as error:
            return b"", f"cannot be read: {error.strerror}"
    if len(data) > most:
        return b"", f"is too large: more than {most >> 20} MiB, or with those before it"
    return data, ""
