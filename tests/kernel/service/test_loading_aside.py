# SPDX-License-Identifier: MIT
"""Programs are loaded by a thread, into what the reader uses only afterwards."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

import pytest
from support.running import DEADLINE_S

from sysmonlx.bpf.object import BpfObject
from sysmonlx.capture import sensor
from sysmonlx.capture.loading import Loading
from sysmonlx.capture.sensor import Capture, load_capture
from sysmonlx.enrich.registry import ALL_HOOKS
from sysmonlx.errors import CaptureError, LibbpfError

pytestmark = pytest.mark.kernel


@pytest.fixture
def capture() -> Iterator[Capture]:
    made = load_capture((), 1 << 20, 1 << 18)
    made.attach_processes()
    yield made
    made.close()


def begun(capture: Capture) -> Loading:
    loading = capture.begin_loading(ALL_HOOKS)
    assert loading is not None
    return loading


def wait_for_end(loading: Loading) -> None:
    assert select.select([loading.fileno()], [], [], DEADLINE_S)[0]


def test_thread_loads_and_the_reader_attaches(capture: Capture) -> None:
    programs = set(capture.program_times())
    start_s, loading = time.thread_time(), begun(capture)
    assert time.thread_time() - start_s < 0.05
    with pytest.raises(CaptureError, match="loaded already"):
        capture.begin_loading(ALL_HOOKS)
    wait_for_end(loading)
    assert set(capture.program_times()) == programs
    capture.finish_loading()
    loaded = set(capture.program_times())
    assert loaded > programs
    capture.want(ALL_HOOKS)
    assert set(capture.program_times()) == loaded, "the reader loaded something"
    assert capture.attached() > programs & capture.attached()
    assert capture.begin_loading(ALL_HOOKS) is None


def test_loading_that_nobody_waits_for_is_used_later(capture: Capture) -> None:
    wait_for_end(begun(capture))
    assert capture.begin_loading(ALL_HOOKS) is None
    capture.want(ALL_HOOKS)
    assert capture.attached() > {"process_fork"}


def test_load_that_fails_leaves_what_was_loaded(
    capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: BpfObject) -> None:
        raise LibbpfError("bpf_object__load", 12, "Cannot allocate memory")

    attached = capture.attached()
    with monkeypatch.context() as patch:
        patch.setattr(BpfObject, "load", fail)
        wait_for_end(begun(capture))
    with pytest.raises(CaptureError, match="Cannot allocate memory"):
        capture.finish_loading()
    assert capture.attached() == attached
    wait_for_end(begun(capture))
    capture.finish_loading()
    capture.want(ALL_HOOKS)
    assert capture.attached() > attached


def test_end_while_programs_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensor, "_END_OF_LOADING_S", DEADLINE_S)
    for _ in range(3):
        made = load_capture((), 1 << 20, 1 << 18)
        made.attach_processes()
        loading = begun(made)
        made.close()
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(loading.fileno())
