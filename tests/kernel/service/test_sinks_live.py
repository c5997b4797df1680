# SPDX-License-Identifier: MIT
"""The real daemon and a log daemon that stalls, goes away, and comes back."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kernel.service.test_rsyslog import RSYSLOGD, Rsyslog, install_drop_in
from lxml import etree
from support.installed import Installation, removed_afterwards
from support.running import DEADLINE_S, EVERYTHING, wait_until

from sysmonlx.policy import DEFAULT_LIMITS_BYTES

pytestmark = pytest.mark.kernel

SINK_LOSS = re.compile(r"Events: (\d+) lost \(sink: ")


@pytest.fixture
def rsyslog(
    tmp_path: Path, require: Callable[[str, bool, str], None]
) -> Iterator[Rsyslog]:
    require("rsyslog", RSYSLOGD is not None, "rsyslogd is not installed")
    folder = tmp_path / "rsyslog"
    (folder / "rsyslog.d").mkdir(parents=True)
    rsyslog = Rsyslog(folder)
    install_drop_in(rsyslog)
    yield rsyslog
    rsyslog.end()


@pytest.fixture
def installed(tmp_path: Path, rsyslog: Rsyslog) -> Iterator[Installation]:
    """A daemon that writes XML to syslog, and JSON to the file that tests read."""
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    sink = f'<Sink kind="syslog" form="xml">{rsyslog.socket}</Sink>'
    with removed_afterwards(Installation(root, EVERYTHING, sink)) as made:
        yield made


def numbers(lines: list[str]) -> list[int]:
    return [
        int(etree.fromstring(line).findtext("System/EventRecordID") or -1)
        for line in lines
    ]


def same_as_file(installed: Installation, rsyslog: Rsyslog) -> bool:
    """Tell whether syslog got what the file has by now, in the same order."""
    expected = [int(event["EventRecordID"]) for event in installed.events()]
    return numbers(rsyslog.lines())[: len(expected)] == expected


def work(count: int, marker: str) -> None:
    loop = (
        f'i=0; while [ $i -lt {count} ]; do /bin/true "{marker}-$i"; i=$((i+1)); done'
    )
    subprocess.run(["/bin/sh", "-c", loop], check=True)


def time_of(act: Callable[[], None]) -> float:
    start = time.monotonic()
    act()
    return time.monotonic() - start


def test_every_line_reaches_a_real_rsyslogd(
    installed: Installation, rsyslog: Rsyslog
) -> None:
    rsyslog.start()
    installed.install()
    long = "&" * 9000
    subprocess.run(["/bin/true", long, "é\n<Event>\x1b]\udcff"], check=True)
    installed.settle()
    installed.call("-u")
    wait_until(lambda: same_as_file(installed, rsyslog))
    lines = rsyslog.lines()
    limit_bytes = DEFAULT_LIMITS_BYTES["syslog"]
    assert limit_bytes - 100 < max(map(len, lines)) <= limit_bytes
    for line, event in zip(lines, installed.events(), strict=True):
        data = {
            each.get("Name"): each.text or ""
            for each in etree.fromstring(line).iterfind("EventData/Data")
        }
        fields = {
            name: value
            for name, value in event.items()
            if name not in ("EventID", "EventRecordID")
        }
        assert data.keys() == fields.keys()
        for name, text in data.items():
            head, dots, tail = text.partition("&...&")
            is_shorter = dots and len(line) > limit_bytes - 100
            whole = fields[str(name)]
            if is_shorter and text != whole:
                assert whole.startswith(f"{head}&")
                assert whole.endswith(f"&{tail}")
            else:
                assert text == whole


def test_stalled_log_daemon_stalls_nothing_and_gets_all_later(
    installed: Installation, rsyslog: Rsyslog
) -> None:
    rsyslog.start()
    installed.install()
    work(1, "before")
    wait_until(lambda: bool(rsyslog.lines()))
    times_s = []
    for _ in range(4):  # in pairs, since the machine may be busy for a while
        rsyslog.signal(signal.SIGSTOP)
        stalled_s = time_of(lambda: work(200, "stalled"))
        events = installed.settle()  # while nobody reads the socket
        assert installed.stats()["spooled_bytes"] > 0
        rsyslog.signal(signal.SIGCONT)
        times_s.append((stalled_s, time_of(lambda: work(200, "again"))))
    lines = [each.get("CommandLine", "") for each in events]
    assert sum(each.startswith("/bin/true stalled-") for each in lines) == 800
    wait_until(lambda: same_as_file(installed, rsyslog))
    wait_until(lambda: installed.stats()["spooled_bytes"] == 0)
    assert installed.stats()["sinks"] == {"lost": {}, "trouble": []}
    assert any(stalled_s < 3 * again_s for stalled_s, again_s in times_s), times_s


def test_log_daemon_may_come_later_go_and_come_back(
    installed: Installation, rsyslog: Rsyslog
) -> None:
    installed.install()
    work(100, "absent")
    (trouble,) = installed.stats()["sinks"]["trouble"]
    assert os.fspath(rsyslog.socket) in trouble
    rsyslog.start()
    wait_until(lambda: same_as_file(installed, rsyslog))
    installed.settle()
    wait_until(lambda: same_as_file(installed, rsyslog))
    rsyslog.end()
    work(100, "gone")
    installed.settle()
    rsyslog.start()
    wait_until(lambda: same_as_file(installed, rsyslog))
    assert installed.stats()["sinks"] == {"lost": {}, "trouble": []}


def test_update_of_the_rules_keeps_what_waits(
    installed: Installation, rsyslog: Rsyslog
) -> None:
    installed.install()
    work(50, "waiting")
    installed.settle()
    text = installed.config.read_text()
    changed = text.replace(
        "<EventFiltering>", "<HashAlgorithms>MD5</HashAlgorithms><EventFiltering>"
    )
    installed.config.write_text(changed)
    result = installed.call("-c", os.fspath(installed.config))
    assert result.returncode == 0, result.stdout + result.stderr
    rsyslog.start()
    wait_until(lambda: same_as_file(installed, rsyslog))
    assert installed.stats()["sinks"]["lost"] == {}


def test_what_exceeds_the_spool_is_counted_and_reported(
    installed: Installation, rsyslog: Rsyslog
) -> None:
    text = installed.config.read_text()
    small = text.replace("</Settings>", "<SpoolLimit>65536</SpoolLimit></Settings>")
    installed.config.write_text(small)
    installed.install()
    work(300, "flood")
    installed.settle()
    report = installed.wait_for(
        lambda event: event.get("ID") == "LostEvents" and "sink" in event["Description"]
    )
    assert report["EventID"] == "255"
    time.sleep(1.5)
    assert 0 < installed.stats()["spooled_bytes"] <= 65536
    rsyslog.start()
    wait_until(lambda: installed.stats()["spooled_bytes"] == 0)
    installed.settle()
    lost = sum(installed.stats()["sinks"]["lost"].values())
    installed.call("-u")
    events = installed.events()
    wait_until(
        lambda: bool(rsyslog.lines()) and "Stopped" in rsyslog.lines()[-1], DEADLINE_S
    )
    got = numbers(rsyslog.lines())
    assert got == sorted(set(got))
    told = [
        int(number)
        for event in events
        if event.get("ID") == "LostEvents"
        for number in SINK_LOSS.findall(event["Description"])
    ]
    assert 0 < lost <= sum(told)  # what others do until the end may add some
    assert len(got) == len(events) - sum(told)


def test_stop_does_not_wait_for_a_log_daemon_that_is_stuck(
    installed: Installation, rsyslog: Rsyslog
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stuck:
        stuck.bind(os.fspath(rsyslog.socket))
        installed.install()
        work(300, "unread")
        installed.settle()
        start = time.monotonic()
        assert installed.call("-u").returncode == 0
        assert time.monotonic() - start < 20  # nobody reads, ever
    assert installed.states()[-1] == "Stopped"
