# SPDX-License-Identifier: MIT
"""Which hooks a configuration needs."""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.hook import Hook
from sysmonlx.ruleset import Settings

ALL_HOOKS: tuple[Hook, ...] = ()


def hooks_for(can_emit: Callable[[int], bool], settings: Settings) -> tuple[Hook, ...]:
    """Return the hooks for the events that can be emitted, no others.

    A hook that is not needed is not attached: a syscall tracepoint slows every syscall
    of the machine.
    """
    return tuple(
        hook
        for hook in ALL_HOOKS
        if any(can_emit(event_id) for event_id in hook.events)
        and (not hook.needs_setting or getattr(settings, hook.needs_setting))
    )
