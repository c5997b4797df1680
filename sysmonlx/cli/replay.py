# SPDX-License-Identifier: MIT
"""A configuration tried on recorded events: `sysmonlx -test CONFIG [FILE|-]`.

One line an event: `include` or `exclude`, RuleName or `-`, and what decided as
FILE:LINE or `default`, with tabs between: a Rule, a filter, an element that joins all
of its filters, or a rule of Sigma. All other lines begin with `#`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TextIO

from sysmonlx.cli.exit_status import FILE_ERROR
from sysmonlx.cli.sigma_report import SigmaReport
from sysmonlx.output.escape import visible
from sysmonlx.policy import RULE_NAMES, Compound, Filter, Policy
from sysmonlx.rules.clauses import elements_of, filters_of
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.explain import Trace, Tracer
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.service.exit_status import OK
from sysmonlx.viewer.read import BadLine, EventLine, read_events
from sysmonlx.viewer.what import what

#: Characters of a field's text that a reason shows.
_SHOWN = 200


def run(
    policy: Policy,
    config_name: str,
    lines: Iterable[bytes],
    out: TextIO,
    *,
    verbose: bool = False,
    source: bool = False,
) -> int:
    """Judge events, print each decision and a summary; return the exit status.

    `verbose` gives the reasons too, `source` the functions that judge in the service.
    It is 1 when an event could not be read, or when there was none in some text.
    """
    report = _Report(policy, config_name)
    for item in read_events(lines):
        for line in report.lines(item, verbose=verbose):
            out.write(line + "\n")
    for line in (*report.summary(), *(_source(policy) if source else ())):
        out.write(line + "\n")
    return report.status()


def _source(policy: Policy) -> Iterator[str]:
    """Yield the functions that the configuration becomes, line by line."""
    rules = compile_rules(policy.ruleset)
    judged = {i for element in policy.ruleset.elements for i in element.event_ids}
    for event_id in sorted(judged):
        yield from (f"# {line}" for line in rules.source(event_id).splitlines())


class _Report:
    """Counts the decisions of each rule, and puts them into words."""

    def __init__(self, policy: Policy, config_name: str) -> None:
        self._ruleset = policy.ruleset
        self._trace = Tracer(policy.ruleset).trace
        self._sigma = SigmaReport(policy.ruleset)
        self._file = _plain(config_name)
        self._decided: Counter[int] = Counter()  # by id() of an element or filter
        self._verdicts: Counter[str] = Counter()
        self._skipped = 0
        self._unreadable = 0

    def lines(self, item: EventLine | BadLine, *, verbose: bool) -> Iterator[str]:
        """Yield what to print for one line of input."""
        if isinstance(item, BadLine):
            self._skipped += not item.is_event
            self._unreadable += item.is_event
            if item.is_event or verbose:
                yield f"# input line {item.line}: {_plain(item.reason)}"
            return
        values = [*item.values, *(text for _, text in self._ours(item))]
        found = self._trace(item.event_id, values)
        name, hits = self._sigma.judge(item.event_id, values, found.name)
        self._count(found, name)
        verdict = "exclude" if name is None else "include"
        place = self._place(found.line) if found.element else "default"
        if name != found.name and found.name is None:
            place = hits[0].place
        yield f"{verdict}\t{_plain(name or '-')}\t{_plain(place)}"
        if verbose:
            yield from self._reasons(item, found)
            yield from map(_plain, self._sigma.reasons(item.event_id, values, hits))

    def _count(self, found: Trace, name: str | None) -> None:
        self._verdicts["excluded" if name is None else "included"] += 1
        self._decided[id(found.element)] += 1
        for part in found.filters:
            self._decided[id(part)] += 1

    def _ours(self, item: EventLine) -> Iterator[tuple[str, str]]:
        """Yield names and texts of the fields that the setting `Fields` adds."""
        event = EVENT_BY_ID[item.event_id].with_appended(self._ruleset.appended)
        for field in event.fields[len(item.values) :]:
            is_made = field.name == RULE_NAMES  # by the rules that are tried
            yield field.name, "-" if is_made else item.ours.get(field.name, "-")

    def _place(self, line: int) -> str:
        return f"{self._file}:{line}"

    def _reasons(self, item: EventLine, found: Trace) -> Iterator[str]:
        event = EVENT_BY_ID[item.event_id]
        kind = event.tag or event.template
        head = f"#   input line {item.line}: event {event.id}, {kind}"
        done = what(item)
        yield f"{head}: {_plain(_shown(done))}" if done else head
        ours = dict(self._ours(item))
        if others := [name for name in item.others if name not in ours]:
            names = _plain(", ".join(others))
            yield f"#   not fields of event {event.id}, not read: {names}"
        texts = dict(zip((f.name for f in event.fields), item.values, strict=True))
        texts |= ours
        for part in found.filters:
            text = "-" if part.field == "RuleName" else texts[part.field]
            yield f"#   {self._place(part.line)}: {_filter(part)}; it is {_shown(text)}"
        if found.hidden_name:
            yield f"#   excluded under the name {_plain(found.hidden_name)}"
        if found.element is None:
            yield f"#   {self._default(item.event_id)}"

    def _default(self, event_id: int) -> str:
        elements = elements_of(self._ruleset, event_id)
        default = EVENT_BY_ID[event_id].default
        if default is None:
            return "events of this type are never filtered"
        if not elements:
            return f"no element for this type of event: its default is {default}"
        if len(elements) > 1:
            return f"none of its {len(elements)} elements matches: exclude"
        only = elements[0]
        verdict = "include" if only.onmatch == "exclude" else "exclude"
        return f"its one {only.onmatch} element does not match: {verdict}"

    def summary(self) -> Iterator[str]:
        """Yield how often each rule decided, and what could not be read."""
        yield (
            f"# {_number(self._verdicts.total(), 'event')}: "
            f"{self._verdicts['included']} included, "
            f"{self._verdicts['excluded']} excluded"
        )
        for element in self._ruleset.elements:
            times = self._decided[id(element)]
            yield self._row(times, element.line, f"{element.tag} {element.onmatch}")
            for item in element.items:
                yield self._row(self._times(item), item.line, "  " + _rule(item))
        yield f"# {self._decided[id(None)]}\tdefault"
        yield from map(_one_row, self._sigma.rows())
        if self._skipped:
            yield f"# {_number(self._skipped, 'line')} without an event"
        if self._unreadable:
            yield f"# {_number(self._unreadable, 'event')} not readable, see above"

    def _times(self, item: Filter | Compound) -> int:
        """Return how many decisions an item had part in, by one filter or by all."""
        times = [self._decided[id(part)] for part in filters_of(item)]
        if isinstance(item, Compound) and item.relation == "or":
            return sum(times)
        return max(times, default=0)

    def _row(self, times: int, line: int, text: str) -> str:
        return f"# {times or 'never'}\t{self._place(line)}\t{text}"

    def status(self) -> int:
        """Return the exit status."""
        nothing = self._skipped and not self._verdicts.total()
        return FILE_ERROR if self._unreadable or nothing else OK


def _one_row(row: tuple[int, str, str]) -> str:
    times, place, text = row
    return f"# {times or 'never'}\t{_plain(place)}\t{_plain(text)}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _rule(item: Filter | Compound) -> str:
    if isinstance(item, Filter):
        return _filter(item)
    name = _plain(item.name) or str(item.number)
    return f"Rule {name}, {item.relation} of {_number(len(item.filters), 'filter')}"


def _filter(item: Filter) -> str:
    name = f", name {_plain(item.name)}" if item.name else ""
    return f"{item.field} {item.condition} {item.value!r}{name}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


_ONE_LINE = {ord("\t"): "\\x09", ord("\n"): "\\x0a", ord("\r"): "\\x0d"}


def _plain(text: str) -> str:
    """Return text that cannot break out of its line or column."""
    return visible(text).translate(_ONE_LINE)
