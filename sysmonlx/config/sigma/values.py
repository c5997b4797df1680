# SPDX-License-Identifier: MIT
"""Values of Sigma, as pySigma read them, to tests of one field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import singledispatch

from sigma import types

from sysmonlx.config.sigma.notes import RuleError
from sysmonlx.config.sigma.sources import HASHES
from sysmonlx.rules.conditions import Atom, Operation, Test, fold

#: Whether a test is negated, and its one question.
Question = tuple[bool, Atom]

_ANY_RUN = types.SpecialChars.WILDCARD_MULTI
_MISSING = Atom(Operation.MISSING, "")
_CASED = {
    Operation.IS: Operation.CASED_IS,
    Operation.CONTAINS: Operation.CASED_CONTAINS,
    Operation.BEGIN: Operation.CASED_BEGIN,
    Operation.END: Operation.CASED_END,
}
_COMPARISONS = {
    types.CompareOperators.LT: Operation.NUMBER_LT,
    types.CompareOperators.LTE: Operation.NUMBER_LTE,
    types.CompareOperators.GT: Operation.NUMBER_GT,
    types.CompareOperators.GTE: Operation.NUMBER_GTE,
}
#: Characters that mean something in a regular expression.
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
_FLAGS = re.compile(r"\(\?([a-zA-Z]+)\)")


def questions_of(value: types.SigmaType) -> list[Question]:
    """Return the questions of which one must be true.

    Raises:
        RuleError: the value cannot be asked for here.
    """
    if isinstance(value, types.SigmaExpansion):
        return [each for part in value.values for each in questions_of(part)]
    return [_question(value)]


@singledispatch
def _question(value: types.SigmaType) -> Question:
    raise RuleError(f"values of {type(value).__name__} are not known")


@_question.register
def _string(value: types.SigmaString) -> Question:
    parts = _parts_of(value)
    if parts and all(each is _ANY_RUN for each in parts):
        return True, _MISSING
    is_cased = isinstance(value, types.SigmaCasedString)
    operation, text = _plain_form(parts)
    if operation is None:
        pattern = _expression(parts) if is_cased else fold(_glob(parts))
        return False, Atom(Operation.REGEX if is_cased else Operation.GLOB, pattern)
    if is_cased:
        return False, Atom(_CASED[operation], text)
    return False, Atom(operation, fold(text))


def _parts_of(value: types.SigmaString) -> list[str | types.SpecialChars]:
    """Return texts and wildcards; one wildcard for each run of `*`."""
    found: list[str | types.SpecialChars] = []
    for part in value.s:
        if isinstance(part, types.Placeholder):
            raise RuleError(f"the placeholder %{part.name}% has no value")
        if part is _ANY_RUN and found and found[-1] is _ANY_RUN:
            continue
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        elif part != "":
            found.append(part)
    return found


def _plain_form(
    parts: list[str | types.SpecialChars],
) -> tuple[Operation | None, str]:
    """Return the operation on one text that asks the same, None where none does."""
    begins = bool(parts) and parts[0] is _ANY_RUN
    ends = len(parts) > 1 and parts[-1] is _ANY_RUN
    middle = parts[begins : len(parts) - ends]
    texts = [each for each in middle if isinstance(each, str)]
    if len(texts) < len(middle) or len(texts) > 1:
        return None, ""
    text = "".join(texts)
    if begins:
        return (Operation.CONTAINS if ends else Operation.END), text
    return (Operation.BEGIN if ends else Operation.IS), text


def _glob(parts: list[str | types.SpecialChars]) -> str:
    return "".join(
        re.sub(r"[\\*?]", r"\\\g<0>", each)
        if isinstance(each, str)
        else ("*" if each is _ANY_RUN else "?")
        for each in parts
    )


def _expression(parts: list[str | types.SpecialChars]) -> str:
    inner = "".join(
        _SPECIAL.sub(r"\\\g<0>", each)
        if isinstance(each, str)
        else (".*" if each is _ANY_RUN else ".")
        for each in parts
    )
    return f"(?s)^{inner}$"


@_question.register
def _regular(value: types.SigmaRegularExpression) -> Question:
    if value.contains_placeholder():
        raise RuleError("a placeholder in a regular expression has no value")
    pattern = str(value.regexp)
    flags = {value.sigma_to_re_flag[each] for each in value.flags}
    while found := _FLAGS.match(pattern):  # Python's module wants all of them in one
        flags |= set(found[1])
        pattern = pattern[found.end() :]
    words = f"(?{''.join(sorted(flags))})" if flags else ""
    return False, Atom(Operation.REGEX, words + pattern)


@_question.register
def _cidr(value: types.SigmaCIDRExpression) -> Question:
    return False, Atom(Operation.CIDR, str(value.network))


@_question.register
def _compare(value: types.SigmaCompareExpression) -> Question:
    operation = _COMPARISONS.get(value.op)
    if operation is None:
        raise RuleError(f"the comparison {value.op.name} is not known")
    return False, Atom(operation, f"{Decimal(repr(value.number.number)):f}")


@_question.register
def _same(value: types.SigmaFieldReference) -> Question:
    begins = "*" if value.ends_with else ""
    ends = "*" if value.starts_with else ""
    return False, Atom(Operation.SAME_AS, f"{begins}{value.field}{ends}")


@_question.register
def _exists(value: types.SigmaExists) -> Question:
    return bool(value), _MISSING


@_question.register
def _null(_: types.SigmaNull) -> Question:
    return False, _MISSING


@_question.register
def _time(value: types.SigmaTimestampPart) -> Question:
    raise RuleError(f"parts of times are not asked for: {value.timestamp_part.name}")


@_question.register
def _number(value: types.SigmaNumber) -> Question:
    return False, Atom(Operation.IS, fold(str(value)))


@_question.register
def _boolean(value: types.SigmaBool) -> Question:
    return False, Atom(Operation.IS, "true" if value else "false")


def tests_of_any(field: str, questions: Iterable[Question]) -> Iterator[Test]:
    """Yield tests of which one must be true, for questions of which one must be."""
    found = list(dict.fromkeys(questions))
    if atoms := tuple(atom for negated, atom in found if not negated):
        yield Test(field, atoms)
    for negated, atom in found:
        if negated:
            yield Test(field, (atom,), negated=True)


def of_hash(name: str, question: Question) -> Question:
    """Return a question about one hash as one about Hashes, `MD5=...,SHA256=...`.

    Raises:
        RuleError: there is no such question.
    """
    negated, atom = question
    prefix = f"{name}="
    if atom.operation is Operation.MISSING:
        return not negated, Atom(Operation.CONTAINS, prefix)
    text = fold(atom.operand)
    is_whole = atom.operation is Operation.IS and len(text) == HASHES[name]
    if not is_whole and atom.operation is not Operation.BEGIN:
        raise RuleError(
            f"{name} is compared as a whole, {HASHES[name]} digits, or by startswith:"
            " for anything else use Hashes|contains"
        )
    return negated, Atom(Operation.CONTAINS, prefix + text)
