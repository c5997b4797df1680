# SPDX-License-Identifier: MIT
"""The live view of what really happens: on a terminal by own rules, and for jq."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
from support.installed import Installation
from support.live_terminal import Terminal, ended
from support.running import DEADLINE_S

pytestmark = pytest.mark.kernel

RULES = """<Sysmon schemaversion="4.90"><EventFiltering>
<ProcessCreate onmatch="exclude"/><ProcessTerminate onmatch="exclude"/>
<FileCreate onmatch="include">
<TargetFilename condition="end with" name="level=high,sigma=A trace">.trace
</TargetFilename></FileCreate></EventFiltering>
<sx:Settings xmlns:sx="urn:sysmonlx:settings"><sx:Fields>UserId</sx:Fields>
<sx:Sink kind="file">{sink}</sx:Sink></sx:Settings></Sysmon>"""


@pytest.fixture
def rules(place: Installation) -> str:
    path = place.root / "own.xml"
    path.write_text(RULES.replace(".trace\n", ".trace").format(sink=place.root / "log"))
    return os.fspath(path)


def test_a_session_by_own_rules(place: Installation, rules: str) -> None:
    """A tree with folded exits and rules; hostile names; details; nothing is left."""
    terminal = Terminal(110, 24)
    env = {**place.environment, "TERM": "xterm", "LC_ALL": "C.UTF-8", "NO_COLOR": ""}
    made = place.root / "a\x1b[2J\u202e.trace"
    command = place.command("-t", rules, f"tree:{os.getpid()}")
    script = f"/bin/true '\x1b]0;evil\x07' {'x' * 4000} end; : > '{made}'"
    try:
        with terminal.running(command, env) as pid:
            terminal.shows(lambda lines: lines[-1].startswith("── "), "status")
            terminal.model.wrapped = 0  # of what was told before
            subprocess.run(["/bin/sh", "-c", script], check=True)
            lines = terminal.shows(
                lambda lines: sum("exit " in each for each in lines) == 2, "exits"
            )
            start, *others = (each[32:] for each in lines if "root" in each)
            # a hash that takes longer than rows wait for each other makes its row late
            child, deed = sorted(others, key=lambda each: ".trace" in each)
            assert start.startswith("python3")
            assert r"/bin/true \x1b]0;evil\x07 xxx" in child
            assert child.startswith("└ ")
            assert r"a\x1b[2J\u202e.trace" in deed
            assert deed.endswith("! A trace")
            terminal.type("/ level:high\rd")
            lines = terminal.has("end with '.trace'")
            assert any("UserId" in each for each in lines)
            assert terminal.model.wrapped == 0
            terminal.type("qq")  # the details, then the view
            assert ended(pid) == 0
            terminal.has("0 lost")
            assert terminal.is_as_before()
    finally:
        terminal.close()
    assert {each.name for each in place.root.iterdir()} == {
        *("own.xml", "test.xml"),
        made.name,
    }


def test_json_lines_for_other_programs(place: Installation, rules: str) -> None:
    command = place.command("-t", "json", rules, "event:1", "cmd:*seen-by-jq*")
    watching = subprocess.Popen(
        command,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert watching.stdout is not None
    assert watching.stderr is not None
    while b"Watching" not in watching.stderr.readline():
        assert watching.poll() is None
    subprocess.run(["/bin/true", "seen-by-jq"], check=True)
    event = json.loads(watching.stdout.readline())["Event"]
    assert event["EventData"]["CommandLine"] == "/bin/true seen-by-jq"
    assert event["EventData"]["UserId"] == os.geteuid()
    watching.send_signal(signal.SIGTERM)
    out, err = watching.communicate(timeout=DEADLINE_S)
    assert (watching.returncode, out) == (0, b"")
    assert b"0 lost" in err


def test_rules_that_are_wrong_are_told_in_a_line(place: Installation) -> None:
    path = place.root / "wrong.xml"
    path.write_text("<Sysmon schemaversion='4.90'><EventFiltering><Foo/>")
    result = place.call("-t", os.fspath(path))
    assert result.returncode != 0
    assert "wrong.xml:1" in result.stderr
    assert "Traceback" not in result.stderr
