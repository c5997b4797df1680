# SPDX-License-Identifier: MIT
"""The child that reads configurations: what it may do, and how it may end."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sysmonlx.config import child as reading
from sysmonlx.config import confinement
from sysmonlx.config.child import LIMIT_BYTES, read_data, read_file
from sysmonlx.config.command_line import CommandLineOptions
from sysmonlx.errors import SysmonlxError
from sysmonlx.host import capabilities, child_process
from sysmonlx.service import configuration
from sysmonlx.service.installed import Paths

CONFIG = b"""<Sysmon schemaversion="4.90"><EventFiltering>
<ProcessCreate onmatch="exclude"/></EventFiltering></Sysmon>"""
OPTIONS = CommandLineOptions()
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives it up")
REPOSITORY = Path(__file__).resolve().parents[3]

DEADLINE_S = 60.0

Patch = pytest.MonkeyPatch


def in_reader(monkeypatch: Patch, work: Callable[[], Any]) -> Any:
    """Return what `work` returns where a configuration would be parsed."""
    monkeypatch.setattr(reading, "_read", lambda *_: ("", json.dumps(work())))
    return json.loads(read_data(CONFIG, "a.xml", OPTIONS).text)


def refusal_of(monkeypatch: Patch, work: Callable[[], Any]) -> str:
    with pytest.raises(SysmonlxError) as caught:
        in_reader(monkeypatch, work)
    return str(caught.value)


def rights() -> dict[str, Any]:
    text = Path("/proc/self/status").read_text()
    words = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    return {
        **{name: words[name].split() for name in ("Uid", "Gid", "Groups")},
        **{name: int(words[name], 16) for name in words if name.startswith("Cap")},
        "NoNewPrivs": words["NoNewPrivs"],
        "files": [os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)],
        "open": len(os.listdir("/proc/self/fd")) - 1,  # without that of the listing
        "libraries": sorted({"lxml", "xmlschema"} & sys.modules.keys()),
        "interfaces": [name for _, name in socket.if_nameindex()],
    }


@NEEDS_ROOT
def test_reader_is_nobody_and_may_nothing(monkeypatch: Patch) -> None:
    for name in [*sys.modules]:  # other tests of this process had them
        if name.partition(".")[0] in ("lxml", "xmlschema"):
            monkeypatch.delitem(sys.modules, name)
    assert in_reader(monkeypatch, rights) == {
        "Uid": ["65534"] * 4,
        "Gid": ["65534"] * 4,
        "Groups": [],
        **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0),
        "NoNewPrivs": "1",
        "files": ["/dev/null"] * 3,
        "open": 4,
        "libraries": [],
        "interfaces": ["lo"],
    }


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda p: p.read_bytes(), id="reads"),
        pytest.param(lambda p: p.with_name("new").write_bytes(b"x"), id="writes"),
        pytest.param(lambda _: os.fork(), id="forks"),
        pytest.param(lambda _: os.kill(os.getppid(), 0), id="signals"),
        pytest.param(lambda _: os.setuid(0), id="becomes root"),
        pytest.param(
            lambda _: socket.create_connection(("127.0.0.1", 9)), id="connects"
        ),
    ],
)
@NEEDS_ROOT
def test_reader_can_do_none_of_these(
    monkeypatch: Patch, tmp_path: Path, work: Callable[[Path], Any]
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    secret.chmod(0o600)

    def tried() -> str:
        try:
            work(secret)
        except OSError as error:
            return str(error.errno)
        return "it can"

    assert in_reader(monkeypatch, tried) != "it can"


@NEEDS_ROOT
def test_where_nobody_can_read_the_program_only_that_right_is_kept(
    monkeypatch: Patch, tmp_path: Path
) -> None:
    private = tmp_path / "checkout"
    private.mkdir(mode=0o700)
    monkeypatch.setattr(
        reading,
        "confine",
        lambda pipe, names, _: confinement.confine(pipe, names, [os.fspath(private)]),
    )
    found = in_reader(monkeypatch, rights)
    read_only = 1 << capabilities.CAP_DAC_READ_SEARCH
    assert (found["CapEff"], found["CapPrm"]) == (read_only, read_only)
    assert found["Uid"] == ["65534"] * 4
    monkeypatch.undo()


@NEEDS_ROOT
def test_where_the_user_cannot_be_given_up_all_else_is() -> None:
    code = """
import sys
sys.path[:0] = sys.argv[1:]
from sysmonlx.config import child as reading
from sysmonlx.service import configuration
from sysmonlx.host import capabilities
from sysmonlx.config.command_line import CommandLineOptions
import json, pytest
from unit.config.test_confinement import CONFIG, in_reader, rights
capabilities.drop()
assert reading.read_data(CONFIG, "a.xml", CommandLineOptions()).policy is not None
print(json.dumps(in_reader(pytest.MonkeyPatch(), rights)))
"""
    command = [sys.executable, "-c", code, str(REPOSITORY), f"{REPOSITORY}/tests"]
    found = json.loads(subprocess.check_output(command))
    assert found["Uid"] == ["0"] * 4  # no CAP_SETUID, as below the unit
    assert (found["CapEff"], found["CapPrm"]) == (0, 0)
    assert found["open"] == 4


def hang() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)


def spin() -> None:
    while True:
        pass


def children_cpu_s() -> float:
    """Return the processor time of children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def starve() -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (hang, "a.xml: reading it takes more than 1 s: use fewer rules"),
        (spin, "a.xml: reading it takes more than 1 s: use fewer rules"),
        (
            lambda: len(bytes(2 * confinement.MEMORY_BYTES)),
            "a.xml: reading it takes more than 512 MiB of memory: use fewer rules",
        ),
        (
            lambda: os.kill(os.getpid(), signal.SIGKILL),
            "a.xml: the process that reads it was ended by SIGKILL: try again",
        ),
        (
            lambda: os._exit(0),
            "a.xml: its reader answered what cannot be used: try again",
        ),
        (
            lambda: int("none"),
            "a.xml: the process that reads it failed (ValueError: invalid literal for"
            " int() with base 10: 'none'): try another file",
        ),
        (lambda: "x" * (1 << 20), "a.xml is too large: use fewer rules"),
    ],
)
def test_end_of_the_reader_is_one_line_with_what_to_do(
    monkeypatch: Patch, work: Callable[[], Any], reason: str
) -> None:
    monkeypatch.setattr(reading, "CPU_S", 1)
    monkeypatch.setattr(confinement, "CPU_S", 1)
    monkeypatch.setattr(reading, "_TIMEOUT_S", 1 if work is hang else DEADLINE_S)
    monkeypatch.setattr(reading, "_ANSWER_BYTES", 1 << 19)
    before_s = children_cpu_s()
    assert refusal_of(monkeypatch, work) == reason
    assert children_cpu_s() - before_s < 3
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("answer", [b"", b"[", b"{}", b"[1]", b"[7, 7]", b"[" * 99999])
def test_garbage_of_the_reader_is_refused(answer: bytes) -> None:
    with pytest.raises(SysmonlxError, match=r"^a\.xml: its reader answered what cann"):
        reading._reading("a.xml", CONFIG, answer)


def test_installed_file_whose_reader_dies_is_refused_not_fatal(
    monkeypatch: Patch, tmp_path: Path
) -> None:
    paths = Paths(tmp_path)
    paths.create_private()
    paths.write(paths.config_file, CONFIG)
    monkeypatch.setattr(reading, "_read", lambda *_: os._exit(1))
    found = configuration.read_installed(paths)
    assert found.policy is None
    assert found.text.startswith(f"Error: {paths.config_file}: the process that reads")


# --- files that are none


def test_largest_file_is_read_and_a_larger_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(CONFIG + b"\n" * (LIMIT_BYTES // 4))
    assert read_file(path, OPTIONS).policy is not None
    with open(path, "ab") as file:
        file.truncate(LIMIT_BYTES + 1)
    text = f"Error: {path} has more than 8 MiB: no configuration is that large\n"
    assert read_file(path, OPTIONS).text == text
    assert read_file(Path("/dev/zero"), OPTIONS).text == text.replace(
        os.fspath(path), "/dev/zero"
    )


def test_directory_and_missing_file_have_their_reason(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "x", "No such")):
        found = read_file(path, OPTIONS)
        assert found.policy is None
        assert f"{path} ({reason}" in found.text


def test_pipe_is_read_to_its_end() -> None:
    reader, writer = os.pipe()
    os.write(writer, CONFIG)
    thread = threading.Timer(0.05, os.close, (writer,))
    os.set_inheritable(writer, False)
    thread.start()
    thread.join()
    found = read_file(Path(f"/dev/fd/{reader}"), OPTIONS)
    os.close(reader)
    assert found.data == CONFIG
    assert found.policy is not None


def test_interrupt_ends_the_wait_for_a_fifo(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    command = [sys.executable, "-P", "-m", "sysmonlx", "-test", os.fspath(path)]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": os.fspath(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    main = Path(f"/proc/{process.pid}")
    children = main / f"task/{process.pid}/children"
    until(lambda: children.read_text() != "")
    child = Path(f"/proc/{int(children.read_text())}")
    until(lambda: not catches(child, signal.SIGINT))
    until(lambda: "poll" in (main / "wchan").read_text())
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode in (130, -signal.SIGINT)
    assert b"Traceback" not in said
    until(lambda: not child.exists())


def until(done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def catches(process: Path, number: signal.Signals) -> bool:
    """Say whether a process has a handler for a signal."""
    lines = dict(
        line.split(":\t") for line in (process / "status").read_text().splitlines()
    )
    return bool(int(lines["SigCgt"], 16) >> (number - 1) & 1)


LAUGHS = "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10)
)


@pytest.mark.parametrize(
    "text",
    [
        f'<!DOCTYPE Sysmon [{LAUGHS}]><Sysmon schemaversion="4.90">&l9;</Sysmon>',
        '<!DOCTYPE Sysmon [<!ENTITY x SYSTEM "file://SECRET">]>'
        '<Sysmon schemaversion="4.90">&x;</Sysmon>',
        '<Sysmon schemaversion="4.90" '
        + " ".join(f'a{n}="{n}"' for n in range(200_000))
        + "/>",
        "<a>" * 500_000,
        "<Sysmon " + "x" * (LIMIT_BYTES - 100),
    ],
    ids=["laughs", "external", "attributes", "depth", "name"],
)
def test_hostile_text_takes_neither_time_nor_memory(text: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("what nobody shall see")
    text = text.replace("SECRET", os.fspath(secret))
    before_s = children_cpu_s()
    found = read_data(text.encode(), "a.xml", OPTIONS)
    assert children_cpu_s() - before_s < 20
    assert "what nobody shall see" not in found.text
    assert len(found.text) < 10_000


# --- the wait for a child


def test_answer_of_a_child_is_whole_and_its_error_has_a_number() -> None:
    data = os.urandom(3 << 20)
    assert child_process.ask(lambda _: data, 4 << 20) == (data, 0)
    answer = child_process.ask(lambda _: os.fsencode(os.readlink("/none")), 99)
    assert (answer.data, child_process.errno_of(answer.status)) == (b"", 2)
    with pytest.raises(child_process.TooLargeError):
        child_process.ask(lambda _: data, 1 << 20)


def test_configuration_is_read_without_standard_streams(tmp_path: Path) -> None:
    """A child of the daemon may have none: its pipe must not be taken for one."""
    path = tmp_path / "c.xml"
    path.write_text('<Sysmon schemaversion="4.90"/>')
    code = (
        "import os, pathlib; os.closerange(0, 3); from sysmonlx.config import child;"
        "from sysmonlx.config.command_line import CommandLineOptions;"
        f"found = child.read_file(pathlib.Path({str(path)!r}), CommandLineOptions());"
        "os._exit(0 if found.policy else 9)"
    )
    command = [sys.executable, "-P", "-c", code]
    place = {"PYTHONPATH": os.fspath(Path(__file__).parents[3])}
    assert subprocess.run(command, check=False, env=place).returncode == 0
