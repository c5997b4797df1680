# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from sysmonlx.schema.event_page import UNEXPLAINED, with_frame
from sysmonlx.schema.events import EVENT_BY_ID, PRODUCED

PAGE = """\
text
<!-- BEGIN event-4 -->
| State | anything | on or off |
| Gone | text | a field of before |
<!-- END event-4 -->
prose
"""


def test_frame_is_made_of_the_schema_and_prose_stays() -> None:
    made = with_frame(PAGE)
    assert made.startswith("text\n<!-- BEGIN event-4 -->\n## 4: ")
    assert made.endswith("<!-- END event-4 -->\nprose\n")
    rows = [line for line in made.splitlines() if line.startswith("| ")][2:]
    names = [field.name for field in EVENT_BY_ID[4].fields]
    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in names]


def test_source_stays_with_its_field_and_a_new_field_has_none() -> None:
    made = with_frame(PAGE)
    assert "| State | text | on or off |" in made
    assert f"| Version | text | {UNEXPLAINED} |" in made
    assert "Gone" not in made


def test_frame_that_is_made_again_is_the_same() -> None:
    assert with_frame(with_frame(PAGE)) == with_frame(PAGE)


def test_index_links_every_event_that_occurs() -> None:
    made = with_frame("<!-- BEGIN index -->\n<!-- END index -->\n")
    assert made.count("](#") == len(PRODUCED)
    assert "| [1: ProcessCreate](#1-processcreate) |" in made


@pytest.mark.parametrize(
    ("name", "error"), [("event-999", KeyError), ("x", ValueError)]
)
def test_unknown_part_is_an_error(name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        with_frame(f"<!-- BEGIN {name} -->\n<!-- END {name} -->\n")
