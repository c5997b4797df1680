# SPDX-License-Identifier: MIT
"""Fields of ours of event 1, against what the processes themselves say."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.running import Daemon, Event

from sysmonlx.schema.events import APPENDED

pytestmark = pytest.mark.kernel

TRUE = os.path.realpath("/bin/true")
NOBODY = 65534


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    fields = f"<Fields>{','.join(APPENDED)}</Fields>"
    rules = '<ProcessCreate onmatch="exclude"/>'
    with Daemon(tmp_path_factory.mktemp("root"), rules, fields, "") as made:
        yield made


def started(watch: Daemon, pid: int, image: str = "") -> Event:
    """Return the last start of a process, of this image if one is given."""
    found = [
        event
        for event in watch.settle()
        if (event["EventID"], event.get("ProcessId")) == ("1", str(pid))
        and image in ("", event["Image"])
    ]
    return found[-1]


def run(*words: str, **more: object) -> int:
    process = subprocess.Popen(words, **more)  # type: ignore[call-overload]  # any options
    process.communicate()
    return int(process.pid)


def test_rights_of_a_set_user_id_program(watch: Daemon, tmp_path: Path) -> None:
    program = tmp_path / "su"
    shutil.copy(TRUE, program)
    for directory in tmp_path.parents:
        if directory.name.startswith("pytest-"):
            directory.chmod(0o755)
    tmp_path.chmod(0o755)
    program.chmod(0o4755)
    event = started(watch, run(os.fspath(program), user=NOBODY))
    assert event["UserId"] == str(NOBODY)
    assert event["EffectiveUser"] == "root"
    bounding = Path("/proc/self/status").read_text().partition("CapBnd:")[2].split()[0]
    assert event["Capabilities"] == bounding
    plain = started(watch, run(TRUE, user=NOBODY))
    assert plain["EffectiveUser"] == plain["User"]
    assert plain["Capabilities"] == "0" * 16


def test_script_is_named_and_a_program_is_none(watch: Daemon, tmp_path: Path) -> None:
    script = tmp_path / "a script"
    script.write_text(f"#!{TRUE}\n")
    script.chmod(0o755)
    event = started(watch, run(os.fspath(script)))
    assert (event["Image"], event["ScriptPath"]) == (TRUE, os.fspath(script))
    event = started(watch, run("./a script", cwd=tmp_path))
    assert event["ScriptPath"] == os.fspath(script)
    fd = os.open(TRUE, os.O_RDONLY)
    assert started(watch, run(f"/dev/fd/{fd}", pass_fds=(fd,)))["ScriptPath"] == "-"
    os.close(fd)
    assert started(watch, run(TRUE))["ScriptPath"] == "-"


VARIABLES = ("LD_LIBRARY_PATH", "PYTHONPATH", "GCONV_PATH", "GLIBC_TUNABLES")


def test_variables_are_found_wherever_they_stand(watch: Daemon) -> None:
    others = {f"X{number}": "y" * (number % 300) for number in range(2000)}
    wanted = {name: f"/none:{name.lower()}" for name in VARIABLES}
    near = {"LD_PRELOA": "1", "XLD_PRELOAD": "2", "LD_PRELOADS": "3", "PYTHONPATHS": ""}
    pid = run(TRUE, env=near | others | wanted)
    event = started(watch, pid)
    assert event["Environment"] == "; ".join(f"{k}={v}" for k, v in wanted.items())
    assert started(watch, run(TRUE, env={"A": "b"}))["Environment"] == "-"
    assert started(watch, run(TRUE, env={}))["Environment"] == "-"
    assert started(watch, run(TRUE, env={"PYTHONPATH": ""}))["Environment"] == (
        "PYTHONPATH="
    )


def test_variable_behind_a_large_one_and_within_it(watch: Daemon) -> None:
    """A part of a large variable that looks like one of ours is none."""
    large = "A" * 1020 + "LD_AUDIT=/no" + "B" * 100_000
    event = started(watch, run(TRUE, env={"X": large, "PYTHONPATH": "/p"}))
    assert event["Environment"] == "PYTHONPATH=/p"


@pytest.mark.parametrize("count", [4, 40])
def test_variable_too_long_or_too_often_is_told_to_be_cut(
    watch: Daemon, count: int
) -> None:
    long = started(watch, run(TRUE, env={"PYTHONPATH": "x" * 5000}))["Environment"]
    assert long.startswith("PYTHONPATH=xxx")
    assert long.endswith("x...")
    # The same variable over and over, which no program does, and then another.
    code = (
        "import ctypes\n"
        f"many = [b'PYTHONPATH=' + b'y' * 1000] * {count}\n"
        "many += [b'LD_LIBRARY_PATH=/z', None]\n"
        "kind = ctypes.c_char_p * len(many)\n"
        f"words = (ctypes.c_char_p * 2)(b'true', None)\n"
        f"ctypes.CDLL(None).execve({TRUE.encode()!r}, words, kind(*many))\n"
    )
    event = started(watch, run(sys.executable, "-c", code), TRUE)
    assert event["Environment"].endswith("...")


def test_variable_behind_too_many_is_told_to_be_missing(watch: Daemon) -> None:
    code = (
        "import ctypes\n"
        "many = [b'a'] * 20000 + [b'PYTHONPATH=/z', None]\n"
        "kind = ctypes.c_char_p * len(many)\n"
        f"words = (ctypes.c_char_p * 2)(b'true', None)\n"
        f"ctypes.CDLL(None).execve({TRUE.encode()!r}, words, kind(*many))\n"
    )
    event = started(watch, run(sys.executable, "-c", code), TRUE)
    assert event["Environment"] == "..."


def test_pid_in_its_namespace_session_and_entry(watch: Daemon) -> None:
    inner = started(watch, run("/usr/bin/unshare", "--pid", "--fork", TRUE))
    forked = [
        e for e in watch.events() if e.get("ParentProcessId") == inner["ProcessId"]
    ]
    assert forked[0]["NamespacePid"] == "1"
    assert inner["NamespacePid"] == inner["ProcessId"]
    alone = started(watch, run(TRUE, start_new_session=True))
    assert alone["SessionLeader"] == TRUE
    assert alone["EntryPoint"] in ("init", "sshd", "console", "container", "cron", "-")


def test_mounts_are_those_of_who_made_their_namespace(watch: Daemon) -> None:
    assert started(watch, run(TRUE, user=NOBODY))["MountOwner"] == "root"
    own = f"mount --bind /bin/sh {TRUE} && exec {TRUE} -c :"
    words = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", own)
    process = subprocess.run(words, user=NOBODY, check=False, capture_output=True)
    if process.returncode:
        pytest.skip("users may make no user namespaces here")
    pid = run(*words, user=NOBODY)
    forged = started(watch, pid, TRUE)
    assert (forged["MountOwner"], forged["CommandLine"]) == (
        forged["User"],
        f"{TRUE} -c :",
    )


def test_terminal_has_its_name(watch: Daemon) -> None:
    primary, secondary = pty.openpty()
    name = os.ttyname(secondary).removeprefix("/dev/")
    code = f"import fcntl, os, termios; fcntl.ioctl({secondary}, termios.TIOCSCTTY, 0);"
    code += f"os.execv({TRUE!r}, ['true'])"
    words = (sys.executable, "-c", code)
    pid = run(*words, start_new_session=True, pass_fds=(secondary,))
    assert started(watch, pid, TRUE)["TerminalName"] == name
    assert started(watch, run(TRUE, start_new_session=True))["TerminalName"] == "-"
    os.close(primary)
    os.close(secondary)
