# SPDX-License-Identifier: MIT
"""Detections and conditions, as pySigma read them, to outlines of tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from sigma import conditions as written
from sigma.exceptions import SigmaError
from sigma.rule import SigmaDetection, SigmaDetectionItem, SigmaDetections

from sysmonlx.config.sigma.documents import Document, key_line
from sysmonlx.config.sigma.notes import RuleError
from sysmonlx.config.sigma.outline import Group, Leaf, Not, Outline
from sysmonlx.config.sigma.sources import CONSTANTS, HASHES, LogSource
from sysmonlx.config.sigma.values import Question, of_hash, questions_of, tests_of_any
from sysmonlx.rules.conditions import Atom, Operation, Test

#: The longest condition, in characters, and its deepest nesting.
_CONDITION = 4096
_DEPTH = 12

Path = tuple[str | int, ...]

#: How pySigma names the detections of a filter in the rules that it is for.
_OF_FILTER = re.compile("^_filt_[a-z]{10}_")


class DetectionReader:
    """Reads the detections of one rule, as far as its condition asks for them.

    `section` is the key of the document that holds them.
    """

    def __init__(
        self,
        source: LogSource,
        detections: SigmaDetections,
        document: Document,
        section: str = "detection",
    ) -> None:
        self._source = source
        self._detections = detections
        self._document = document
        self._section = section
        self._known: dict[str, Outline] = {}

    def outline(self) -> Group:
        """Return the outline of the whole rule.

        Raises:
            RuleError: it cannot be asked for here; with the line of what cannot.
        """
        texts = self._detections.condition
        parts = tuple(self._condition(text, at) for at, text in enumerate(texts))
        return Group(False, parts)

    def line(self, *path: str | int) -> int:
        """Return the line of a key of the detections."""
        return key_line(self._document.node, self._section, *path)

    def _condition(self, text: object, at: int) -> Outline:
        line = self.line("condition", at)
        if not isinstance(text, str):
            raise RuleError("a condition is a text", line)
        try:
            return self._tree(_parsed(text, self._detections), line)
        except RuleError as error:
            raise RuleError(error.reason, error.line or line) from None
        except SigmaError as error:
            raise RuleError(str(error), line) from None

    def _tree(self, item: object, line: int) -> Outline:
        """Return the outline of a part of a condition."""
        if isinstance(item, written.ConditionIdentifier):
            return self._selection(item.identifier, line)
        if isinstance(item, written.ConditionSelector):
            found = item.resolve_referenced_detections(self._detections)
            if not found:
                text = f"{item.args[0]} of {item.pattern}"
                raise RuleError(f"{text!r:.80}: there is no such detection", line)
            need_all = item.cond_class is written.ConditionAND
            names = [each.identifier for each in found]
            return Group(need_all, tuple(self._selection(n, line) for n in names))
        if not isinstance(item, written.ConditionItem):
            raise RuleError(f"{type(item).__name__} is not known", line)
        parts = tuple(self._tree(each, line) for each in item.args)
        if isinstance(item, written.ConditionNOT):
            return Not(parts[0])
        return Group(isinstance(item, written.ConditionAND), parts)

    def _selection(self, name: str, line: int) -> Outline:
        if name not in self._known:
            detection = self._detections.detections.get(name)
            if detection is None:
                raise RuleError(f"there is no detection {name!r:.80}", line)
            part = self._detection(detection, (name,))
            label = _OF_FILTER.sub("filter ", name)
            self._known[name] = Group(True, (part,), label, self.line(name))
        return self._known[name]

    def _detection(self, detection: SigmaDetection, path: Path) -> Outline:
        keys = _keys_at(self._document.value, (self._section, *path))
        parts = []
        for at, item in enumerate(detection.detection_items):
            step = keys[at] if at < len(keys) else at
            if isinstance(item, SigmaDetection):
                parts.append(self._detection(item, (*path, step)))
            else:
                parts.append(self._item(item, self.line(*path, step)))
        return Group(detection.item_linking is written.ConditionAND, tuple(parts))

    def _item(self, item: SigmaDetectionItem, line: int) -> Outline:
        try:
            return self._asked(item, line)
        except RuleError as error:
            raise RuleError(error.reason, error.line or line) from None

    def _asked(self, item: SigmaDetectionItem, line: int) -> Outline:
        if item.field is None:
            raise RuleError("keywords without a field are not asked for: name a field")
        field = self._source.field(item.field)
        groups = [self._questions(item.field, value) for value in item.value]
        if not groups:  # an empty list is the same as null
            groups = [[(False, Atom(Operation.MISSING, ""))]]
        if item.value_linking is written.ConditionAND:
            part = _all_of(field, groups, line)
        else:
            part = _any_of(field, [each for group in groups for each in group], line)
        return Not(part) if item.negated else part

    def _questions(self, name: str, value: object) -> list[Question]:
        found = questions_of(value)  # type: ignore[arg-type]  # untyped in the item
        for _, atom in found:
            if atom.operation is Operation.SAME_AS:
                other = self._source.field(atom.operand.strip("*"))
                if other in CONSTANTS or other != atom.operand.strip("*"):
                    raise RuleError(f"{other} cannot be compared with a field")
            if name in CONSTANTS and atom.operation not in _OF_CONSTANTS:
                raise RuleError(f"{name} is compared as text, whole or in part")
        return [of_hash(name, each) for each in found] if name in HASHES else found


_OF_CONSTANTS = (
    *(Operation.IS, Operation.CONTAINS, Operation.BEGIN, Operation.END),
    Operation.MISSING,
)


def _all_of(field: str, groups: Sequence[list[Question]], line: int) -> Outline:
    single = [group[0][1] for group in groups if len(group) == 1 and not group[0][0]]
    parts: list[Outline] = []
    if single:
        atoms = tuple(dict.fromkeys(single))
        parts.append(Leaf(Test(field, atoms, need_all=len(atoms) > 1), line))
    parts += [
        _any_of(field, group, line)
        for group in groups
        if len(group) != 1 or group[0][0]
    ]
    return parts[0] if len(parts) == 1 else Group(True, tuple(parts))


def _any_of(field: str, questions: list[Question], line: int) -> Outline:
    leaves = tuple(Leaf(each, line) for each in tests_of_any(field, questions))
    return leaves[0] if len(leaves) == 1 else Group(False, leaves)


def _parsed(text: str, detections: SigmaDetections) -> object:
    """Return pySigma's tree of a condition, with the names of detections in it."""
    if len(text) > _CONDITION:
        raise RuleError(f"a condition has more than {_CONDITION} characters")
    depth = 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if depth > _DEPTH:
            raise RuleError(f"a condition is nested deeper than {_DEPTH}")
    return written.SigmaCondition(text, detections).parse(postprocess=False)


def _keys_at(value: object, path: Path) -> list[str | int]:
    """Return the keys below a place of a document, in order."""
    for step in path:
        if isinstance(value, Mapping):
            value = value.get(str(step))
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
    return list(value) if isinstance(value, Mapping) else []


def first_wrong_item(document: Document, section: str) -> int:
    """Return the line of the first key or value that pySigma refuses, or 0."""
    detections = document.value.get(section)
    if not isinstance(detections, Mapping):
        return 0
    for path, key, value in _items(detections, ()):
        try:
            SigmaDetectionItem.from_mapping(key, value)  # type: ignore[arg-type]  # it checks
        except SigmaError:
            return key_line(document.node, section, *path)
    return 0


def _items(value: object, path: Path) -> Iterator[tuple[Path, str, object]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            if not path and key == "condition":
                continue
            if path:
                yield (*path, key), key, part
            else:
                yield from _items(part, (key,))
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from _items(part, (*path, at))
