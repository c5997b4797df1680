# SPDX-License-Identifier: MIT
"""What is attached to see an event: data, read by `capture.py`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hook:
    """One thing to watch, by the first group of programs that loads and attaches.

    `alternatives` are groups in order of preference; all programs of a group are
    needed. `events` are the ids of the events that want it. `missing` says what is not
    seen where no group works. `kind` is "" or "cgroup". `needs_setting` names a switch
    of `ruleset.Settings` that must be on.
    """

    name: str
    events: frozenset[int]
    alternatives: tuple[tuple[str, ...], ...]
    missing: str
    kind: str = ""
    needs_setting: str = ""
