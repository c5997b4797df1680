# SPDX-License-Identifier: MIT
"""The picture of README shows rows as the live view makes them today."""

from __future__ import annotations

import re

from support.running import REPOSITORY
from support.screens import ScreenModel
from tools.picture import picture, rows_of

from sysmonlx.viewer.rows import Rows, Style
from sysmonlx.viewer.what import MARKS

DRAWN = (REPOSITORY / "docs/live.svg").read_text("utf-8")
_ROW = re.compile(r"[0-9:]{8}\.\d{3} (?P<mark>\S) [ 0-9]{7} \S+ +(?P<body>\S.*)")


def test_rows_of_the_picture_are_rows_of_today() -> None:
    day, *rows, status = rows_of(DRAWN)
    assert re.fullmatch(Rows(Style()).rule(r"\d{4}-\d\d-\d\d"), day)
    found = [_ROW.fullmatch(row) for row in rows]
    assert None not in found, rows
    marks = {each["mark"] for each in found if each}
    assert {"+", "~", "w"} <= marks <= {*MARKS.values()}
    assert " 0 lost " in status
    assert len(rows) > 15


def test_picture_shows_what_stands_on_a_screen() -> None:
    screen = ScreenModel(20, 3)
    screen.write(b"\x1b[1mbold\x1b[0m <a>\r\n  \x1b[7;31minverse\x1b[0m\r\nend")
    drawn = picture(screen.cells)
    assert rows_of(drawn) == ["bold <a>", "  inverse", "end"]
    assert 'font-weight="bold">bold<' in drawn
