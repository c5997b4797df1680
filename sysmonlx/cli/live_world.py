# SPDX-License-Identifier: MIT
"""What the keys of the live view ask the world for: reasons of rules, a file."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from sysmonlx.cli.live_forms import form_of
from sysmonlx.policy import RULE_NAMES, SIGMA_PREFIX, Policy
from sysmonlx.rules.explain import trace
from sysmonlx.rules.sigma.judge import SEPARATOR
from sysmonlx.schema.event_types import EventType
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.order import LiveEvent
from sysmonlx.viewer.rows import Style


class LiveWorld:
    """Answers by the policy in force."""

    def __init__(self, policy: Callable[[], Policy]) -> None:
        self._policy = policy
        self._first = policy()

    def kind(self, event: LiveEvent) -> EventType:
        """Return an event's type, with the fields that the configuration adds."""
        appended = self._policy().settings.appended
        return EVENT_BY_ID[event.event_id].with_appended(appended)

    def explain(self, event: LiveEvent) -> list[str]:
        """Return lines that say which rule decided about an event."""
        return [*self._reasons(event)]

    def _reasons(self, event: LiveEvent) -> Iterator[str]:
        kind = EVENT_BY_ID[event.event_id]
        if kind.default is None:
            yield "sysmonlx itself reports this event: no rule filters it."
            return
        policy = self._policy()
        hits = [*_hits(kind.with_appended(policy.settings.appended), event.values)]
        yield from hits
        if policy is not self._first:
            yield "The configuration was replaced: what decided is not known here."
            return
        found = trace(policy.ruleset, event.event_id, event.values)
        source = policy.source or "the built-in rules"
        if found.name is None and hits:
            yield "Reported since a rule of Sigma asks for it, not by Sysmon's rules."
            return
        if found.element is None:
            yield f"Reported since no condition of {source} excludes it."
            return
        element = found.element
        place = f"{source}:{element.line}"
        yield f"Reported by {place}: {element.tag}, onmatch={element.onmatch}"
        for part in found.filters:
            name = f", name {part.name}" if part.name else ""
            yield (
                f"{source}:{part.line}: {part.field} {part.condition}"
                f" {part.value!r}{name}"
            )

    def save(self, events: Iterable[LiveEvent]) -> str:
        """Write events as JSON lines to a new file; return a message of one line."""
        name = time.strftime("sysmonlx-%Y%m%dT%H%M%SZ.jsonl", time.gmtime())
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        shown = [*events]
        data = form_of("json", Style(), self._policy().settings)(shown)
        try:
            with open(os.open(name, flags, 0o600), "wb") as file:
                file.write(data)
        except OSError as error:
            return f"cannot save {name}: {error.strerror}"
        return f"saved {len(shown):,} events to {name}"


def _hits(kind: EventType, values: Sequence[str]) -> Iterator[str]:
    """Yield a line for each rule of Sigma by which an event is named."""
    names = values[0]
    if kind.fields[-1].name == RULE_NAMES and len(values) == len(kind.fields):
        names = values[-1] if values[-1] != "-" else names
    for name in names.split(SEPARATOR):
        if name.startswith(SIGMA_PREFIX):
            yield _in_words(name)
        elif _MORE.fullmatch(name):
            yield f"Sigma: {name[1:]} rules"


def _in_words(name: str) -> str:
    """Return a name as a sentence: its technique, and what came before."""
    name, *after = name.split(",after=")
    parts = dict(part.partition("=")[::2] for part in name.split(",", 3))
    line = f"Sigma rule, {parts.get('level', '-')}: {parts['sigma']}"
    if technique := parts.get("technique_id"):
        title = parts.get("technique_name", "")
        line += f" ({technique} {title}".rstrip() + ")"
    return line + "".join(f", after {each}" for each in after)


_MORE = re.compile(r"\+[0-9]+ more")
