# SPDX-License-Identifier: MIT
"""What there is to say about rule files: refusals, remarks, and what is left out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum


class Kind(Enum):
    """What a note means for its rule."""

    REFUSED = "refused"
    REMARK = "remark"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Note:
    """One note. `line` counts from 1; `title` is empty where no rule is known."""

    kind: Kind
    file: str
    line: int
    title: str
    reason: str

    @property
    def text(self) -> str:
        """The note as one line."""
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        if self.kind is Kind.REMARK:
            return f"{place}{_about(self.title)}{self.reason}"
        what = f"rule {self.title!r} is not used: " if self.title else ""
        return f"{place}{what}{self.reason}"

    def plain(self) -> dict[str, str | int]:
        """Return the note as data for JSON."""
        return {**asdict(self), "kind": self.kind.value}


def _about(title: str) -> str:
    return f"rule {title!r}: " if title else ""


class RuleError(ValueError):
    """A rule, or a file of rules, that cannot be used; `line` is 0 if not known."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.reason = " ".join(reason.split())[:_REASON]
        self.line = line


#: The longest reason, in characters: it may quote what somebody wrote.
_REASON = 400
