# SPDX-License-Identifier: MIT
"""Where nothing happens the daemon takes 0.1 % of a core at most, whatever was before.

What other programs of the machine do costs the daemon time of its own. So what it does
every second is measured by itself as well, in a daemon that runs in this very process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.running import UNLIMITED, Daemon, wait_until

from sysmonlx.config.child import read_data
from sysmonlx.config.command_line import CommandLineOptions
from sysmonlx.service.daemon import Daemon as InProcess
from sysmonlx.service.daemon import start
from sysmonlx.service.installed import Paths
from sysmonlx.service.wiring import Options

pytestmark = pytest.mark.kernel

#: 0.1 % of a core.
SHARE = 0.001
#: A daemon that sleeps is looked at for so long; more records make no machine idle.
WINDOW_S, WINDOWS, RECORDS = 10.0, 6, 20
#: A round of chores is done so often, `PAUSE_S` apart: caches are cold then.
TIMES, ROUNDS, PAUSE_S = 10, 4, 0.1
#: More users than are looked at or told in one second.
USERS = 1500

#: Every program stays attached, and nothing is reported; each process has its user
#: looked up.
RULES = """
    <ProcessCreate onmatch="include"><User condition="is">nobody at all</User>
    </ProcessCreate>
    <ProcessTerminate onmatch="include"/>
    <FileCreate onmatch="include"><User condition="is">nobody at all</User></FileCreate>
    <FileDelete onmatch="include"><User condition="is">nobody at all</User></FileDelete>
    <NetworkConnect onmatch="include"><User condition="is">nobody at all</User>
    </NetworkConnect>
    <ProcessAccess onmatch="include"><SourceUser condition="is">nobody at all
    </SourceUser></ProcessAccess>
"""

#: Processes of many users, each of which makes a file and a connection.
STORM = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0), backlog=100)
for uid in range(20_000, 20_000 + int(sys.argv[1])):
    if not os.fork():
        os.setuid(uid)
        path = f"{sys.argv[2]}/{uid}"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        os.unlink(path)
        socket.create_connection(listener.getsockname()).close()
        os.execv("/bin/true", ["true"])
    listener.accept()[0].close()
    os.wait()
"""


@contextmanager
def storm() -> Iterator[subprocess.Popen[bytes]]:
    """Let many users do something, each in a process of their own."""
    with tempfile.TemporaryDirectory() as work:
        os.chmod(work, 0o777)
        process = subprocess.Popen([sys.executable, "-c", STORM, str(USERS), work])
        yield process
        assert process.wait() == 0


def cpu_ns(pid: int) -> int:
    """Return the processor time of all threads of a process, those ended included."""
    return time.clock_gettime_ns((~pid << 3) | 2)  # clock_getcpuclockid(3)


def received(daemon: Daemon) -> int:
    """Return how many records the daemon has taken."""
    return sum(each["received"] for each in daemon.stats()["records"].values())


def idle_share(daemon: Daemon) -> float:
    """Return the least part of a core that a daemon took while nothing happened."""
    shares = []
    for _ in range(WINDOWS):
        records = received(daemon)
        time.sleep(1)  # the question has its own cost
        begun_ns = cpu_ns(daemon.process.pid)
        time.sleep(WINDOW_S)
        share = (cpu_ns(daemon.process.pid) - begun_ns) / (WINDOW_S * 1e9)
        if received(daemon) - records <= RECORDS:
            shares.append(share)
            if share < SHARE:
                break
    if not shares:
        pytest.skip(f"this machine never makes less than {RECORDS} records")
    return min(shares)


def test_a_daemon_is_idle_when_nothing_happens(daemon: Callable[..., Daemon]) -> None:
    started = daemon(RULES)
    assert idle_share(started) < SHARE
    with storm():
        pass
    assert idle_share(started) < SHARE


@pytest.fixture
def inner(tmp_path: Path) -> Iterator[InProcess]:
    """A daemon in this process, one sink of which nobody reads."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    paths = Paths(root)
    paths.create_private()
    os.mkfifo(root / "fifo")
    text = (
        f'<Sysmon schemaversion="4.90"><EventFiltering>{RULES}</EventFiltering>'
        '<Settings xmlns="urn:sysmonlx:settings">'
        f'<Sink kind="file" form="json">{root}/log</Sink>'
        f'<Sink kind="file" form="json">{root}/fifo</Sink>{UNLIMITED}'
        "</Settings></Sysmon>"
    )
    policy = read_data(text.encode(), "idle", CommandLineOptions()).policy
    assert policy is not None
    made = start(policy, Options(paths, drops_capabilities=False))
    yield made
    made.parts.capture.detach_all()
    made.close()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def take_all(daemon: InProcess) -> None:
    """Take what is in the ring buffer."""
    while daemon.parts.capture.ring.fill():
        daemon.reader.work()
        daemon.parts.pipeline.take_hashes()


def has_taken_all(daemon: InProcess) -> bool:
    """Take what is in the ring buffer; say whether nothing of it waits for a hash."""
    take_all(daemon)
    return not daemon.parts.pipeline.held


def knows_all_users(daemon: InProcess) -> bool:
    """Take what another thread found out; say whether each user was looked up."""
    daemon.parts.users.renew()
    return len(daemon.parts.users.names) > USERS


def seconds_ns(daemon: InProcess) -> float:
    """Return what a second costs where nothing happens, in ns of all threads.

    A round of chores is due every `chores_s` seconds then, and looks at each program.
    """
    total = 0
    for _ in range(TIMES):
        take_all(daemon)
        daemon.reader.quiet = 9
        time.sleep(PAUSE_S)
        begun_ns = time.process_time_ns()
        daemon.chores.do_all()
        total += time.process_time_ns() - begun_ns
    assert daemon.reader.is_at_rest
    return total / TIMES / daemon.reader.chores_s()


def test_what_is_due_every_second_costs_little(inner: InProcess) -> None:
    assert min(seconds_ns(inner) for _ in range(ROUNDS)) < SHARE * 1e9
    with storm() as process:
        while process.poll() is None:
            take_all(inner)
            time.sleep(0.01)
    wait_until(lambda: has_taken_all(inner))
    wait_until(lambda: knows_all_users(inner))
    assert min(seconds_ns(inner) for _ in range(ROUNDS)) < SHARE * 1e9
