# SPDX-License-Identifier: MIT
"""Memory for answers that recur, whatever hostile programs ask."""

from __future__ import annotations

from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


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
