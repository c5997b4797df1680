# SPDX-License-Identifier: MIT
"""Each test drops in a forked child: capabilities never come back."""

from __future__ import annotations

import os
import subprocess
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from sysmonlx.errors import CaptureError
from sysmonlx.host import capabilities
from sysmonlx.host.capabilities import CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, KEPT

CAP_SETPCAP = 8

pytestmark = pytest.mark.skipif(
    CAP_SETPCAP not in capabilities.effective(), reason="needs CAP_SETPCAP"
)


def status(name: str, text: str | None = None) -> int:
    text = Path("/proc/self/status").read_text() if text is None else text
    words = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    return int(words[name], 16)


def bits(numbers: frozenset[int]) -> int:
    return sum(1 << number for number in numbers)


def in_child(check: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            check()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_effective_and_bounding_are_what_the_kernel_says() -> None:
    assert bits(capabilities.effective()) == status("CapEff")
    assert bits(capabilities.bounding()) == status("CapBnd")


def test_only_what_is_kept_is_left_in_every_set() -> None:
    def check() -> None:
        wanted = KEPT & capabilities.effective()
        assert capabilities.drop() == wanted
        for name in ("CapEff", "CapPrm", "CapBnd"):
            assert status(name) == bits(wanted), name
        assert status("CapInh") == status("CapAmb") == 0
        assert status("NoNewPrivs") == 1

    in_child(check)


def test_program_started_afterwards_gets_no_more() -> None:
    def check() -> None:
        keep = frozenset({CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH})
        capabilities.drop(keep)
        shown = subprocess.check_output(["cat", "/proc/self/status"], text=True)
        assert status("CapEff", shown) & ~bits(keep) == 0
        assert status("CapBnd", shown) == bits(keep)

    in_child(check)


def test_what_was_dropped_no_longer_works_and_what_is_kept_does(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0)
    os.chown(secret, 12345, 12345)

    def check() -> None:
        capabilities.drop()
        assert secret.read_text() == "x"
        for forbidden in (
            lambda: os.chown(secret, 0, 0),
            lambda: secret.write_text("y"),
            lambda: os.setuid(12345),
            lambda: os.nice(-1),
        ):
            with pytest.raises(PermissionError):
                forbidden()

    in_child(check)


def test_missing_capabilities_are_named_and_no_error() -> None:
    def check() -> None:
        capabilities.drop(KEPT - {CAP_SYS_PTRACE})
        assert CAP_SYS_PTRACE not in capabilities.effective()
        assert capabilities.drop(KEPT) == KEPT & capabilities.effective()
        assert capabilities.drop(frozenset()) == frozenset()

    in_child(check)


def test_bounding_set_that_may_not_change_is_no_error() -> None:
    def check() -> None:
        before = status("CapBnd")
        capabilities._capset(capabilities._libc(), KEPT)
        assert capabilities.drop() == KEPT & capabilities.effective()
        assert status("CapBnd") == before

    in_child(check)


def test_threads_that_would_keep_theirs_are_an_error() -> None:
    def check() -> None:
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        before = capabilities.effective()
        with pytest.raises(CaptureError, match="other threads keep theirs"):
            capabilities.drop()
        assert capabilities.effective() == before
        stop.set()
        thread.join()

    in_child(check)


def test_thread_that_gave_up_its_own_is_no_hindrance() -> None:
    def check() -> None:
        stop, dropped = threading.Event(), threading.Event()

        def work() -> None:
            capabilities.drop_in_thread()
            dropped.set()
            stop.wait()

        thread = threading.Thread(target=work)
        thread.start()
        capabilities.drop()
        assert dropped.is_set()
        assert capabilities.effective() <= KEPT
        stop.set()
        thread.join()

    in_child(check)
