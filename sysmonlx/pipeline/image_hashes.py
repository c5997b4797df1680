# SPDX-License-Identifier: MIT
"""The hash of the program file that a process_create record names.

A record names the file by a `struct file_identity`: inode, device, size and times.
These bytes are the key here, as they are; no identity is made of them while the hash of
the file is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from sysmonlx.bounded import Recent
from sysmonlx.capture.records import Layout
from sysmonlx.errors import LibbpfError
from sysmonlx.event import Held
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.host.file_identity import FILE_FIELDS, FILE_ID_FIELDS, FileId
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.launches import Launch

#: Entries of each of the two tables below.
_LIMIT = 4096

#: Takes the bytes of a struct file_identity, and tells the kernel that an exec of this
#: file need not wake the reader at once.
MarkKnown = Callable[[bytes], None]

#: Fields of process_create by which the file is found again.
_ProgramFields = Callable[[bytes], tuple[int, int, bytes, int]]


class ImageHashes:
    """Texts of Hashes by file; asks the hasher for those that are not known."""

    def __init__(
        self, create: Layout, hasher: Hasher[Held], mark_known: MarkKnown
    ) -> None:
        self._hasher = hasher
        self._mark_known = mark_known
        self._texts: Recent[bytes, str] = Recent(_LIMIT)
        #: Files of which the kernel was told although nobody asked for their hash.
        self._unasked: Recent[bytes, bool] = Recent(_LIMIT)
        self.hits = self.misses = 0
        """How often the text was known, where the launch did not have it, and not."""
        self._file = create.span(*FILE_FIELDS)
        self._size_bytes = create.size
        self._read_file: Callable[[bytes], tuple[int, ...]]
        self._read_file = create.reader(*FILE_ID_FIELDS)
        self._read_program: _ProgramFields
        self._read_program = create.reader("tgid", "uid", "image", "mount_namespace")

    def __len__(self) -> int:
        return len(self._texts)

    def forget(self) -> None:
        """Forget the texts: other algorithms may be asked for from now on."""
        self._texts.clear()

    def open_early(self, creates: Iterable[bytes]) -> None:
        """Let the hasher open the new files of a batch before anything else is done.

        To handle the records in front of a process_create record takes time, in which
        its file can vanish. `end_early` closes what nobody asked for.
        """
        texts, unasked, file = self._texts, self._unasked, self._file
        for data in creates:
            key = data[file]
            if key in texts or key in unasked or len(data) < self._size_bytes:
                continue
            tgid, _, image, namespace = self._read_program(data)
            found = FileId(*self._read_file(data))
            self._hasher.expect(found, tgid, image, namespace)

    def end_early(self) -> None:
        """Close the files of `open_early` that no record of the batch asked for."""
        self._hasher.unexpect()

    def known(self, data: bytes, launch: Launch) -> str | None:
        """Return the text of Hashes, None where the file must be read for it.

        The text is kept in `launch` too, unless that is too long to be worth it.
        """
        file = data[self._file]
        text = self._texts.get(file)
        if text is None:
            text = self._hasher.cached(FileId(*self._read_file(data)))
            if text is None or (text == UNKNOWN and self._hasher.has_work):
                self.misses += 1
                return text
            self._texts[file] = text
        self.hits += 1
        if not launch.has_long_values:
            launch.hashes = text
        return text

    def request(self, held: Held, data: bytes) -> bool:
        """Ask for the hash that `held` waits for; False: it cannot be had."""
        tgid, uid, image, namespace = self._read_program(data)
        file = FileId(*self._read_file(data))
        accepted = self._hasher.request(file, tgid, image, namespace, held, uid)
        self._tell_kernel(data[self._file])
        return accepted

    def not_needed(self, data: bytes) -> None:
        """Take note of an exec of which nobody wants to know the hash."""
        file = data[self._file]
        if not self._unasked.get(file):
            self._unasked[file] = True
            self._tell_kernel(file)

    def _tell_kernel(self, file: bytes) -> None:
        with suppress(LibbpfError):  # its map is full: it wakes us more than it must
            self._mark_known(file)
