# SPDX-License-Identifier: MIT
"""Self-tests: processes of which some events pass the rules, for some seconds.

The processes are named over the control socket, by root, and must descend from the one
that names them. Here they become ProcessGuids, each with the events that pass and their
number. Nothing that a process can say of itself, as name, path or environment, counts.

A passing event has the RuleName `policy.SELF_TEST` and goes where all events go. It is
kept here until the end of the self-test, to be read over the control socket. While no
self-test is under way none of this is on the way of an event.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields

from sysmonlx.capture.hooks import PROCESS_HOOKS
from sysmonlx.capture.passage import Passage
from sysmonlx.errors import CaptureError, ControlError, LibbpfError
from sysmonlx.host import surroundings
from sysmonlx.pipeline.books import RECORD_OF
from sysmonlx.processes.process import Process
from sysmonlx.schema.events import EVENTS
from sysmonlx.service.control import PEER, Message
from sysmonlx.service.messages import (
    SelfTestBegun,
    SelfTestEnded,
    SelfTestEvents,
    SelfTestPassing,
)
from sysmonlx.service.passing import (
    EVENTS_LIMIT,
    SelfTest,
    Wish,
    fate,
    guid_at,
    keep,
    named,
    passing,
    wishes_of,
)
from sysmonlx.service.standing import Standing
from sysmonlx.service.wiring import Parts

#: How long processes pass at most, from the beginning of the self-test on.
LIFE_S = 6.0
#: Generations between a process that passes and the one that asked.
_GENERATIONS = 2
_NS = 1_000_000_000

_RUN_HERE = "run sysmonlx where the service runs"
_GIVE_PIDS = (
    "the service has a pid namespace of its own, and cannot tell whose processes these"
    " are: give it that of the machine (--pid=host, hostPID)"
)
_UNWANTED = "the configuration reports no such event"


def is_there(pid: int) -> bool:
    """Return whether there is a process of this id; the table may not know it yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class SelfTests:
    """At most one self-test at a time; who begins another one is told so."""

    def __init__(
        self,
        parts: Parts,
        standing: Standing,
        is_there: Callable[[int], bool] = is_there,
    ) -> None:
        """Take the parts that a self-test changes; `is_there` says who lives, by id."""
        self._is_there = is_there
        self._parts = parts
        self._standing = standing
        capture = parts.capture
        self._passage = Passage(capture.maps, capture.btf, capture.set_variable)
        self._test: SelfTest | None = None
        self._ended = ""

    def answer(self, message: Message) -> Message:
        """Return the answer to one step of a self-test.

        Raises:
            ControlError: the step cannot be done, and why.
        """
        step, peer = message.get("step"), message.get(PEER)
        if step == "begin":
            if not isinstance(peer, int) or not peer:
                raise ControlError(f"Its process is not visible here: {_RUN_HERE}")
            return self._begin(peer)
        test = self._of_token(message.get("token"))
        if step == "pass":
            return self._let_pass(test, wishes_of(message.get("processes")))
        if step == "events":
            return self._events(test)
        if step == "end":
            answer = SelfTestEnded(why=self._why(test), off=self._off())
            self.end("It has ended")
            return answer
        raise ControlError("The daemon does not know this step of a self-test")

    def expire(self) -> None:
        """End a self-test that takes too long; call it every second or so."""
        if self._test is not None and self._test.is_over():
            self.end("It took too long")

    def end(self, reason: str) -> None:
        """Let nobody pass any more; whoever asks for the self-test is told why."""
        test, self._test = self._test, None
        if test is None:
            return
        self._ended = reason
        self._parts.output.tap = None
        self._passage.end()
        if test.before is not None:
            self._parts.pipeline.judge_aside(test.before)

    def _begin(self, peer: int) -> Message:
        test = self._test
        if test is not None:
            if not test.is_over() and self._is_there(test.peer):
                left_s = test.deadline_s - time.monotonic()
                text = f"Process {test.peer} has a self-test under way"
                raise ControlError(f"{text}: try again in {left_s:.0f} s")
            self.end("Another one was begun")
        self._test = test = SelfTest(
            os.urandom(16).hex(), peer, time.monotonic() + LIFE_S
        )
        settings = self._standing.policy.settings
        return SelfTestBegun(
            token=test.token,
            seconds=LIFE_S,
            unwanted=self._unwanted(),
            algorithms=[*settings.hash_algorithms],
            hash_size_limit_bytes=settings.hash_size_limit_bytes,
            names_hosts=settings.dns_lookup,
            settings=[
                each.name
                for each in fields(settings)
                if getattr(settings, each.name) is True
            ],
        )

    def _unwanted(self) -> dict[str, str]:
        can_emit = self._standing.in_force.rules.can_emit
        return {
            str(event.id): _UNWANTED
            for event in EVENTS
            if event.tag and not can_emit(event.id)
        }

    def _of_token(self, token: object) -> SelfTest:
        test = self._test
        if test is not None and test.is_over():
            self.end("It took too long")
        elif test is not None and token == test.token:
            return test
        raise ControlError(f"This self-test is not under way. {self._ended}".strip())

    def _let_pass(self, test: SelfTest, wishes: Sequence[Wish]) -> Message:
        if test.before is not None:
            raise ControlError("This self-test has named its processes already")
        try:
            self._parts.census.look()
        except (CaptureError, LibbpfError, OSError) as error:
            raise ControlError(f"The kernel lists no processes: {error}") from error
        found = [(wish, self._descendant(wish.pid, test.peer)) for wish in wishes]
        guids = [self._guid(process, runs=wish.runs) for wish, process in found]
        for (wish, _), guid in zip(found, guids, strict=True):
            if wish.event_id:
                test.passes.setdefault(wish.event_id, {})[guid] = EVENTS_LIMIT
        test.guids = frozenset(guids)
        self._open(test, [process for _, process in found])
        return SelfTestPassing(guids=guids)

    def _open(self, test: SelfTest, processes: Iterable[Process]) -> None:
        """Let what was named pass, in the kernel and here."""
        keys = [(each.tgid, each.start_boot_ns) for each in processes]
        left_ns = int((test.deadline_s - time.monotonic()) * _NS)
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        try:
            self._passage.let_pass(keys, now_ns + left_ns)
        except LibbpfError as error:
            self.end("The kernel refused")
            raise ControlError(f"The kernel lets no process pass: {error}") from error
        in_force = self._standing.in_force
        settings = in_force.policy.settings
        decide = in_force.rules.decide
        rules = in_force.rules.but_for(
            {
                event_id: passing(decide[event_id], guid_at(event_id), left, test)
                for event_id, left in test.passes.items()
            }
        )
        judging = self._parts.pipeline.prepare(
            rules, settings.appended, names_hosts=settings.dns_lookup
        )
        test.records = self._parts.capture.counts()
        test.before = self._parts.pipeline.judge_aside(judging)
        self._parts.output.tap = lambda events: keep(test, events)

    def _descendant(self, pid: int, peer: int) -> Process:
        """Return a process that descends from the one that asks.

        Raises:
            ControlError: it does not; both may be in another pid namespace.
        """
        found = process = self._parts.processes.alive(pid)
        for _ in range(_GENERATIONS):
            process = process and process.parent
            if found is not None and process is not None and process.tgid == peer:
                return found
        text = f"Process {pid} is no descendant of process {peer}, which asks"
        hint = _RUN_HERE if surroundings.is_first("pid") else _GIVE_PIDS
        raise ControlError(f"{text}: {hint}")

    def _guid(self, process: Process, *, runs: bool) -> str:
        """Return the ProcessGuid that events will have, those of its next program."""
        if not runs:
            return process.guid
        identity, exec_id = self._parts.processes.identity, process.exec_id + 1
        return identity.process_guid(process.tgid, process.start_boot_ns, exec_id)

    def _events(self, test: SelfTest) -> Message:
        self._parts.output.flush()
        appended = self._standing.policy.settings.appended
        return SelfTestEvents(
            events=[
                (event_id, named(event_id, values, appended))
                for event_id, values in test.events
            ]
        )

    def _off(self) -> list[str]:
        """Return the programs that are off the hooks where they belong."""
        capture = self._parts.capture
        names = sorted(capture.wanted_programs())
        return [name for name in names if not capture.is_at_hook(name)]

    def _why(self, test: SelfTest) -> dict[str, str]:
        came = {event_id for event_id, _ in test.events}
        missing = test.passes.keys() - came
        if not missing:
            return {}
        counts, off = self._parts.capture.counts(), self._off()
        return {
            str(each): self._reason(each, off)
            or fate(test.records.get(RECORD_OF[each]), counts.get(RECORD_OF[each]))
            for each in missing
        }

    def _reason(self, event_id: int, off: Sequence[str]) -> str:
        """Return which hook of an event is not served, "": all are."""
        hooks = self._standing.in_force.hooks()
        names = {
            name
            for hook in (*hooks, *(PROCESS_HOOKS if event_id in (1, 5) else ()))
            if event_id in hook.events or hook in PROCESS_HOOKS
            for group in hook.alternatives
            for name in group
        }
        gone = [name for name in off if name in names]
        if gone:
            return f"off its hook: {', '.join(gone)}"
        missing = self._parts.capture.missing
        return "; ".join(str(each) for each in missing if event_id in each.hook.events)
