# SPDX-License-Identifier: MIT
"""The hash of a library: of most it is known, and an event 7 need not wait."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.library import LIBRARY_HASHES
from sysmonlx.event import Held
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.host.file_identity import FILE_FIELDS, FILE_ID_FIELDS, FileId
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.pipeline.waiting import Finished, Waiting
from sysmonlx.processes.process import Process

#: Entries of the table below; a full one is emptied.
_LIMIT = 4096
#: Of no process: a library is found by its path alone, as who maps it closes it.
_NOBODY = 0

#: Where a file is found: user, mount namespace, path.
_Place = Callable[[bytes], tuple[int, int, bytes]]


class LibraryFiles:
    """Texts of Hashes by library; asks the hasher for those that are not known."""

    def __init__(self, layout: Layout, hasher: Hasher[Held], waiting: Waiting) -> None:
        self._hasher = hasher
        self._waiting = waiting
        self._texts: dict[bytes, str] = {}
        self._file = layout.span(*FILE_FIELDS)
        self._read_file: Callable[[bytes], tuple[int, ...]]
        self._read_file = layout.reader(*FILE_ID_FIELDS)
        self._read_place: _Place
        self._read_place = layout.reader("uid", "mount_namespace", "path")

    def forget(self) -> None:
        """Forget the texts: other algorithms may be asked for from now on."""
        self._texts.clear()

    def known(self, data: bytes) -> str | None:
        """Return the text of Hashes of a record, None where the file must be read."""
        key = data[self._file]
        text = self._texts.get(key)
        if text is None:
            text = self._hasher.cached(FileId(*self._read_file(data)))
            if text is None or (text == UNKNOWN and self._hasher.has_work):
                return text
            if len(self._texts) >= _LIMIT:
                self._texts.clear()
            self._texts[key] = text
        return text

    def hold(
        self, data: bytes, process: Process, event: Finished, *, is_decided: bool
    ) -> None:
        """Let an event wait for its hash, and behind others of its process."""
        ask = partial(self._request, data)
        self._waiting.hold_for_file(process, event, ask, _tell, is_decided=is_decided)

    def _request(self, data: bytes, held: Held) -> bool:
        uid, namespace, path = self._read_place(data)
        file = FileId(*self._read_file(data))
        return self._hasher.request(file, _NOBODY, path, namespace, held, uid)


def _tell(values: list[str], text: str) -> None:
    values[LIBRARY_HASHES] = text
