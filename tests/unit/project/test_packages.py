# SPDX-License-Identifier: MIT
"""Which package may import which: read from the source, so lazy imports count too."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
PACKAGE = REPOSITORY / "sysmonlx"

#: What each package may import, from the ground floor up. A name without a dot is a
#: package or a file of the top level; one with a dot is that module alone.
MAY_IMPORT = {
    "bounded": "",
    "errors": "",
    "interruption": "",
    "kernel_text": "bounded",
    "policy": "",
    "event": "",
    "schema": "policy",
    "host": "errors kernel_text bounded",
    "bpf": "errors host.private_files host.capabilities",
    "hashing": "errors host kernel_text policy bounded",
    "rules": "schema policy bounded",
    "config": "schema policy errors host.child_process host.capabilities"
    " rules.clauses rules.conditions rules.sigma.distrust rules.sigma.forms"
    " rules.sigma.pack",
    "output": "schema policy event bounded host.root_files host.file_calls"
    " host.access_lists",
    "capture": "bpf rules errors host.file_identity host.thread_call",
    "viewer": "rules.conditions schema output.escape host.inherited interruption"
    " bounded",
    "processes": "capture.records schema event kernel_text",
    "enrich": "processes capture.records capture.hooks schema policy event kernel_text",
    "pipeline": "enrich processes rules output capture hashing schema event errors"
    " kernel_text policy bounded host.file_identity",
    "service": "pipeline enrich processes capture output config hashing rules host"
    " bpf.side_band"
    " schema event policy kernel_text errors",
    "sigma_tool": "viewer.read config.sigma.child config.sigma.files config.sigma.notes"
    " config.sigma.outline rules output.escape schema policy errors host.inherited"
    " host.root_files interruption",
    "selftest": "service.messages host.ports schema policy errors",
    "cli": "selftest service viewer sigma_tool.main output config rules host bpf.libbpf"
    " schema policy errors",
}

#: Packages in which nothing but these modules knows the world outside of the program.
OUTSIDE = {
    "bounded": "",
    "errors": "",
    "kernel_text": "",
    "policy": "",
    "event": "",
    "schema": "versions __main__",
    "rules": "",
    "config": "child confinement rule_files sigma.child sigma.files",
    "output": "record_ids sinks",
    "capture": "sensor loader name_proof kernel_facts kernel_filter kernel_form "
    "counters",
    "viewer": "main sources __main__",
    "processes": "",
    "enrich": "",
    "pipeline": "",
}
WORLD = {
    *("ctypes", "fcntl", "mmap", "os", "pathlib", "pwd", "resource", "select"),
    *("shutil", "signal", "socket", "subprocess", "threading"),
}

#: What the daemon never loads: large libraries, and what only people need.
NOT_IN_THE_DAEMON = {
    *("lxml", "xmlschema", "xml", "ssl", "hashlib", "yaml", "sigma", "pyarrow"),
    *("duckdb", "logging", "datetime", "decimal", "unittest", "argparse"),
    *("sysmonlx.config.reader", "sysmonlx.schema.versions"),
    *("sysmonlx.cli", "sysmonlx.viewer"),
}


def _name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


MODULES = {
    _name_of(path): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name not in ("__init__.py", "__main__.py") or path.parent != PACKAGE
}
CODE = {name: path for name, path in MODULES.items() if "__init__" not in name}


def package_of(module: str) -> str:
    return module.partition(".")[0]


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


@functools.cache
def imported(module: str) -> frozenset[str]:
    """Return the full names that `module` imports anywhere, of modules and others."""
    return frozenset(_imported(module))


def _imported(module: str) -> Iterator[str]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{each.name}" for each in node.names)


@functools.cache
def arrows(module: str) -> frozenset[str]:
    """Return the modules of ours that `module` imports."""
    names = {name.removeprefix("sysmonlx.") for name in imported(module)}
    return frozenset(names & CODE.keys())


def test_every_package_has_its_floor() -> None:
    assert {package_of(name) for name in CODE} == MAY_IMPORT.keys()


def test_floors_go_up() -> None:
    below: set[str] = set()
    for package, allowed in MAY_IMPORT.items():
        assert {package_of(each) for each in allowed.split()} <= below, package
        below.add(package)


@pytest.mark.parametrize("module", CODE)
def test_imports_go_down_only(module: str) -> None:
    allowed = MAY_IMPORT[package_of(module)].split()
    wrong = {
        each
        for each in arrows(module)
        if package_of(each) not in (package_of(module), *allowed)
        and each not in allowed
    }
    assert wrong == set()


def test_what_may_be_imported_is_imported() -> None:
    """A permission that nobody uses any more is taken back."""
    for package, allowed in MAY_IMPORT.items():
        used = {
            each
            for name in CODE
            if package_of(name) == package
            for each in arrows(name)
        }
        used |= {package_of(each) for each in used}
        assert set(allowed.split()) <= used, package


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {name: set(arrows(name)) for name in CODE}
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


@pytest.mark.parametrize("module", CODE)
def test_only_some_modules_know_the_world_outside(module: str) -> None:
    package, _, rest = module.partition(".")
    may = OUTSIDE.get(package)
    if may is None or {rest, rest.partition(".")[0]} & set(may.split()):
        return
    assert {name.partition(".")[0] for name in imported(module)} & WORLD == set()
    assert not [
        node.lineno
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "open"
    ]


def test_only_configuration_needs_an_xml_library() -> None:
    libraries = ("lxml", "xmlschema")
    users = {
        module
        for module in CODE
        for name in imported(module)
        if name.partition(".")[0] in libraries
    }
    assert users == {"config.xsd_check"}


def test_packages_hold_no_code_of_their_own() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent != PACKAGE:
            (only,) = ast.parse(path.read_text()).body
            assert isinstance(only, ast.Expr), path


def test_daemon_loads_nothing_that_only_people_need() -> None:
    code = "import sys, sysmonlx.service.daemon; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    loaded = set(output.split())
    assert "sysmonlx.pipeline.flow" in loaded
    assert loaded & NOT_IN_THE_DAEMON == set()
