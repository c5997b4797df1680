# SPDX-License-Identifier: MIT
"""An incident as one page: a file that needs no network and no other file.

What events hold is data of the page and never its text: JSON in an element that is not
run, each `<` spelt out, shown by the page's script as text alone. A policy in its head
lets no other script or style run, and lets nothing be fetched or sent.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator
from html import escape
from importlib.resources import files

from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.fields import text_of
from sysmonlx.viewer.moments import seconds_of
from sysmonlx.viewer.read import EventLine
from sysmonlx.viewer.rows import level_of, title_of
from sysmonlx.viewer.select import moment_of
from sysmonlx.viewer.terminal import safe
from sysmonlx.viewer.tree import Forest, Process, time_of
from sysmonlx.viewer.what import base_name, mark, what

_PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}</style></head><body>
<header><h1>{title}</h1><span>{hosts}</span><span>{times}</span><span>{count}</span>
<span class="hits">{hits}</span><span class="hits">{losses}</span>
<span>{left_out}</span></header>
<div class="tools found" id="found" role="group" aria-label="Rules that hit"></div>
<div class="chart"><canvas id="chart" role="img" aria-label="Events over time"></canvas>
<div class="scale"><span id="first"></span><span id="range">drag for a range of time,
double click for all</span><span id="last"></span></div></div>
<div class="tools"><input id="filter" type="search" autocomplete="off"
spellcheck="false" aria-label="Filter"
placeholder="/ filter: text, Image~curl, User=root, -word">
<button id="tagged" aria-pressed="false">only under a rule</button>
<button id="tree" aria-pressed="true">tree</button>
<button id="rows" aria-pressed="false">rows</button>
<span id="shown" class="dim" role="status"></span></div>
<div class="tools" id="kinds" role="group" aria-label="Kinds of events"></div>
<main><div class="list" id="list" role="tree" tabindex="0" aria-label="Events">
<div id="space"></div><div id="none" class="none" hidden>No event
is asked for by all of this: the filter (Escape clears it), the kinds, the
range of time.</div></div>
<section class="details" id="details" aria-label="Details" tabindex="0">
<p class="dim">Choose a row. Arrow keys walk and fold, n goes to the next hit of a rule,
/ to the filter.</p>
</section>
</main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body></html>
"""

#: What a process did, before the words that say to what.
_VERBS = {
    **{2: "set the time of", 3: "connection", 6: "loaded module", 7: "loaded"},
    **{8: "injected into", 9: "opened disk", 10: "accessed", 11: "wrote"},
    **{15: "wrote stream", 17: "made pipe", 18: "connected to pipe", 22: "asked for"},
    **{23: "deleted", 25: "tampering", 26: "deleted", 100: "eBPF"},
}
#: Joined they are the one script of the page.
_SCRIPTS = ("logview_events.js", "logview_page.js")

_POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}';"
    " base-uri 'none'; form-action 'none'"
)


def page(forest: Forest, heading: str, limit: int) -> str:
    """Return the page of the processes that are asked for."""
    made = _Data(forest, limit)
    data_folder = files("sysmonlx") / "data"
    parts = [(data_folder / name).read_text("utf-8") for name in _SCRIPTS]
    script = '"use strict";\n{\n' + "".join(parts) + "}\n"
    style = (data_folder / "logview.css").read_text("utf-8")
    hosts = ", ".join(sorted(made.hosts))
    policy = _POLICY.format(script=_digest(script), style=_digest(style))
    return _PAGE.format(
        policy=escape(policy),
        title=escape(safe(heading or f"sysmonlx {hosts}")),
        hosts=escape(hosts) if heading else "",
        times=escape(made.times()),
        count=f"{len(made.events):,} events, {len(made.processes):,} processes",
        hits=f"{made.hits:,} under a rule" if made.hits else "",
        losses=f"events were lost, told {made.losses:,} times" if made.losses else "",
        left_out=f"{made.left_out:,} older events left out" if made.left_out else "",
        style=style,
        script=script,
        data=in_script(made.as_object()),
    )


def in_script(value: object) -> str:
    """Return JSON that cannot end the element of a page that it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def _digest(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


class _Data:
    """Rows of numbers and a table of texts, as the script expects them."""

    def __init__(self, forest: Forest, limit: int) -> None:
        self._texts: dict[str, int] = {"": 0}
        self._levels: dict[int, str] = {}
        shown = forest.shown()
        self._order = [*forest.walk(shown)]
        self._numbers = {process: n for n, (_, process) in enumerate(self._order)}
        taken = [*self._taken(forest)]
        self.left_out = max(0, len(taken) - limit)
        if self.left_out:
            taken.sort(key=_importance)
            del taken[: self.left_out]
        taken.sort(key=lambda pair: _when(pair[0]))
        self._places = {id(event): n for n, (event, _) in enumerate(taken)}
        self.hosts = {safe(event.system.computer) for event, _ in taken}
        self.hits = sum(bool(text_of(event, "RuleName")) for event, _ in taken)
        self.losses = sum(text_of(event, "ID") == "LostEvents" for event, _ in taken)
        self._first_last = [_when(taken[n][0])[:19] for n in (0, -1)] if taken else []
        self._ours: dict[int, dict[str, None]] = {}
        for event, _ in taken:
            self._ours.setdefault(event.event_id, {}).update(dict.fromkeys(event.ours))
        self.events = [self._event(event, owner) for event, owner in taken]
        self.processes = [*self._rows()]

    def _taken(self, forest: Forest) -> Iterator[tuple[EventLine, int]]:
        """Yield events, and the numbers of their processes."""
        for process, number in self._numbers.items():
            for event in (*process.starts, *process.events):
                yield event, number
            if process.end is not None:
                yield process.end, number
        for event in forest.others:
            yield event, -1

    def _text(self, text: str) -> int:
        return self._texts.setdefault(safe(text), len(self._texts))

    def _tag(self, rule: str) -> int:
        """Return the short name of a rule, and note its level."""
        if not rule:
            return 0
        tag = self._text(title_of(rule))
        if level := level_of(rule):
            self._levels[tag] = level
        return tag

    def _event(self, event: EventLine, owner: int) -> list[object]:
        seconds = seconds_of(_when(event))
        return [
            event.event_id,
            None if seconds is None else round(seconds * 1000),
            max(event.system.record_id, 0),
            self._text(event.system.computer),
            owner,
            self._text(what(event)),
            self._tag(text_of(event, "RuleName")),
            *map(self._text, event.values),
            *(self._text(event.ours.get(n, "-")) for n in self._ours[event.event_id]),
        ]

    def _rows(self) -> Iterator[list[object]]:
        """Yield the processes in the order of the tree."""
        above: list[int] = []
        for number, (depth, process) in enumerate(self._order):
            del above[depth:]
            yield self._process(process, above[-1] if above else -1)
            above.append(number)

    def _process(self, process: Process, parent: int) -> list[object]:
        lived_s = process.lived_s
        start = process.starts[0] if process.starts else None
        return [
            self._text(process.pid),
            self._text(base_name(process.image)),
            self._text(process.user),
            parent,
            self._places.get(id(start), -1),
            self._places.get(id(process.end), -1),
            None if lived_s is None else round(lived_s * 1000),
            self._text(process.beginning),
            self._text(base_name(process.later.image) if process.later else ""),
        ]

    def times(self) -> str:
        """Return first and last time."""
        return safe(" to ".join(self._first_last)) + " UTC" if self._first_last else ""

    def as_object(self) -> dict[str, object]:
        """Return what the script reads."""
        types = {
            str(number): {
                "title": EVENT_BY_ID[number].title,
                "mark": mark(number),
                "verb": _VERBS.get(number, ""),
                "fields": [
                    *(field.name for field in EVENT_BY_ID[number].fields),
                    *self._ours[number],
                ],
            }
            for number in sorted(self._ours)
        }
        return {
            "cut": self.left_out > 0,
            "strings": [*self._texts],
            "levels": self._levels,
            "types": types,
            "events": self.events,
            "processes": self.processes,
        }


def _when(event: EventLine) -> str:
    return time_of(event) or moment_of(event)


def _importance(pair: tuple[EventLine, int]) -> tuple[bool, str]:
    """Return what is kept rather: what is under a rule, then what is newer."""
    event, _ = pair
    return bool(text_of(event, "RuleName")), _when(event)
