# SPDX-License-Identifier: MIT
"""What processes have in common that run one program in one directory of one session.

Most programs are started again and again like that: by a shell's loop, by make, by a
service for each request. What is found out for the first of them serves the others.
"""

from __future__ import annotations

from operator import itemgetter

from sysmonlx.capture.records import Layouts
from sysmonlx.kernel_text import (
    BLANKED,
    Texts,
    are_plain,
    args_text,
    is_plain,
    path_text,
)
from sysmonlx.processes.process import Launch
from sysmonlx.schema.events import OF_PARENT, OWN_OF_PROCESS, PROCESS_CREATE

LIMIT = 256

_NAMES = [field.name for field in PROCESS_CREATE.fields]
_OWN = tuple(map(_NAMES.index, OWN_OF_PROCESS))
_OF_PARENT = tuple(map(_NAMES.index, OF_PARENT))

#: Pick those values of event 1 in which processes of one launch differ; or of one
#: launch and one parent.
own_of_process = itemgetter(*_OWN, *_OF_PARENT)
own_of_sibling = itemgetter(*_OWN)


class Launches:
    """The launches seen lately, by what the records have in common."""

    def __init__(self, layouts: Layouts, texts: Texts) -> None:
        self._known: dict[tuple[int, int, bytes], Launch] = {}
        self._texts = texts
        create = layouts.by_name["process_create"]
        self._decode = create.decode
        self._begin = create.offset("file_inode")
        self._cuts_image = layouts.flags["IMAGE_TRUNCATED"]
        self._cuts_args = layouts.flags["ARGS_TRUNCATED"]

    def of(
        self, uid: int, flags: int, data: bytes, args_at: int
    ) -> tuple[Launch, str, bool]:
        """Return the launch that a process_create record is of, and its command line.

        `args_at` is where the record's last string begins, of which the command line is
        made; the last value says whether that is plain.
        """
        key = uid, flags, data[self._begin : args_at]
        launch = self._known.get(key)
        if launch is None:
            if len(self._known) >= LIMIT:
                self._known.clear()
            record = self._decode(data)
            launch = Launch(*self.image_text(record.flags, record.image))
            self._known[key] = launch
        line = data[args_at:-1].translate(BLANKED)
        if not line or data[-1] or 0 in line or flags & self._cuts_args:
            return launch, *self.args_text(flags, data[args_at:])
        return launch, line.decode(), True

    def clear(self) -> None:
        """Let everything be found out again."""
        self._known.clear()

    def image_text(self, flags: int, image: bytes) -> tuple[str, bool]:
        """Return the path of a record, and whether it is plain."""
        if flags & self._cuts_image:
            return path_text(image, True), is_plain(image)
        return self._texts[image]

    def args_text(self, flags: int, args: bytes) -> tuple[str, bool]:
        """Return the command line of a record, and whether it is plain."""
        return args_text(args, bool(flags & self._cuts_args)), are_plain(args)
