# SPDX-License-Identifier: MIT
"""How long the lines of a sink may be: as the settings say, else as the sink takes."""

from __future__ import annotations

from sysmonlx.host.log_daemon import LogLimit, log_limit
from sysmonlx.policy import Settings, SinkChoice

LOG_SOCKET = "/dev/log"


def line_limit(settings: Settings, choice: SinkChoice) -> LogLimit:
    """Return the longest line that a sink may write, and whose limit that is.

    The reason is empty where nobody need know it.
    """
    if settings.line_limit_bytes:
        return LogLimit(settings.line_limit_bytes, "LineLimit")
    if choice.kind == "syslog" and choice.target in ("", LOG_SOCKET):
        return log_limit()
    return LogLimit(settings.line_limit_of(choice.kind), "")
