# SPDX-License-Identifier: MIT
"""The files of an update: written by a thread, since their file systems may not answer.

The files are written beside those that are there before the update is put in force: one
that cannot be stored is refused. They get their names afterwards. A file system that is
frozen or hangs delays neither: the update is in force, `Storing.trouble` says that it
is not stored yet, and the thread goes on. What failed is tried again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sysmonlx.errors import ControlError, InstallError
from sysmonlx.host.file_calls import PATIENCE_S, Call, Worker
from sysmonlx.host.private_files import StagedFile

#: How long an update waits for its files to be written, and later to be named, in
#: seconds each.
LIMIT_S = PATIENCE_S
#: Pause between two tries, in seconds.
AGAIN_S = 10.0

#: Contents of the files that are to be stored with the rules, the policy first.
Files = Mapping[Path, bytes]

#: What `Storing.news` says when it has ended well.
STORED = "the rules in force are stored now"


class Store:
    """The files of one update. `stage`, `complete` and `drop` are for the thread."""

    def __init__(self, files: Files, worker: Worker) -> None:
        self._files = files
        self._worker = worker
        self._staged: list[StagedFile] = []
        self.policy = next(iter(files.values()), b"").decode()
        """The policy that is among the files, as JSON."""
        self.at = next(iter(files), Path("/"))
        """The file that the thread came to last."""
        self.call = worker.begin(self.stage, tells=True)
        """What the thread does now, or did last."""

    def fileno(self) -> int:
        """Return the descriptor to poll for reading; `has_ended` reads it."""
        return self._worker.fileno()

    def has_ended(self) -> bool:
        """Tell whether the thread has done what it was told last."""
        self._worker.hear()
        return self.call.wait(0)

    def begin(self, call: Callable[[], None]) -> None:
        """Have the thread do this now."""
        self.call = self._worker.begin(call, tells=True)

    def stage(self) -> None:
        """Write all files beside those that are there.

        Raises:
            InstallError: one cannot be written; nothing is left behind then.
        """
        try:
            for path, data in self._files.items():
                self.at = path
                self._staged.append(StagedFile(path, data))
        except BaseException:
            self.drop()
            raise

    def complete(self) -> None:
        """Give all files their names; write them first where that has failed.

        Raises:
            InstallError: the file system fails; the files are those of before then.
        """
        if not self._staged:
            self.stage()
        tried: list[StagedFile] = []
        try:
            for path, each in zip(self._files, self._staged, strict=True):
                self.at = path
                tried.append(each)
                each.commit()
        except BaseException:
            for each in reversed(tried):
                with contextlib.suppress(InstallError):
                    each.undo()
            raise
        finally:
            self.drop()

    def drop(self) -> None:
        """Remove what has no name of its own yet."""
        for each in self._staged:
            each.close()
        self._staged.clear()


class Storing:
    """Stores one update after the other, in their order."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.trouble = ""
        """Why what is in force is not stored, in words; empty: it is."""
        self._clock = clock
        self._worker: Worker | None = None
        self._calls: list[Call[None]] = []
        self._wanted: Store | None = None
        self._told = ""
        self._again_s = 0.0

    @property
    def policy(self) -> str:
        """The policy in force as JSON, where another one may be stored; else empty."""
        return self._wanted.policy if self._wanted is not None else ""

    def begin(self, files: Files) -> Store:
        """Begin to write the files of an update; `keep` or `drop` what is returned.

        Raises:
            ControlError: no thread can be had.
        """
        try:
            self._worker = self._worker or Worker()
        except OSError as error:
            text = f"No thread can be had to store the rules in: {error.strerror}"
            raise ControlError(text) from error
        store = Store(files, self._worker)
        self._calls.append(store.call)
        return store

    def keep(self, store: Store) -> None:
        """Have files named: their update is in force. It counts from now on."""
        self._wanted, self._again_s = store, 0.0
        if not store.call.wait(0):
            self._say(f"{store.at} does not answer")
        self._begin(store, store.complete)

    def drop(self, store: Store) -> None:
        """Have files removed: their update has not happened."""
        self._begin(store, store.drop)

    def _begin(self, store: Store, call: Callable[[], None]) -> None:
        store.begin(call)
        self._calls.append(store.call)

    @property
    def is_busy(self) -> bool:
        """Whether the thread has something to do."""
        return not all(each.wait(0) for each in self._calls)

    @property
    def is_stuck(self) -> bool:
        """Whether the thread is still at an update before, and for too long."""
        return any(each.is_late for each in self._calls)

    def look(self, *, is_late: bool = False) -> None:
        """See what became of the files, and try again; call it every second.

        With `is_late`, what has not ended is known to take too long.
        """
        self._calls = [each for each in self._calls if not each.wait(0)]
        if self._wanted is not None:
            self._look_at(self._wanted, is_late=is_late)

    def news(self) -> Iterator[str]:
        """Yield what is to be told: that the rules are not stored, or are so now."""
        told, self._told = self._told, self.trouble
        if self.trouble and not told:
            yield self.trouble
        elif told and not self.trouble:
            yield STORED

    def _look_at(self, store: Store, *, is_late: bool) -> None:
        if not store.call.wait(0):
            if is_late or store.call.is_late:
                self._say(f"{store.at} does not answer")
            return
        try:
            store.call.result()
        except Exception as error:  # whatever it is, it is told, and tried again
            self._say(str(error))
            self._try_again(store)
        else:
            self._wanted, self.trouble, self._again_s = None, "", 0.0

    def _say(self, reason: str) -> None:
        self.trouble = (
            f"the rules in force are not stored yet ({reason}): a start would bring"
            " those before; this is tried again"
        )

    def _try_again(self, store: Store) -> None:
        now_s = self._clock()
        if not self._again_s:
            self._again_s = now_s + AGAIN_S
        elif now_s >= self._again_s and not self.is_busy:
            self._again_s = 0.0
            self._begin(store, store.complete)

    def close(self, timeout_s: float) -> None:
        """Wait for what the thread is at, this long at most."""
        end_s = time.monotonic() + timeout_s
        for each in self._calls:
            each.wait(max(0.0, end_s - time.monotonic()))
        if self._worker is not None:
            self._worker.end()
            self._worker = None
