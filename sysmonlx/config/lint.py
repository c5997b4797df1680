# SPDX-License-Identifier: MIT
"""Rules that are valid and yet do not do what they say on Linux.

`lint_values` tells what one condition amounts to. Here its findings are joined: one
warning for each event element and reason, with the lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sysmonlx.config.lint_values import NOTHING, Doubt, Judge, Links
from sysmonlx.finding import Finding
from sysmonlx.policy import Compound, Element, Filter, Settings
from sysmonlx.schema.events import (
    EVENT_BY_ID,
    FILE_CREATE,
    PROCESS_TAMPERING,
    PRODUCED,
)

#: How many lines of the configuration one warning lists.
_SHOWN_LINES = 12
#: The words between the event and the reason.
_DOUBTS = {
    Doubt.NEVER: "has conditions that can never match on Linux",
    Doubt.ALWAYS: "has conditions that match every event",
    Doubt.ODD: "has conditions that may not mean what they look like",
}


def check(
    elements: Sequence[Element], settings: Settings, links: Links = NOTHING
) -> Iterator[Finding]:
    """Yield a warning for each reason for which an element cannot work."""
    first: dict[str, Element] = {}
    including = {each.tag for each in elements if each.onmatch == "include"}
    for element in elements:
        earlier = first.get(element.tag)
        first.setdefault(element.tag, element)
        if not PRODUCED.isdisjoint(element.event_ids):
            yield from _doubtful(element, settings, links)
            if not earlier:
                yield from _absent(element, links)
            if earlier and element.tag not in including:
                yield _shadowed(element, earlier)
        elif not earlier:
            yield Finding(
                f"Warning: {element.tag} events are not produced on Linux",
                element.line,
                1,
                "its rules are kept and never match",
                fatal=False,
            )


def _absent(element: Element, links: Links) -> Iterator[Finding]:
    """Yield a warning where this machine cannot have the events of an element."""
    for event_id in element.event_ids:
        if (why := links.absent.get(event_id)) is not None:
            yield Finding(
                f"Warning: {element.tag} events do not occur on this machine",
                element.line,
                1,
                f"{why}; the rules are kept and work where it has",
                fatal=False,
            )


def check_writes(elements: Sequence[Element]) -> Iterator[Finding]:
    """Yield a warning where WriteAsCreate would report nothing, or all writing."""
    mine = [each for each in elements if FILE_CREATE.id in each.event_ids]
    if not mine:
        yield Finding(
            "Warning: WriteAsCreate without rules for FileCreate reports nothing",
            1,
            1,
            "name the files in a FileCreate element with onmatch='include'",
            fatal=False,
        )
    including = [each for each in mine if each.onmatch == "include"]
    fields = {each.field for element in including for each in _filters(element)}
    if mine and "TargetFilename" not in fields:
        yield Finding(
            "Warning: WriteAsCreate without rules that include a TargetFilename: every"
            " program that opens a file for writing is reported",
            mine[0].line,
            1,
            "name the files in a FileCreate element with onmatch='include'",
            fatal=False,
        )


#: Values of Type of ProcessTampering that a setting must be on for, and that setting.
_TYPES_BY_SETTING = {
    "Mass file change": ("MassChange", "mass_change"),
    "Anonymous memory made executable": ("ExecutableMemory", "executable_memory"),
}


def check_tampering(
    elements: Sequence[Element], settings: Settings
) -> Iterator[Finding]:
    """Yield a warning where a setting reports nothing, or a rule needs one."""
    mine = [each for each in elements if PROCESS_TAMPERING.id in each.event_ids]
    asked = {
        each.value: each.line
        for element in mine
        if element.onmatch == "include"
        for each in _filters(element)
        if each.field == "Type" and each.condition == "is"
    }
    for text, (name, attribute) in _TYPES_BY_SETTING.items():
        is_on = getattr(settings, attribute)
        if is_on and not mine:
            yield Finding(
                f"Warning: {name} without rules for ProcessTampering reports nothing",
                1,
                1,
                f"ask for Type '{text}' in an element with onmatch='include'",
                fatal=False,
            )
        if not is_on and text in asked:
            yield Finding(
                f"Warning: Type '{text}' does not occur while {name} is off",
                asked[text],
                1,
                f"set {name} to true in the settings, or leave out the condition",
                fatal=False,
            )


def _shadowed(element: Element, earlier: Element) -> Finding:
    tag = element.tag
    return Finding(
        f"Warning: second exclude element of {tag}: two or more elements and no match:"
        " not emitted",
        element.line,
        1,
        f"all {tag} events are suppressed, as in Sysmon; join this element with the"
        f" one in line {earlier.line}",
        fatal=False,
    )


def _doubtful(element: Element, settings: Settings, links: Links) -> Iterator[Finding]:
    events = [EVENT_BY_ID[number] for number in element.event_ids]
    judge = Judge([each for each in events if each.produced], settings, links)
    found: dict[tuple[Doubt, str], list[int]] = {}
    for each in _filters(element):
        if (reason := judge.doubt(each)) is not None:
            found.setdefault(reason, []).append(each.line)
    for line, name in _unseen_names(element):
        why = f"{name} is never the RuleName: the same condition stands before it"
        found.setdefault((Doubt.ODD, why), []).append(line)
    for (doubt, why), lines in found.items():
        rest = len(lines) - _SHOWN_LINES
        shown = ", ".join(map(str, lines[:_SHOWN_LINES]))
        more = f" and {rest} more" if rest > 0 else ""
        text = f"Warning: {element.tag} {_DOUBTS[doubt]}: {why}"
        yield Finding(text, lines[0], 1, f"line {shown}{more}", fatal=False)


def _unseen_names(element: Element) -> Iterator[tuple[int, str]]:
    """Yield line and name of each condition that an earlier, equal one hides.

    Where conditions on one field are alternatives, the first that holds gives its name.
    """
    seen: dict[tuple[str, str, str], str] = {}
    for each in element.items if element.onmatch == "include" else ():
        if isinstance(each, Filter):
            key = (each.field, each.condition, each.value)
            if each.name != seen.setdefault(key, each.name) and each.name:
                yield each.line, each.name


def _filters(element: Element) -> Iterator[Filter]:
    for item in element.items:
        if isinstance(item, Compound):
            yield from item.filters
        else:
            yield item
