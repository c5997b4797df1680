# SPDX-License-Identifier: MIT
"""What correlations remember: per group, the latest start that has reached each step.

Hostile programs choose how many groups there are, so their number is bounded, and each
group counts for the user whose process made it. Where there is no room the user with
the most groups gives one up, the one that nothing was added to for the longest time:
who floods loses what is its own. What was given up is counted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

#: Groups of one correlation, and of all.
GROUPS_LIMIT, ALL_LIMIT = 1024, 8192


class Chain(NamedTuple):
    """Events of the first steps, in order.

    `start_ns` is the time of the first one. `told` has a text for each, oldest first.
    """

    start_ns: int
    told: tuple[str, ...]


class _Group:
    """The chains of one group: `chains[n]` has reached n + 1 steps, or is None."""

    __slots__ = ("chains", "payer")

    def __init__(self, payer: Hashable, steps: int) -> None:
        self.payer = payer
        self.chains: list[Chain | None] = [None] * steps

    def last_start_ns(self) -> int:
        return max(each.start_ns for each in self.chains if each is not None)


class _Count:
    """How many groups there are; it knows none of them, so no circle holds them."""

    __slots__ = ("groups",)

    def __init__(self) -> None:
        self.groups = 0


class Room:
    """The room that the groups of all correlations share."""

    def __init__(self) -> None:
        self._all: list[Groups] = []
        self._count = _Count()

    def share(self, groups: Groups) -> None:
        """Let a correlation's groups count, now and later."""
        self._all.append(groups)
        self._count.groups += len(groups)
        groups.count = self._count

    def make_one(self, now_ns: int) -> None:
        """Make room for one more group."""
        if self._count.groups >= ALL_LIMIT:
            max(self._all, key=len).make_room(now_ns)


class Groups:
    """The groups of one correlation.

    `steps` is the number of chains that a group may have, `span_ns` how long after its
    start a chain may go on.
    """

    def __init__(self, steps: int, span_ns: int) -> None:
        self._steps, self._span_ns = steps, span_ns
        self._groups: dict[Hashable, _Group] = {}
        self._of_payer: dict[Hashable, OrderedDict[Hashable, None]] = {}
        self.count = _Count()
        """Of all groups in the room that these share."""
        self.forgotten = 0
        """Groups that were given up before their time was over."""
        self.payer: Hashable = None
        """Who gave up the last one."""

    def __len__(self) -> int:
        return len(self._groups)

    def chain(self, key: Hashable, step: int, now_ns: int) -> Chain | None:
        """Return the chain of a group that has reached a step and may go on now."""
        group = self._groups.get(key)
        found = None if group is None else group.chains[step]
        if found is None or now_ns - found.start_ns > self._span_ns:
            return None
        return found

    def put(
        self, key: Hashable, step: int, chain: Chain, payer: Hashable, room: Room
    ) -> None:
        """Note that a chain has reached a step; that of the latest start stays."""
        group = self._groups.get(key)
        if group is None:
            self._expire(payer, chain.start_ns)
            if len(self._groups) >= GROUPS_LIMIT:
                self.make_room(chain.start_ns)
            room.make_one(chain.start_ns)
            group = self._groups[key] = _Group(payer, self._steps)
            self.count.groups += 1
            self._of_payer.setdefault(payer, OrderedDict())[key] = None
        else:
            self._of_payer[group.payer].move_to_end(key)
        before = group.chains[step]
        if before is None or before.start_ns <= chain.start_ns:
            group.chains[step] = chain

    def make_room(self, now_ns: int) -> None:
        """Drop groups whose time is over; else forget the oldest of who has the most.

        It is counted which had no room.
        """
        before = len(self)
        self.expire(now_ns)
        if len(self) < before:
            return
        payer = max(self._of_payer, key=lambda each: len(self._of_payer[each]))
        self._drop(next(iter(self._of_payer[payer])))
        self.forgotten += 1
        self.payer = payer

    def expire(self, now_ns: int) -> None:
        """Drop the groups whose time is over, as far as they stand in front."""
        for payer in tuple(self._of_payer):
            self._expire(payer, now_ns)

    def _expire(self, payer: Hashable, now_ns: int) -> None:
        keys = self._of_payer.get(payer)
        while keys:
            key = next(iter(keys))
            if now_ns - self._groups[key].last_start_ns() <= self._span_ns:
                return
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        payer = self._groups.pop(key).payer
        self.count.groups -= 1
        keys = self._of_payer[payer]
        del keys[key]
        if not keys:
            del self._of_payer[payer]
