# SPDX-License-Identifier: MIT
"""The signs that rows are put together with: of Unicode, or of ASCII alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sysmonlx.bounded import Answers
from sysmonlx.viewer.terminal import safe, word


@dataclass(frozen=True, slots=True)
class Signs:
    """Signs of one set. `of` stands between a parent and the command that it ran."""

    of: str
    to: str
    back: str
    branch: str
    deep: str
    dots: str
    times: str
    critical: str
    high: str
    rule: str
    bar: str
    cursor: str
    is_ascii: bool

    def name(self, text: str) -> str:
        """Return a name as one word, in quotes if need be; see `terminal.word`."""
        key = text, self.is_ascii
        return _names[key] if len(text) <= _NAME else _named(key)

    def line(self, text: str) -> str:
        """Return a text in which nothing commands a terminal; blanks stay."""
        text = safe(text)
        return _spelt(text) if self.is_ascii and not text.isascii() else text

    def free(self, text: str) -> str:
        r"""Return a text of several words in which no sign of a row can be forged.

        A row's own additions behind a text begin with two blanks. Therefore every
        second blank in a row of blanks of the text is `\x20`, and so is one at its
        ends.
        """
        if not (text.isascii() and text.isprintable() and "\\x" not in text):
            text = safe(text)
            if self.is_ascii:
                text = _spelt(text)
            elif self.of in text:
                text = text.replace(self.of, f"\\u{ord(self.of):04x}")
        if "  " in text or text[:1] == " " or text[-1:] == " " or not text:
            text = _BLANKS.sub(_spelt_blanks, text) if text else '""'
        return text


_BLANKS = re.compile("(?<= ) +|^ +| +$")


def _spelt_blanks(match: re.Match[str]) -> str:
    return "\\x20" * len(match[0])


def _spelt(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _named(key: tuple[str, bool]) -> str:
    """Return a name as a word, of ASCII alone where that is asked for."""
    text, is_ascii = key
    text = word(text)
    return _spelt(text) if is_ascii and not text.isascii() else text


#: Names that are kept, and the longest of them.
_NAMES, _NAME = 4096, 200


_names = Answers(_named, _NAMES)

UNICODE = Signs(
    of="─",
    to="→",
    back="←",
    branch="└ ",
    deep="»",
    dots="…",
    times="×",  # noqa: RUF001 - it is meant
    critical="‼",
    high="!",
    rule="─",
    bar="│",
    cursor="▌",
    is_ascii=False,
)
ASCII = Signs(
    of="-",
    to="->",
    back="<-",
    branch="`- ",
    deep=">",
    dots="...",
    times="x",
    critical="!!",
    high="!",
    rule="-",
    bar="|",
    cursor="_",
    is_ascii=True,
)
