# SPDX-License-Identifier: MIT
"""What is attached to know processes; always on, for every event needs its process."""

from __future__ import annotations

from sysmonlx.hook import Hook

PROCESS_HOOKS: tuple[Hook, ...] = (
    Hook(
        name="processes",
        events=frozenset(),
        alternatives=(
            ("process_fork", "process_create", "process_terminate"),
            ("process_fork", "process_create", "process_terminate_by_live"),
        ),
        missing="all events",
    ),
)

#: Iterators over the running tasks, in order of preference; run, not attached.
SCAN_PROGRAMS = ("process_scan", "process_scan_without_args")
