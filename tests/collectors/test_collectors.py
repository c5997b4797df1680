# SPDX-License-Identifier: MIT
"""The files that are shipped for collectors, with the real collectors.

syslog-ng and logrotate run in a bare root; rsyslogd is that of this machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel.service.test_rsyslog import RSYSLOGD, Rsyslog
from support.running import wait_until

from sysmonlx.output.sinks.file import FileSink
from sysmonlx.output.sinks.syslog import SyslogSink

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "sysmonlx" / "data"
ROOT = REPOSITORY / "build" / "collectors"
WALL_S = 1767607205
LINES = [b"<Event>%d</Event>" % number for number in range(50)]

#: As Debian's files: the drop-ins come before the rules of its own.
RSYSLOG_RULES = """\
global(workDirectory="{folder}")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{folder}/log")
module(load="builtin:omfile" template="RSYSLOG_TraditionalFileFormat")
include(file="{folder}/rsyslog.d/*.conf")
*.*;auth,authpriv.none {folder}/syslog
user.* {folder}/user.log
"""

SYSLOG_NG_RULES = """\
@version: 3.38
source s_src {{ unix-dgram("{folder}/log"); }};
{shipped}
destination d_all {{ file("{folder}/syslog"); }};
log {{ source(s_src); destination(d_all); }};
"""


def shipped(name: str, folder: Path) -> str:
    """Return a shipped file that writes below a folder."""
    return (DATA / name).read_text().replace("/var/log/", f"{folder}/")


def whole(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    found = re.findall(rb"^.{15} \S+ sysmon: (.*)$", path.read_bytes(), re.MULTILINE)
    return [bytes(each) for each in found]


def sent(sink: SyslogSink, path: Path) -> list[bytes]:
    """Send the lines, and return what is in a file then."""
    sink.write(LINES, WALL_S)

    def has_come() -> bool:
        sink.flush()
        return len(whole(path)) >= len(LINES)

    wait_until(has_come)
    sink.close(1)
    return whole(path)


def test_rsyslog_takes_the_file_and_stores_each_event_once(tmp_path: Path) -> None:
    (tmp_path / "rsyslog.d").mkdir()
    drop_in = tmp_path / "rsyslog.d" / "20-sysmonlx.conf"
    drop_in.write_text(shipped("rsyslog-file-sysmonlx.conf", tmp_path))
    shutil.copy(DATA / "rsyslog-sysmonlx.conf", drop_in.with_name("10-sysmonlx.conf"))
    configuration = tmp_path / "rsyslog.conf"
    configuration.write_text(RSYSLOG_RULES.format(folder=tmp_path))
    check = subprocess.run(
        [str(RSYSLOGD), "-N1", "-f", str(configuration)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stderr
    assert "error" not in check.stderr.lower(), check.stderr
    rsyslog = Rsyslog(tmp_path)
    rsyslog.start_with(configuration)
    try:
        sink = SyslogSink(str(tmp_path / "log"))
        assert sent(sink, tmp_path / "sysmon.log") == LINES
    finally:
        rsyslog.end()
    assert whole(tmp_path / "syslog") + whole(tmp_path / "user.log") == []
    assert (tmp_path / "sysmon.log").stat().st_mode & 0o777 == 0o640


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that the bare root has at the same path."""
    place = ROOT / "tmp" / "sysmonlx"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    yield place
    shutil.rmtree(place, ignore_errors=True)


def in_root(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["chroot", os.fspath(ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_syslog_ng_takes_the_file_and_stores_each_event_once(folder: Path) -> None:
    inside = Path("/tmp/sysmonlx")
    text = SYSLOG_NG_RULES.format(
        folder=inside, shipped=shipped("syslog-ng-sysmonlx.conf", inside)
    )
    (folder / "syslog-ng.conf").write_text(text)
    words = ("syslog-ng", "--no-caps", "-f", f"{inside}/syslog-ng.conf")
    check = in_root(*words, "--syntax-only")
    assert check.returncode == 0, check.stderr
    assert "error" not in check.stderr.lower(), check.stderr
    command = [
        *("chroot", os.fspath(ROOT), *words, "--foreground"),
        f"--persist-file={inside}/persist",
        f"--pidfile={inside}/pid",
        f"--control={inside}/control",
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_until((folder / "log").exists)
        sink = SyslogSink(os.fspath(folder / "log"))
        assert sent(sink, folder / "sysmon.log") == LINES
    finally:
        process.terminate()
        process.wait()
    assert whole(folder / "syslog") == []


def test_logrotate_understands_the_file_for_rsyslog(folder: Path) -> None:
    (folder / "sysmon.log").write_bytes(b"a line\n")
    inside = Path("/tmp/sysmonlx")
    text = shipped("logrotate-sysmonlx.conf", inside)
    (folder / "logrotate.conf").write_text(text)
    check = in_root("logrotate", "-d", f"{inside}/logrotate.conf")
    assert check.returncode == 0, check.stderr
    assert "error" not in check.stderr.lower(), check.stderr
    assert f"considering log {inside}/sysmon.log" in check.stderr


def test_logrotate_moves_a_file_sink_and_no_line_is_lost(folder: Path) -> None:
    page = (REPOSITORY / "docs/collectors/logrotate.md").read_text()
    (text,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    inside = Path("/tmp/sysmonlx")
    (folder / "logrotate.conf").write_text(text.replace("/var/log/", f"{inside}/"))
    folder.chmod(0o755)
    sink = FileSink(os.fspath(folder / "sysmon.json"), retry_s=0)
    lines: list[bytes] = []
    for number in range(4):
        sink.write(LINES, WALL_S)
        lines += LINES
        words = ("logrotate", "--force", "--state", f"{inside}/state")
        turned = in_root(*words, f"{inside}/logrotate.conf")
        assert turned.returncode == 0, turned.stderr
        sink.write([b"%d" % number], WALL_S)  # it goes to the file that was moved
        lines.append(b"%d" % number)
        sink.attend()
    sink.close(1)
    unpacked = b"".join(
        subprocess.run(["zcat", "-f", name], capture_output=True, check=True).stdout
        for name in (
            *sorted(map(str, folder.glob("sysmon.json.*")), reverse=True),
            str(folder / "sysmon.json"),
        )
    )
    assert unpacked.split(b"\n")[:-1] == lines
