# SPDX-License-Identifier: MIT
"""A pipeline whose hashes come when a test says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from support.enrichment import make_context

from sysmonlx.capture.records import Layouts
from sysmonlx.event import Held
from sysmonlx.host.file_identity import FileId
from sysmonlx.output.dispatch import Output
from sysmonlx.output.record_ids import RecordIds
from sysmonlx.pipeline.flow import Pipeline


class LateHasher:
    """What the pipeline asks of a hasher, but for the request itself.

    `done` is what has been answered and nobody has fetched yet. `accepts`: a request is
    taken.
    """

    has_work = True

    def __init__(self) -> None:
        self.done: list[tuple[Held, FileId, str]] = []
        self.accepts = True

    def unexpect(self) -> None: ...

    def results(self) -> list[tuple[Held, FileId, str]]:
        done, self.done = self.done, []
        return done

    def take_error(self) -> None:
        return None


def make_pipeline(
    layouts: Layouts, hasher: LateHasher, watch: Callable[[int, Sequence[str]], None]
) -> Pipeline:
    """Return a pipeline; `watch` is called with the id and values of each event."""
    output, context = Output(RecordIds(None), watch), make_context(layouts)
    late: Any = hasher
    return Pipeline(layouts, context.processes, context, output, late, lambda _: None)
