# SPDX-License-Identifier: MIT
"""Every line of tests/golden, byte for byte.

A case holds the field values and the lines they must become. Those named recorded_*
were written by Sysmon for Linux 1.5.2. `pytest --update-golden` rewrites the lines
of all others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sysmonlx.output.forms import line_maker
from sysmonlx.output.render import Writer
from sysmonlx.schema.events import EVENT_BY_ID

#: Forms that Sysmon does not have.
OURS = ("json", "velociraptor", "ecs")

CASES = sorted((Path(__file__).parents[2] / "golden").glob("*.json"))


def rendered(case: dict[str, Any], form: str) -> str:
    sizes = [(name, size) for name, size in case.get("field_sizes", [])]
    writer = Writer(case["computer"], case["pid"], case["pid"], 0)
    maker = line_maker(form, writer, case.get("limit_bytes", 65535), sizes)
    event = (case["event_id"], list(case["values"].values()), False, None)
    return maker.lines([event], case["record_id"], case["wall_ns"]).data.decode()


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_line_is_exact(path: Path, update_golden: bool) -> None:
    case = json.loads(path.read_text())
    if update_golden:
        if not path.stem.startswith("recorded_"):
            case["xml"] = rendered(case, "xml")
        for form in OURS:
            case[form] = rendered(case, form)
        path.write_text(json.dumps(case, indent=1) + "\n")
    assert rendered(case, "xml") == case["xml"]
    for form in OURS:
        assert rendered(case, form) == case[form]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case_names_the_fields_of_its_event_in_order(path: Path) -> None:
    case = json.loads(path.read_text())
    fields = EVENT_BY_ID[case["event_id"]].fields
    assert list(case["values"]) == [field.name for field in fields]
