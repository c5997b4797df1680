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
