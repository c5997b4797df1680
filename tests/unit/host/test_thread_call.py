# SPDX-License-Identifier: MIT
"""A call beside the caller: its end can be polled for, and its errors are raised."""

from __future__ import annotations

import os
import select
import signal
import threading
from typing import Any

import pytest
from support.leftovers import nothing_stays_open

from sysmonlx.host.thread_call import ThreadCall

DEADLINE_S = 20.0


def is_readable(call: ThreadCall[Any], timeout_s: float) -> bool:
    return bool(select.select([call.fileno()], [], [], timeout_s)[0])


def test_descriptor_is_readable_when_the_call_has_ended() -> None:
    gate = threading.Event()
    call = ThreadCall(lambda: gate.wait() and "done")
    assert not is_readable(call, 0.05)
    assert not call.has_ended()
    gate.set()
    assert is_readable(call, DEADLINE_S)
    assert call.has_ended(DEADLINE_S)
    assert call.result() == "done"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(call.fileno())


def test_error_of_the_call_is_raised_by_result() -> None:
    def fail() -> None:
        raise ValueError("no")

    call = ThreadCall(fail)
    assert is_readable(call, DEADLINE_S)
    with pytest.raises(ValueError, match="no"):
        call.result()


def test_no_signal_comes_to_the_thread() -> None:
    call = ThreadCall(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    assert is_readable(call, DEADLINE_S)
    blocked = call.result() or set()
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGHUP} <= blocked


def test_without_a_thread_there_is_an_error_and_no_descriptor_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with nothing_stays_open(), pytest.raises(OSError, match="can't start new thread"):
        ThreadCall(lambda: None)
