# SPDX-License-Identifier: MIT
"""Files of Sigma rules in YAML to one pack: each rule exactly as it is, or refused.

pySigma reads values, modifiers and conditions. This package asks nothing of it that
reads a file or the network. A rule with a part that has no counterpart here is refused:
the part is named, with its line. A rule that is refused never stops the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from sigma.exceptions import SigmaError
from sigma.filters import SigmaFilter
from sigma.rule import SigmaRule as WrittenRule

from sysmonlx.config.sigma import outline as outlines
from sysmonlx.config.sigma.correlations import correlation_of
from sysmonlx.config.sigma.detection import DetectionReader, first_wrong_item
from sysmonlx.config.sigma.documents import Document, documents_of, key_line
from sysmonlx.config.sigma.heads import head_of, metadata_line, text_at
from sysmonlx.config.sigma.notes import Kind, Note, RuleError
from sysmonlx.config.sigma.remarks import remarks_of
from sysmonlx.config.sigma.sources import CONSTANTS, LogSource, fields_of, log_source_of
from sysmonlx.rules.clauses import FALSE, TRUE, Expression, simplify
from sysmonlx.rules.conditions import Operation, Test, fold, passes
from sysmonlx.rules.sigma.pack import (
    RULES_LIMIT,
    Correlation,
    Pack,
    PackError,
    Plain,
    SigmaRule,
    dump,
    load,
)

#: Statuses of rules that nobody should use any more.
_NEVER_USED = ("deprecated", "unsupported")


@dataclass(slots=True)
class RulesRead:
    """What files of rules say.

    `outlines` are those of the rules of the pack, in their order. `others` counts the
    rules for logs that this program does not write.
    """

    pack: Pack = field(default_factory=Pack)
    notes: list[Note] = field(default_factory=list)
    outlines: list[list[Plain]] = field(default_factory=list)
    others: int = 0


@dataclass(frozen=True, slots=True)
class _Place:
    file: str
    document: Document

    @property
    def title(self) -> str:
        return text_at(self.document, "title") or "without a title"


#: Does what a document is there for.
_Work = Callable[[_Place], None]


def read_rules(files: Iterable[tuple[str, bytes]]) -> RulesRead:
    """Return the rules of files, of which names and bytes are given, in their order."""
    return _Reader().read(files)


class _Reader:
    def __init__(self) -> None:
        self._read = RulesRead()
        self._rules: list[SigmaRule] = []
        self._correlations: list[Correlation] = []
        self._filters: list[SigmaFilter] = []
        self._taken: dict[str, str] = {}

    def read(self, files: Iterable[tuple[str, bytes]]) -> RulesRead:
        places = [each for name, data in files for each in self._places(name, data)]
        for kind, work in (
            ("filter", self._filter),
            ("detection", self._rule),
            ("correlation", self._correlation),
        ):
            for place in places:
                if _kind_of(place.document) == kind:
                    self._attempt(place, work)
        self._read.pack = Pack(tuple(self._rules), tuple(self._correlations))
        self._read.notes.sort(key=lambda each: (each.file, each.line))
        return self._read

    def _places(self, name: str, data: bytes) -> list[_Place]:
        """Return the documents of a file; note what is none."""
        found: list[_Place] = []
        is_template = False
        try:
            for each in documents_of(data):
                if isinstance(each, RuleError):
                    self._note(Kind.REFUSED, name, each.line, "", each.reason)
                    continue
                action = each.value.get("action")
                is_template = action != "reset" and (is_template or action is not None)
                place = _Place(name, each)
                if is_template:
                    line = key_line(each.node, "action")
                    reason = "templates (action: global, repeat) are of old Sigma"
                    self._note(Kind.REFUSED, name, line, place.title, reason)
                elif action is None:
                    found.append(place)
        except RuleError as error:
            self._note(Kind.REFUSED, name, error.line, "", error.reason)
        return found

    def _note(self, kind: Kind, file: str, line: int, title: str, reason: str) -> None:
        self._read.notes.append(Note(kind, file, line, title, reason))

    def _attempt(self, place: _Place, work: _Work) -> None:
        """Do work on a document; note why it cannot be done."""
        line, reason = 0, ""
        try:
            work(place)
        except RuleError as error:
            line, reason = error.line, error.reason
        except (SigmaError, PackError) as error:
            reason = RuleError(str(error)).reason
        except RecursionError:
            reason = "it is nested too deeply"
        except (
            *(TypeError, ValueError, AttributeError, LookupError),
            *(NotImplementedError, ArithmeticError),
        ) as error:  # pySigma takes some types for granted
            reason = RuleError(f"it cannot be read ({type(error).__name__})").reason
        if reason:
            at = line or place.document.line
            self._note(Kind.REFUSED, place.file, at, place.title, reason)

    def _filter(self, place: _Place) -> None:
        """Take a filter that could be a rule of its own."""
        found = SigmaFilter.from_dict(dict(place.document.value))
        log = found.logsource
        source = log_source_of(log.product, log.category, log.service)
        if source is None:
            self._read.others += 1
            return
        DetectionReader(source, found.filter, place.document, "filter").outline()
        self._filters.append(found)

    def _rule(self, place: _Place) -> None:
        document = place.document
        written = self._parsed(place)
        log = written.logsource
        try:
            source = log_source_of(log.product, log.category, log.service)
        except RuleError as error:
            line = key_line(document.node, "logsource", "category")
            raise RuleError(error.reason, line) from None
        if source is None:
            self._read.others += 1
            return
        if text_at(document, "status") in _NEVER_USED:
            line = key_line(document.node, "status")
            reason = f"its status is {text_at(document, 'status')}"
            self._note(Kind.LEFT_OUT, place.file, line, place.title, reason)
            return
        for each in self._filters:
            each.apply_on_rule(written)
        self._take(place, source, written)

    def _take(self, place: _Place, source: LogSource, written: WrittenRule) -> None:
        document = place.document
        reader = DetectionReader(source, written.detection, document)
        outline = reader.outline()
        expression = outlines.expression_of(outline)
        event_ids, expression = _for_events(source, expression)
        head = head_of(document, place.file)
        rule = SigmaRule(**head, event_ids=event_ids, expression=expression)  # type: ignore[arg-type]  # each of its type
        _check(rule)
        self._check_ids(place, rule)
        self._rules.append(rule)
        self._read.outlines.append(outlines.plain(outline))
        for line, reason in remarks_of(source, outline):
            at = line or document.line
            self._note(Kind.REMARK, place.file, at, rule.title, reason)

    def _check_ids(self, place: _Place, rule: SigmaRule | Correlation) -> None:
        if len(self._rules) + len(self._correlations) >= RULES_LIMIT:
            raise RuleError(f"there are more than {RULES_LIMIT} rules")
        for key, value in (("id", rule.id), ("name", rule.name)):
            if value and value in self._taken:
                line = key_line(place.document.node, key)
                raise RuleError(f"its {key} is that of {self._taken[value]}", line)
        where = f"{place.file}:{place.document.line}"
        self._taken |= {each: where for each in (rule.id, rule.name) if each}

    def _parsed(self, place: _Place) -> WrittenRule:
        """Return pySigma's form of a rule; wrong facts about it are remarks."""
        document = place.document
        value = dict(document.value)
        found = WrittenRule.from_dict(value, collect_errors=True)
        for error in found.errors:
            line = metadata_line(document, error)
            if not line:
                wrong = first_wrong_item(document, "detection")
                section = "logsource" if "ogsource" in type(error).__name__ else ""
                where = wrong or key_line(document.node, section or "detection")
                raise RuleError(str(error), where)
            reason = RuleError(str(error)).reason
            self._note(Kind.REMARK, place.file, line, place.title, reason)
        if not isinstance(value.get("title"), str):
            raise RuleError("it has no title that is a text")
        return found

    def _correlation(self, place: _Place) -> None:
        found, base = correlation_of(place.document, place.file, self._rules)
        self._check_ids(place, found)
        for at, rule in enumerate(self._rules):  # one that has but a name gets an id
            if rule.name in base and not rule.id:
                self._rules[at] = replace(rule, id=rule.name)
        pack = Pack(tuple(each for each in self._rules if each.id), (found,))
        load(dump(pack))
        self._correlations.append(found)


def _kind_of(document: Document) -> str:
    for kind in ("correlation", "filter"):
        if kind in document.value:
            return kind
    return "detection"


def _check(rule: SigmaRule) -> None:
    """Refuse what the daemon would refuse.

    Raises:
        PackError: it is too large, or nested too deeply.
    """
    load(dump(Pack((replace(rule, id="", name=""),))))


def _for_events(
    source: LogSource, expression: Expression
) -> tuple[tuple[int, ...], Expression]:
    """Return the events that a rule can match, and what it asks of each of them."""
    by_event: dict[int, Expression] = {}
    for event_id in source.event_ids:
        found = simplify(expression, partial(_known, event_id=event_id))
        if found != FALSE:
            by_event[event_id] = found
    if not by_event:
        raise RuleError("it can match no event")
    first, *others = by_event.values()
    if any(each != first for each in others):
        events = ", ".join(map(str, by_event))
        raise RuleError(f"it asks different things of the events {events}: split it")
    if first == TRUE:
        raise RuleError("it matches every event")
    return tuple(by_event), first


def _known(test: Test, event_id: int) -> bool | None:
    """Return the answer to a test that is the same in all events of a type."""
    if test.field in CONSTANTS:
        text = fold(CONSTANTS[test.field](event_id))
        if any(each.operation is Operation.MISSING for each in test.atoms):
            return test.negated
        return passes(test, text)
    if test.field not in fields_of(event_id):
        return _without(test)
    return None


def _without(test: Test) -> bool:
    """Return the answer to a test of a field that is missing."""
    answers = [each.operation is Operation.MISSING for each in test.atoms]
    return (all(answers) if test.need_all else any(answers)) != test.negated
