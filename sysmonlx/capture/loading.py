# SPDX-License-Identifier: MIT
"""Programs that are loaded while events are read: the verifier takes its time."""

from __future__ import annotations

from collections.abc import Iterable

from sysmonlx.capture.hooks import Hook
from sysmonlx.capture.loader import Loaded, Loader
from sysmonlx.errors import CaptureError
from sysmonlx.host.thread_call import ThreadCall


class Loading:
    """A thread loads what hooks need. Its descriptor is readable when it has ended.

    The thread adds to a copy of what is loaded; `finish` takes the copy over.
    """

    def __init__(self, loader: Loader, loaded: Loaded, hooks: Iterable[Hook]) -> None:
        """Begin to load.

        Raises:
            CaptureError: no thread can be had.
        """
        self._loaded = loaded
        self._copy = loaded.copy()
        self._is_finished = False
        wanted = tuple(hooks)

        def load() -> None:
            loader.load(self._copy, wanted, threads=1)
            loader.keep(self._copy)

        try:
            self._call = ThreadCall(load)
        except OSError as error:
            text = f"No thread can be had to load programs in: {error}"
            raise CaptureError(text) from error

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._call.fileno()

    def has_ended(self, timeout_s: float = 0.0) -> bool:
        """Say whether the thread has ended, or ends within this time in seconds."""
        return self._call.has_ended(timeout_s)

    def finish(self) -> None:
        """Take over what was loaded, once; call it when the thread has ended.

        Raises:
            CaptureError, LibbpfError: not everything could be loaded.
        """
        if not self._is_finished:
            self._is_finished = True
            self._loaded.take_over(self._copy)
            self._call.result()
