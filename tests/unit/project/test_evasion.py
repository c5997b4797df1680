# SPDX-License-Identifier: MIT
"""docs/evasion.md: each entry has a known result and a case that exists."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from vm.subset import CHOSEN

ROOT = Path(__file__).parents[3]
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "evasion.md"
RESULTS = ("seen", "seen, with a limit", "counted", "refused", "not seen")
HERE, NONE = "6.18", "any"
#: 6.18 has no modules.
KNOWN = ("5.10", "6.1", "6.12", HERE)
#: Results that are worth nothing without what is missing, or why.
EXPLAINED = ("seen, with a limit", "not seen")
LEAST_ENTRIES = 60
LAST_SECTION = "What the reader never waits for"
CELLS = 5


class Entry(NamedTuple):
    """A row of a table."""

    number: int
    way: str
    result: str
    why: str
    kernels: str
    case: str

    @property
    def file(self) -> str:
        return self.case.partition("::")[0]

    @property
    def function(self) -> str:
        return self.case.partition("::")[2].partition("[")[0]

    @property
    def parameters(self) -> str:
        return self.case.partition("[")[2]


def tables(text: str) -> list[list[str]]:
    """Return the cells of each row of each table before the last section."""
    ways = text.partition(f"## {LAST_SECTION}")[0]
    rows = [line for line in ways.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return [row for row in cells if row[0] not in ("no.", "---")]


def entry(cells: list[str]) -> Entry:
    number, way, outcome, kernels, case = cells
    result, _, why = outcome.partition(": ")
    return Entry(int(number), way, result, why, kernels, case.strip("`"))


PAGE_TEXT = PAGE.read_text(encoding="utf-8")
ENTRIES = [entry(cells) for cells in tables(PAGE_TEXT)]


@cache
def functions(file: str) -> dict[str, ast.FunctionDef]:
    """Return the tests of a file by name, without running it."""
    source = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {
        each.name: each for each in source.body if isinstance(each, ast.FunctionDef)
    }


@cache
def values(file: str) -> frozenset[str]:
    """Return all texts and numbers of a file, of which pytest makes names of cases."""
    source = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    constants = (each for each in ast.walk(source) if isinstance(each, ast.Constant))
    return frozenset(str(each.value) for each in constants)


def has_parameters(function: ast.FunctionDef, file: str) -> bool:
    """Tell whether pytest makes several cases of it: by a decorator or a fixture."""
    if any("parametrize" in ast.unparse(each) for each in function.decorator_list):
        return True
    used = {each.arg for each in function.args.args}
    fixtures = (each for name, each in functions(file).items() if name in used)
    return any("params=" in ast.unparse(d) for f in fixtures for d in f.decorator_list)


def is_made_of(name: str, known: frozenset[str]) -> bool:
    """Tell whether the text in brackets is nothing but known values, with hyphens."""
    if name in known:
        return True
    cuts = (at for at, character in enumerate(name) if character == "-")
    return any(name[:at] in known and is_made_of(name[at + 1 :], known) for at in cuts)


def case_is_known(each: Entry) -> bool:
    """Tell whether the test has a case of such parameters.

    pytest names a value that is neither text nor number by its argument and its place.
    """
    function = functions(each.file)[each.function]
    if not has_parameters(function, each.file) or not each.parameters.endswith("]"):
        return False
    places = {
        f"{arg.arg}{number}" for arg in function.args.args for number in range(99)
    }
    shown = each.parameters.removesuffix("]").removesuffix("-...")
    return is_made_of(shown, values(each.file) | places)


# --- the page


def test_there_are_enough_entries() -> None:
    assert len(ENTRIES) >= LEAST_ENTRIES


def test_numbers_ascend_without_a_gap() -> None:
    assert [each.number for each in ENTRIES] == list(range(1, len(ENTRIES) + 1))


def test_rows_have_every_cell() -> None:
    wrong = [row for row in tables(PAGE_TEXT) if len(row) != CELLS or not all(row)]
    assert wrong == []


def test_results_are_known_and_explained() -> None:
    assert [each for each in ENTRIES if each.result not in RESULTS] == []
    bare = [each for each in ENTRIES if each.result in EXPLAINED and not each.why]
    assert bare == []


def test_every_result_is_explained_once_above_the_tables() -> None:
    above = PAGE_TEXT.partition("\n## ")[0]
    assert re.findall(r"^\* \*\*(.+)\*\*:", above, re.MULTILINE) == list(RESULTS)


@pytest.mark.parametrize("part", ["way", "case"])
def test_no_entry_comes_twice(part: str) -> None:
    counted = Counter(getattr(each, part).casefold() for each in ENTRIES)
    assert [text for text, count in counted.items() if count > 1] == []


def test_what_the_reader_never_waits_for_is_the_last_section() -> None:
    assert re.findall(r"^## (.+)$", PAGE_TEXT, re.MULTILINE)[-1] == LAST_SECTION


# --- the cases


@pytest.mark.parametrize("each", ENTRIES, ids=lambda each: str(each.number))
def test_case_exists(each: Entry) -> None:
    assert (TESTS / each.file).is_file(), each.case
    assert each.function.startswith("test_")
    assert each.function in functions(each.file), each.case
    assert not each.parameters or case_is_known(each), each.case


def test_kernels_are_those_on_which_the_case_runs() -> None:
    chosen = tuple(
        f"{file.removeprefix('tests/')}::{name}"
        for file, names in CHOSEN.items()
        for name in names
    )
    for each in ENTRIES:
        wanted = NONE if each.file.startswith("unit/") else each.kernels
        assert each.kernels == wanted, each
        named = each.kernels.split(", ")
        in_order = [kernel for kernel in KNOWN if kernel in named]
        assert each.kernels == NONE or named == in_order, each
        runs = each.case.removesuffix("...]").startswith(chosen)
        is_elsewhere = each.kernels not in (HERE, NONE)
        assert runs or not is_elsewhere, f"not in tests/vm/subset.py: {each}"


def test_every_test_of_what_is_not_seen_has_an_entry() -> None:
    file = "kernel/hostile/test_unseen.py"
    named = {each.function for each in ENTRIES if each.file == file}
    tests = {name for name in functions(file) if name.startswith("test_")}
    assert tests == named


@pytest.mark.parametrize(
    ("parameters", "known"),
    [
        ("[/tmp-create_deep-...]", True),
        ("[/dev/shm-create-...]", True),
        ("[/tmp-create_deeper-...]", False),
        ("[/tmp-create_deep-...", False),
        ("[/nowhere-create_deep-...]", False),
    ],
)
def test_a_case_that_the_test_does_not_have_is_found(
    parameters: str, known: bool
) -> None:
    case = f"kernel/events/file/test_file_events.py::test_creation{parameters}"
    assert case_is_known(Entry(1, "", "seen", "", HERE, case)) is known


def test_a_test_without_parameters_has_no_cases() -> None:
    case = "kernel/loss/test_flood.py::is_whole[0]"
    assert not case_is_known(Entry(1, "", "seen", "", HERE, case))
