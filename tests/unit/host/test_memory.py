# SPDX-License-Identifier: MIT
from __future__ import annotations

import gc
import weakref

from sysmonlx.host import memory


class Node:
    other: Node


def test_cycles_are_freed_though_no_collector_runs() -> None:
    first, second = Node(), Node()
    first.other, second.other = second, first
    gone = weakref.ref(first)
    gc.disable()
    try:
        del first, second
        assert gone() is not None
        memory.give_back()
        assert gone() is None
    finally:
        gc.enable()


class Circle:
    """An object that knows itself: only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


def test_new_circles_are_freed_without_a_look_at_all_objects() -> None:
    generations: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            generations.append(info["generation"])

    gc.disable()
    try:
        gc.callbacks.append(note)
        new = weakref.ref(Circle())
        memory.give_back(of_new=True)
        assert new() is None
        memory.give_back()
    finally:
        gc.callbacks.remove(note)
        gc.enable()
    assert generations == [0, 2]
