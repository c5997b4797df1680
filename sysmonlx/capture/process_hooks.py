# SPDX-License-Identifier: MIT
"""What is attached to know processes; always on, for every event needs its process."""

from __future__ import annotations

from sysmonlx.capture.hooks import Hook

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

#: Iterator over the running tasks; run, not attached.
SCAN_PROGRAM = "process_scan"

#: Says which file a descriptor leads to; run, not attached. Linux 5.14 or newer has it:
#: 79a7f8bdb159 ("bpf: Introduce bpf_sys_bpf() helper and program type.").
IDENTIFY_PROGRAM = "descriptor_identify"
