# SPDX-License-Identifier: MIT
"""Calls that a thread makes hold nothing of their owners afterwards."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from sysmonlx.host.file_calls import Call


class Owner:
    """Holds the call that it has made, as an update of the rules does."""

    def __init__(self, *, fails: bool) -> None:
        self._fails = fails
        self.call = Call(self.work)

    def work(self) -> int:
        if self._fails:
            raise OSError(5, "Input/output error")
        return 7


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("fails", [False, True])
def test_owner_of_an_ended_call_goes_without_the_collector(*, fails: bool) -> None:
    owner = Owner(fails=fails)
    owner.call.make()
    left = weakref.ref(owner)
    del owner
    assert left() is None


def test_error_of_a_call_tells_its_place() -> None:
    owner = Owner(fails=True)
    owner.call.make()
    with pytest.raises(OSError, match="Input/output") as raised:
        owner.call.result()
    assert raised.traceback[-1].name == "work"
