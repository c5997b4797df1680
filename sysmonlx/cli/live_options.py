# SPDX-License-Identifier: MIT
"""The words behind -t: which rules, which form, which events, which signs."""

from __future__ import annotations

import locale
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from sysmonlx.errors import UsageError
from sysmonlx.viewer.terminal import safe
from sysmonlx.viewer.words import check

_COLOURS = ("auto", "always", "never")
_SWITCHES = {"--ascii": "is_ascii", "--local": "is_local", "--tree": "has_tree"}
_JSON = "json"


@dataclass(slots=True)
class LiveOptions:
    """What a command line asks of the live view; `rules` is a file, "" is built in."""

    rules: str = ""
    form: str = "rows"
    words: list[str] = field(default_factory=list)
    colour: str = "auto"
    is_ascii: bool = False
    is_local: bool = False
    has_tree: bool = False

    def has_colour(self, *, is_terminal: bool) -> bool:
        """Return whether rows are coloured."""
        if self.colour != "auto":
            return self.colour == "always"
        is_plain = os.environ.get("NO_COLOR") or is_dumb()
        return is_terminal and not is_plain


def is_dumb() -> bool:
    """Return whether the terminal knows no commands."""
    return os.environ.get("TERM", "dumb") == "dumb"


def has_unicode() -> bool:
    """Return whether the locale is one of UTF-8."""
    return locale.getencoding().lower().replace("-", "") == "utf8"


def options_of(words: Sequence[str]) -> LiveOptions:
    """Return what the words behind -t ask for.

    Raises:
        UsageError: one of them cannot be used, and why.
    """
    options = LiveOptions(is_ascii=not has_unicode())
    left = [*words]
    while left:
        word = left.pop(0)
        if word.startswith("--"):
            _switch(options, word, left)
        elif word.endswith(".xml") and not options.rules and not options.words:
            options.rules = word
        elif word == _JSON and options.form != _JSON and not options.words:
            options.form = _JSON
        else:
            options.words.append(word)
    try:
        check(options.words)
    except ValueError as error:
        raise UsageError(f"-t {safe(str(error))}", show_usage=False) from None
    return options


def _switch(options: LiveOptions, word: str, left: list[str]) -> None:
    name, sign, value = word.partition("=")
    if name in ("--colour", "--color"):
        value = value if sign else left.pop(0) if left else ""
        if value not in _COLOURS:
            text = f"-t {safe(word)}: one of {', '.join(_COLOURS)}"
            raise UsageError(text, show_usage=False)
        options.colour = value
    elif word in _SWITCHES:
        setattr(options, _SWITCHES[word], True)
    else:
        known = ", ".join(("--colour", *_SWITCHES))
        raise UsageError(f"-t {safe(word)}: it has {known}", show_usage=False)
