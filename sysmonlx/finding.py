# SPDX-License-Identifier: MIT
"""A finding: a remark on a configuration, or the reason why it is refused."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One remark on a configuration.

    `text` is Sysmon's message where Sysmon has one. `advice` is our addition to it, for
    example the nearest valid name. `line` and `column` count from 1; 0: not known. With
    a `fatal` finding the configuration is refused.
    """

    text: str
    line: int = 0
    column: int = 0
    advice: str = ""
    fatal: bool = True
