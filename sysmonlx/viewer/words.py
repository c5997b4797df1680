# SPDX-License-Identifier: MIT
"""The words that choose events: in the live view and for `sysmonlx-logview`.

    curl                a text that some field contains; * and ? are wildcards
    field:a,b           the field is a or b; with wildcards, it matches
    no:WORD             not those; also -WORD in the filter line
    tree:4242           a process, what came of it, and the starts of its ancestors
    FIELD=VALUE ...     a test as in `fields`

The letters A to Z count the same in either case. All words must hold.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches

from sysmonlx.bounded import Answers
from sysmonlx.rules.conditions import fold
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.fields import (
    NAMES,
    PLACES,
    AnyEvent,
    all_values,
    canonical,
    has_test_form,
    make_field_test,
    value_of,
)
from sysmonlx.viewer.kinship import Kinship
from sysmonlx.viewer.rows import LEVELS, level_of
from sysmonlx.viewer.what import base_name

Holds = Callable[[AnyEvent], bool]

#: Short names of several fields.
SHORT = {
    "pid": ("ProcessId", "SourceProcessId", "TargetProcessId"),
    "user": ("User", "SourceUser"),
    "image": ("Image", "SourceImage", "TargetImage"),
    "cmd": ("CommandLine",),
    "path": ("TargetFilename", "Device", "PipeName", "ImageLoaded"),
    "ip": ("SourceIp", "DestinationIp"),
    "port": ("SourcePort", "DestinationPort"),
    "host": ("Computer",),
}
_OTHERS = ("rule", "level", "event", "tree", "no")
_FIELD = re.compile(r"([A-Za-z]+):(?!//)(.*)", re.DOTALL)
_STARTS = 1
#: Processes of which it is kept whether they belong to a tree.
_PROCESSES = 65_536
#: Answers that are kept, and the longest value of one.
_KEPT, _KEPT_CHARACTERS = 2048, 256
_FIELD_NAMES = {name.lower() for name in (*NAMES, *SHORT, *_OTHERS)}


class WordError(ValueError):
    """A word that cannot be used: one line of text."""


_is_identity = re.compile(r"\{?[0-9A-Fa-f-]+\}?").fullmatch


def check(words: Iterable[str]) -> None:
    """Refuse words that are understood, but of which nothing can ever come.

    Raises:
        WordError: one such, and why; of ValueError see `Words`.
    """
    for word in words:
        Words([word])
        name, sign, text = word.partition(":")
        if sign and name.lower() == "no":
            if not text:
                raise WordError(f"{word} needs a word: no:curl")
            check([text])
        if sign and name.lower() in ("pid", "port") and not _has_numbers(text):
            raise WordError(f"{word}: give numbers, as {name}:{_NUMBERS[name.lower()]}")


_NUMBERS = {"pid": "4242", "port": "80,443"}


def _has_numbers(text: str) -> bool:
    """Tell whether a list has numbers and wildcards, and nothing else."""
    return all(re.fullmatch(r"[0-9*?]+", each) for each in text.split(","))


class Words:
    """The conditions of some words; `kin` knows the processes that `tree:` asks for."""

    def __init__(
        self, words: Iterable[str], kin: Kinship | None = None, own_pid: str = ""
    ) -> None:
        """Take words.

        Raises:
            ValueError: one of them cannot be used; its text is one line.
        """
        self._kin = kin or Kinship()
        self._notes = kin is None
        self._own_pid = own_pid
        self.words = [*words]
        self._holds = _all_of([self._test(word) for word in self.words])

    @property
    def are_none(self) -> bool:
        """Whether there are no words: every event is asked for."""
        return not self.words

    def takes(self, event: AnyEvent) -> bool:
        """Return whether an event is asked for."""
        if self._notes and event.event_id == 1:
            self._kin.note(event.values, event.ours.get("ParentProgramGuid", ""))
        return self._holds(event)

    def _test(self, word: str) -> Holds:
        if has_test_form(word):
            return make_field_test(word).holds
        found = _FIELD.fullmatch(word)
        if found is None:
            return _any_field(word)
        name, text = found[1].lower(), found[2]
        if name == "no":
            inner = self._test(text)
            return lambda event: not inner(event)
        if name not in _FIELD_NAMES:
            raise WordError(f"{word}: {_unknown(found[1])}")
        special = {
            "rule": _rule,
            "level": _level,
            "event": _event,
            "tree": self._tree,
        }.get(name)
        if special:
            return special(text)
        names = SHORT.get(name) or (canonical(name),)
        if name == "image":
            return _one_of(names, text, by_base_name=True)
        return _one_of(names, text)

    def _tree(self, text: str) -> Holds:
        wanted = self._own_pid if text == "self" else text
        guid = "{" + wanted.strip("{}").lower() + "}"
        if text != "self" and _is_identity(text) is None:
            raise WordError(f"tree:{text}: give a pid or a GUID")
        return _Tree(self._kin, guid, wanted).holds


class _Tree:
    """A process, all that came of it, and the starts of its ancestors."""

    def __init__(self, kin: Kinship, guid: str, pid: str) -> None:
        self._kin = kin
        self._guid, self._pid = guid, pid
        self._above: set[str] = set()  # known once the process is
        self._inside: dict[str, bool] = {}

    def holds(self, event: AnyEvent) -> bool:
        """Return whether an event belongs to it."""
        own = _value_at(event, _GUIDS)
        if event.event_id == _STARTS:  # it may tell what was not known before
            self._inside.pop(own, None)
        is_inside = self._inside.get(own)
        if is_inside is None:
            if len(self._inside) >= _PROCESSES:
                self._inside.clear()
            is_inside = self._ask(own, _value_at(event, _PIDS))
            if self._kin.knows(own):
                self._inside[own] = is_inside
        return is_inside or (event.event_id == _STARTS and own in self._above)

    def _ask(self, own: str, own_pid: str) -> bool:
        if own_pid == self._pid and not self._kin.knows(own):
            return True
        if not self._kin.knows(own):
            own = self._kin.of_pid(own_pid)
        line = self._kin.line(own)
        for guid, pid in line:
            if self._inside.get(guid):  # so are the ancestors known
                return True
            if guid == self._guid or pid == self._pid:
                self._above.update(each for each, _ in line)
                return True
        return False


def _all_of(tests: Sequence[Holds]) -> Holds:
    if not tests:
        return lambda event: True
    if len(tests) == 1:
        return tests[0]
    return lambda event: all(holds(event) for holds in tests)


def _value_at(event: AnyEvent, places: Mapping[int, int]) -> str:
    """Return the value at a place that depends on the event, "" where it has none."""
    at = places[event.event_id]
    return event.values[at] if at >= 0 else ""


def _places(*names: str) -> dict[int, int]:
    """Return where the first of some fields stands, by event; -1: it has none."""
    return {
        event_id: next((places[name] for name in names if name in places), -1)
        for event_id, places in PLACES.items()
    }


_GUIDS = _places("ProcessGuid", "SourceProcessGuid", "SourceProcessGUID")
_PIDS = _places("ProcessId", "SourceProcessId")


def of_line(text: str) -> list[str]:
    """Return the words of a filter line, in which `-WORD` is `no:WORD`.

    A quote that is still open ends with the line.
    """
    for end in ("", '"', "'"):
        try:
            words = shlex.split(text + end)
        except ValueError:
            continue
        return [f"no:{w[1:]}" if w[:1] == "-" and len(w) > 1 else w for w in words]
    return text.split()


def _unknown(name: str) -> str:
    near = get_close_matches(name.lower(), _FIELD_NAMES, 1)
    known = {each.lower(): each for each in (*NAMES, *SHORT)}
    hint = f", did you mean {known.get(near[0], near[0])}:?" if near else ""
    return f"no event has a field {name}{hint}"


def _pattern(text: str) -> re.Pattern[str] | None:
    """Return the expression for a text with wildcards; None: it has none."""
    if "*" not in text and "?" not in text:
        return None
    parts = (re.escape(each) for each in re.split(r"([*?])", text))
    source = "".join({r"\*": ".*", r"\?": "."}.get(each, each) for each in parts)
    return re.compile(source, re.DOTALL)


def _any_field(text: str) -> Holds:
    text = fold(text)
    pattern = _pattern(text)
    if pattern is not None:
        search = pattern.search
        return lambda event: any(search(fold(value)) for value in all_values(event))

    def holds(event: AnyEvent) -> bool:
        # Joined by what no field holds: one search in place of twenty.
        return text in fold("\0".join(all_values(event)))

    return holds


def _one_of(names: Sequence[str], text: str, *, by_base_name: bool = False) -> Holds:
    wanted = {fold(each) for each in text.split(",")}
    patterns = [found for each in wanted if (found := _pattern(each))]

    def is_one(value: str) -> bool:
        return value in wanted or any(each.fullmatch(value) for each in patterns)

    def is_wanted(value: str) -> bool:
        value = fold(value)
        return is_one(value) or (by_base_name and is_one(base_name(value)))

    answers = Answers(is_wanted, _KEPT)

    def is_wanted_or_known(value: str) -> bool:
        return answers[value] if len(value) <= _KEPT_CHARACTERS else is_wanted(value)

    def holds(event: AnyEvent) -> bool:
        values = (value_of(event, name) for name in names)
        return any(is_wanted_or_known(each) for each in values if each is not None)

    return holds


def _rule_of(event: AnyEvent) -> str:
    return value_of(event, "RuleName") or "-"


def _rule(text: str) -> Holds:
    """Return the test for a rule whose name holds one of some texts, or for any."""
    if not text:
        return lambda event: _rule_of(event) != "-"
    wanted = [_any_text(fold(each)) for each in text.split(",")]

    def holds(event: AnyEvent) -> bool:
        rule = fold(_rule_of(event))
        return rule != "-" and any(each(rule) for each in wanted)

    return holds


def _any_text(text: str) -> Callable[[str], bool]:
    pattern = _pattern(text)
    if pattern is None:
        return lambda value: text in value
    search = pattern.search
    return lambda value: search(value) is not None


def _level(text: str) -> Holds:
    if text.lower() not in LEVELS[1:]:
        raise WordError(f"level:{text}: one of {', '.join(LEVELS[1:])}")
    enough = LEVELS[LEVELS.index(text.lower()) :]
    return lambda event: level_of(_rule_of(event)) in enough


def _event(text: str) -> Holds:
    wanted: set[int] = set()
    for word in text.split(","):
        found = {
            event.id
            for event in EVENT_BY_ID.values()
            if fold(word) in (str(event.id), fold(event.tag or "-"), fold(event.title))
        }
        if not found:
            raise WordError(f"event:{word}: neither an event's id nor its name")
        wanted |= found
    return lambda event: event.event_id in wanted
