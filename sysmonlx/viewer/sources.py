# SPDX-License-Identifier: MIT
"""Where lines come from: files, compressed ones too, directories, the journal."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, cast

JOURNAL = ("journalctl", "--output=json", "--all", "--identifier=sysmon", "--no-pager")
#: Logs that are read where none is named, the first that is there.
USUAL = ("/var/log/sysmon.log", "/var/log/syslog")
STDIN = "-"

_BUFFER = 1 << 16
_OPENERS: dict[bytes, Callable[[BinaryIO], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}
#: First bytes of UTF-16 text, with a mark and without; "utf-16" takes the mark away.
_UTF_16 = {
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"<\0": "utf-16-le",
    b"{\0": "utf-16-le",
    b"\0<": "utf-16-be",
    b"\0{": "utf-16-be",
}


class ReadingError(Exception):
    """A file that cannot be opened or read to its end, and why."""


def named(names: list[str]) -> list[str]:
    """Return the files to read; those of a directory in the order of their last change.

    Raises:
        OSError: a directory cannot be read.
    """
    found = []
    for name in names:
        if name != STDIN and os.path.isdir(name):
            found += _in_directory(name)
        else:
            found.append(name)
    return found


def _in_directory(name: str) -> list[str]:
    with os.scandir(name) as entries:
        files = [each for each in entries if each.is_file(follow_symlinks=False)]
    files.sort(key=lambda each: (each.stat().st_mtime_ns, each.name))
    return [each.path for each in files]


def usual() -> str | None:
    """Return what is read where nothing is named: standard input, or a usual log."""
    if not sys.stdin.isatty():
        return STDIN
    return next((name for name in USUAL if os.access(name, os.R_OK)), None)


class _Prompt(io.RawIOBase):
    """A file that calls `before` before each reading, which may wait for long.

    Its errors are `ReadingError`, so that the caller can tell them from errors of
    writing.
    """

    def __init__(self, fd: int, before: Callable[[], None]) -> None:
        self._fd = fd
        self._before = before

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read once."""
        self._before()
        try:
            return os.readv(self._fd, [cast("bytearray", buffer)])
        except OSError as error:
            raise ReadingError(error.strerror) from error


class _Unpacked(io.RawIOBase):
    """Compressed data unpacked; a file cut short or damaged raises `ReadingError`."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read once."""
        try:
            return self._file.readinto(cast("bytearray", buffer))
        except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
            raise ReadingError(f"cut short or damaged: {error}") from error
        except OSError as error:  # of bz2
            raise ReadingError(f"damaged: {error}") from error


class _Recoded(io.RawIOBase):
    """UTF-16 text as UTF-8; a unit that is half of no character becomes U+FFFD."""

    def __init__(self, file: io.BufferedReader, encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._ready = b""

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read once."""
        room = cast("bytearray", buffer)
        while not self._ready:
            data = self._file.read1(_BUFFER)
            self._ready = self._decoder.decode(data, final=not data).encode()
            if not data:
                break
        count = min(len(room), len(self._ready))
        room[:count], self._ready = self._ready[:count], self._ready[count:]
        return count


@contextmanager
def opened(name: str, before: Callable[[], None]) -> Iterator[BinaryIO]:
    """Yield a file, `-` for standard input, unpacked where it is compressed.

    `before` is called before each reading: rows shown until then can be flushed.

    Raises:
        ReadingError: it cannot be opened, or, while it is read, not be read.
    """
    with ExitStack() as stack:
        if name == STDIN:
            fd = sys.stdin.fileno()
        else:
            try:
                fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise ReadingError(error.strerror) from error
            stack.callback(os.close, fd)
        yield _unpacked(io.BufferedReader(_Prompt(fd, before), _BUFFER))


def _unpacked(file: io.BufferedReader) -> BinaryIO:
    start = file.peek(6)[:6]
    for magic, opener in _OPENERS.items():
        if start.startswith(magic):
            return _recoded(io.BufferedReader(_Unpacked(opener(file)), _BUFFER))
    return _recoded(file)


def _recoded(file: io.BufferedReader) -> BinaryIO:
    start = file.peek(2)[:2]
    for mark, encoding in _UTF_16.items():
        if start == mark:
            return io.BufferedReader(_Recoded(file, encoding), _BUFFER)
    return file


@contextmanager
def journal(before: Callable[[], None]) -> Iterator[BinaryIO]:
    """Yield the journal's entries of the service, a line of JSON each.

    Raises:
        OSError: there is no journalctl.
        ReadingError: it failed.
    """
    with subprocess.Popen(JOURNAL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        raw = _Prompt(process.stdout.fileno(), before)
        yield io.BufferedReader(raw, _BUFFER)
        process.stdout.close()
        if process.wait() not in (0, -13):
            raise ReadingError("journalctl failed")
