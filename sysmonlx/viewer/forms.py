# SPDX-License-Identifier: MIT
"""Events as text for people and for programs; texts that programs chose are tamed.

Control characters, bytes that are no UTF-8, and characters that reorder or hide text
are spelt out in every form. In JSON they are JSON's own escapes: nothing is lost.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator

from sysmonlx.output.escape import json_value
from sysmonlx.viewer.fields import DETAILS, text_of, value_of
from sysmonlx.viewer.moments import line_moment
from sysmonlx.viewer.options import Options
from sysmonlx.viewer.read import EventLine
from sysmonlx.viewer.rows import Rows, Style
from sysmonlx.viewer.select import moment_of
from sysmonlx.viewer.sysmon_form import pairs_of, printed
from sysmonlx.viewer.terminal import safe
from sysmonlx.viewer.what import details

Form = Callable[[EventLine], str]

#: Columns of CSV and Markdown where none are chosen; Details are all other fields.
COLUMNS = ("UtcTime", "Computer", "Event", "RuleName", "User", "ProcessId", "Image")

#: What makes a spreadsheet take a cell for a formula, wide forms included.
_FORMULA = re.compile("[=+\\-@\uff1d\uff0b\uff0d\uff20]")
_MARKDOWN = {"`": "\\x60", "<": "\\x3c", "|": "\\|"}


def form_of(options: Options, style: Style) -> tuple[str, Form]:
    """Return the first lines of a form, and what gives the text of an event.

    `style` is that of rows.
    """
    columns = options.columns or (*COLUMNS, DETAILS)
    if options.form == "json":
        return "", json_line
    if options.form == "sysmon":
        return "", lambda event: printed(options, event.event_id, pairs_of(event))
    if options.form == "csv":
        return _csv_row(columns), lambda event: _csv_line(columns, event)
    if options.form == "markdown":
        rule = f"|{' --- |' * len(columns)}\n"
        head = "| " + " | ".join(map(safe, columns)) + " |\n"
        return head + rule, lambda event: _markdown_line(columns, event)
    return "", _Rows(style).line


class _Rows:
    """Rows as the live view has them; a line tells when day or machine change."""

    def __init__(self, style: Style) -> None:
        self._rows = Rows(style)
        self._place = ("", "")

    def line(self, event: EventLine) -> str:
        """Return the row of an event."""
        day = (text_of(event, "UtcTime") or moment_of(event))[:10]
        place = (day, event.system.computer)
        head = ""
        if place != self._place:
            self._place = place
            head = f"{self._rows.rule(' '.join(filter(None, place)))}\n"
        row = self._rows.row(event.event_id, event.values)
        return f"{head}{self._rows.line(row)}\n"


def json_line(event: EventLine) -> str:
    """Return an event as a line of JSON, in the form that the service writes."""
    system = event.system
    data = ",".join(f'"{name}":"{_json(value)}"' for name, value in pairs_of(event))
    return (
        f'{{"Event":{{"System":{{"EventID":{event.event_id},"TimeCreated":'
        f'{{"#attributes":{{"SystemTime":"{_json(system.time)}"}}}},"EventRecordID":'
        f'{max(system.record_id, 0)},"Computer":"{_json(system.computer)}"}},'
        f'"EventData":{{{data}}}}}}}\n'
    )


def _json(text: str) -> str:
    text = json_value(text)
    if text.isascii() or safe(text) == text:
        return text
    return "".join(
        each if each.isascii() or safe(each) == each else _json_escape(each)
        for each in text
    )


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _cells(columns: tuple[str, ...], event: EventLine) -> Iterator[str]:
    for name in columns:
        if name == DETAILS:
            yield details(event, columns)
        elif name == "UtcTime":
            yield safe(text_of(event, name) or line_moment(event.system.time))
        elif name == "ProcessId":
            yield safe(text_of(event, name, "SourceProcessId") or "-")
        elif name == "Image":
            yield safe(text_of(event, name, "SourceImage") or "-")
        else:
            yield safe(value_of(event, name) or "-")


def _csv_row(cells: tuple[str, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()


def _csv_line(columns: tuple[str, ...], event: EventLine) -> str:
    return _csv_row(tuple(map(csv_cell, _cells(columns, event))))


def csv_cell(text: str) -> str:
    """Return the text of a cell that no spreadsheet takes for a formula."""
    if text != "-" and _FORMULA.match(text.lstrip()):
        return f"'{text}"
    return text


def _markdown_line(columns: tuple[str, ...], event: EventLine) -> str:
    return "| " + " | ".join(map(code, _cells(columns, event))) + " |\n"


def code(text: str) -> str:
    """Return a safe text as a code span that fits a cell of a table."""
    for character, spelt in _MARKDOWN.items():
        text = text.replace(character, spelt)
    return f"`{text or '-'}`"
