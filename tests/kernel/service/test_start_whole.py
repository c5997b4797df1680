# SPDX-License-Identifier: MIT
"""A start that fails, at whatever call, gives back all that it had made until then."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from support.running import wait_until

from sysmonlx.config.child import read_data
from sysmonlx.config.command_line import CommandLineOptions
from sysmonlx.policy import Policy
from sysmonlx.service.daemon import start
from sysmonlx.service.installed import Paths
from sysmonlx.service.wiring import Options

pytestmark = pytest.mark.kernel

#: Functions called by `start` and by what it calls are failed, one at a time.
DEPTH = 3
RULES = """
    <ProcessCreate onmatch="include">
      <Image condition="end with">/true</Image>
    </ProcessCreate>
    <FileCreate onmatch="include">
      <TargetFilename condition="contains">nothing</TargetFilename>
    </FileCreate>
"""


class InjectedError(Exception):
    """A failure that nobody expects."""


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    text = (
        f'<Sysmon schemaversion="4.90"><EventFiltering>{RULES}</EventFiltering>'
        '<Settings xmlns="urn:sysmonlx:settings">'
        f'<Sink kind="file" form="json">{tmp_path}/log.json</Sink></Settings></Sysmon>'
    )
    policy = read_data(text.encode(), "start", CommandLineOptions()).policy
    assert policy is not None
    return policy


@pytest.fixture
def options(tmp_path: Path) -> Iterator[Options]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    paths = Paths(root)
    paths.create_private()
    yield Options(paths, drops_capabilities=False)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def failing(at: int) -> Iterator[Callable[[], int]]:
    """Fail the first call of function `at` of a start; yield how many there were."""
    depth = 0
    called: list[str] = []

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal depth
        if frame.f_code is start.__code__:
            depth = 1
            return inside
        if not depth or depth > DEPTH or not is_counted(frame):
            return None
        name = frame.f_code.co_qualname
        if name not in called:
            called.append(name)
            if len(called) == at:
                sys.settrace(None)  # what gives back is not to fail
                raise InjectedError(f"in {name}")
        depth += 1
        return inside

    def inside(_: FrameType, event: str, __: object) -> Any:
        nonlocal depth
        if event == "return":
            depth -= 1
        return inside

    sys.settrace(trace)
    try:
        yield lambda: len(called)
    finally:
        sys.settrace(None)


def is_counted(frame: FrameType) -> bool:
    """Tell whether a call is one of a function of ours: no lambda, no comprehension."""
    name = frame.f_code.co_name
    return "sysmonlx" in frame.f_code.co_filename and not name.startswith("<")


def held() -> dict[str, int]:
    """Return what this process holds of the system."""
    gc.collect()
    maps = Path("/proc/self/maps").read_text().splitlines()
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "mappings of BPF": sum("bpf-map" in line for line in maps),
        "threads": len(os.listdir("/proc/self/task")),
    }


def test_start_that_fails_at_any_call_leaves_nothing(
    policy: Policy, options: Options
) -> None:
    start(policy, options).close()  # what a process needs once is there now
    wait_until(lambda: held()["threads"] == 1)
    before = held()
    with failing(0) as calls:
        daemon = start(policy, options)
    assert held() != before
    daemon.close()
    wait_until(lambda: held() == before)
    assert calls() > 40
    for at in range(1, calls() + 1):
        with pytest.raises(InjectedError) as caught, failing(at):
            start(policy, options)
        del caught
        wait_until(lambda: held() == before)
        assert signal.set_wakeup_fd(-1) == -1, at
        assert not options.paths.control_socket.exists(), at
