# SPDX-License-Identifier: MIT
"""The processes of a self-test: one for each act, all of which end with this one.

A first child, the stage, enters namespaces of its own (`scene`). Its own first child is
process 1 of the private pid namespace: when that ends the kernel ends all others in it.
It ends when the stage does, and the stage when this process does, however that comes.
The private mounts and the private network go with them.

    this process ── stage ── target, process 1 in there: does nothing
                          └─ an actor for each act: waits, acts, waits for the end
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple, NoReturn, TypedDict

from sysmonlx.errors import SysmonlxError
from sysmonlx.selftest import scene
from sysmonlx.selftest.act import Action, CannotError, Scene, Values
from sysmonlx.selftest.expected import Expected

#: Time that all processes have to be there, and then all acts, in seconds.
_READY_S, _ACT_S = 2.0, 1.0
#: Time that they have to end, in seconds; then they are killed.
_END_S = 0.5
_LOOK_S = 0.005
_READ_BYTES = 1 << 16
_ERROR_CHARACTERS = 500
#: Lines of one process do not mix with those of others up to this size: PIPE_BUF.
_LINE_BYTES = 4096


class StageError(SysmonlxError):
    """No act can be done here, and why."""


class Told(NamedTuple):
    """One event that an actor says it has made: how, and the values that it knows."""

    way: str
    values: Values


class _Message(TypedDict, total=False):
    """A line that a process of the self-test sends, with some of these members."""

    pids: list[int]
    """Of the target and of all actors: they are there."""
    actor: int
    """The number of the actor that this is about."""
    way: str
    values: dict[str, Expected]
    """An event that the actor has made; without: it has done its act."""
    error: str
    """Why nothing or not everything was done; empty: all was."""


@dataclass(slots=True)
class Actor:
    """A process with an act; `error` is why the act was not done, or not to its end."""

    action: Action
    pid: int
    told: list[Told] = field(default_factory=list)
    error: str = ""
    is_done: bool = False


class Stage:
    """All processes of a self-test; leaving it ends them.

    `pid` is the stage's, `target` that of the process which the acts may reach into.
    """

    def __init__(
        self,
        actions: Sequence[Action],
        algorithms: Sequence[str],
        hash_size_limit_bytes: int,
    ) -> None:
        self._actions = actions
        self._scene = Scene("", 1, tuple(algorithms), hash_size_limit_bytes)
        self._gate, self._out, self._end = os.pipe(), os.pipe(), os.pipe()
        self._rest = b""
        self.pid = self.target = 0
        self.actors: list[Actor] = []

    def __enter__(self) -> Stage:
        """Have all processes wait for `act`.

        Raises:
            StageError: they cannot be had, and why.
        """
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self) -> None:
        parent = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            _run(lambda: self._play(parent))
        for fd in (self._gate[0], self._out[1], self._end[0]):
            os.close(fd)
        message = next(self._messages(_READY_S), _Message())
        if "pids" not in message:
            reason = message.get("error") or "it does not come up in time"
            raise StageError(f"No place of its own for the self-test: {reason}")
        self.target, *pids = message["pids"]
        pairs = zip(self._actions, pids, strict=True)
        self.actors = [Actor(action, pid) for action, pid in pairs]

    def act(self) -> None:
        """Let all actors act, and wait until they have."""
        os.write(self._gate[1], b"!" * len(self.actors))
        for message in self._messages(_ACT_S):
            actor = self.actors[message["actor"]]
            if "values" in message:
                actor.told.append(Told(message["way"], message["values"]))
            else:
                actor.error, actor.is_done = message.get("error", ""), True
            if all(each.is_done for each in self.actors):
                return
        for each in self.actors:
            if not each.is_done:
                each.error = "the act took too long"

    def __exit__(self, *_: object) -> None:
        for fd in (self._gate[1], self._out[0], self._end[1]):
            os.close(fd)
        if self.pid:
            _end_child(self.pid)

    def _messages(self, timeout_s: float) -> Iterator[_Message]:
        """Yield what the processes say within a time in all."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                yield json.loads(line)
                continue
            left_s = max(deadline_s - time.monotonic(), 0)
            if not select.select([self._out[0]], [], [], left_s)[0]:
                return
            part = os.read(self._out[0], _READ_BYTES)
            if not part:
                return
            self._rest += part

    # --- in the stage

    def _play(self, parent: int) -> None:
        for fd in (self._gate[1], self._out[0], self._end[1]):
            os.close(fd)
        try:
            scene.die_with(parent)
            self._scene = replace(self._scene, directory=scene.enter())
            pids = [_child(self._wait_for_the_end)]
            pids += [
                _child(self._actor(number)) for number in range(len(self._actions))
            ]
        except OSError as error:
            self._say({"error": error.strerror or str(error)})
            return
        self._say({"pids": pids})
        self._look_after(pids)

    def _look_after(self, pids: Sequence[int]) -> None:
        """Tell which actors have ended, until this process is to end; then end all."""
        left = dict(enumerate(pids[1:]))
        while not select.select([self._end[0]], [], [], _LOOK_S)[0]:
            for number, pid in tuple(left.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    del left[number]
                    self._say({"actor": number, "error": _in_words(status)})
        os.kill(pids[0], signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)

    def _say(self, message: _Message) -> None:
        line = json.dumps(message).encode() + b"\n"
        if len(line) > _LINE_BYTES:
            raise ValueError("lines of several processes would mix")
        os.write(self._out[1], line)

    def _wait_for_the_end(self) -> None:
        scene.die_with(0)
        os.read(self._end[0], 1)

    # --- in an actor

    def _actor(self, number: int) -> Callable[[], None]:
        """Return what an actor does: it waits, acts, and waits for the end."""
        action = self._actions[number]

        def tell(way: str, values: Values) -> None:
            self._say({"actor": number, "way": way, "values": dict(values)})

        def play() -> None:
            if os.read(self._gate[0], 1) != b"!":
                return
            error = ""
            try:
                action.act(self._scene, tell)
            except (CannotError, OSError, SysmonlxError) as reason:
                error = str(reason)[:_ERROR_CHARACTERS]
            self._say({"actor": number, "error": error})
            os.read(self._end[0], 1)

        return play


def _child(play: Callable[[], None]) -> int:
    """Return the id of a child that does this and ends."""
    pid = os.fork()
    if not pid:
        _run(play)
    return pid


def _run(play: Callable[[], None]) -> NoReturn:
    """Do this in a child, of which nothing comes back and nothing is printed."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and ends it
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        play()
        status = 0
    finally:
        os._exit(status)


def _in_words(status: int) -> str:
    """Return how an actor ended, "" where it did as it should."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with status {code}" if code else ""


def _end_child(pid: int) -> None:
    """Wait for a child that is about to end; kill it where it does not.

    A file system that hangs may hold it even then: it ends when that lets it go.
    """
    for _ in range(2):
        deadline_s = time.monotonic() + _END_S
        while time.monotonic() < deadline_s:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
            time.sleep(_LOOK_S)
        os.kill(pid, signal.SIGKILL)
