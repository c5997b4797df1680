# SPDX-License-Identifier: MIT
"""The events that the daemon reports of itself: 4, 16 and 255."""

from __future__ import annotations

from collections.abc import Iterable

from sysmonlx import __version__
from sysmonlx.pipeline.flow import Pipeline
from sysmonlx.policy import Policy
from sysmonlx.schema.events import ERROR, SCHEMA_VERSION
from sysmonlx.service.compilation import PackInForce

_STATE, _CONFIG = 4, 16


class OwnEvents:
    """Reports through the pipeline, in order with all other events."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def configuration(self, policy: Policy, name: str) -> None:
        """Report by event 16 which configuration is in force, by name and digest."""
        now = self._pipeline.utc_now()
        self._pipeline.report(_CONFIG, (now, name, policy.digest_text()))

    def packs(self, packs: Iterable[PackInForce]) -> None:
        """Report by an event 16 each which packs of Sigma rules are in force."""
        for path, count, digest, refused in packs:
            rules = "rule" if count == 1 else "rules"
            without = f", {refused} refused" if refused else ""
            name = f"{path} ({count} {rules}{without})"
            values = (self._pipeline.utc_now(), name, f"SHA256={digest}")
            self._pipeline.report(_CONFIG, values)

    def state(self, state: str) -> None:
        """Report by event 4 that the service is "Started" or "Stopped"."""
        now = self._pipeline.utc_now()
        self._pipeline.report(_STATE, (now, state, __version__, SCHEMA_VERSION))

    def error(self, what: str, text: str) -> None:
        """Report a text by event 255 with this id; "" is nothing to report."""
        if text:
            self._pipeline.report(ERROR.id, (self._pipeline.utc_now(), what, text))

    def errors(self, what: str, texts: Iterable[str]) -> None:
        """Report each of these texts by an event 255."""
        for text in texts:
            self.error(what, text)
