# SPDX-License-Identifier: MIT
"""Memory for answers that recur, whatever hostile programs ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class CacheUse(NamedTuple):
    """How often a memory had the answer, how often not, and the entries it has now."""

    hits: int
    misses: int
    kept: int


class Bounded(dict[Key, Value]):
    """A dictionary with at most `limit` entries; before one too many it forgets all.

    Item assignment keeps the limit; `update` and `setdefault` do not. A look-up that
    finds its key costs what it costs in any dictionary. A subclass with `__missing__`
    makes the values itself.
    """

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __setitem__(self, key: Key, value: Value) -> None:
        if len(self) >= self.limit and key not in self:
            self.clear()
        super().__setitem__(key, value)


class Answers(Bounded[Key, Value]):
    """Answers of `ask` by what is asked; a question that is not kept yet is asked."""

    __slots__ = ("_ask",)

    def __init__(self, ask: Callable[[Key], Value], limit: int) -> None:
        super().__init__(limit)
        self._ask = ask

    def __missing__(self, key: Key) -> Value:
        self[key] = answer = self._ask(key)
        return answer


class Recent(Generic[Key, Value]):
    """A memory of at most `limit` entries, in which those stay that are used.

    Entries are kept in two halves. When the present half is full it becomes the one
    before, and what nobody asked for since it was so is forgotten.
    """

    __slots__ = ("_before", "_half", "_present")

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._present: dict[Key, Value] = {}
        self._before: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """Return the value of a key, None where there is none."""
        value = self._present.get(key)
        if value is None and self._before:
            value = self._before.pop(key, None)
            if value is not None:
                self[key] = value
        return value

    def __setitem__(self, key: Key, value: Value) -> None:
        if len(self._present) >= self._half and key not in self._present:
            self._before, self._present = self._present, {}
        self._before.pop(key, None)
        self._present[key] = value

    def __contains__(self, key: Key) -> bool:
        return key in self._present or key in self._before

    def __len__(self) -> int:
        return len(self._present) + len(self._before)

    def clear(self) -> None:
        """Forget all."""
        self._present, self._before = {}, {}
