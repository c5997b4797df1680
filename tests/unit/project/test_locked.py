# SPDX-License-Identifier: MIT
"""The lock files pin everything that setup.py asks for, and what that needs."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tools import lock

REPOSITORY = Path(__file__).resolve().parents[3]
WANTED = {
    name: [Requirement(each) for each in wanted]
    for name, wanted in lock.requirements().items()
}
PIN = re.compile(
    r"([a-z0-9-]+)==([0-9a-z.]+)(?: ; [^\\\n]+)?"
    r"((?: \\\n    --hash=sha256:[0-9a-f]{64})+)"
)


def pins(name: str) -> dict[str, str]:
    text = (REPOSITORY / name).read_text()
    found = PIN.findall(text)
    rest = PIN.sub("", text)
    assert rest.splitlines()[1:] == [""] * len(found), "every line is a pin or its hash"
    return {package: version for package, version, _ in found}


@pytest.mark.parametrize("name", WANTED)
def test_every_requirement_is_pinned_within_its_range(name: str) -> None:
    found = pins(name)
    for each in WANTED[name]:
        assert found[canonicalize_name(each.name)] in each.specifier, each


@pytest.mark.parametrize("name", WANTED)
def test_what_requirements_need_is_pinned_too(name: str) -> None:
    found = {package for other in WANTED for package in pins(other)}
    for package in pins(name):
        for text in importlib.metadata.requires(package) or []:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert canonicalize_name(need.name) in found, f"{package} needs {text}"


def test_binary_package_is_pinned_for_each_python_and_processor() -> None:
    text = (REPOSITORY / "requirements.lock").read_text()
    (lxml,) = (hashes for name, _, hashes in PIN.findall(text) if name == "lxml")
    wheels = len(lock.PYTHONS) * len(lock.PROCESSORS)
    assert lxml.count("--hash=") > wheels  # the source besides


def test_every_run_time_requirement_has_an_upper_bound() -> None:
    for each in WANTED["requirements.lock"]:
        assert any(bound.operator == "<" for bound in each.specifier), each


def test_makefile_installs_packages_with_hashes_only() -> None:
    text = (REPOSITORY / "Makefile").read_text().replace("\\\n", " ")
    calls = re.findall(r"-m pip (?:install|wheel|download).*", text)
    assert calls
    for call in calls:
        assert "--require-hashes" in call or "--no-index" in call, call
