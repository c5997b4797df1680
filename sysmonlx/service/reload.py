# SPDX-License-Identifier: MIT
"""Another policy for a running daemon: a transaction.

Each step that changes something notes first how to take it back. Whatever raises, at
whatever step, everything is taken back in reverse order, and the policy before is in
force as it was: rules, kernel filter, hooks, sinks, settings and stored files. The
stored files come last. Behind that point nothing raises.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sysmonlx.capture.hooks import Hook
from sysmonlx.capture.kernel_filter import KernelFilter
from sysmonlx.capture.kernel_form import KernelForm
from sysmonlx.capture.sensor import Capture
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.registry import hooks_for, wanted_records
from sysmonlx.errors import ControlError
from sysmonlx.event import Held
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.host import memory
from sysmonlx.host.private_files import StagedFile
from sysmonlx.host.users import Users
from sysmonlx.output.dispatch import Output
from sysmonlx.output.render import Renderer
from sysmonlx.pipeline.flow import Pipeline
from sysmonlx.policy import Policy, Settings
from sysmonlx.rules.conditions import make_test
from sysmonlx.rules.verdicts import Rules
from sysmonlx.service.compilation import Compiled
from sysmonlx.service.health import Health

#: Makes a renderer: settings, form ("xml", "json"), longest line in bytes.
MakeRenderer = Callable[[Settings, str, int], Renderer]

#: Something of the policy before that is to be cleared away: its name, and how.
Leftover = tuple[str, Callable[[], object]]


@dataclass(frozen=True, slots=True)
class InForce:
    """A policy, what was made of it, and how many event elements it has."""

    policy: Policy
    rules: Rules
    elements: int = 0

    def hooks(self) -> tuple[Hook, ...]:
        """Return the hooks that this policy needs."""
        return hooks_for(self.rules.can_emit, self.policy.settings)


@dataclass(frozen=True, slots=True)
class Reload:
    """The parts of a daemon that a policy is put into."""

    capture: Capture
    pipeline: Pipeline
    filter: KernelFilter
    context: Context
    output: Output
    hasher: Hasher[Held]
    health: Health
    users: Users
    make_renderer: MakeRenderer

    def put(
        self, before: InForce, made: Compiled, files: Mapping[Path, bytes]
    ) -> tuple[InForce, list[str]]:
        """Put what was made in force instead of `before`, and store `files` with it.

        Records that are in the ring already must have been taken before.

        Returns:
            What is in force now, and what could not be cleared away, a line each.

        Raises:
            ControlError: the policy wants what only a start can do.
            Exception: anything else that failed; `before` is in force.
        """
        _refuse_what_needs_a_start(before.policy.settings, made.policy.settings)
        new = InForce(made.policy, made.rules, made.elements)
        with ExitStack() as undo:
            leftovers = self._swap(undo, before, new, made.kernel, files)
            undo.pop_all()
        troubles = []
        for what, clear_away in leftovers:
            try:
                clear_away()
            except Exception as error:  # the new policy is in force all the same
                troubles.append(f"{what}: {type(error).__name__}: {error}")
        return new, troubles

    def _swap(
        self,
        undo: ExitStack,
        before: InForce,
        new: InForce,
        kernel: KernelForm,
        files: Mapping[Path, bytes],
    ) -> list[Leftover]:
        """Swap two policies; return what is then to be cleared away."""
        settings, is_before = new.policy.settings, self.filter.now
        staged = [self._staged(undo, path, data) for path, data in files.items()]
        judging = self.pipeline.prepare(new.rules)
        filtering = self.filter.prepare(kernel, new.rules.can_emit, self.users.names)
        undo.callback(self.filter.discard, filtering)
        channels = self.output.prepare(settings, partial(self.make_renderer, settings))
        undo.callback(self.output.retire, channels)
        self._watch_both(undo, before, new)
        undo.callback(self.set_settings, before.policy.settings)
        self.set_settings(settings)
        undo.callback(self.filter.use, is_before)
        self.filter.use(filtering)
        undo.callback(self.pipeline.use, self.pipeline.use(judging))
        channels_before = self.output.use(channels)
        undo.callback(self.output.use, channels_before)
        leftovers: list[Leftover] = [
            *(("a stored file of before", each.close) for each in staged),
            ("rules of before", partial(self.filter.discard, is_before)),
            ("sinks of before", partial(self.output.retire, channels_before)),
            ("settings", partial(self.tell_kernel, settings, new.rules)),
            ("hooks of before", partial(self.capture.want, new.hooks())),
        ]
        for each in staged:
            undo.callback(each.undo)
            each.commit()
        return leftovers

    def _staged(self, undo: ExitStack, path: Path, data: bytes) -> StagedFile:
        staged = StagedFile(path, data)
        undo.callback(staged.close)
        return staged

    def _watch_both(self, undo: ExitStack, before: InForce, new: InForce) -> None:
        """Attach what either policy needs: no event is missed on the way."""
        settings = before.policy.settings
        undo.callback(self.capture.want, before.hooks())
        undo.callback(self.tell_kernel, settings, before.rules)
        self.tell_kernel(settings, before.rules, new.rules)
        self.capture.want({*new.hooks(), *before.hooks()})

    def set_settings(self, settings: Settings) -> None:
        """Take over the settings that are plain values."""
        self.context.settings = settings
        self.hasher.size_limit = settings.hash_size_limit_bytes
        self.hasher.wait_s = settings.hash_wait_ms / 1000
        self.hasher.set_share(settings.hash_share_percent)
        self.hasher.set_algorithms(settings.hash_algorithms)
        self.health.use_budget(settings.budget)

    def tell_kernel(self, settings: Settings, *rules: Rules) -> None:
        """Tell the programs the settings, and which records these rules could use."""
        numbers = self.capture.layouts.number
        wanted = 0
        for each in rules:
            wanted |= wanted_records(numbers, each.can_emit)
        tell = self.capture.set_variable
        tell("wanted_records", wanted)
        tell("truncation_as_create", settings.truncation_as_create)
        tell("failed_connects", settings.failed_connects)
        tell("udp_interval_ns", settings.udp_interval_s * 1_000_000_000)


def _refuse_what_needs_a_start(before: Settings, settings: Settings) -> None:
    if settings.ring_size_bytes != before.ring_size_bytes:
        raise ControlError("RingSize takes effect at the next start: use -i")


def forget_before() -> None:
    """Give back the memory of a policy that is in force no more.

    Nothing of it refers to itself in a circle. So the collector need not go through all
    that the daemon has, which would take longer than the whole update: only through
    what is new, and it empties the lists of free objects.
    """
    make_test.cache_clear()  # tests of policies that are in force no more
    memory.give_back()
    gc.freeze()
