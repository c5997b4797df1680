# SPDX-License-Identifier: MIT
"""The tree of processes as text: one line each, and lines for what each did."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from sysmonlx.viewer.fields import text_of
from sysmonlx.viewer.read import EventLine
from sysmonlx.viewer.terminal import safe, word
from sysmonlx.viewer.tree import Forest, Process, first_of, time_of
from sysmonlx.viewer.what import MARKS, base_name, mark, short_rule, what

#: Most items that one row shows of a process, behind one mark.
_ITEMS = 8
#: Most files of one directory that are items of their own; more are one item.
_FILES = 3
#: Levels that are indented; deeper ones say how deep they are.
_INDENTED = 24

_FILE_MARKS = frozenset((mark(11), mark(23)))


#: A quoted word, or what stands behind a word: the name of a rule. No word but a quoted
#: one holds a blank or a bracket.
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_RULE = re.compile(rf"{_QUOTED}|( \[(?:{_QUOTED}|[^\]\" ]*)\])")


def painted(line: str) -> str:
    """Return a line with the names of rules in colour."""
    return _RULE.sub(lambda m: f"\x1b[1;33m{m[1]}\x1b[0m" if m[1] else m[0], line)


def lines(forest: Forest, *, full: bool) -> Iterator[str]:
    """Yield the lines of the processes that are asked for."""
    place = ("", "")
    for depth, process in forest.walk(forest.shown()):
        day = (process.when or first_of(process.children))[:10]
        if day and (process.host, day) != place:
            place = (process.host, day)
            yield f"-- {safe(f'{day} {process.host}'.strip())} --"
        indent = "  " * min(depth, _INDENTED)
        deep = f"({depth}) " if depth > _INDENTED else ""
        yield f"{indent}{deep}{_line(process)}"
        yield from (f"{indent}  : {each}" for each in _did(process, full))


def _line(process: Process) -> str:
    image = base_name(process.image) or "?"
    who = f"{word(image)}[{word(process.pid)}]"
    parts = [process.when[11:], who, word(process.user) if process.user else ""]
    for start in process.starts:
        parts.append(" " + word(what(start)))
    if not process.starts:
        parts.append(f" ({process.beginning})")
    if process.later is not None:
        parts.append(f" then ran {word(base_name(process.later.image))}")
    lived_s = process.lived_s
    if lived_s is not None:
        parts.append(f" ended after {lived_s:.2f} s")
    elif process.end:
        parts.append(f" ended {safe(time_of(process.end)[11:])}")
    parts += [f" [{word(short_rule(rule))}]" for rule in process.rules()]
    return safe(" ".join(filter(None, parts)))


def _did(process: Process, full: bool) -> Iterator[str]:
    """Yield what a process did, a line for each mark, unless all is asked for."""
    if full:
        for event in process.events:
            yield f"{time_of(event)[11:]} {mark(event.event_id)} {_item(event)}"
        return
    by_mark: dict[str, Counter[str]] = {}
    for event in process.events:
        by_mark.setdefault(mark(event.event_id), Counter())[_item(event)] += 1
    for sign in sorted(by_mark, key=lambda each: [*MARKS.values(), "."].index(each)):
        items = by_mark[sign]
        shown = [*(_files(items) if sign in _FILE_MARKS else _counted(items))]
        more = f" ... and {len(shown) - _ITEMS} more" if len(shown) > _ITEMS else ""
        yield f"{sign} {', '.join(shown[:_ITEMS])}{more}"


def _item(event: EventLine) -> str:
    rule = text_of(event, "RuleName")
    return word(what(event)) + (f" [{word(short_rule(rule))}]" if rule else "")


def _counted(items: Counter[str]) -> Iterator[str]:
    for text, count in items.items():
        yield f"{text} x{count}" if count > 1 else text


def _files(items: Counter[str]) -> Iterator[str]:
    """Yield files, those of one directory as one item if there are many."""
    folders: dict[str, Counter[str]] = {}
    for text, count in items.items():
        folder = text.rpartition("/")[0] if text[-1:] not in '"]' else text
        folders.setdefault(folder, Counter())[text] += count
    for folder, files in folders.items():
        if len(files) <= _FILES:
            yield from _counted(files)
        else:
            names = " ".join(base_name(each) for each in [*files][:_FILES])
            yield f"{len(files)} files below {folder or '/'}: {names} ..."
