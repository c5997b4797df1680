# SPDX-License-Identifier: MIT
"""What makes the lines of each form."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from sysmonlx.bounded import CacheUse
from sysmonlx.event import Event
from sysmonlx.output.lines import Lines
from sysmonlx.output.render import Renderer, Writer


class LineMaker(Protocol):
    """Makes lines of events, for one sink."""

    def lines(
        self,
        events: Sequence[Event],
        first_record_id: int,
        wall_ns: int,
        before: str = "",
    ) -> Lines:
        """Return the lines of events whose record ids are in sequence.

        `wall_ns` is the time of rendering, in ns since the epoch. Each line begins with
        `before`, which does not count for the limit of a line.
        """

    def template_use(self) -> CacheUse:
        """Return hits and misses of the cache of templates, and how many are kept."""


def line_maker(
    form: str,
    system: Writer,
    limit_bytes: int,
    field_sizes: Iterable[tuple[str, int]],
    appended: Collection[str] = (),
) -> LineMaker:
    """Return what makes lines of a form, one of `schema.options.SINK_FORMS`."""
    if form == "ecs":
        from sysmonlx.output.ecs import EcsRenderer

        return EcsRenderer(system, limit_bytes, field_sizes, appended)
    return Renderer(form, *system, limit_bytes, field_sizes, appended)
