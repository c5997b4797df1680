# SPDX-License-Identifier: MIT
"""One Sigma rule as a Python function: `def hit(values)`, true or false.

Cheap questions come first. Questions that need more than a word of Python are asked by
functions `q0`, `q1`, ..., which `questions.answer_of` makes of the atoms listed.
"""

from __future__ import annotations

from collections.abc import Mapping

from sysmonlx.rules.clauses import Expression, tests_of
from sysmonlx.rules.conditions import Atom, Operation, Test, fold
from sysmonlx.rules.sigma.questions import FOLDED_FORM, MISSING_VALUE, UNFOLDED

#: What a question costs, a look-up being 1.
_COST = {
    Operation.IS: 1,
    Operation.CASED_IS: 1,
    Operation.MISSING: 1,
    Operation.BEGIN: 2,
    Operation.END: 2,
    Operation.CASED_BEGIN: 2,
    Operation.CASED_END: 2,
    Operation.CONTAINS: 3,
    Operation.CASED_CONTAINS: 3,
    Operation.SAME_AS: 4,
    Operation.NUMBER_LT: 9,
    Operation.NUMBER_LTE: 9,
    Operation.NUMBER_GT: 9,
    Operation.NUMBER_GTE: 9,
    Operation.CIDR: 9,
    Operation.GLOB: 30,
    Operation.REGEX: 1000,
}

_WORDS = {
    Operation.IS: "{0} == {1}",
    Operation.CONTAINS: "{1} in {0}",
    Operation.BEGIN: "{0}.startswith({1})",
    Operation.END: "{0}.endswith({1})",
}

#: What SAME_AS asks, by whether `*` stands before and behind the field's name.
_SAME_AS = {
    (False, False): Operation.IS,
    (False, True): Operation.BEGIN,
    (True, False): Operation.END,
    (True, True): Operation.CONTAINS,
}


class RuleSource:
    """The source code of one rule for one event type.

    `text` calls a function for each question: `q0`, `q1` and so on. `asked` has the
    atoms that these answer, in the order of their numbers.
    """

    def __init__(self, expression: Expression, positions: Mapping[str, int]) -> None:
        self._positions = positions
        self._asked: dict[Atom, int] = {}
        self._locals: dict[str, str] = {}
        text = self._expression(expression)
        folds = [f"    {name} = {value}\n" for name, value in self._locals.items()]
        self.text = f"def hit(values):\n{''.join(folds)}    return {text}\n"
        self.asked = tuple(self._asked)

    def _expression(self, part: Expression) -> str:
        if isinstance(part, Test):
            return self._test(part)
        parts = sorted(part.parts, key=cost_of)
        word = " and " if part.need_all else " or "
        text = word.join(map(self._expression, parts))
        return f"({text})" if text else str(part.need_all)

    def _test(self, test: Test) -> str:
        atoms = sorted(
            dict.fromkeys(test.atoms), key=lambda atom: _COST[atom.operation]
        )
        texts = [self._atom(test.field, atom) for atom in atoms]
        text = (" and " if test.need_all else " or ").join(texts) or str(test.need_all)
        return f"not ({text})" if test.negated else f"({text})"

    def _atom(self, field: str, atom: Atom) -> str:
        if atom.operation is Operation.MISSING:
            return f"{self._text(field, is_folded=False)} == {MISSING_VALUE!r}"
        is_folded = atom.operation not in UNFOLDED
        name = self._text(field, is_folded=is_folded)
        if atom.operation is Operation.SAME_AS:
            return self._same(name, atom.operand)
        operand = fold(atom.operand) if is_folded else atom.operand
        words = _WORDS.get(FOLDED_FORM.get(atom.operation, atom.operation))
        if words is None:
            number = self._asked.setdefault(atom, len(self._asked))
            return f"q{number}({name})"
        text = words.format(name, repr(operand))
        if operand in ("", MISSING_VALUE):  # of no other text is a missing field one
            return f"({name} != {MISSING_VALUE!r} and {text})"
        return text

    def _same(self, name: str, operand: str) -> str:
        """Return whether a text is, begins with, ends with or has that of a field."""
        other = self._text(other_field(operand), is_folded=True)
        form = (operand[:1] == "*", operand[-1:] == "*")
        words = _WORDS[_SAME_AS[form]].format(name, other)
        return f"({MISSING_VALUE!r} not in ({name}, {other}) and {words})"

    def _text(self, field: str, *, is_folded: bool) -> str:
        """Return the name of a local variable that has the text of a field."""
        position = self._positions[field]
        name = f"f{position}" if is_folded else f"v{position}"
        value = f"values[{position}]"
        self._locals[name] = f"fold({value})" if is_folded else value
        return name


def other_field(operand: str) -> str:
    """Return the field that an operand of SAME_AS names."""
    return operand.strip("*")


def cost_of(expression: Expression) -> int:
    """Return what it costs to ask all of an expression."""
    return sum(
        _COST[atom.operation] for t in tests_of([expression]) for atom in t.atoms
    )
