# SPDX-License-Identifier: MIT
"""Who may import whom: read from the source, so that a lazy import counts too."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "sysmonlx"

FACTS = """
    catalogue errors hook hooks_file hooks_network hooks_process lines options
    policyform ruleset
"""
PURE = """
    account arguments automaton books btf budget builders carriers clauses
    conditions config decode enrich enrich_file enrich_network escape eventlines
    eventpage eventtext filtering helptext hooks kernelbits kernelfields kernelrules
    launches lint listing literals losses manual offline optionreader optionvalues
    plaindecision process processes pysource remarks render rules schema sieve
    templates terminal texts trace traceline validation verdicts xmltext xsd
"""
SYSTEM = """
    apart aside bpfobject capabilities commandlines confined filecall fileidentity
    hashes hashjobs hashlanes hashreading hashshare holders inode kept libbpf lock
    memory metrics prepared preparedobject procfs programopener refusal resolve
    ringbuffer rootfiles service services sinks spool state streams syslog users
    watched
"""
WIRING = """
    __init__ __main__ capture census cli commands compilation control counters
    daemon floods foreground guard health installation instance keeper kernel
    kernelfilter kernelform output pipeline reading reload secondtry situation
    statistics updates
"""
LAYERS = {
    name: number
    for number, names in enumerate((FACTS, PURE, SYSTEM, WIRING))
    for name in names.split()
}
#: The system knows facts, but not what is made of them; wiring knows all.
MAY_IMPORT = {0: {0}, 1: {0, 1}, 2: {0, 2}, 3: {0, 1, 2, 3}}

OUTSIDE_WORLD = {
    *("ctypes", "fcntl", "mmap", "os", "pathlib", "pwd", "resource", "select"),
    *("shutil", "signal", "socket", "subprocess", "threading"),
}
#: `btf` lays records out; `schema` writes the generated files when run as a program.
ALLOWED_OUTSIDE = {"btf": {"ctypes"}, "schema": {"pathlib"}}
ALLOWED_OPEN: set[str] = set()

MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))
INNER = [name for name in MODULES if LAYERS.get(name, 3) < 2]


@functools.cache
def source(module: str) -> str:
    return (PACKAGE / f"{module}.py").read_text()


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(source(module))


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements below a node; there are none within an expression."""
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, part, ()):
            yield inner
            yield from statements(inner)


@functools.cache
def imports(module: str) -> frozenset[str]:
    """Return the full names of all modules that `module` imports anywhere."""
    return frozenset(_imports(module))


def _imports(module: str) -> Iterator[str]:
    for node in statements(tree(module)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            name = node.module or ""
            yield name
            yield from (f"{name}.{each.name}" for each in node.names)


def ours(module: str) -> set[str]:
    """Return the modules of this package that `module` imports."""
    names = {name.removeprefix("sysmonlx.") for name in imports(module)}
    return names & set(MODULES)


def test_every_module_has_its_layer() -> None:
    assert set(MODULES) == LAYERS.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way_only(module: str) -> None:
    allowed = MAY_IMPORT[LAYERS[module]]
    assert {each for each in ours(module) if LAYERS[each] not in allowed} == set()


@pytest.mark.parametrize("module", INNER)
def test_facts_and_pure_modules_know_no_outside_world(module: str) -> None:
    outside = {name.partition(".")[0] for name in imports(module)} & OUTSIDE_WORLD
    assert outside - ALLOWED_OUTSIDE.get(module, set()) == set()
    assert opens(module) == [] or module in ALLOWED_OPEN


def opens(module: str) -> list[int]:
    """Return the lines in which `module` calls open()."""
    if "open" not in source(module):
        return []
    return [
        node.lineno
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "open"
    ]


def test_only_configuration_needs_an_xml_library() -> None:
    users = {
        module
        for module in MODULES
        for name in imports(module)
        if name.partition(".")[0] in ("lxml", "xmlschema")
    }
    assert users <= {"config", "schema", "validation"}


def test_daemon_loads_no_xml_library_and_no_configuration_reader() -> None:
    code = "import sys, sysmonlx.service.daemon; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    loaded = set(output.split())
    assert "sysmonlx.pipeline.flow" in loaded
    unwanted = {
        "lxml",
        "xmlschema",
        "xml",
        "sysmonlx.config.reader",
        "sysmonlx.schema.versions",
    }
    assert loaded & unwanted == set()
    assert loaded & {"logging", "datetime", "decimal", "unittest"} == set()
