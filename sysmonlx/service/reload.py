# SPDX-License-Identifier: MIT
"""Another policy for a running daemon: a transaction.

Each step that changes something notes first how to take it back. Whatever raises, at
whatever step, everything is taken back in reverse order, and the policy before is in
force as it was: rules, kernel filter, hooks, sinks and settings. Files are none of its
business: they were written before, and get their names afterwards (service.storing).
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from sysmonlx.capture.kernel_filter import Prepared
from sysmonlx.capture.kernel_form import KernelForm
from sysmonlx.enrich.registry import wanted_records
from sysmonlx.enrich.start_fields import kernel_switches
from sysmonlx.errors import ControlError
from sysmonlx.host import memory
from sysmonlx.output.dispatch import Channel
from sysmonlx.pipeline.judging import Judging
from sysmonlx.policy import Settings
from sysmonlx.rules.conditions import make_test
from sysmonlx.rules.verdicts import Rules
from sysmonlx.schema.common_fields import OF_CONTROL_GROUP
from sysmonlx.schema.events import PROCESS_TAMPERING
from sysmonlx.service.compilation import Compiled, PolicyInForce
from sysmonlx.service.wiring import Parts, make_renderer

#: Something of the policy before that is to be cleared away: its name, and how.
Leftover = tuple[str, Callable[[], object]]


class _Prepared(NamedTuple):
    """All that a new policy needs, made and not in use yet."""

    judging: Judging
    filtering: Prepared
    channels: list[Channel]


class Reload:
    """Puts one policy after another into the parts of a daemon."""

    def __init__(self, parts: Parts) -> None:
        self._capture = parts.capture
        self._context = parts.context
        self._filter = parts.filter
        self._hasher = parts.hasher
        self._health = parts.health
        self._output = parts.output
        self._pipeline = parts.pipeline
        self._users = parts.users
        self._round = 0

    def begin(self, first: PolicyInForce) -> None:
        """Put the first policy into the parts on this side of the ring buffer."""
        settings = first.policy.settings
        self._output.configure(settings, partial(make_renderer, settings))
        self._pipeline.use_rules(
            first.rules, settings.appended, names_hosts=settings.dns_lookup
        )
        self._set_settings(settings)

    def put(
        self, before: PolicyInForce, made: Compiled
    ) -> tuple[PolicyInForce, list[str]]:
        """Put what was made in force instead of `before`.

        Records that are in the ring already must have been taken before.

        Returns:
            What is in force now, and what of the old policy could not be removed, a
            line each.

        Raises:
            ControlError: the policy wants what only a start can do.
            Exception: anything else that failed; `before` is in force.
        """
        refuse_what_needs_a_start(before.policy.settings, made.policy.settings)
        new = PolicyInForce.of(made)
        with ExitStack() as undo:
            prepared = self._prepare(undo, new, made.kernel)
            leftovers = self._commit(undo, before, new, prepared)
            undo.pop_all()
        troubles = []
        for what, clear_away in leftovers:
            try:
                clear_away()
            except Exception as error:  # the new policy is in force all the same
                troubles.append(f"{what}: {type(error).__name__}: {error}")
        return new, troubles

    def _prepare(
        self, undo: ExitStack, new: PolicyInForce, kernel: KernelForm
    ) -> _Prepared:
        """Make what `new` needs; the policy before stays in force."""
        settings = new.policy.settings
        judging = self._pipeline.prepare(
            new.rules, settings.appended, names_hosts=settings.dns_lookup
        )
        filtering = self._filter.prepare(kernel, new.rules.can_emit, self._users.names)
        undo.callback(self._filter.discard, filtering)
        channels = self._output.prepare(settings, partial(make_renderer, settings))
        undo.callback(self._output.retire, channels)
        return _Prepared(judging, filtering, channels)

    def _commit(
        self,
        undo: ExitStack,
        before: PolicyInForce,
        new: PolicyInForce,
        prepared: _Prepared,
    ) -> list[Leftover]:
        """Use what was prepared; return what of `before` is then to be cleared away."""
        settings, is_before = new.policy.settings, self._filter.now
        self._watch_both(undo, before, new)
        undo.callback(self._set_settings, before.policy.settings)
        self._set_settings(settings)
        undo.callback(self._filter.use, is_before)
        self._filter.use(prepared.filtering)
        undo.callback(self._pipeline.use, self._pipeline.use(prepared.judging))
        channels_before = self._output.use(prepared.channels)
        undo.callback(self._output.use, channels_before)
        return [
            ("rules of before", partial(self._filter.discard, is_before)),
            ("sinks of before", partial(self._output.retire, channels_before)),
            ("settings", partial(self.tell_kernel, settings, new.rules)),
            ("hooks of before", partial(self._capture.want, new.hooks())),
            ("control groups", partial(self.expect_groups, settings)),
        ]

    def _watch_both(
        self, undo: ExitStack, before: PolicyInForce, new: PolicyInForce
    ) -> None:
        """Attach what either policy needs: no event is missed on the way."""
        settings = before.policy.settings
        undo.callback(self._capture.want, before.hooks())
        undo.callback(self.tell_kernel, settings, before.rules)
        self.tell_kernel(settings, before.rules, new.rules)
        self._capture.want({*new.hooks(), *before.hooks()})

    def _set_settings(self, settings: Settings) -> None:
        """Take over the settings that are plain values."""
        self._context.settings = settings
        self._hasher.size_limit = settings.hash_size_limit_bytes
        self._hasher.wait_s = settings.hash_wait_ms / 1000
        self._hasher.set_share(settings.hash_share_percent)
        self._hasher.set_algorithms(settings.hash_algorithms)
        self._health.use_budget(settings.budget)

    def expect_groups(self, settings: Settings) -> None:
        """Have control groups found that events of these settings may show.

        When a process ends that runs already, its group may be gone before its event
        is made.
        """
        if set(settings.appended_fields).intersection(OF_CONTROL_GROUP):
            self._context.control_groups.expect_all()

    def tell_kernel(self, settings: Settings, *rules: Rules) -> None:
        """Tell the programs the settings, and which records these rules could use."""
        numbers = self._capture.layouts.number
        wanted = 0
        for each in rules:
            wanted |= wanted_records(numbers, each.can_emit)
        tell = self._capture.set_variable
        tell("wanted_records", wanted)
        tell("truncation_as_create", settings.truncation_as_create)
        tell("write_as_create", settings.write_as_create)
        asks = any(each.can_emit(PROCESS_TAMPERING.id) for each in rules)
        asks_changes = settings.mass_change and asks
        tell("mass_change_files", settings.mass_change_files if asks_changes else 0)
        tell("executable_memory", settings.executable_memory and asks)
        self._round = (self._round + 1) & 0xFFFFFFFF
        tell("write_round", self._round)
        tell("failed_connects", settings.failed_connects)
        for variable, is_on in kernel_switches(settings.appended_fields).items():
            tell(variable, is_on)
        tell("udp_interval_ns", settings.udp_interval_s * 1_000_000_000)
        tell("pipe_interval_ns", settings.pipe_interval_s * 1_000_000_000)


def refuse_what_needs_a_start(before: Settings, settings: Settings) -> None:
    """Refuse settings that only a start can put in force.

    Raises:
        ControlError: there are such, and which.
    """
    if settings.ring_size_bytes != before.ring_size_bytes:
        raise ControlError("RingSize takes effect at the next start: use -i")


def forget_before() -> None:
    """Give back the memory of a policy that is in force no more.

    None of its objects are in a circle of references. The collector need not go through
    all objects of the daemon, which would take longer than the whole update: it goes
    through those made since the last call, and empties the lists of free objects.
    """
    make_test.cache_clear()  # tests of policies that are in force no more
    memory.give_back()
    gc.freeze()
