# SPDX-License-Identifier: MIT
"""Waits for descriptors, and calls the handler of each that is ready."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable

Handler = Callable[[], object]


class Loop:
    """Handlers by descriptor; a handler reads all that is there."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def handle(self, fd: int, handler: Handler) -> None:
        """Call `handler` whenever `fd` is readable."""
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)

    def forget(self, fd: int) -> None:
        """Call the handler of `fd` no more; `fd` is still open."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def wait(self, timeout_s: float, writable: Iterable[int] = ()) -> bool:
        """Wait until a descriptor is readable, or one of `writable` takes more.

        Returns False where neither has happened within the time.
        """
        for fd in writable:
            self._epoll.register(fd, select.EPOLLOUT)
        events = self._epoll.poll(timeout_s)
        for fd in writable:
            self._epoll.unregister(fd)
        for fd, _ in events:
            if fd in self._handlers:
                self._handlers[fd]()
        return bool(events)

    def close(self) -> None:
        """Give the epoll descriptor back."""
        self._epoll.close()
