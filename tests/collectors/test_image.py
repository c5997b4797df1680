# SPDX-License-Identifier: MIT
"""The container as its Dockerfile builds it and its manifest runs it: no docker."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from support import no_bpf
from support.bare import root_named
from support.image import BASE, Image
from support.running import DEADLINE_S, wait_until

#: What no setting of a container can give on a kernel that is locked down.
OF_THE_KERNEL = "lockdown"
#: bpf(2) is not permitted.
FILTER = ("python3", "-c", Path(no_bpf.__file__).read_text("utf-8"), "1")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    root_named(BASE.name)
    return Image(tmp_path_factory.mktemp("image"))


def events(top: Path) -> list[dict[str, str]]:
    lines = (top / "out").read_bytes().split(b"\n")[:-1]
    return [json.loads(line)["Event"]["EventData"] for line in lines]


def wait_for(top: Path, is_it: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    found: list[dict[str, str]] = []

    def has_come() -> bool:
        found[:] = filter(is_it, events(top))
        return bool(found)

    wait_until(has_come)
    return found[0]


def said(top: Path) -> list[str]:
    return (top / "err").read_text().splitlines()


def begun(top: Path) -> None:
    wait_until(lambda: bool(events(top)) or has_failed(top))
    assert not has_failed(top), said(top)


def has_failed(top: Path) -> bool:
    return any("failed" in each for each in said(top))


def test_image_runs_as_the_manifest_says(image: Image, tmp_path: Path) -> None:
    with image.running(tmp_path) as container:
        begun(tmp_path)
        marker = uuid.uuid4().hex
        subprocess.run(["/bin/true", marker], check=True)
        found = wait_for(tmp_path, lambda each: marker in each.get("CommandLine", ""))
        assert found["User"] == "root"
        assert found["Hashes"].startswith("SHA256=")
        assert found["ParentImage"] == str(Path(sys.executable).resolve())
        assert [each for each in said(tmp_path) if OF_THE_KERNEL not in each] == []
        children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
        subprocess.run(["kill", "-TERM", *children.read_text().split()], check=True)
        assert container.wait(DEADLINE_S) == 0
    assert events(tmp_path)[-1]["State"] == "Stopped"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host_pid": False}, "--pid=host or hostPID"),
        ({"lacks": ["sys_ptrace"]}, "capabilities are missing, SYS_PTRACE"),
        ({"lacks": ["net_admin"]}, "NetworkConnect"),
        ({"without": ["CGROUP"]}, "cgroup2"),
    ],
    ids=lambda each: str(each),
)
def test_what_it_lacks_is_said_in_words(
    image: Image, tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    with image.running(tmp_path, **settings):  # type: ignore[arg-type]  # any settings
        begun(tmp_path)
        wait_until(lambda: any(words in each for each in said(tmp_path)))
        subprocess.run(["/bin/true", tmp_path.name], check=True)
        wait_for(tmp_path, lambda each: tmp_path.name in each.get("CommandLine", ""))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lacks": ["bpf"]}, "capabilities are missing, BPF"),
        ({"lacks": ["perfmon"]}, "capabilities are missing, PERFMON"),
        ({"without": ["BTF"]}, "gives no BTF (/sys/kernel/btf/vmlinux"),
        (
            {"before": FILTER},
            "seccomp forbids bpf(2): the container's profile",
        ),
    ],
    ids=["bpf", "perfmon", "BTF", "seccomp"],
)
def test_it_does_not_start_and_says_why(
    image: Image, tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    with image.running(tmp_path, **settings) as container:  # type: ignore[arg-type]  # any settings
        assert container.wait(DEADLINE_S) == 12
    (line,) = said(tmp_path)
    assert line.startswith("Telemetry failed to start: ")
    assert words in line
    assert (tmp_path / "out").read_bytes() == b""
