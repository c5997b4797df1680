# SPDX-License-Identifier: MIT
"""Events that wait: for their hash, or behind an earlier event of the same process.

Example: /tmp/a is started for the first time, makes a file, and ends. Event 1 needs the
hash of /tmp/a, and to read the file takes a moment. Events 11 and 5 of the same process
are complete, but they must not stand in the log before event 1. The queue of the
process (`Process.hold`) is then

    event 1, waits for its hash  <-  event 11  <-  event 5

When the hash comes (`take_hashes`), event 1 goes on, and behind it everything up to the
next event that waits for a hash of its own. Events of other processes never wait for
it. A process without waiting events has no queue, and its events do not pass through
here.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator

from sysmonlx.enrich.process import HASHES
from sysmonlx.event import Held
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.pipeline.account import Account
from sysmonlx.pipeline.image_hashes import ImageHashes
from sysmonlx.processes.launches import Launch
from sysmonlx.processes.process import Process

#: Event id, texts of its fields, whether all of them are plain.
Finished = tuple[int, list[str], bool]


class Waiting:
    """The queues of all processes.

    `let_go` takes an event that need not wait any longer. It may raise: the event then
    counts as lost in `account`, and those behind it go on.
    """

    def __init__(
        self,
        images: ImageHashes,
        hasher: Hasher[Held],
        account: Account,
        let_go: Callable[[Held], None],
    ) -> None:
        self._images = images
        self._hasher = hasher
        self._account = account
        self._let_go = let_go
        self.count = 0
        """Events in all queues."""
        #: Events that wait for a hash of their own, in the order of their arrival.
        self._for_hash: dict[Held, None] = {}

    def by_event(self) -> Counter[int]:
        """Return how many events wait, by event id."""
        return Counter(held.event_id for held in self)

    def __iter__(self) -> Iterator[Held]:
        queues = {id(held.queue): held.queue for held in self._for_hash}
        for queue in queues.values():
            yield from queue

    def hold(
        self, process: Process, event: Finished, *, is_decided: bool = True
    ) -> Held:
        """Put an event behind the others of its process."""
        queue = process.hold
        if queue is None:
            queue = process.hold = deque()
        held = Held(event, queue, is_decided=is_decided)
        queue.append(held)
        self.count += 1
        return held

    def hold_start(
        self,
        data: bytes,
        process: Process,
        event: Finished,
        launch: Launch,
        *,
        is_decided: bool,
    ) -> None:
        """Let event 1 wait for its hash, and behind earlier events of its process.

        It goes on at once where it need not wait for either. `data` is its record.
        """
        held = self.hold(process, event, is_decided=is_decided)
        held.is_waiting = True
        self._for_hash[held] = None
        try:
            text = launch.hashes or self._images.known(data, launch)
            if text is None and not self._images.request(held, data):
                text = UNKNOWN
        except Exception as error:  # the event goes without its hash
            self._account.note(error)
            text = UNKNOWN
        if text is not None:
            self._release(held, text)

    def hold_for_file(
        self,
        process: Process,
        event: Finished,
        ask: Callable[[Held], bool],
        tell: Callable[[list[str], str], None],
        *,
        is_decided: bool = False,
    ) -> None:
        """Let an event wait for a file, and behind earlier events of its process.

        `ask` asks the hasher; False: it refused. `tell` enters into the values of the
        event what the file tells, of which the text of its hashes is the second
        argument. The rules judge the event behind that, unless they have.
        """
        held = self.hold(process, event, is_decided=is_decided)
        held.is_waiting, held.tell = True, tell
        self._for_hash[held] = None
        is_asked = False
        try:
            is_asked = ask(held)
        except Exception as error:  # the event goes as it is
            self._account.note(error)
        if not is_asked:
            self._release(held, UNKNOWN)

    def take_hashes(self) -> None:
        """Let go the events whose hash is known by now, or has taken too long."""
        for held, _, text in self._hasher.results():
            self._release(held, text)
        if (error := self._hasher.take_error()) is not None:
            self._account.note(error)

    def release_all(self) -> None:
        """Let go everything that waits, without hashes; for the end of the service."""
        for held in tuple(self._for_hash):
            self._release(held, UNKNOWN)

    def _release(self, held: Held, text: str) -> None:
        """Give an event its hash; let go the events that now wait no more."""
        if held.tell is None:
            held.values[HASHES] = text
        else:
            self._tell(held, held.tell, text)
        held.is_waiting = False
        self._for_hash.pop(held, None)
        queue = held.queue
        while queue and not queue[0].is_waiting:
            first = queue.popleft()
            self.count -= 1
            try:
                self._let_go(first)
            except Exception as error:
                self._account.lose(first.event_id, error)

    def _tell(
        self, held: Held, tell: Callable[[list[str], str], None], text: str
    ) -> None:
        try:
            tell(held.values, text)
        except Exception as error:  # the event goes as it is
            self._account.note(error)
