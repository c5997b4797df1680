# SPDX-License-Identifier: MIT
"""Length and end of a kernel module, unpacked where its file is compressed.

A module's signature stands at its end, behind what a compressed file holds. A thread of
a lane reads the file for its hash and gives each piece to a `ModuleContent`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

#: Bytes that are kept of the end: more than a signature by RSA has.
TAIL_BYTES = 4096
#: A module that is longer, unpacked, is given up; so is one that needs more memory.
LIMIT_BYTES = 64 << 20
_MEMORY_BYTES = 128 << 20
#: Unpacked in one go.
_PIECE_BYTES = 256 << 10

_XZ, _GZIP, _ZSTD = b"\xfd7zXZ\0", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
#: For zlib: a window of any size, and a header of gzip.
_GZIP_WINDOW = 16 + 15
#: Of zstd's frame header: bytes of the content's size, of a dictionary's number, by the
#: two highest and the two lowest bits of its descriptor. RFC 8878, 3.1.1.1.
_ZSTD_SIZE, _ZSTD_DICTIONARY = (0, 2, 4, 8), (0, 1, 2, 4)
_ZSTD_SINGLE_SEGMENT = 0x20


class _Unpacker(Protocol):
    """Takes the bytes of a file and yields those of the module."""

    is_done: bool
    """Whether the module came to its end."""
    length: int
    """Of the module, where its bytes are not told; else -1."""

    def pieces(self, data: bytes) -> Iterator[bytes]: ...


class ModuleContent:
    """What is read of a module's file.

    Attributes:
        length: Bytes of the module; -1 where that is not known.
        tail: Its last bytes, `TAIL_BYTES` at most; empty where they are not known.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget what was read: the file is read from its beginning."""
        self._unpacker: _Unpacker | None = None
        self._length = 0
        self._tail = b""
        self._is_bad = False

    @property
    def length(self) -> int:
        """See the class."""
        if self._unpacker is None or not self._is_whole():
            return -1
        told = self._unpacker.length
        return self._length if told < 0 else told

    @property
    def tail(self) -> bytes:
        """See the class."""
        return self._tail if self._is_whole() else b""

    def take(self, piece: memoryview) -> None:
        """Take the next bytes of the file, some 100 KiB."""
        data = bytes(piece)
        if self._is_bad or not data:
            return
        if self._unpacker is None:
            self._unpacker = _unpacker_of(data)
        try:
            for part in self._unpacker.pieces(data):
                self._add(part)
        except Exception:  # of three libraries: what they raise is theirs
            self._is_bad = True

    def _add(self, part: bytes) -> None:
        """Note the next bytes of the module; ValueError: there are too many."""
        self._length += len(part)
        self._tail = (self._tail + part[-TAIL_BYTES:])[-TAIL_BYTES:]
        if self._length > LIMIT_BYTES:
            raise ValueError("no module is so long")

    def _is_whole(self) -> bool:
        unpacker = self._unpacker
        return not self._is_bad and unpacker is not None and unpacker.is_done


def _unpacker_of(begin: bytes) -> _Unpacker:
    """Return the unpacker of a file that begins with these bytes."""
    if begin.startswith(_XZ):
        return _Xz()
    if begin.startswith(_GZIP):
        return _Gzip()
    return _Zstd() if begin.startswith(_ZSTD) else _Plain()


class _Plain:
    is_done, length = True, -1

    def pieces(self, data: bytes) -> Iterator[bytes]:
        yield data


class _Xz:
    is_done, length = False, -1

    def __init__(self) -> None:
        import lzma  # where a module is packed so

        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MEMORY_BYTES)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while not self.is_done and (data or not self._stream.needs_input):
            part = self._stream.decompress(data, _PIECE_BYTES)
            self.is_done, data = self._stream.eof, b""
            yield part


class _Gzip:
    is_done, length = False, -1

    def __init__(self) -> None:
        import zlib

        self._stream = zlib.decompressobj(_GZIP_WINDOW)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        has_more = True
        while (data or has_more) and not self.is_done:
            part = self._stream.decompress(data, _PIECE_BYTES)
            self.is_done, data = self._stream.eof, self._stream.unconsumed_tail
            has_more = len(part) == _PIECE_BYTES
            yield part


class _Zstd:
    """Not unpacked, as Python has no library for it; its header may tell the length."""

    is_done, length = False, -1

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if not self.is_done:  # it begins
            self.length = _zstd_length(data)
            self.is_done = self.length >= 0
        yield from ()


def _zstd_length(data: bytes) -> int:
    """Return the length of the content as the header of its frame has it, else -1."""
    descriptor = data[4]
    is_single = bool(descriptor & _ZSTD_SINGLE_SEGMENT)
    size = _ZSTD_SIZE[descriptor >> 6] or int(is_single)
    at = 5 + (not is_single) + _ZSTD_DICTIONARY[descriptor & 3]
    field = data[at : at + size]
    if not size or len(field) < size:
        return -1
    return int.from_bytes(field, "little") + (256 if size == 2 else 0)
