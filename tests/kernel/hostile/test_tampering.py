# SPDX-License-Identifier: MIT
"""An administrator takes programs off, changes maps, moves the reader's position."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.running import Daemon, Event, wait_until

from sysmonlx.bpf.libbpf import library
from sysmonlx.bpf.object import create_zero
from sysmonlx.bpf.object_info import LINK_OF_CGROUP, link_info, map_info
from sysmonlx.capture.hooks import program_of
from sysmonlx.capture.sensor import Capture, load_capture
from sysmonlx.enrich.network import NETWORK_HOOKS
from sysmonlx.errors import LibbpfError

pytestmark = pytest.mark.kernel

#: What these tests do, and little else that goes on on the machine.
RULES = """
    <ProcessCreate onmatch="include">
        <Image condition="end with">/true</Image>
    </ProcessCreate>
    <NetworkConnect onmatch="include">
        <SourceIp condition="is">127.0.0.1</SourceIp>
    </NetworkConnect>
    <FileCreate onmatch="include">
        <TargetFilename condition="contains">wanted</TargetFilename>
        <User condition="is">root</User>
    </FileCreate>
"""
#: A change is told this soon: two looks, and what a busy machine takes.
SOON_S = 4.0

_SYS_BPF = 321
_MAP_BY_ID, _LINK_BY_ID, _LINK_DETACH = 14, 30, 34


def bpf(command: int, number: int) -> int:
    """Call bpf(2) with one number, as any tool of an administrator does."""
    attributes = struct.pack("=I", number).ljust(32, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(_SYS_BPF, command, attributes, len(attributes)))
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return result


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("root"), RULES, "", "") as made:
        yield made


def numbers(daemon: Daemon, key: str) -> list[int]:
    """Return the ids of what the daemon has open, by /proc/PID/fdinfo."""
    found = []
    for path in Path(f"/proc/{daemon.process.pid}/fdinfo").iterdir():
        with suppress(OSError):  # closed meanwhile
            for line in path.read_text().splitlines():
                if line.startswith(f"{key}:"):
                    found.append(int(line.split()[1]))
    return found


@contextmanager
def opened(command: int, number: int) -> Iterator[int]:
    fd = bpf(command, number)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def map_of(daemon: Daemon, name: str) -> Iterator[int]:
    """Yield a descriptor of the daemon's map that has such a name."""
    for number in numbers(daemon, "map_id"):
        with opened(_MAP_BY_ID, number) as fd:
            if map_info(fd).kernel_name.endswith(name):
                yield fd
                return
    raise AssertionError(f"no map {name}")


def told(daemon: Daemon, what: str, after: int) -> Event:
    return daemon.wait_for(
        lambda e: (
            e["EventID"] == "255"
            and e["ID"] == what
            and int(e["EventRecordID"]) > after
        ),
        SOON_S,
    )


def last(daemon: Daemon) -> int:
    return max(int(event["EventRecordID"]) for event in daemon.events())


def put_right(daemon: Daemon) -> dict[str, int]:
    return dict(daemon.stats()["put_right"])


def send_udp() -> int:
    """Send a datagram to an own socket; return the port that it came from."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        sender.sendto(b"data", receiver.getsockname())
        receiver.recv(100)
        return int(sender.getsockname()[1])


def has_udp_of(port: int) -> Callable[[Event], bool]:
    return lambda e: e["EventID"] == "3" and e["SourcePort"] == str(port)


def test_programs_taken_off_a_cgroup_are_attached_again(running: Daemon) -> None:
    begin = last(running)
    running.wait_for(has_udp_of(send_udp()))
    detached = 0
    for number in numbers(running, "link_id"):
        with opened(_LINK_BY_ID, number) as fd:
            if link_info(fd).kind == LINK_OF_CGROUP:
                bpf(_LINK_DETACH, fd)
                detached += 1
    assert detached == 2
    event = told(running, "Hooks", begin)
    assert "udp_" in event["Description"]
    assert "is attached to its hook again" in event["Description"]
    wait_until(lambda: put_right(running).get("attached again") == detached)
    running.wait_for(has_udp_of(send_udp()))
    assert not [each for each in running.stats()["missing"] if "off its hook" in each]


def touch(path: Path) -> None:
    """Make a file in another process, whose end marks that it was seen."""
    subprocess.run(["/usr/bin/touch", os.fspath(path)], check=True)


def test_foreign_rules_do_not_stay(running: Daemon, tmp_path: Path) -> None:
    begin = last(running)
    with map_of(running, "filter_rules") as outer:
        value = ctypes.create_string_buffer(4)
        library().bpf_map_lookup_elem(outer, bytes(4), value)
        with opened(_MAP_BY_ID, struct.unpack("=I", value.raw)[0]) as inner:
            size = map_info(inner).value_bytes
        foreign = create_zero("foreign", size)
        library().bpf_map_update_elem(outer, bytes(4), struct.pack("=I", foreign), 0)
        os.close(foreign)
    assert "foreign rules" in told(running, "Rules", begin)["Description"]
    assert put_right(running)["rules put in force again"] == 1
    touch(tmp_path / "wanted-1")
    touch(tmp_path / "other-1")
    names = {e.get("TargetFilename", "") for e in running.settle()}
    assert os.fspath(tmp_path / "wanted-1") in names
    assert os.fspath(tmp_path / "other-1") not in names
    event = running.stats()["events"]["11"]
    assert event["filtered_in"] == "kernel"


def discarded_files(daemon: Daemon) -> int:
    """Return how many new files the rules in the kernel have discarded so far."""
    stats = daemon.stats()
    record = stats["events"]["11"]["record"]
    return int(stats["records"][record]["filtered_in_kernel"])


def test_rules_that_were_removed_come_back(running: Daemon, tmp_path: Path) -> None:
    begin = last(running)
    before = put_right(running).get("rules put in force again", 0)
    with map_of(running, "filter_rules") as outer:
        library().bpf_map_delete_elem(outer, bytes(4))
        assert "were removed" in told(running, "Rules", begin)["Description"]
        value = ctypes.create_string_buffer(4)
        library().bpf_map_lookup_elem(outer, bytes(4), value)  # raises where none is
    assert put_right(running)["rules put in force again"] == before + 1
    discarded = discarded_files(running)
    touch(tmp_path / "other-2")
    touch(tmp_path / "wanted-2")
    names = {e.get("TargetFilename", "") for e in running.settle()}
    assert os.fspath(tmp_path / "wanted-2") in names
    assert discarded_files(running) > discarded


def test_rules_in_force_cannot_be_written(running: Daemon) -> None:
    with map_of(running, "filter_rules") as outer:
        value = ctypes.create_string_buffer(4)
        library().bpf_map_lookup_elem(outer, bytes(4), value)
    with opened(_MAP_BY_ID, struct.unpack("=I", value.raw)[0]) as inner:
        nothing = bytes(map_info(inner).value_bytes)
        with pytest.raises(LibbpfError, match="Operation not permitted"):
            library().bpf_map_update_elem(inner, bytes(4), nothing, 0)


def test_constants_cannot_be_written(running: Daemon) -> None:
    with map_of(running, ".rodata") as fd:
        nothing = bytes(map_info(fd).value_bytes)
        with pytest.raises(LibbpfError, match="Operation not permitted"):
            library().bpf_map_update_elem(fd, bytes(4), nothing, 0)


def values_of(fd: int) -> list[int]:
    """Return the values of a map of users; others may change it meanwhile."""
    found: list[int] = []
    key: bytes | None = None
    following, value = ctypes.create_string_buffer(16), ctypes.create_string_buffer(8)
    for _ in range(1000):
        if library().bpf_map_get_next_key(fd, key, following) != 0:
            break
        key = following.raw
        with suppress(LibbpfError):  # removed meanwhile
            library().bpf_map_lookup_elem(fd, key, value)
            found.append(struct.unpack("=Q", value.raw)[0])
    return found


def test_what_the_rules_say_of_a_user_is_put_right(running: Daemon) -> None:
    begin = last(running)
    with map_of(running, "filter_users") as fd:
        wait_until(lambda: bool(values_of(fd)))  # root's name is known
        before = values_of(fd)
        key = ctypes.create_string_buffer(16)
        library().bpf_map_get_next_key(fd, None, key)
        library().bpf_map_update_elem(fd, key.raw, struct.pack("=Q", 0xDEAD), 0)
        assert 0xDEAD in values_of(fd)
        assert "of user" in told(running, "Rules", begin)["Description"]
        after = values_of(fd)
    assert 0xDEAD not in after
    assert {*before} <= {*after}  # another user may have come


def test_a_process_that_names_itself_the_daemon_is_seen(running: Daemon) -> None:
    begin = last(running)
    with map_of(running, ".bss") as fd:
        value = ctypes.create_string_buffer(map_info(fd).value_bytes)
        library().bpf_map_lookup_elem(fd, bytes(4), value)
        own = struct.pack("=I", running.process.pid)
        at = value.raw.index(own)
        changed = value.raw.replace(own, struct.pack("=I", os.getpid()))
        library().bpf_map_update_elem(fd, bytes(4), changed, 0)
    assert told(running, "Variables", begin)["Description"].startswith("own_tgid: ")
    with map_of(running, ".bss") as fd:
        library().bpf_map_lookup_elem(fd, bytes(4), value)
    assert value.raw[at : at + 4] == own
    running.wait_for(has_udp_of(send_udp()))


def test_a_position_moved_by_others_is_put_back(running: Daemon) -> None:
    begin = last(running)
    with map_of(running, "records") as fd, mmap.mmap(fd, mmap.PAGESIZE) as page:
        page[:8] = struct.pack("=Q", struct.unpack("=Q", page[:8])[0] + (1 << 30))
    assert "reader's position" in told(running, "Ring", begin)["Description"]
    assert running.settle()
    running.wait_for(has_udp_of(send_udp()))


def test_there_are_no_false_alarms(running: Daemon) -> None:
    begin, before = last(running), put_right(running)
    end = time.monotonic() + 2.5
    number = 0
    while time.monotonic() < end:
        number += 1
        rules = RULES.replace("wanted", f"wanted-{number}")
        running.write_config(rules)
        subprocess.run(
            running.command("-nologo", "-c", os.fspath(running.config)),
            env=running.environment,
            check=False,
            capture_output=True,
        )
        send_udp()
    assert put_right(running) == before
    alarms = [
        e
        for e in running.settle()
        if e["EventID"] == "255" and int(e["EventRecordID"]) > begin
    ]
    assert alarms == []


@pytest.fixture
def capture() -> Iterator[Capture]:
    made = load_capture(NETWORK_HOOKS, 1 << 20, 1 << 18)
    made.attach_processes()
    made.want(NETWORK_HOOKS)
    yield made
    made.close()


def test_a_link_whose_descriptor_was_closed_is_made_again(capture: Capture) -> None:
    names = capture.wanted_programs()
    assert all(map(capture.is_at_hook, names))
    for name in names:
        fd = capture._loaded.holder(name).link_fd(name)
        other = os.open("/dev/null", os.O_RDONLY)
        os.dup2(other, fd)  # as after a close(2) by a debugger
        os.close(other)
        assert not capture.is_at_hook(name, by_link=True)
        assert not capture.is_at_hook(name)
        capture.attach_again(name)
        assert capture.is_at_hook(name, by_link=True)
        assert capture.is_at_hook(name)
        os.fstat(fd)  # is not ours, and stays open
        os.close(fd)
    assert capture.wanted_programs() == names


def test_a_program_whose_descriptor_was_closed_is_loaded_again(
    capture: Capture,
) -> None:
    for name in capture.wanted_programs():
        program = program_of(name)
        fd = capture._loaded.programs[program].program_fd(program)
        other = os.open("/dev/null", os.O_RDONLY)
        os.dup2(other, fd)
        os.close(other)
        assert not capture.is_at_hook(name)
        capture.attach_again(name)
        assert capture.is_at_hook(name, by_link=True)
        assert capture.is_at_hook(name)


def test_a_look_costs_next_to_nothing(capture: Capture) -> None:
    names = capture.wanted_programs()

    def look_s() -> float:
        start_s = time.process_time()
        for _ in range(20):
            assert all(map(capture.is_at_hook, names))
        return (time.process_time() - start_s) / 20

    assert min(look_s() for _ in range(5)) < 0.001  # once a second: 0.1 %
