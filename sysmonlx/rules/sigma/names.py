# SPDX-License-Identifier: MIT
"""The name that a hit has in RuleName, with what ATT&CK calls its technique.

Own keys come first: Microsoft's parser for Sentinel takes `technique_id` up to the next
comma, and all that follows `technique_name=` as the name.
"""

from __future__ import annotations

import re

from sysmonlx.policy import SIGMA_PREFIX
from sysmonlx.rules.sigma.pack import Head
from sysmonlx.rules.sigma.techniques import TECHNIQUES

#: The longest name, in bytes of UTF-8.
NAME_BYTES = 255

_TECHNIQUE = re.compile(r"attack\.(t[0-9]{4}(?:\.[0-9]{3})?)", re.IGNORECASE)
_CUT = "..."


def name_of(head: Head) -> str:
    """Return the name of a rule's hits."""
    technique = _technique(head.tags)
    rest = f",level={head.level}"
    if technique:
        rest += f",technique_id={technique}"
        if technique in TECHNIQUES:
            rest += f",technique_name={TECHNIQUES[technique]}"
    title = " ".join(head.title.replace(",", ";").split()) or head.id or "-"
    room = NAME_BYTES - len((SIGMA_PREFIX + rest).encode("utf-8", "surrogatepass"))
    return f"{SIGMA_PREFIX}{_within(title, room)}{rest}"


def _technique(tags: tuple[str, ...]) -> str:
    """Return the first technique that is part of another, else the first."""
    found = [each[1].upper() for tag in tags if (each := _TECHNIQUE.fullmatch(tag))]
    return next((each for each in found if "." in each), found[0] if found else "")


def _within(text: str, room_bytes: int) -> str:
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= room_bytes:
        return text
    kept = raw[: room_bytes - len(_CUT)]
    while kept and raw[len(kept)] & 0xC0 == 0x80:  # in the middle of a character
        kept = kept[:-1]
    return kept.decode("utf-8", "surrogatepass") + _CUT
