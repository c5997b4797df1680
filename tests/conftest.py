# SPDX-License-Identifier: MIT
"""Options and fixtures of all suites."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.calls import Program
from support.strategies import examples

settings.register_profile("sysmonlx", examples(100))
settings.load_profile("sysmonlx")


_PID = os.getpid()
#: Exit status of a child process that a test forked, and that raised.
CHILD_FAILED = 70


def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> None:
    """End a child of a test that raised; it would go on with the tests of its parent.

    It would also report them over the connection that both have: pytest-xdist ends the
    whole session at a second report of one test.
    """
    if os.getpid() != _PID:
        if call.excinfo is not None:
            traceback.print_exception(call.excinfo.value)
        os._exit(CHILD_FAILED)


def pytest_configure() -> None:
    """Undo what a shell does to programs in the background: ours inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite the expected lines in tests/golden; review the difference",
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def require() -> Callable[[str, bool, str], None]:
    """Skip with a reason what cannot run; fail where SYSMONLX_REQUIRE demands it."""

    def check(what: str, available: bool, reason: str) -> None:
        if available:
            return
        demanded = os.environ.get("SYSMONLX_REQUIRE", "").replace(",", " ").split()
        if what in demanded or "kernel" in demanded:
            pytest.fail(f"SYSMONLX_REQUIRE={' '.join(demanded)}: {reason}")
        pytest.skip(reason)

    return check


@pytest.fixture
def program(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Program]:
    """Return what calls the program, in an empty directory and with its own root."""
    monkeypatch.setenv("SYSMONLX_ROOT", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o022)
    yield Program(capsys)
    os.umask(before)
