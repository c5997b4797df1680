# SPDX-License-Identifier: MIT
"""Hashes are of the very file that ran, or there are none."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.accounts import Stats, steady
from support.running import EVERYTHING, Daemon, Event, stopped
from support.watch import watching

pytestmark = pytest.mark.kernel

#: However busy the machine is, no hash comes too late.
PATIENT = "<HashWait>60000</HashWait>"
BIG_BYTES = 96 << 20


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("daemon") / "root"
    with watching(root, EVERYTHING, PATIENT) as daemon:
        yield daemon


def program(folder: Path, name: str, tail: bytes = b"", source: str = "true") -> Path:
    """Make a program of its own content: what follows an ELF file is not read."""
    path = folder / name
    shutil.copy(f"/bin/{source}", path)
    with open(path, "ab") as file:
        file.write(tail or uuid.uuid4().bytes)
    return path


def digest(path: Path, *names: str) -> str:
    data = path.read_bytes()
    return ",".join(
        f"{name}={hashlib.new(name.lower(), data).hexdigest()}" for name in names
    )


def of_image(events: list[Event], path: Path, event_id: str = "1") -> list[Event]:
    return [
        each
        for each in events
        if each["EventID"] == event_id and each["Image"] == str(path)
    ]


def test_all_algorithms_in_their_order(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    options = "<HashAlgorithms>SHA256,MD5,SHA1</HashAlgorithms>"
    watch = daemon(settings=PATIENT, options=options)
    path = program(tmp_path, "once")
    subprocess.run([path], check=True)
    (event,) = of_image(watch.settle(), path)
    assert event["Hashes"] == digest(path, "SHA1", "MD5", "SHA256")


def run_once(
    watch: Daemon, folder: Path, afterwards: Callable[[Path], None]
) -> tuple[dict[str, str], dict[str, str]]:
    """Run 23 programs, each another one; return their hashes, and those reported."""
    wanted = {}
    for number in range(23):
        path = program(folder, f"once{number}")
        wanted[str(path)] = digest(path, "SHA256")
        subprocess.run([path], check=True)
        afterwards(path)
    events = [each for each in watch.settle() if each.get("Image") in wanted]
    hashes = {each["Image"]: each["Hashes"] for each in events if "Hashes" in each}
    return wanted, hashes


def test_program_that_has_ended_is_hashed_by_its_path(
    watch: Daemon, tmp_path: Path
) -> None:
    wanted, hashes = run_once(watch, tmp_path, lambda path: None)
    assert hashes == wanted


def test_program_that_runs_once_and_is_deleted_is_hashed_or_counted(
    watch: Daemon, tmp_path: Path
) -> None:
    """Whoever is faster: the reader, or the program and who deletes it."""
    wanted, hashes = run_once(watch, tmp_path, Path.unlink)
    known = {image: text for image, text in hashes.items() if text != "-"}
    assert hashes.keys() == wanted.keys()
    assert known == {image: wanted[image] for image in known}
    steady(watch, lambda stats: missed(stats) == without_hash(watch))


def missed(stats: Stats) -> int:
    return sum(count for what, count in stats["hashes"].items() if what != "hashed")


def without_hash(watch: Daemon) -> int:
    """Return how many events, of any program of the machine, have no hash."""
    return sum(each.get("Hashes") == "-" for each in watch.events())


@pytest.mark.parametrize("kind", ["replaced", "rewritten"])
def test_file_changed_after_it_ran_never_gives_a_wrong_hash(
    kind: str, watch: Daemon, tmp_path: Path
) -> None:
    wanted = {}
    for number in range(23):
        path = program(tmp_path, f"program{number}")
        other = program(tmp_path, f"other{number}")
        wanted[str(path)] = digest(path, "SHA256")
        subprocess.run([path], check=True)
        if kind == "replaced":
            os.replace(other, path)
        else:
            path.write_bytes(other.read_bytes())
    events = [each for each in watch.settle() if each.get("Image") in wanted]
    creates = [each for each in events if each["EventID"] == "1"]
    assert len(creates) == 23
    wrong = [
        each for each in creates if each["Hashes"] not in (wanted[each["Image"]], "-")
    ]
    assert wrong == []


def test_changed_file_has_a_new_hash(watch: Daemon, tmp_path: Path) -> None:
    path = program(tmp_path, "program")
    wanted = []
    for _ in range(7):
        wanted.append(digest(path, "SHA256"))
        subprocess.run([path], check=True)
        watch.settle()
        with open(path, "ab") as file:
            file.write(b"more")
    shown = [each["Hashes"] for each in of_image(watch.settle(), path)]
    assert shown == wanted


def test_order_is_kept_within_a_process_only(watch: Daemon, tmp_path: Path) -> None:
    """While a large file is hashed others go on, its own process's events do not."""
    path = program(tmp_path, "large", bytes(BIG_BYTES), source="sh")
    marker = uuid.uuid4().hex
    subprocess.run(["/bin/true"], check=True)
    before = len(watch.settle())
    with stopped(watch):  # both have ended before the first of them is read
        subprocess.run([path, "-c", "exec /bin/true"], check=True)
        subprocess.run(["/bin/true", marker], check=True)
    events = watch.settle()[before:]
    (first,) = of_image(events, path)
    own = [each for each in events if each.get("ProcessId") == first["ProcessId"]]
    assert [(each["EventID"], each["Image"]) for each in own] == [
        ("1", str(path)),
        ("1", "/usr/bin/true"),
        ("5", "/usr/bin/true"),
    ]
    numbers = [int(each["EventRecordID"]) for each in own]
    assert numbers == sorted(numbers)
    (other,) = [each for each in events if marker in each.get("CommandLine", "")]
    assert int(other["EventRecordID"]) < numbers[0]
    assert first["Hashes"] == digest(path, "SHA256")


def test_rules_may_ask_for_a_hash(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    wanted, other = program(tmp_path, "wanted"), program(tmp_path, "other")
    watch = daemon(
        EVERYTHING.replace('<ProcessCreate onmatch="exclude"/>', "")
        + '<RuleGroup groupRelation="or"><ProcessCreate onmatch="include">'
        f'<Hashes condition="is" name="by hash">{digest(wanted, "SHA256")}</Hashes>'
        '<CommandLine condition="begin with">/bin/true</CommandLine>'
        "</ProcessCreate></RuleGroup>",
        settings=PATIENT,
    )
    for _ in range(3):
        subprocess.run([other], check=True)
        subprocess.run([wanted], check=True)
    events = watch.settle()
    assert of_image(events, other) == []
    assert len(of_image(events, other, "5")) == 3
    shown = of_image(events, wanted)
    assert len(shown) == 3
    assert {each["RuleName"] for each in shown} == {"by hash"}


def test_memory_only_program_that_ended_has_no_hash(
    watch: Daemon, tmp_path: Path
) -> None:
    fd = os.memfd_create("quick")
    os.write(fd, program(tmp_path, "source").read_bytes())
    with stopped(watch):
        subprocess.run(["quick"], executable=f"/proc/self/fd/{fd}", pass_fds=[fd])
    os.close(fd)
    event = watch.wait_for(lambda each: each.get("CommandLine") == "quick")
    assert event["Hashes"] == "-"
    assert watch.stats()["hashes"]["gone"] >= 1  # as of other programs, it may be
