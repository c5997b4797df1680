# SPDX-License-Identifier: MIT
"""What the documents say: links lead somewhere, names exist, facts agree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from lxml import etree
from support.configurations import read

from sysmonlx.capture.hooks import PROCESS_HOOKS
from sysmonlx.enrich.registry import ALL_HOOKS
from sysmonlx.rules.clauses import Clause
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.kernel.fields import FIELDS
from sysmonlx.schema.event_page import UNEXPLAINED, title_of
from sysmonlx.schema.event_types import AnswerKind
from sysmonlx.schema.events import EVENT_BY_ID, PRODUCED

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "sysmonlx"
PAGES = sorted(
    path
    for folder in (
        *(".", "docs", "docs/collectors", "tests/data", "config_schema", "ebpf"),
    )
    for path in (ROOT / folder).glob("*.md")
)
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in PAGES}
MANUALS = {
    f"man/sysmonlx.{n}": (ROOT / f"man/sysmonlx.{n}").read_text() for n in (5, 8)
}
EVENTS = TEXTS["docs/events.md"]
ARCHITECTURE = TEXTS["docs/architecture.md"]
RULES = TEXTS["docs/rules.md"]


# --- links


def links(text: str) -> list[str]:
    prose = re.sub(r"(?ms)^```.*?^```", "", text)
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose))
    return [each for each in found if not re.match(r"[a-z]+:", each)]


def anchors(text: str) -> set[str]:
    """Return the names that GitHub gives the headings of a page."""
    heads = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```", "", text))
    plain = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {each.replace(" ", "-") for each in plain}


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_to_files_and_headings(page: str) -> None:
    for link in links(TEXTS[page]):
        name, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(target.read_text("utf-8")), link


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in links(TEXTS["README.md"])}
    pages = {page for page in TEXTS if page.startswith("docs/") or "/" not in page}
    collectors = {page for page in pages if page.startswith("docs/collectors/")}
    index = {"docs/collectors/README.md"}
    assert pages - {"README.md"} - (collectors - index) <= linked


# --- names of functions


def dotted(text: str) -> list[str]:
    """Return the names like `pipeline.flow.Pipeline.take` in a page."""
    names = re.findall(r"`([a-z_]+(?:\.[A-Za-z_]\w*)+)`", text)
    return [each for each in names if (PACKAGE / each.partition(".")[0]).is_dir()]


def definitions(body: list[ast.stmt]) -> Iterator[tuple[str, list[ast.stmt]]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.body
        elif isinstance(node, ast.Assign):
            names = [each for each in node.targets if isinstance(each, ast.Name)]
            yield from ((each.id, []) for each in names)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, []


def exists(name: str) -> bool:
    """Tell whether a dotted name is a package, a module, or what a module defines."""
    place, parts = PACKAGE, name.split(".")
    while parts and (place / parts[0]).is_dir():
        place /= parts.pop(0)
    if not parts:
        return True
    module = place / f"{parts.pop(0)}.py"
    if not module.is_file():
        return False
    body = ast.parse(module.read_text("utf-8")).body
    for part in parts:
        found = dict(definitions(body))
        if part not in found:
            return False
        body = found[part]
    return True


def test_modules_and_functions_that_pages_name_exist() -> None:
    assert dotted(ARCHITECTURE)
    wrong = [(page, name) for page in TEXTS for name in dotted(TEXTS[page])]
    assert [each for each in wrong if not exists(each[1])] == []


@cache
def c_source() -> str:
    files = sorted((ROOT / "ebpf").rglob("*.[ch]"))
    return "".join(file.read_text() for file in files if file.name != "vmlinux.h")


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/events.md"])
def test_kernel_functions_that_pages_name_exist(page: str) -> None:
    for name in set(re.findall(r"`(\w+)\(\)`", TEXTS[page])):
        pattern = rf"^(?:static |\w)[^;\n]*\b(?:BPF_PROG\({name},|{name}\()[^;]*$"
        assert re.search(pattern, c_source(), re.MULTILINE), name


@pytest.mark.parametrize("page", TEXTS)
def test_files_that_pages_name_exist(page: str) -> None:
    names = re.findall(r"`((?:ebpf|tests|docs|config_schema)/[\w./-]+)`", TEXTS[page])
    assert [each for each in names if not (ROOT / each).exists()] == []


def test_files_that_comments_name_exist() -> None:
    """Of one kind of signpost: a file by its name, in Python and in C."""
    sources = [*PACKAGE.rglob("*.py"), *(ROOT / "ebpf").rglob("*.[ch]")]
    known = {path.name for path in (*sources, *(ROOT / "tests").rglob("*.py"))}
    wrong = [
        f"{path.name}: {name}"
        for path in sources
        if path.name != "vmlinux.h"
        for name in re.findall(r"\b(\w+\.bpf\.[ch]|\w+\.py)\b", path.read_text())
        if name not in known | {"setup.py"}
    ]
    assert wrong == []


# --- statements of fact


def lowest_booted() -> str:
    makefile = (ROOT / "Makefile").read_text()
    (kernels,) = re.findall(r"(?m)^VM_KERNELS \?= (.*)$", makefile)
    versions = sorted(tuple(map(int, each.split("."))) for each in kernels.split())
    return ".".join(map(str, versions[0]))


def test_the_lowest_kernel_is_the_one_that_is_booted_wherever_it_is_told() -> None:
    told = {
        page: set(re.findall(r"Linux\s+(\d+\.\d+)\s+or\s+newer", text))
        for page, text in {**TEXTS, **MANUALS}.items()
    }
    for page in ("README.md", "docs/kernels.md", "man/sysmonlx.8"):
        assert told[page], page
    assert set().union(*told.values()) == {lowest_booted()}
    assert f"kernels before {lowest_booted()} | not supported" in TEXTS["README.md"]


@pytest.mark.parametrize("page", ["README.md", "docs/kernels.md", "man/sysmonlx.8"])
def test_processors_are_told_beside_the_kernel(page: str) -> None:
    text = {**TEXTS, **MANUALS}[page]
    assert "x86-64" in text
    assert re.search(r"arm64[^|]{0,300}not\s+yet\s+(proved|supported)", text)


def test_python_is_the_one_that_the_package_wants() -> None:
    wanted = re.findall(r'python_requires=">=(.*)"', (ROOT / "setup.py").read_text())
    assert re.findall(r"Python (\d\.\d+) or newer", TEXTS["README.md"]) == wanted


def test_fieldsizes_are_bytes_wherever_they_are_told() -> None:
    for page, text in {**TEXTS, **MANUALS}.items():
        for part in re.findall(r"FieldSizes.{0,300}", text, re.DOTALL):
            assert "characters" not in part, page


# --- docs/events.md


def section(event_id: int) -> str:
    title = title_of(EVENT_BY_ID[event_id])
    found = re.search(rf"(?ms)^## {re.escape(title)}$(.*?)(?=^## |\Z)", EVENTS)
    assert found, f"docs/events.md: write BEGIN and END event-{event_id}"
    return found[1]


@pytest.mark.parametrize("event_id", sorted(PRODUCED))
def test_an_event_is_explained_whole(event_id: int) -> None:
    text = section(event_id)
    assert f"| {UNEXPLAINED} |" not in text, "write the last column of the table"
    labels = re.findall(r"(?m)^\*\*(.*?)\.\*\*", text)
    wanted = ["On Linux", "Hook", "MITRE ATT&CK", "Cost", "Kernels", "A line"]
    assert labels == wanted
    assert re.search(r"\bT\d{4}(\.\d{3})?\b", text)


@pytest.mark.parametrize("event_id", sorted(PRODUCED))
def test_the_line_of_an_event_has_its_fields(event_id: int) -> None:
    (block,) = re.findall(r"(?ms)^```xml\n(.*?)^```$", section(event_id))
    data = etree.fromstring(block).iter("Data")
    fields = [each.name for each in EVENT_BY_ID[event_id].fields]
    assert [each.get("Name") for each in data] == fields


@pytest.mark.parametrize("event_id", sorted(PRODUCED))
def test_the_hooks_of_an_event_are_named(event_id: int) -> None:
    of_event = [each for each in ALL_HOOKS if event_id in each.events]
    hooks = [each for each in of_event if not each.fields]
    first = {name for each in hooks for name in each.alternatives[0]}
    named = set(re.findall(r"`(\w+)`", section(event_id)))
    assert not first - named, f"**Hook.** does not name {first - named}"


def test_the_hooks_of_fields_of_ours_are_named() -> None:
    hooks = [each for each in ALL_HOOKS if each.fields]
    first = {name for each in hooks for name in each.alternatives[0]}
    assert first
    assert first <= set(re.findall(r"`(\w+)`", EVENTS))


def test_the_hooks_of_processes_are_named() -> None:
    wanted = {name for each in PROCESS_HOOKS[0].alternatives for name in each}
    assert wanted <= set(re.findall(r"`(\w+)`", section(1) + section(5)))


# --- docs/rules.md and the example of docs/architecture.md


def test_fields_that_the_kernel_answers_are_listed() -> None:
    rows = re.findall(r"(?m)^\| (\d+) \w+ \| (.*) \|$", RULES)
    kinds = (
        (AnswerKind.IMAGE, AnswerKind.TARGET_IMAGE),
        (AnswerKind.USER, AnswerKind.TARGET_USER),
        (AnswerKind.PATH,),
        (AnswerKind.CHOICE, AnswerKind.TEXT),
    )
    told = {
        int(event_id): [set(filter(None, cell.strip().split(", "))) for cell in cells]
        for event_id, row in rows
        for cells in (row.split("|"),)
    }
    assert told == {
        event_id: [
            {name for name, place in places.items() if place.kind in each}
            for each in kinds
        ]
        for event_id, places in FIELDS.items()
    }


@pytest.mark.parametrize("text", [ARCHITECTURE, RULES], ids=["architecture", "rules"])
def test_the_example_is_what_the_compiler_makes_of_it(text: str) -> None:
    (xml,) = re.findall(r"(?ms)^```xml\n(<Sysmon.*?)^```$", text)
    policy, warnings = read(xml)
    assert warnings == ()
    rules = compile_rules(policy.ruleset)
    for source in re.findall(r"(?ms)^```text\n(def .*?)^```$", text):
        assert source.strip() == rules.source(11).strip()
    clauses: tuple[Clause, ...] = rules.decision(11).clauses
    assert [each.include for each in clauses] == [False, True]
