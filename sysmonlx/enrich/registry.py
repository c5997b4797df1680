# SPDX-License-Identifier: MIT
"""Which events records make, and which hooks a configuration needs."""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.capture.hooks import Hook
from sysmonlx.enrich.access import ACCESS_BUILDERS
from sysmonlx.enrich.bpf import BPF_BUILDERS
from sysmonlx.enrich.builder import Builder
from sysmonlx.enrich.file import FILE_BUILDERS, FILE_HOOKS
from sysmonlx.enrich.network import NETWORK_BUILDERS, NETWORK_HOOKS
from sysmonlx.enrich.process import PROCESS_BUILDERS
from sysmonlx.policy import Settings

ALL_HOOKS: tuple[Hook, ...] = (*FILE_HOOKS, *NETWORK_HOOKS)


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


def wanted_records(numbers: dict[str, int], can_emit: Callable[[int], bool]) -> int:
    """Return the bits `1 << number` of the records of which an event can be emitted."""
    return sum(
        1 << number
        for name, number in numbers.items()
        if any(can_emit(event_id) for event_id, _ in BUILDERS.get(name, ()))
    )


#: Record name to (event id, builder) pairs.
BUILDERS: dict[str, tuple[tuple[int, Builder], ...]] = {
    **PROCESS_BUILDERS,
    **FILE_BUILDERS,
    **NETWORK_BUILDERS,
    **ACCESS_BUILDERS,
    **BPF_BUILDERS,
}
