# SPDX-License-Identifier: MIT
"""Lanes that wait for every answer: what tests ask is answered however busy it is."""

from __future__ import annotations

from sysmonlx.host.aside import Aside
from sysmonlx.host.lane import Lane, Limits

_WAIT_S = 30.0


def patient() -> Aside:
    """Return lanes whose caller waits for half a minute, with threads when needed."""
    made = Aside()
    (made.paths, made.root_paths, made.names, made.files) = (
        Lane(lane.name, Limits(1, 4, _WAIT_S, 1.0))
        for lane in (made.paths, made.root_paths, made.names, made.files)
    )
    of_names = made.paths, made.root_paths, made.names, made.files
    made.lanes = (*of_names, made.processes, made.control_groups)
    for lane in made.lanes:
        lane.begin(when_needed=True)
    return made
