# SPDX-License-Identifier: MIT
"""Rules that are valid and yet cannot do what they say on Linux."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sysmonlx.errors import Finding
from sysmonlx.policy import Compound, Element, Filter
from sysmonlx.schema.event_types import PathOf
from sysmonlx.schema.events import EVENTS, FILE_CREATE, PRODUCED

#: Fields that hold the path of a file, and which kind of file it is.
_PATHS = {
    field.name: field.path for event in EVENTS for field in event.fields if field.path
}
_EXACT = frozenset({"is", "is any", "image", "begin with"})
_POSITIVE = _EXACT | {"contains", "contains any", "contains all", "end with"}
_LISTS = frozenset({"is any", "contains any", "contains all"})
#: How many lines of the configuration one warning lists.
_SHOWN_LINES = 12


def check(elements: Sequence[Element], links: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a warning for each reason for which an element cannot work.

    `links` maps directories that are symbolic links to where they lead, for example
    {"/bin": "/usr/bin"}: the kernel names a program by its real path.
    """
    first: dict[str, Element] = {}
    including = {each.tag for each in elements if each.onmatch == "include"}
    for element in elements:
        earlier = first.get(element.tag)
        first.setdefault(element.tag, element)
        if not PRODUCED.isdisjoint(element.event_ids):
            yield from _never_true(element, links)
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


def _never_true(element: Element, links: Mapping[str, str]) -> Iterator[Finding]:
    reasons: dict[str, list[int]] = {}
    for each in _filters(element):
        if reason := _reason(each, links):
            reasons.setdefault(reason, []).append(each.line)
    for reason, lines in reasons.items():
        rest = len(lines) - _SHOWN_LINES
        shown = ", ".join(map(str, lines[:_SHOWN_LINES]))
        more = f" and {rest} more" if rest > 0 else ""
        yield Finding(
            f"Warning: {element.tag} has conditions that can never match on Linux:"
            f" {reason}",
            lines[0],
            1,
            f"line {shown}{more}",
            fatal=False,
        )


def _filters(element: Element) -> Iterator[Filter]:
    for item in element.items:
        if isinstance(item, Compound):
            yield from item.filters
        else:
            yield item


def _reason(each: Filter, links: Mapping[str, str]) -> str:
    if each.field not in _PATHS or each.condition not in _POSITIVE:
        return ""
    values = each.value.split(";") if each.condition in _LISTS else [each.value]
    found = [_value_reason(each, value, links) for value in values]
    if each.condition == "contains all":
        return next(filter(None, found), "")
    return found[0] if all(found) else ""


def _value_reason(each: Filter, value: str, links: Mapping[str, str]) -> str:
    if "\\" in value:
        return "a path with a backslash"
    if _PATHS[each.field] is PathOf.PROGRAM and value.lower().endswith(".exe"):
        return "an image that ends with .exe"
    if each.condition in _EXACT and _PATHS[each.field] is not PathOf.DIRECTORY:
        for folder, target in links.items():
            if value.startswith(f"{folder}/"):
                return f"{folder} is a link, programs show as {target}/..."
    return ""
