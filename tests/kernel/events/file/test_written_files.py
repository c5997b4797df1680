# SPDX-License-Identifier: MIT
"""Files that exist, opened for writing: each told once (WriteAsCreate); Reason."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fuse import mounted
from support.running import Daemon
from support.watch import PYTHON, watching

pytestmark = pytest.mark.kernel

RULES = """
<FileCreate onmatch="include">
<TargetFilename condition="contains">/wanted</TargetFilename></FileCreate>
"""
SETTINGS = "<WriteAsCreate>true</WriteAsCreate><Fields>Reason</Fields>"


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("daemon") / "root"
    with watching(root, RULES, SETTINGS) as daemon:
        yield daemon


@pytest.fixture(params=["/tmp", "/dev/shm"])
def directory(request: pytest.FixtureRequest) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=request.param) as name:
        for each in ("wanted", "wanted2", "other"):
            (Path(name) / each).write_text("old")
        yield Path(name)


def run(watcher: Daemon, directory: Path, code: str) -> list[tuple[str, str]]:
    """Run Python in a directory; return the files of its events, and the reasons."""
    code = f"import os, time\n{code}"
    process = subprocess.Popen([PYTHON, "-c", code], cwd=directory)
    assert process.wait() == 0
    return [
        (event["TargetFilename"].removeprefix(f"{directory}/"), event["Reason"])
        for event in watcher.settle()
        if event["EventID"] == "11" and event["ProcessId"] == str(process.pid)
    ]


OPENS = {
    "os.O_WRONLY": "Write",
    "os.O_RDWR": "Write",
    "os.O_RDWR | os.O_CREAT": "Write",
    "os.O_WRONLY | os.O_APPEND": "Append",
    "os.O_WRONLY | os.O_TRUNC": "Truncate",
    "os.O_WRONLY | os.O_TRUNC | os.O_CREAT": "Truncate",
}


@pytest.mark.parametrize("flags", OPENS)
def test_first_open_for_writing_is_told_with_its_reason(
    watcher: Daemon, directory: Path, flags: str
) -> None:
    code = f"for _ in range(3): os.close(os.open('wanted', {flags}))"
    assert run(watcher, directory, code) == [("wanted", OPENS[flags])]


@pytest.mark.parametrize(
    "code",
    [
        "os.open('wanted', os.O_RDONLY)",
        "os.open('wanted', os.O_PATH)",
        "os.open('other', os.O_WRONLY)",
        "os.open('.', os.O_TMPFILE | os.O_RDWR)",
        "os.mkfifo('wanted.fifo'); os.open('wanted.fifo', os.O_RDWR)",
        "os.mkdir('wanted.d'); os.open('wanted.d', os.O_RDONLY)",
        "os.open('/dev/null', os.O_WRONLY)",
        "os.chmod('wanted', 0o600); os.utime('wanted')",
    ],
)
def test_nothing_else_is_told(watcher: Daemon, directory: Path, code: str) -> None:
    assert run(watcher, directory, code) == []


def test_each_file_is_told_once_for_each_image(
    watcher: Daemon, directory: Path
) -> None:
    code = (
        "write = lambda name: os.close(os.open(name, os.O_WRONLY))\n"
        "for name in ('wanted', 'wanted2', 'wanted', 'wanted2'): write(name)\n"
        "os.link('wanted', 'wanted3')\n"
        "write('wanted3')\n"
        "if not os.environ.get('AGAIN'):\n"
        "    os.unlink('wanted3'); os.environ['AGAIN'] = '1'\n"
        f"    os.execv({PYTHON!r}, ['python3', '-c', open('code').read()])\n"
    )
    (directory / "code").write_text(f"import os\n{code}")
    each = [("wanted", "Write"), ("wanted2", "Write"), ("wanted3", "Link")]
    assert run(watcher, directory, code) == each * 2


def test_every_way_to_a_name_has_its_reason(watcher: Daemon, directory: Path) -> None:
    code = (
        "os.close(os.open('wanted4', os.O_CREAT | os.O_WRONLY))\n"
        "os.close(os.open('wanted4', os.O_WRONLY))\n"
        "os.rename('wanted4', 'wanted5')\n"
        "os.link('wanted5', 'wanted6')\n"
        "os.mknod('wanted7')\n"
        "os.symlink('wanted', 'link'); os.close(os.open('link', os.O_RDWR))\n"
        "os.close(os.open('/proc/self/fd/%d' % os.open('wanted2', os.O_RDONLY),"
        " os.O_RDWR))\n"
    )
    assert run(watcher, directory, code) == [
        ("wanted4", "Create"),
        ("wanted4", "Write"),
        ("wanted5", "Rename"),
        ("wanted6", "Link"),
        ("wanted7", "Create"),
        ("wanted", "Write"),
        ("wanted2", "Write"),
    ]


def test_other_processes_and_threads(watcher: Daemon, directory: Path) -> None:
    code = (
        "import threading\n"
        "write = lambda: os.close(os.open('wanted', os.O_WRONLY))\n"
        "threads = [threading.Thread(target=write) for _ in range(4)]\n"
        "for each in threads: each.start(); each.join()\n"
    )
    assert run(watcher, directory, code) == [("wanted", "Write")]
    for _ in range(2):
        appends = ["/bin/sh", "-c", ": >>wanted; : >>wanted"]
        subprocess.run(appends, cwd=directory, check=True)
    told = [
        e["Reason"]
        for e in watcher.settle()
        if e.get("TargetFilename") == f"{directory}/wanted"
    ]
    assert told == ["Create", "Write", "Append", "Append"]


def test_file_with_the_number_of_one_that_is_gone_is_another(
    watcher: Daemon, directory: Path
) -> None:
    code = (
        "for number in range(20):\n"
        "    os.close(os.open('wanted', os.O_WRONLY))\n"
        "    os.unlink('wanted')\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        os.close(os.open('wanted', os.O_CREAT | os.O_WRONLY)); os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
    )
    assert run(watcher, directory, code) == [("wanted", "Write")] * 20


def test_requests_of_a_ring_have_their_reasons(
    watcher: Daemon, directory: Path
) -> None:
    if "io_uring_name_done" not in watcher.stats()["attached"]:
        pytest.skip("io_uring is not watched here")
    code = (
        "from support.ring import OP_LINKAT, OP_OPENAT, OP_RENAMEAT, Ring\n"
        "with Ring() as ring:\n"
        "    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_RDWR):\n"
        "        ring.name(OP_OPENAT, b'wanted', flags=flags)\n"
        "        assert ring.wait()[0] >= 0\n"
        "    ring.name(OP_LINKAT, b'wanted', b'wanted8')\n"
        "    assert ring.wait()[0] == 0\n"
        "    ring.name(OP_RENAMEAT, b'wanted8', b'wanted9')\n"
        "    assert ring.wait()[0] == 0\n"
    )
    assert run(watcher, directory, code) == [
        ("wanted", "Append"),
        ("wanted8", "Link"),
        ("wanted9", "Rename"),
    ]


def test_files_that_have_one_number_are_told_each(
    watcher: Daemon, tmp_path: Path
) -> None:
    """A file system of the attacker's says what number a file has."""
    with mounted(tmp_path / "fuse") as fuse:
        for each in ("wanted1", "wanted2"):
            fuse.add(each, b"x")
            fuse.lie(each, ino=77)
        code = "for n in '1212': os.close(os.open('wanted' + n, os.O_WRONLY))"
        found = run(watcher, fuse.path, code)
    assert found == [("wanted1", "Write"), ("wanted2", "Write")]


def test_truncate_without_an_open_is_not_seen(watcher: Daemon, directory: Path) -> None:
    code = "os.close(os.open('wanted', os.O_WRONLY | os.O_TRUNC))"
    assert run(watcher, directory, code) == [("wanted", "Truncate")]
    found = run(watcher, directory, "os.truncate('wanted2', 1)")
    assert found == [], "now it is seen"


def test_written_without_the_setting_is_none(tmp_path: Path) -> None:
    root, directory = tmp_path / "root", tmp_path
    (directory / "wanted").touch()
    with watching(root, RULES, "<Fields>Reason</Fields>") as daemon:
        code = (
            "os.close(os.open('wanted', os.O_WRONLY)); os.rename('wanted', 'wanted3')"
        )
        assert run(daemon, directory, code) == [("wanted3", "Rename")]


def test_new_configuration_has_files_told_anew(tmp_path: Path) -> None:
    """A process that runs on opens the file again, which rules now include."""
    root, directory = tmp_path / "root", tmp_path
    (directory / "wanted").touch()
    with watching(root, RULES.replace("wanted", "nothing"), SETTINGS) as daemon:
        code = (
            "import os\n"
            "for _ in (1, 2):\n"
            "    os.close(os.open('wanted', os.O_WRONLY)); print(flush=True); input()\n"
        )
        process = subprocess.Popen(
            [PYTHON, "-c", code],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        daemon.write_config(RULES, SETTINGS)
        daemon.told("-c", str(daemon.config)).check_returncode()
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        process.communicate("\n")
        files = [e["Reason"] for e in daemon.settle() if e["EventID"] == "11"]
    assert files == ["Write"]
