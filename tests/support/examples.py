# SPDX-License-Identifier: MIT
"""The examples of all pages: pieces of configurations, commands, and their places."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sysmonlx.schema.events import EVENTS
from sysmonlx.schema.options import NAMESPACE

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "man").glob("*.[1578]")),
)
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ROFF = re.compile(
    r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed$|^\.Dl ([^\n]*)$", re.MULTILINE | re.DOTALL
)
_ROFF_SIGNS = {
    **{r"\(aq": "'", r"\(dq": '"', r"\&": "", r"\-": "-", r"\e": "\\", "\\ ": " "}
}
_TAGS = {event.tag for event in EVENTS if event.tag} | {"RuleGroup"}
#: Elements of other programs, and events, which other tests read.
_OF_OTHERS = ("ossec_config", "group", "Event", "EventData")
_SETTINGS = ("Sink", "Rules")
_OURS = re.compile(r"(^|\| )sysmonlx(-logview|-sigma)? ")


class Example(NamedTuple):
    """A block of a page, or a line of one."""

    place: str
    text: str


def blocks() -> Iterator[tuple[Example, str]]:
    """Yield the blocks of all pages, and the language that stands at each."""
    for page in PAGES:
        text = page.read_text("utf-8")
        pattern = _FENCED if page.suffix == ".md" else _ROFF
        for found in pattern.finditer(text):
            line = text.count("\n", 0, found.start()) + 2
            place = f"{page.relative_to(ROOT)}:{line}"
            if page.suffix == ".md":
                yield Example(place, found[2]), found[1]
            else:
                yield Example(place, _of_roff(found[1] or found[2])), "roff"


def _of_roff(text: str) -> str:
    for sign, meaning in _ROFF_SIGNS.items():
        text = text.replace(sign, meaning)
    return text


def configurations() -> Iterator[Example]:
    """Yield each piece of a configuration, made a whole one around it."""
    for block, language in blocks():
        found = re.match(r"\s*(?:<!--.*?-->\s*)*<(?:sx:)?(\w+)", block.text, re.S)
        if language in ("xml", "roff") and found and found[1] not in _OF_OTHERS:
            yield block._replace(text=_whole(found[1], block.text))


def _whole(tag: str, text: str) -> str:
    if tag == "Sysmon":
        return text
    if tag in _SETTINGS:
        prefix = ":sx" if "<sx:" in text else ""
        name = f"{prefix[1:]}:Settings".lstrip(":")
        text = f'<{name} xmlns{prefix}="{NAMESPACE}">{text}</{name}>'
    elif tag in _TAGS:
        text = f"<EventFiltering>{text}</EventFiltering>"
    else:
        assert tag == "Settings", f"<{tag}> is no part of a configuration"
    return f'<Sysmon schemaversion="4.90">{text}</Sysmon>'


def commands() -> Iterator[Example]:
    """Yield each command line of the pages, without prompt and comment."""
    for block, language in blocks():
        if language not in ("sh", "roff"):
            continue
        text = re.sub(r"\\\n\s*", "", block.text)
        for line in text.splitlines():
            prompt = re.match(r"[#$] ", line)
            typed = line[2:] if prompt else line
            is_command = prompt or language == "sh" or _OURS.search(typed)
            if typed.strip() and is_command:
                yield block._replace(text=re.sub(r"\s{2,}# .*", "", typed).strip())


def mentions() -> Iterator[Example]:
    """Yield each command of ours that stands in a sentence or in a comment."""
    pattern = re.compile(
        r"`(sysmonlx[ -][^`]*)`|^\.Ql (sysmonlx .*)$|\"(sysmonlx -.*?)\""
    )
    for page in (*PAGES, *sorted((ROOT / "config_schema").rglob("*.xml"))):
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
            for found in pattern.finditer(line):
                text = re.sub(
                    r" [.,;:)]+( .*)?$", "", next(filter(None, found.groups()))
                )
                yield Example(f"{page.relative_to(ROOT)}:{number}", _of_roff(text))


def pipeline(command: str) -> list[list[str]]:
    """Return the words of each program of a command line, without redirections."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    lexer.commenters = ""
    found: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if word in ("|", "&&", ";", "||"):
            found.append([])
        elif word in (">", "<", ">>"):
            next(words)
        elif word == ">&":
            next(words)
            found[-1].pop()
        else:
            found[-1].append(word)
    return found
