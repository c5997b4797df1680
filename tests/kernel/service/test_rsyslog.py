# SPDX-License-Identifier: MIT
"""A real rsyslogd on a private socket: what it writes is what was sent."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from lxml import etree
from support.cpu import slept_s
from support.running import DEADLINE_S, wait_until

from sysmonlx.output.render import Renderer
from sysmonlx.output.sinks.syslog import SyslogSink
from sysmonlx.policy import DEFAULT_LIMITS_BYTES

WALL_S = 1767607205
RSYSLOGD = shutil.which("rsyslogd", path="/usr/sbin:/sbin:/usr/bin")

#: As Debian's rsyslog.conf: inputs first, then the drop-ins, then where to write.
CONFIGURATION = """\
global(workDirectory="{folder}")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{folder}/log")
include(file="{folder}/rsyslog.d/*.conf" mode="optional")
action(type="omfile" file="{folder}/messages" flushInterval="1"
       template="RSYSLOG_TraditionalFileFormat")
"""

#: Back to itself over TCP, as if from a host with a name of 64 bytes.
RELAY = """\
global(localHostname="{host}")
module(load="imtcp")
input(type="imtcp" port="{port}" address="127.0.0.1" ruleset="passed")
template(name="text" type="string" string="%msg%\\n")
ruleset(name="passed") {{
    action(type="omfile" file="{folder}/passed" flushInterval="1" template="text")
}}
action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp"
       template="RSYSLOG_{template}")
"""

HOSTILE = [
    "plain",
    "a&b <\"quoted\"> 'x' ]]> </Data></EventData></Event>",
    "line\nNov 22 21:05:59 vm sysmon: <Event></Event>\r\ttab",
    "\x1b[31mred\x00\x07\x7f\x85 \u2028 \udcff\udcfe",
    "héllo wörld 日本語 emoji😀 %s %n #012 \\x0a \\041",
    " leading and trailing blanks ",
    "x" * 9000,
    "&" * 16000,
    "\udcff" * 16000,
    "é" * 30000,
]


class Rsyslog:
    """One rsyslogd of our own, which may be stopped, ended and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "log"
        self.messages = folder / "messages"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        configuration = self.folder / "rsyslog.conf"
        configuration.write_text(CONFIGURATION.format(folder=self.folder))
        self.start_with(configuration)

    def start_with(self, configuration: Path) -> None:
        """Start with a file that has the socket at its usual place."""
        pid_file = self.folder / "pid"
        command = [str(RSYSLOGD), "-n", "-f", str(configuration), "-i", str(pid_file)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_until(lambda: pid_file.exists() and self.socket.exists())

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> None:
        if self.process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            self.process.wait(DEADLINE_S)
            self.process = None

    def lines(self) -> list[str]:
        """Return the whole lines of "sysmon", without rsyslog's prefix."""
        if not self.messages.exists():
            return []
        lines = self.messages.read_bytes().split(b"\n")[:-1]  # the last may be half
        found = (
            re.fullmatch(r".{15} \S+ sysmon: (.*)", line.decode()) for line in lines
        )
        return [match[1] for match in found if match]


def carried(sink: SyslogSink, rsyslog: Rsyslog, count: int) -> list[str]:
    """Serve the sink as the daemon does until so many lines are in the file."""

    def arrived() -> bool:
        sink.flush()
        return len(rsyslog.lines()) >= count

    wait_until(arrived)
    return rsyslog.lines()


@pytest.fixture
def rsyslog(
    tmp_path: Path, require: Callable[[str, bool, str], None]
) -> Iterator[Rsyslog]:
    require("rsyslog", RSYSLOGD is not None, "rsyslogd is not installed")
    (tmp_path / "rsyslog.d").mkdir()
    rsyslog = Rsyslog(tmp_path)
    yield rsyslog
    rsyslog.end()


def install_drop_in(rsyslog: Rsyslog) -> None:
    drop_in = files("sysmonlx") / "data" / "rsyslog-sysmonlx.conf"
    (rsyslog.folder / "rsyslog.d" / "10-sysmonlx.conf").write_text(drop_in.read_text())


def hostile_lines(form: str, limit_bytes: int) -> list[bytes]:
    renderer = Renderer(form, "host1", 811, 811, 0, limit_bytes)
    guid = "{c30c9345-8ba5-695b-b805-bfc8d8550000}"
    time_text = "2026-01-05 10:00:05.201"
    return [
        renderer.line(
            5, ["-", time_text, guid, "42", text, "root"], number, WALL_S * 10**9
        )
        for number, text in enumerate(HOSTILE)
    ]


@pytest.mark.parametrize("form", ["xml", "json"])
def test_longest_lines_arrive_byte_for_byte_with_the_drop_in(
    rsyslog: Rsyslog, form: str
) -> None:
    install_drop_in(rsyslog)
    rsyslog.start()
    sink = SyslogSink(str(rsyslog.socket))
    lines = hostile_lines(form, 65535)
    assert max(map(len, lines)) > 65000
    sink.write(lines, WALL_S)
    assert carried(sink, rsyslog, len(lines)) == [line.decode() for line in lines]
    sink.close(1)


def test_lines_of_the_default_limit_fit_that_of_rsyslog(rsyslog: Rsyslog) -> None:
    rsyslog.start()
    sink = SyslogSink(str(rsyslog.socket))
    limit_bytes = DEFAULT_LIMITS_BYTES["syslog"]
    lines = hostile_lines("xml", limit_bytes)
    assert max(map(len, lines)) > limit_bytes - 20
    sink.write(lines, WALL_S)
    written = carried(sink, rsyslog, len(lines))
    assert written == [line.decode() for line in lines]
    assert all(etree.fromstring(line).tag == "Event" for line in written)
    sink.close(1)


@pytest.mark.parametrize(
    "template", ["TraditionalForwardFormat", "ForwardFormat", "SyslogProtocol23Format"]
)
def test_lines_of_the_default_limit_pass_a_second_rsyslog(
    rsyslog: Rsyslog, template: str
) -> None:
    """What is passed on has a longer header: a time with zone, a name of 64 bytes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    relay = RELAY.format(
        port=port, template=template, folder=rsyslog.folder, host="h" * 64
    )
    (rsyslog.folder / "rsyslog.d" / "relay.conf").write_text(relay)
    rsyslog.start()
    sink = SyslogSink(str(rsyslog.socket))
    lines = hostile_lines("xml", DEFAULT_LIMITS_BYTES["syslog"])
    sink.write(lines, WALL_S)
    carried(sink, rsyslog, len(lines))
    passed = rsyslog.folder / "passed"
    wait_until(lambda: passed.exists() and passed.read_bytes().count(b"\n") >= 10)
    got = [line.lstrip(b" ") for line in passed.read_bytes().splitlines()]
    assert got == lines
    sink.close(1)


def numbered(start: int, end: int) -> list[bytes]:
    return [b"<Event>%d</Event>" % number for number in range(start, end)]


def test_stalled_rsyslog_gets_everything_in_order_once_it_goes_on(
    rsyslog: Rsyslog,
) -> None:
    rsyslog.start()
    sink = SyslogSink(str(rsyslog.socket))
    sink.write(numbered(0, 5), WALL_S)
    carried(sink, rsyslog, 5)
    rsyslog.signal(signal.SIGSTOP)

    def write_all() -> None:
        for start in range(5, 5000, 45):
            sink.write(numbered(start, start + 45), WALL_S)

    assert slept_s(write_all) < 1
    assert sink.spooled_bytes > 0
    rsyslog.signal(signal.SIGCONT)
    expected = [line.decode() for line in numbered(0, 5000)]
    assert carried(sink, rsyslog, 5000) == expected
    assert (sink.delivered, sink.lost) == (5000, 0)
    sink.close(1)


def test_rsyslog_that_was_away_gets_what_fits_and_the_rest_is_counted(
    rsyslog: Rsyslog,
) -> None:
    rsyslog.start()
    sink = SyslogSink(str(rsyslog.socket), spool_limit_bytes=10_000, retry_s=0.05)
    sink.write(numbered(0, 5), WALL_S)
    carried(sink, rsyslog, 5)
    rsyslog.end()
    for start in range(5, 1005, 10):
        sink.write(numbered(start, start + 10), WALL_S)
    assert sink.fileno() is None
    assert 0 < sink.spooled_bytes <= 10_000
    kept = 1005 - sink.lost
    assert sink.losses == {"spool full": 1005 - kept}
    rsyslog.start()
    expected = [line.decode() for line in numbered(0, kept)]
    assert carried(sink, rsyslog, kept) == expected
    sink.write(numbered(2000, 2001), WALL_S)
    assert carried(sink, rsyslog, kept + 1)[-1] == "<Event>2000</Event>"
    assert sink.delivered == kept + 1
    sink.close(1)
