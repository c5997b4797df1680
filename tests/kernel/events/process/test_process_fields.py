# SPDX-License-Identifier: MIT
"""What events 1 and 5 show: command lines, users, terminals, deep directories."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel.events.process.process_facts import NO_LOGON
from support.running import EVERYTHING, Daemon

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), EVERYTHING, "", "") as daemon:
        yield daemon


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        ([], ""),
        ([""], ""),
        (["fake argv0", "x"], "fake argv0 x"),
        (["a", "", "b", ""], "a  b "),
        (["\n"], "\n"),
    ],
)
def test_command_line_is_the_arguments_joined(
    argv: list[str], shown: str, watch: Daemon, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    _copy(program)
    _exec(str(program), argv)
    (event,) = [
        each
        for each in watch.settle()
        if each["EventID"] == "1" and each["Image"] == str(program)
    ]
    assert event["CommandLine"] == shown


def _copy(program: Path) -> None:
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)


def _exec(path: str, argv: list[str]) -> None:
    """Run a program with exactly these arguments, perhaps none."""
    code = (
        "import ctypes, sys; a = [x.encode() for x in sys.argv[2:]];"
        "v = (ctypes.c_char_p * (len(a) + 1))(*a, None);"
        "ctypes.CDLL(None).execve(sys.argv[1].encode(), v, None)"
    )
    subprocess.run([sys.executable, "-c", code, path, *argv], check=True)


@pytest.mark.parametrize(
    ("length", "cut"), [(16382, False), (16383, False), (16384, True), (100000, True)]
)
def test_command_line_is_cut_at_16383_bytes(
    length: int, cut: bool, watch: Daemon
) -> None:
    marker = uuid.uuid4().hex
    line = f"{marker} ".ljust(length, "B")
    subprocess.run(line.split(" ", 1), executable="/bin/true", check=True)
    event = watch.wait_for(lambda each: marker in each.get("CommandLine", ""))
    assert event["CommandLine"] == (line[:16380] + "..." if cut else line)


def test_terminal_is_in_the_logon_guid(watch: Daemon) -> None:
    marker = uuid.uuid4().hex
    first = pty.openpty()  # so that the next one is not number 0, which says nothing
    output = subprocess.run(
        ["script", "-qec", f"/bin/sh -c 'tty; : {marker}'", "/dev/null"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
    for fd in first:
        os.close(fd)
    number = int(output.strip().removeprefix("/dev/pts/"))
    assert number > 0
    events = [each for each in watch.settle() if marker in each.get("CommandLine", "")]
    (script,) = [each for each in events if each["CommandLine"].startswith("script ")]
    shells = [each for each in events if each is not script]
    assert shells
    key = number.to_bytes(4, "little").hex()
    assert script["LogonGuid"] == NO_LOGON
    assert {event["LogonGuid"] for event in shells} == {
        f"{{00000000-0000-0000-0000-0000{key}}}"
    }


@pytest.mark.parametrize(
    "command",
    [
        ("runuser", "-u", "nobody", "--", "/bin/true", "{marker}"),
        ("su", "-s", "/bin/sh", "nobody", "-c", "/bin/true {marker}; :"),
    ],
)
def test_program_of_another_user(command: tuple[str, ...], watch: Daemon) -> None:
    marker = uuid.uuid4().hex
    words = [word.format(marker=marker) for word in command]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    events = watch.settle()
    (event,) = [
        each for each in events if each.get("CommandLine") == f"/bin/true {marker}"
    ]
    assert (event["User"], event["LogonId"]) == ("nobody", "65534")
    ends = [each for each in events if each["EventID"] == "5"]
    (end,) = [each for each in ends if each["ProcessGuid"] == event["ProcessGuid"]]
    assert end["User"] == "nobody"


def test_deeper_path_shows_its_end(watch: Daemon, tmp_path: Path) -> None:
    marker = uuid.uuid4().hex
    code = (
        "import os\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "for level in range(20):\n"
        "    name = f'{level:02d}' + 'x' * 238\n"
        "    os.mkdir(name); os.chdir(name)\n"
        f"pid = os.spawnv(os.P_WAIT, '/bin/true', ['true', {marker!r}])\n"
        "for level in reversed(range(20)):\n"
        "    os.chdir('..'); os.rmdir(f'{level:02d}' + 'x' * 238)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    event = watch.wait_for(lambda each: each.get("CommandLine") == f"true {marker}")
    names = [f"/{level:02d}" + "x" * 238 for level in range(4, 20)]  # 4,095 bytes
    assert event["CurrentDirectory"] == "+" + "".join(names)
