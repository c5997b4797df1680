# SPDX-License-Identifier: MIT
"""Writes and removes the file that node_exporter's textfile collector reads."""

from __future__ import annotations

import os
from functools import partial

from sysmonlx.host.file_calls import Call, Worker
from sysmonlx.host.root_files import open_directory, replace


class MetricsFile:
    """Writes the file in a thread: a file system that hangs keeps nobody waiting.

    The file is removed at the end: old counters would look like new ones.
    """

    def __init__(self) -> None:
        self.trouble = ""
        """Why the file is not written at present, with its path; else empty."""
        self._path = ""
        self._worker: Worker | None = None
        self._writing: Call[None] | None = None

    def is_busy(self) -> bool:
        """Say whether a write is under way; learn how it ended where it is not."""
        return self._writing is not None and not self._has_ended(self._writing)

    def write(self, path: str, data: bytes) -> None:
        """Have the file written; skipped while the write before is still under way."""
        if path != self._path:
            self.end()
        if self.is_busy():
            return
        self._path = path
        try:
            self._worker = self._worker or Worker()
        except OSError as error:
            self._say(error.strerror)
            return
        self._writing = self._worker.begin(partial(_replace, path, data))

    def end(self, wait_s: float = 0.0) -> None:
        """Write no more, and remove the file; a thread that hangs is left behind.

        The removal is waited for, `wait_s` seconds at most.
        """
        if self._worker is not None:
            removing = self._worker.begin(partial(_remove, self._path))
            self._worker.end()
            removing.wait(wait_s)
        self._worker, self._writing, self.trouble = None, None, ""

    def _has_ended(self, call: Call[None]) -> bool:
        if not call.wait(0):
            if call.is_late:
                self._say("does not answer")
            return False
        self._writing = None
        try:
            call.result()
            self.trouble = ""
        except OSError as error:
            self._say(error.strerror)
        return True

    def _say(self, reason: str | None) -> None:
        self.trouble = f"{self._path}: {reason}"


def remove(path: str, wait_s: float) -> bool:
    """Remove a file that nobody writes any more, waiting `wait_s` seconds at most.

    Returns:
        Whether a file was there and has been removed.
    """
    worker = Worker()
    removing = worker.begin(partial(_remove, path))
    worker.end()
    if not removing.wait(wait_s):
        return False
    return removing.result()


def _remove(path: str) -> bool:
    """Remove the file, in a directory as in `_replace`; return whether it was there.

    Raises:
        OSError: it cannot be removed.
    """
    folder, name = os.path.split(path)
    directory = open_directory(folder)
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    finally:
        os.close(directory)
    return True


def _replace(path: str, data: bytes) -> None:
    """Replace the file in its directory, which only root may be able to change.

    Raises:
        OSError: it cannot be written.
    """
    folder, name = os.path.split(path)
    directory = open_directory(folder)
    try:
        replace(directory, name, data)
    finally:
        os.close(directory)
