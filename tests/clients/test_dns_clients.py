# SPDX-License-Identifier: MIT
"""Programs that people use ask for names: each question is one right event."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.running import REPOSITORY, Daemon, Event

pytestmark = pytest.mark.kernel

HERE = Path(__file__).parent
BUILT = REPOSITORY / "build" / "clients"
RESOLVED = BUILT / "resolved"
RULES = '<ProcessCreate onmatch="exclude"/><DnsQuery onmatch="exclude"/>'
V4, V6 = "::ffff:192.0.2.1;", "2001:db8::1;"
COUNT = 200
STORM = 20_000

Score = dict[str, tuple[int, int]]
Require = Callable[[str, bool, str], None]


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), RULES, "", "") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def built() -> Path:
    """Return the directory with the programs that have to be compiled."""
    BUILT.mkdir(parents=True, exist_ok=True)
    source, flags = os.fspath(HERE / "names.c"), ["-O1", "-pthread"]
    for compiler, name, more in (
        ("gcc", "names-glibc", []),
        ("musl-gcc", "names-musl", ["-static"]),
    ):
        if shutil.which(compiler):
            command = [compiler, *flags, *more, source, "-o", os.fspath(BUILT / name)]
            subprocess.run(command, check=True)
    if shutil.which("javac"):
        java = ["javac", "-d", os.fspath(BUILT), os.fspath(HERE / "Names.java")]
        subprocess.run(java, check=True)
    return BUILT


def run(*command: str, way: tuple[str, ...] = ()) -> None:
    program = [sys.executable, os.fspath(HERE / "in_namespace.py"), *way]
    done = subprocess.run([*program, *command], capture_output=True, check=False)
    said = (done.stderr + done.stdout).decode()[-2000:]
    assert done.returncode == 0, said


def told(watch: Daemon, prefix: str) -> list[Event]:
    return [
        each
        for each in watch.settle()
        if each["EventID"] == "22" and each["QueryName"].startswith(f"{prefix}-")
    ]


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number}.a.test" for number in range(count)]


def each_of(prefix: str, count: int, *results: str) -> Counter[tuple[str, str, str]]:
    return Counter((n, "0", r) for n in names(prefix, count) for r in results)


def seen(events: list[Event]) -> Counter[tuple[str, str, str]]:
    return Counter(
        (each["QueryName"], each["QueryStatus"], each["QueryResults"])
        for each in events
    )


def words_of(client: str, built: Path) -> list[str]:
    """Return the command by which a client asks `COUNT` questions."""
    half, all_names = str(COUNT // 2), names(client, COUNT)
    listed = " ".join(all_names)
    python = [sys.executable, os.fspath(HERE / "names.py")]
    return {
        "glibc": [os.fspath(built / "names-glibc"), client, half, "1"],
        "musl": [os.fspath(built / "names-musl"), client, half, "1"],
        "dig": ["dig", "+noall", "@127.0.0.1", *all_names],
        "dig_by_tcp": ["dig", "+tcp", "+noall", "@127.0.0.1", *all_names],
        "host": ["sh", "-ec", f"for n in {listed}; do host -t A $n 127.0.0.1; done"],
        "kdig": ["kdig", "+noall", "@127.0.0.1", *all_names],
        "drill": ["sh", "-ec", f"for n in {listed}; do drill @127.0.0.1 $n; done"],
        "dnspython": [*python, "by_dnspython", client, str(COUNT)],
        "bytes_by_tcp": [*python, "by_bytes", client, str(COUNT)],
        "node": ["node", os.fspath(HERE / "names.js"), client, half],
        "java": ["java", "-cp", os.fspath(built), "Names", client, half],
    }[client]


#: Of each client, the name of its image. These ask for addresses of both families.
IMAGES = {
    "glibc": "names-glibc",
    "musl": "names-musl",
    "dig": "dig",
    "dig_by_tcp": "dig",
    "host": "host",
    "kdig": "kdig",
    "drill": "drill",
    "dnspython": "python3",
    "bytes_by_tcp": "python3",
    "node": "node",
    "java": "java",
}
OF_BOTH = {"glibc", "musl", "node", "java"}


@pytest.mark.parametrize("client", IMAGES)
def test_each_question_of_a_client_is_one_event(
    watch: Daemon, built: Path, score: Score, require: Require, client: str
) -> None:
    words = words_of(client, built)
    program = words[-1].partition("; do ")[2].split(" ")[0] or words[0]
    require("clients", shutil.which(program) is not None, f"no {program} here")
    run(*words)
    events = told(watch, client)
    score[client] = (COUNT, len(events))
    if client in OF_BOTH:
        assert seen(events) == each_of(client, COUNT // 2, V4, V6)
    else:
        assert seen(events) == each_of(client, COUNT, V4)
    images = {os.path.basename(each["Image"]) for each in events}
    assert all(each.startswith(IMAGES[client]) for each in images), images


def test_each_call_of_systemd_resolved_is_one_event(
    watch: Daemon, built: Path, score: Score, require: Require
) -> None:
    require("clients", RESOLVED.is_dir(), "no systemd-resolved was fetched")
    way, program = ("resolved", os.fspath(RESOLVED)), built / "names-glibc"
    run(os.fspath(program), "resolved", str(COUNT), "1", way=way)
    events = told(watch, "resolved")
    mine = [each for each in events if each["Image"] == os.fspath(program)]
    score["systemd-resolved"] = (COUNT, len(mine))
    for each in mine:
        each["QueryResults"] = "".join(sorted(each["QueryResults"].split(";")))
    results = "".join(sorted((V4 + V6).split(";")))
    assert seen(mine) == each_of("resolved", COUNT, results)
    others = {os.path.basename(each["Image"]) for each in events} - {program.name}
    assert others == {"systemd-resolved"}


def test_no_question_of_a_storm_is_lost(
    watch: Daemon, built: Path, score: Score
) -> None:
    before = watch.stats()["records"]["dns_message"]
    run(os.fspath(built / "names-glibc"), "storm", str(STORM // 16), "8")
    events = told(watch, "storm")
    score["storm of getaddrinfo"] = (STORM, len(events))
    assert seen(events) == each_of("storm", STORM // 2, V4, V6)
    stats = watch.stats()
    kernel = stats["records"]["dns_message"]
    assert (kernel["lost"], kernel["left_out"]) == ({}, before["left_out"])
    assert stats["gaps"] == []
