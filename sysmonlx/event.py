# SPDX-License-Identifier: MIT
"""What an event is between two stages: its values, and how it is to be rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Shape:
    """Events 1 that differ in some values only: the rest stands in one template.

    The template is found by this very object. `own` picks the values that differ,
    `has_plain_rest` says whether the others are `texts.is_plain`.
    """

    __slots__ = ("has_plain_rest", "own")

    def __init__(
        self, own: Callable[[Sequence[Any]], tuple[Any, ...]], has_plain_rest: bool
    ) -> None:
        self.own = own
        self.has_plain_rest = has_plain_rest


#: Event id, the fields' texts in catalogue order, whether all are `texts.is_plain`, and
#: some the shape: then that is said of its own values alone.
Event = tuple[int, Sequence[str], bool, Shape | None]
