# SPDX-License-Identifier: MIT
"""Packages, tarball and objects are the same bytes whoever builds them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from deb.conftest import build_package
from tools import sbom, tarball
from tools.release import BUILD, OBJECTS, REPOSITORY, version

#: What a build of the objects needs not, also what a benchmark left that was ended.
NOT_OBJECTS = (
    *("venv", "bare", "vm", "wheels", "collectors", "pages", "bench-*"),
    *(".git", "*.bpf.o"),
)
#: Programs that a build without compiler may use.
TOOLS = "make sh python3 dpkg-deb awk sed uname mkdir touch mv test tar rm id env xz"


def test_package_is_the_same_in_another_place_and_time(tmp_path: Path) -> None:
    first = build_package(tmp_path / "one")
    second = build_package(tmp_path / "two", TZ="Asia/Tokyo", LC_ALL="C", HOME="/")
    assert first.read_bytes() == second.read_bytes()


def test_package_pleases_lintian(tmp_path: Path) -> None:
    if not shutil.which("lintian"):
        pytest.skip("lintian is not installed")
    package = build_package(tmp_path)
    command = ("lintian", "--allow-root", "--pedantic", "--display-info", package)
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def test_objects_are_the_same_in_another_place(tmp_path: Path) -> None:
    tree = tmp_path / "another name"
    ignored = shutil.ignore_patterns(*NOT_OBJECTS)
    shutil.copytree(REPOSITORY, tree, ignore=ignored, symlinks=True)
    command = ["make", "bpf", "-o", "build/deps.stamp"]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    for name in OBJECTS:
        here = (REPOSITORY / "sysmonlx" / name).read_bytes()
        assert (tree / "sysmonlx" / name).read_bytes() == here
        assert os.fsencode(REPOSITORY) not in here


def test_tarball_is_the_same_twice() -> None:
    assert tarball.packed("x") == tarball.packed("x")


def test_tarball_makes_the_package_without_compiler(tmp_path: Path) -> None:
    top = f"sysmonlx-{version()}"
    packed = tarball.packed(top)
    subprocess.run(["tar", "-xz"], cwd=tmp_path, input=packed, check=True)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS.split():
        found = "/usr/bin/python3" if name == "python3" else shutil.which(name)
        (tools / name).symlink_to(found or "/nowhere")
    subprocess.run(
        [shutil.which("unshare") or "", "--net", "make", "deb", "VMLINUX_BTF="],
        cwd=tmp_path / top,
        env={"PATH": os.fspath(tools)},
        check=True,
        capture_output=True,
    )
    (made,) = (tmp_path / top / "build").glob("*.deb")
    assert made.read_bytes() == build_package(tmp_path / "here").read_bytes()


def test_wheel_carries_both_objects(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation"]
    command += ["--no-deps", "--no-index", "-w", os.fspath(tmp_path), "."]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        for name in OBJECTS:
            here = (REPOSITORY / "sysmonlx" / name).read_bytes()
            assert file.read(f"sysmonlx/{name}") == here


def test_list_of_parts_has_each_locked_package() -> None:
    document = sbom.document()
    text = (REPOSITORY / "requirements.lock").read_text()
    pinned = {line.split()[0] for line in text.splitlines() if "==" in line}
    parts = {f"{each['name']}=={each['version']}" for each in document["components"]}
    assert parts == pinned
    assert document == sbom.document()
    assert BUILD.is_dir()
