# SPDX-License-Identifier: MIT
"""Which events a record makes, and which hooks a configuration needs.

A new event family is a module of this package with a table of builders, and of hooks if
it needs hooks of its own; both are added to the tables here.
"""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.capture.hooks import Hook
from sysmonlx.enrich.access import ACCESS_BUILDERS
from sysmonlx.enrich.bpf import BPF_BUILDERS, BPF_HOOKS
from sysmonlx.enrich.builder import Builders
from sysmonlx.enrich.dns import DNS_BUILDERS, DNS_HOOKS
from sysmonlx.enrich.file import FILE_BUILDERS, FILE_HOOKS
from sysmonlx.enrich.injection import INJECTION_BUILDERS
from sysmonlx.enrich.library import LIBRARY_BUILDERS, LIBRARY_HOOKS
from sysmonlx.enrich.module import MODULE_BUILDERS, MODULE_HOOKS
from sysmonlx.enrich.network import NETWORK_BUILDERS, NETWORK_HOOKS
from sysmonlx.enrich.pipe import PIPE_BUILDERS, PIPE_HOOKS
from sysmonlx.enrich.process import GROUP_HOOKS, PROCESS_BUILDERS
from sysmonlx.enrich.tampering import TAMPERING_BUILDERS, TAMPERING_HOOKS
from sysmonlx.policy import Settings

ALL_HOOKS: tuple[Hook, ...] = (
    *FILE_HOOKS,
    *NETWORK_HOOKS,
    *GROUP_HOOKS,
    *MODULE_HOOKS,
    *LIBRARY_HOOKS,
    *PIPE_HOOKS,
    *DNS_HOOKS,
    *TAMPERING_HOOKS,
    *BPF_HOOKS,
)


def hooks_for(can_emit: Callable[[int], bool], settings: Settings) -> tuple[Hook, ...]:
    """Return the hooks for the events that can be emitted, no others.

    A hook that is not needed is not attached: the one for system calls slows every
    system call of the machine.
    """
    return tuple(
        hook
        for hook in ALL_HOOKS
        if (
            any(can_emit(event_id) for event_id in hook.events)
            and (not hook.needs_setting or getattr(settings, hook.needs_setting))
            and (not hook.fields or hook.fields.intersection(settings.appended_fields))
        )
        or (hook.helps and can_emit(hook.helps) and getattr(settings, hook.helps_with))
    )


def wanted_records(numbers: dict[str, int], can_emit: Callable[[int], bool]) -> int:
    """Return a mask of the records of which an event can be emitted.

    The bit of a record is `1 << number`; `numbers` are those of enum record_type, by
    the name of the record.
    """
    return sum(
        1 << number
        for name, number in numbers.items()
        if any(can_emit(event_id) for event_id, _ in BUILDERS.get(name, ()))
    )


BUILDERS: Builders = {
    **PROCESS_BUILDERS,
    **MODULE_BUILDERS,
    **LIBRARY_BUILDERS,
    **FILE_BUILDERS,
    **NETWORK_BUILDERS,
    **PIPE_BUILDERS,
    **DNS_BUILDERS,
    **ACCESS_BUILDERS,
    **BPF_BUILDERS,
    **INJECTION_BUILDERS,
    **TAMPERING_BUILDERS,
}
