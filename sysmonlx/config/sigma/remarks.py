# SPDX-License-Identifier: MIT
"""Remarks on rules that can find nothing on Linux, or not what their author meant."""

from __future__ import annotations

from collections.abc import Iterator

from sysmonlx.config.lint_names import HOSTS
from sysmonlx.config.sigma.outline import Outline, leaves_of
from sysmonlx.config.sigma.sources import LogSource
from sysmonlx.rules.conditions import Atom, Operation, Test
from sysmonlx.schema.event_types import PathOf
from sysmonlx.schema.events import EVENT_BY_ID

_TEXT_OPERATIONS = {
    *(Operation.IS, Operation.CONTAINS, Operation.BEGIN, Operation.END),
}
_CASED_OPERATIONS = {
    *(Operation.CASED_IS, Operation.CASED_CONTAINS),
    *(Operation.CASED_BEGIN, Operation.CASED_END),
}


def remarks_of(source: LogSource, outline: Outline) -> Iterator[tuple[int, str]]:
    """Yield lines and remarks, each remark once a line."""
    if source.missing_here:
        events = " and ".join(map(str, source.event_ids))
        yield 0, f"it never matches here: event {events} is not reported on Linux"
    seen: set[tuple[int, str]] = set()
    for leaf, negated in leaves_of(outline):
        is_positive = leaf.test.negated == negated
        for text in _of_test(source, leaf.test, is_positive=is_positive):
            if (leaf.line, text) not in seen:
                seen.add((leaf.line, text))
                yield leaf.line, text


def _of_test(source: LogSource, test: Test, *, is_positive: bool) -> Iterator[str]:
    is_missing = [each.operation is Operation.MISSING for each in test.atoms]
    if is_positive and source.is_always_missing(test.field) and not any(is_missing):
        yield f"{test.field} is always '-' on Linux: the test is never true"
    if is_positive and test.field in HOSTS and not any(is_missing):
        yield f"{test.field} is '-' unless DnsLookup is on"
    if all(_is_ours(each, test.field) for each in source.event_ids):
        yield f"{test.field} is there only where <sx:Fields> has it"
    for atom in test.atoms:
        yield from _of_atom(source, test.field, atom)
        if is_positive and test.field in _SCRIPTS and _is_script(atom):
            yield _script_form(source, test.field, atom)


#: Endings of the names of scripts.
_SCRIPT_ENDS = (
    *(".sh", ".bash", ".zsh", ".py", ".pl", ".rb", ".php", ".lua", ".js", ".awk"),
)
#: Of a field with the path of a program the one with that of its script.
_SCRIPTS = {"Image": "ScriptPath"}
_MODIFIERS = {
    **dict.fromkeys((Operation.IS, Operation.CASED_IS), ""),
    **dict.fromkeys((Operation.END, Operation.CASED_END), "|endswith"),
    Operation.GLOB: "",
}


def _is_script(atom: Atom) -> bool:
    return atom.operation in _MODIFIERS and atom.operand.endswith(_SCRIPT_ENDS)


def _script_form(source: LogSource, field: str, atom: Atom) -> str:
    """Return a remark on an atom that asks for a script where Image is asked.

    Image is the interpreter then; the remark names the field that has the script.
    """
    text, other = f"{atom.operand!r:.80}", _SCRIPTS[field]
    about = f"{field} is the interpreter where a script is run"
    if not any(_is_ours(each, other) for each in source.event_ids):
        return f"{about}: {text} is no program that is compiled, most often"
    key = f"{other}{_MODIFIERS[atom.operation]}"
    return f"{about}; {key}: {text} asks for it, where <sx:Fields> has {other}"


def _is_ours(event_id: int, name: str) -> bool:
    return any(field.name == name for field in EVENT_BY_ID[event_id].appended)


def _of_atom(source: LogSource, field: str, atom: Atom) -> Iterator[str]:
    if atom.operation in _TEXT_OPERATIONS | _CASED_OPERATIONS:
        shown = f"{atom.operand!r:.80}"
        if "\0" in atom.operand:
            yield f"{shown} has a NUL byte: no text has one"
        elif not atom.operand:
            yield f"{field} is never empty: what is missing is null"
        elif atom.operand == "-" and atom.operation is Operation.IS:
            yield f"{field} '-' is what is missing: ask for null"
        elif "\\" in atom.operand and _is_path(source, field):
            yield f"{shown} has a backslash: paths have / on Linux"
    if atom.operation in _TEXT_OPERATIONS and _has_other_letters(atom.operand):
        yield f"{atom.operand!r:.80}: only letters A to Z are compared in either case"


def _has_other_letters(text: str) -> bool:
    return not text.isascii() and any(
        not each.isascii() and each.lower() != each.upper() for each in text
    )


def _is_path(source: LogSource, name: str) -> bool:
    fields = (field for each in source.event_ids for field in EVENT_BY_ID[each].fields)
    return any(each.name == name and isinstance(each.path, PathOf) for each in fields)
