# SPDX-License-Identifier: MIT
"""The file of a module that was loaded: event 6 waits until it was read.

Its hashes, its signature, and whether it is the right one are known then. It is read
like the programs of events 1: by the hasher, within its share and its time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.module import ModuleFile
from sysmonlx.event import Held
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.hashing.module_content import ModuleContent
from sysmonlx.host.file_identity import FILE_ID_FIELDS, FileId
from sysmonlx.pipeline.waiting import Finished, Waiting
from sysmonlx.processes.process import Process

#: Where a file is found: thread, its descriptor, user, mount namespace, path.
_Place = Callable[[bytes], tuple[int, int, int, int, bytes]]


class ModuleFiles:
    """Has the files of modules read, and completes their events."""

    def __init__(
        self, layout: Layout, context: Context, hasher: Hasher[Held], waiting: Waiting
    ) -> None:
        self._decode = layout.decode
        self._context = context
        self._hasher = hasher
        self._waiting = waiting
        self._read_file: Callable[[bytes], tuple[int, ...]]
        self._read_file = layout.reader(*FILE_ID_FIELDS)
        self._read_place: _Place
        self._read_place = layout.reader(
            "tid", "descriptor", "uid", "mount_namespace", "path"
        )

    def hold(self, data: bytes, process: Process, event: Finished) -> None:
        """Let an event wait for its file, and behind others of its process.

        The rules judge it when the file was read. `data` is its record.
        """
        content = ModuleContent()
        file = ModuleFile(self._decode(data), self._context)
        ask = partial(self._request, data, content)
        tell = partial(_tell, file, content)
        self._waiting.hold_for_file(process, event, ask, tell)

    def _request(self, data: bytes, content: ModuleContent, held: Held) -> bool:
        file = FileId(*self._read_file(data))
        if not file.ino or file.size > self._hasher.size_limit:
            return False
        tid, descriptor, uid, namespace, path = self._read_place(data)
        return self._hasher.request(
            file, tid, path, namespace, held, uid, descriptor=descriptor, also=content
        )


def _tell(
    file: ModuleFile, content: ModuleContent, values: list[str], hashes: str
) -> None:
    file.tell(values, hashes, content)
