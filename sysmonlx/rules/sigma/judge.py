# SPDX-License-Identifier: MIT
"""The Sigma rules of one event type as the daemon runs them.

`forms` makes them as plain data, most often in another process. The data hold code that
is run: they may come from this program only.

A bit of a number stands for each rule, the lowest for the severest. An event that comes
again with the same texts has its answer from memory. For any other the sieves of the
fields find which guards are there (`guards`), and the rules of those alone are asked.
"""

from __future__ import annotations

import marshal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from sysmonlx.bounded import Bounded
from sysmonlx.rules.conditions import fold
from sysmonlx.rules.plain_form import PlainAtom, atom_of
from sysmonlx.rules.sigma.correlator import Link, PlainLink
from sysmonlx.rules.sigma.questions import answer_of
from sysmonlx.rules.text_index import LENGTH_LIMIT, TEXTS_LIMIT, Sieve, SieveForm

#: Id, title, level, the name that RuleName shows, and the author.
Head: TypeAlias = tuple[str, str, str, str, str]
#: The code that defines the function of a rule, marshalled, and what answers it needs.
Code: TypeAlias = tuple[bytes, tuple[PlainAtom, ...]]
#: The place of a field in the texts, whether its texts come again with others beside
#: them, the sieve of its guards, and, by the number of an atom's bit, the rules that it
#: is a guard of.
Sieved: TypeAlias = tuple[int, bool, SieveForm, tuple[int, ...]]


class JudgeForm(NamedTuple):
    """The rules of one event type as plain data.

    Attributes:
        heads: Of the rules, the severest first.
        codes: Of the same rules.
        positions: Of the values that are looked at, two at least.
        sieves: For the fields with guards.
        unguarded: The bits of rules that are always asked.
        recurs: Whether events may come again with the same texts.
        include: The bits of rules that report an event unless it is excluded.
        always: The bits of rules that report an event whatever else.
        shown: The bits of rules that name events; the others are but steps.
        links: Which rules are steps of correlations.
    """

    heads: tuple[Head, ...]
    codes: tuple[Code, ...]
    positions: tuple[int, ...]
    sieves: tuple[Sieved, ...]
    unguarded: int
    recurs: bool
    include: int
    always: int
    shown: int
    links: tuple[PlainLink, ...]


#: Events whose answers are kept, and how many characters their texts may have.
_EVENTS_LIMIT, _CHARACTERS_LIMIT = 1024, 1000
#: Combinations of hits whose texts are kept.
_TEXTS_KEPT = 256
#: The most names and bytes of RuleNames.
NAMES_LIMIT, NAMES_BYTES = 16, 4096
SEPARATOR = " | "


class Hits(NamedTuple):
    """What an event is called after some rules: the severest, all, their numbers.

    The two texts are empty where all the rules are but steps of correlations.
    """

    severest: str
    names: str
    numbers: tuple[int, ...]


class SigmaJudge:
    """Answers which rules are true of an event, and counts the hits of each.

    `find` takes the values of an event and returns the bits of the rules.
    """

    def __init__(self, form: JudgeForm) -> None:
        """Take what `forms.judge_form` made."""
        self.heads = form.heads
        self.include, self.always = form.include, form.always
        self.shown = form.shown
        self.links = tuple(Link(*each) for each in form.links)
        """Which rules are steps of correlations."""
        self.noted: tuple[int, str] | None = None
        """Hits of the last event that had some and is reported, and its name by
        Sysmon's rules, where there are links; who looks at it takes it away."""
        self.counts = [0] * len(form.heads)
        """Events that each rule named, or, of a step, was true of."""
        self.last_s = [0.0] * len(form.heads)
        """When each rule named an event, seconds since the epoch; 0: never."""
        self.named = 0
        """Events that were named."""
        self._texts = _Texts(form.heads, form.shown)
        texts_of = itemgetter(*form.positions)
        self._asked = ask = _Asked(form)
        self.find: Callable[[Sequence[str]], int]
        if form.recurs:
            self.find = lambda values: ask[texts_of(values)]
        else:
            self.find = lambda values: ask.answer(texts_of(values))

    @property
    def errors(self) -> int:
        """Questions that failed by an error in this program."""
        return self._asked.errors

    @property
    def use(self) -> Use:
        """What the rules cost, by the events that were measured."""
        return self._asked.use

    def name(self, hits: int) -> Hits:
        """Return what an event with these hits is called; count them."""
        found = self._texts[hits]
        now_s = time.time()
        self.named += found.severest != ""
        for number in found.numbers:
            self.counts[number] += 1
            self.last_s[number] = now_s
        return found

    def go_on_from(self, before: SigmaJudge) -> None:
        """Go on counting where the judge of the same events before this ended."""
        known = {head[:2]: number for number, head in enumerate(before.heads)}
        for number, head in enumerate(self.heads):
            if head[:2] in known:
                self.counts[number] = before.counts[known[head[:2]]]
                self.last_s[number] = before.last_s[known[head[:2]]]
        self.named, self._asked.errors = before.named, before.errors
        self._asked.use.asked = before.use.asked


class _Texts(Bounded[int, Hits]):
    """The names for the bits of some hits."""

    __slots__ = ("_heads", "_shown")

    def __init__(self, heads: Sequence[Head], shown: int) -> None:
        super().__init__(_TEXTS_KEPT)
        self._heads, self._shown = heads, shown

    def __missing__(self, hits: int) -> Hits:
        names = [self._heads[number][3] for number in bits(hits & self._shown)]
        severest = names[0] if names else ""
        self[hits] = found = Hits(severest, joined(names), tuple(bits(hits)))
        return found


def joined(names: Sequence[str]) -> str:
    """Return names as RuleNames shows them, `+N more` for those without room."""
    room, shown = NAMES_BYTES - 2 * len(SEPARATOR) - len("+99999 more") - 256, 0
    for name in names[:NAMES_LIMIT]:
        room -= len(name.encode("utf-8", "surrogatepass")) + len(SEPARATOR)
        if room < 0:
            break
        shown += 1
    more = len(names) - shown
    parts = [name.replace("|", "/") for name in names[:shown]]
    return SEPARATOR.join([*parts, f"+{more} more"] if more else parts)


def bits(number: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, the lowest first."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


@dataclass(slots=True)
class Use:
    """What the rules of one event type cost, by measuring one event in `MEASURED_EACH`.

    `asked` counts the events that the rules were asked of: those without an answer in
    memory. `measured` of them were measured, and took `measured_ns` of processor time.
    For each rule by its number: how many measured events got as far as the rule
    (`candidates`), and what the rule took then in nanoseconds (`rules_ns`).
    """

    candidates: list[int]
    rules_ns: list[int]
    asked: int = 0
    measured: int = 0
    measured_ns: int = 0


#: One event in so many is measured.
MEASURED_EACH = 256


class _Asked(Bounded[tuple[str, ...], int]):
    """The bits of the rules that are true, by the texts of an event."""

    __slots__ = ("_functions", "_sieves", "_unguarded", "errors", "use")

    def __init__(self, form: JudgeForm) -> None:
        super().__init__(_EVENTS_LIMIT)
        self._functions = _Functions(form.codes)
        self._sieves = [
            (at, (_Remembered if recurs else _Guarded)(sieve, rules))
            for at, recurs, sieve, rules in form.sieves
        ]
        self._unguarded = form.unguarded
        self.errors = 0
        self.use = Use([0] * len(form.heads), [0] * len(form.heads))

    def __missing__(self, texts: tuple[str, ...]) -> int:
        hits = self.answer(texts)
        if sum(map(len, texts)) <= _CHARACTERS_LIMIT:
            self[texts] = hits
        return hits

    def answer(self, texts: tuple[str, ...]) -> int:
        """Return the bits for texts that are not known."""
        use = self.use
        use.asked = asked = use.asked + 1
        if not asked % MEASURED_EACH:
            return self._measured(texts)
        candidates = self._unguarded
        for at, guarded in self._sieves:
            candidates |= guarded[texts[at]]
        return self._true_of(candidates, texts) if candidates else 0

    def _measured(self, texts: tuple[str, ...]) -> int:
        """Return what `answer` returns, and note in `use` how long it took."""
        use, hits, begun_ns = self.use, 0, time.thread_time_ns()
        candidates = self._unguarded
        for at, guarded in self._sieves:
            candidates |= guarded[texts[at]]
        at_ns = time.thread_time_ns()
        for number in bits(candidates):
            hits |= self._true_of(1 << number, texts)
            before_ns, at_ns = at_ns, time.thread_time_ns()
            use.candidates[number] += 1
            use.rules_ns[number] += at_ns - before_ns
        use.measured += 1
        use.measured_ns += at_ns - begun_ns
        return hits

    def _true_of(self, candidates: int, texts: tuple[str, ...]) -> int:
        hits = 0
        while candidates:
            lowest = candidates & -candidates
            candidates ^= lowest
            try:
                if self._functions[lowest](texts):
                    hits |= lowest
            except Exception:  # the event is reported all the same, and this counted
                self.errors += 1
        return hits


class _Guarded:
    """The rules of which a guard is in a text as printed."""

    __slots__ = ("_rules", "_sieve")

    def __init__(self, form: SieveForm, rules: tuple[int, ...]) -> None:
        self._sieve = Sieve(form)
        self._rules = rules

    def __getitem__(self, text: str) -> int:
        found = self._sieve(fold(text))
        rules = 0
        while found:
            lowest = found & -found
            found ^= lowest
            rules |= self._rules[lowest.bit_length() - 1]
        return rules


class _Remembered(Bounded[str, int]):
    """The same, kept for texts that are not long."""

    __slots__ = ("_guarded",)

    def __init__(self, form: SieveForm, rules: tuple[int, ...]) -> None:
        super().__init__(TEXTS_LIMIT)
        self._guarded = _Guarded(form, rules)

    def __missing__(self, text: str) -> int:
        rules = self._guarded[text]
        if len(text) <= LENGTH_LIMIT:
            self[text] = rules
        return rules


#: Takes the texts that the rules look at.
_Function = Callable[[Sequence[str]], bool]


class _Functions(dict[int, _Function]):
    """The function of each rule by its bit, made when it is first asked.

    What answers its questions is made when they are: they are its dearest, and most
    events are decided before. The library of regular expressions takes 2 MB.
    """

    def __init__(self, codes: Sequence[Code]) -> None:
        super().__init__()
        self._codes = codes

    def __missing__(self, bit: int) -> _Function:
        code, atoms = self._codes[bit.bit_length() - 1]
        names: dict[str, Callable[..., bool]] = {}
        space: dict[str, object] = {"fold": fold}
        for number, plain in enumerate(atoms):
            space[f"q{number}"] = _asked_first(space, f"q{number}", plain)
        exec(marshal.loads(code), space, names)
        self[bit] = function = names["hit"]
        return function


def _asked_first(
    space: dict[str, object], name: str, plain: PlainAtom
) -> Callable[[str], bool]:
    """Return what answers a question once, and puts what does from then on there."""

    def answer(text: str) -> bool:
        space[name] = made = answer_of(atom_of(plain))
        return made(text)

    return answer
