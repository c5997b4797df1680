# SPDX-License-Identifier: MIT
"""An event between two stages: its values, and how they are to be rendered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

Value = TypeVar("Value")


class Picker(Protocol):
    """Picks some values of an event, always those at the same positions."""

    def __call__(self, values: Sequence[Value], /) -> tuple[Value, ...]:
        """Return the picked ones, in the order of the picker."""


class Shape:
    """Tells the renderer that events 1 are alike but for the values that `own` picks.

    Events with one and the same `Shape` object share a pre-rendered line, in which all
    other values stand already; `processes.launches` explains it with an example.
    `has_plain_rest` says whether those other values are `kernel_text.is_plain`.
    `recurs`: an event of it was printed before.
    """

    __slots__ = ("__weakref__", "has_plain_rest", "own", "recurs")

    def __init__(self, own: Picker, has_plain_rest: bool) -> None:
        self.own = own
        self.has_plain_rest = has_plain_rest
        self.recurs = False


#: Event id; the texts of its fields in the order of the schema; whether these texts are
#: all `kernel_text.is_plain`; the shape, or None. With a shape, the third member speaks
#: of the values that `Shape.own` picks only.
Event = tuple[int, Sequence[str], bool, Shape | None]


class Held:
    """An event that waits in the queue of its process; see `pipeline.waiting`.

    `is_waiting`: its own hash is not known yet. An event that is not waiting itself
    stands behind one that is. `is_decided`: the rules have let it pass; else they are
    asked when the hash is known. `is_plain` is the third member of `Event`. `tell`
    enters the hash and what else a file tells; None: the hash of event 1.
    """

    __slots__ = (
        *("event_id", "is_decided", "is_plain", "is_waiting", "queue", "tell"),
        "values",
    )

    def __init__(
        self,
        event: tuple[int, list[str], bool],
        queue: deque[Held],
        *,
        is_decided: bool,
    ) -> None:
        self.event_id, self.values, self.is_plain = event
        self.queue = queue
        self.is_waiting = False
        self.is_decided = is_decided
        self.tell: Callable[[list[str], str], None] | None = None
