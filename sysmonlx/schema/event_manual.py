# SPDX-License-Identifier: MIT
"""The manual page sysmonlx-events(7), generated from docs/events.md.

The page in turn has titles and tables from the schema (`event_page`); text that people
wrote there is in both. Of Markdown only the parts that the page uses are known:
headings, paragraphs, tables, lists, blocks of code, and within text bold, code and
links.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import wrap

NAME = "sysmonlx-events.7"

_HEAD = """\
.\\" SPDX-License-Identifier: MIT
.\\" Made of docs/events.md by "make generate".
{date}
.Dt SYSMONLX-EVENTS 7
.Os
.Sh NAME
.Nm sysmonlx-events
.Nd what each event means, and where its fields come from
.Sh DESCRIPTION
"""
_TAIL = """\
.Sh SEE ALSO
.Xr sysmonlx-logview 1 ,
.Xr sysmonlx-sigma 1 ,
.Xr sysmonlx 5 ,
.Xr sysmonlx 8
"""
_WIDTH = 78
_DATE = re.compile(r"(?m)^\.Dd .*$")
_COMMENT = re.compile(r"(?s)<!--.*?-->\n?")
_BLOCK = re.compile(r"(?ms)^```\w*\n(.*?)^```$")
_CELL = re.compile(r"(?<!\\)\|")
_CODE = re.compile(r"(`[^`]+`)")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_BOLD = re.compile(r"\*\*([^*]+)\*\*")
_END = re.compile(r"(?<=[.!?]) +|(?<=[.!?]\)) +|(?<=[.!?]\\fR) +")
_RULE = re.compile(r"[|: -]+")


def of_page(page: str, dated: str) -> str:
    """Return the manual page of docs/events.md, dated as another one is."""
    date = _DATE.search(dated)
    lines = [_HEAD.format(date=date[0] if date else ".Dd $Mdocdate$").rstrip("\n")]
    text = _COMMENT.sub("", page)
    is_code = False
    for part in _BLOCK.split(text):
        lines += _literal(part) if is_code else _prose(part)
        is_code = not is_code
    return "\n".join(lines) + "\n" + _TAIL


def _literal(code: str) -> Iterator[str]:
    yield ".Bd -literal -offset indent"
    yield from (_safe(_plain(line)) for line in code.rstrip("\n").split("\n"))
    yield ".Ed"


def _prose(text: str) -> Iterator[str]:
    has_begun = False
    for paragraph in filter(None, (each.strip("\n") for each in text.split("\n\n"))):
        lines = paragraph.split("\n")
        if lines[0].startswith("#"):
            yield from _heading(lines[0])
            has_begun, lines = False, lines[1:]
        if not lines:
            continue
        if lines[0].startswith("|"):
            yield from _table(lines)
        elif lines[0].startswith(("* ", "- ")):
            yield from _list(lines)
        else:
            if has_begun:
                yield ".Pp"
            yield from _filled(" ".join(lines))
        has_begun = True


def _heading(line: str) -> Iterator[str]:
    level, _, title = line.partition(" ")
    if level == "##":
        yield f".Sh {_plain(title)}"
    elif level == "###":
        yield f".Ss {_plain(title)}"


def _table(lines: list[str]) -> Iterator[str]:
    """Yield a table as a list: the first column is what the others explain."""
    rows = [[cell.strip() for cell in _CELL.split(line)[1:-1]] for line in lines]
    head, *rows = (row for row in rows if not _RULE.fullmatch("|".join(row)))
    yield ".Bl -tag -width Ds"
    for first, *others in rows:
        is_field = head[:2] == ["field", "type"]
        kind, rest = (others[0], others[1:]) if is_field else ("", others)
        yield f".It {_text(first)}{f' ({kind})' if kind else ''}"
        titles = [""] if is_field else [f"{title}: " for title in head[1:]]
        named = (f"{t}{cell}" for t, cell in zip(titles, rest, strict=True) if cell)
        yield from _filled("; ".join(named).replace("\\|", "|"))
    yield ".El"


def _list(lines: list[str]) -> Iterator[str]:
    yield ".Bl -bullet"
    items: list[str] = []
    for line in lines:
        if line.startswith(("* ", "- ")):
            items.append(line[2:])
        else:
            items[-1] += f" {line.strip()}"
    for item in items:
        yield ".It"
        yield from _filled(item)
    yield ".El"


def _filled(text: str) -> Iterator[str]:
    """Yield each sentence on lines of its own, as mdoc wants it."""
    for sentence in _END.split(_text(text)):
        for line in wrap(
            sentence, _WIDTH, break_long_words=False, break_on_hyphens=False
        ):
            yield _safe(line)


def _plain(text: str) -> str:
    return text.replace("\\", "\\e")


def _safe(line: str) -> str:
    """Return a line that is none of a macro."""
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _text(text: str) -> str:
    """Return text with its bold words, code and links as roff has them."""
    parts = []
    for part in _CODE.split(text):
        if part.startswith("`") and len(part) > 1:
            parts.append(f"\\fB{_plain(part[1:-1])}\\fR")
        else:
            shown = _BOLD.sub("\\\\fB\\1\\\\fR", _LINK.sub(r"\1", _plain(part)))
            parts.append(shown)
    return "".join(parts)
