# SPDX-License-Identifier: MIT
"""Writes the lock files: every package by exact version and by hash.

`make lock` runs this in a virtual environment; pip itself is the client of whatever
index it is configured for. A lock file has the wheels for each Python and processor
below, and the source, so that the same checkout installs the same bytes everywhere.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PROCESSORS = ("x86_64", "aarch64")
#: Versions of the C library that wheels may ask for: glibc 2.36 is Debian 12's.
PLATFORMS = [f"manylinux_2_{n}_{p}" for p in PROCESSORS for n in range(5, 37)]

_HEAD = """\
# Made by "make lock" from setup.py; installed with --require-hashes.
"""


def requirements() -> dict[str, list[str]]:
    """Return what setup.py and pyproject.toml ask for, by lock file."""
    import tomllib

    tree = ast.parse((REPOSITORY / "setup.py").read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    words = next(
        {each.arg: each.value for each in call.keywords}
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "setup"
    )
    extras = ast.literal_eval(words["extras_require"])
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    return {
        "requirements.lock": ast.literal_eval(words["install_requires"]),
        "requirements-build.lock": project["build-system"]["requires"],
        "requirements-sigma.lock": extras["sigma"],
        "requirements-test.lock": [*extras["test"], *extras["lint"]],
    }


def pinned(wanted: Sequence[str], known: dict[str, str]) -> dict[str, str]:
    """Return name and version of each package, also of those that others need.

    The oldest Python decides on versions; the others may only add packages. What has a
    marker is for the oldest Python alone. `known` are pinned by other lock files.
    """
    found: dict[str, str] = {}
    everywhere = [each for each in wanted if ";" not in each]
    for python in PYTHONS:
        asked = wanted if python == PYTHONS[0] else everywhere
        for name, version in _resolved(asked, python, {**known, **found}):
            found.setdefault(name, version)
    return found


def conditions(wanted: Sequence[str]) -> dict[str, str]:
    """Return the marker behind ";" of each requirement that has one, by its name."""
    pairs = (each.partition(";") for each in wanted)
    return {
        _canonical(re.split("[^A-Za-z0-9._-]", name)[0]): marker.strip()
        for name, _, marker in pairs
        if marker
    }


def _resolved(
    wanted: Sequence[str], python: str, known: dict[str, str]
) -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        limits = Path(folder) / "constraints"
        limits.write_text("".join(f"{n}=={v}\n" for n, v in known.items()))
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet"]
        command += ["--ignore-installed", "--only-binary=:all:", "--report=-"]
        command += [f"--python-version={python}", f"--target={folder}/none"]
        command += [f"--platform={p}" for p in PLATFORMS if p.endswith(PROCESSORS[0])]
        answer = subprocess.run(
            [*command, f"--constraint={limits}", *wanted],
            check=True,
            stdout=subprocess.PIPE,
        )
    for each in json.loads(answer.stdout)["install"]:
        data = each["metadata"]
        yield _canonical(data["name"]), data["version"]


def hashes(name: str, version: str) -> dict[str, str]:
    """Return the SHA-256 of the files of a version that fit, by file name."""
    from pip._internal.models.wheel import Wheel
    from pip._internal.utils.compatibility_tags import get_supported

    tags = {
        tag
        for python in PYTHONS
        for tag in get_supported(version=python.replace(".", ""), platforms=PLATFORMS)
    }
    found = {}
    for link in _links(name):
        if link.hash_name != "sha256" or link.is_file or link.yanked_reason is not None:
            continue
        if link.is_wheel:
            wheel = Wheel(link.filename)
            fits = wheel.version == version and not tags.isdisjoint(wheel.file_tags)
        else:
            fits = _canonical(link.filename) in {
                f"{_canonical(name)}-{version}{end}".replace(".", "-")
                for end in (".tar.gz", ".zip")
            }
        if fits:
            found[str(link.filename)] = str(link.hash)
    return dict(sorted(found.items()))


def _links(name: str) -> Iterator[Any]:
    """Yield the files that the configured indexes have of a package."""
    from pip._internal.commands.index import IndexCommand
    from pip._internal.index.collector import parse_links
    from pip._internal.models.link import Link

    command = IndexCommand("index", "")
    with command.main_context():
        options, _ = command.parse_args(["versions", name])
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session)
        collector = finder._link_collector
        for place in collector.search_scope.get_index_urls_locations(name):
            page = collector.fetch_response(Link(place))
            if page is not None:
                yield from parse_links(page)


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def locked(packages: dict[str, str], markers: dict[str, str]) -> str:
    """Return the text of a lock file."""
    lines = []
    for name, version in sorted(packages.items()):
        files = hashes(name, version)
        if not files:
            raise SystemExit(f"lock: no index has {name} {version} with a hash")
        marker = f" ; {markers[name]}" if name in markers else ""
        lines.append(f"{name}=={version}{marker}")
        lines += [f"    --hash=sha256:{each}" for each in sorted({*files.values()})]
    return _HEAD + "\n".join(lines).replace("\n    --", " \\\n    --") + "\n"


def main() -> None:
    """Write every lock file anew."""
    known: dict[str, str] = {}
    for name, wanted in requirements().items():
        packages = pinned(wanted, known)
        (REPOSITORY / name).write_text(locked(packages, conditions(wanted)), "utf-8")
        print(f"  LOCK     {name}: {len(packages)} packages", flush=True)
        known |= packages


if __name__ == "__main__":
    main()
