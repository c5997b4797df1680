# SPDX-License-Identifier: MIT
"""How a sink of each kind is opened; `base` says how to add one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sysmonlx.output.sinks.base import Sink
from sysmonlx.output.sinks.file import FileSink
from sysmonlx.output.sinks.stdout import StdoutSink
from sysmonlx.output.sinks.syslog import SyslogSink

#: Takes the target of the setting, which may be empty, and the spool's limit in bytes.
Opener = Callable[[str, int], Sink]


def _syslog(target: str, spool_limit_bytes: int) -> Sink:
    return SyslogSink(target or "/dev/log", spool_limit_bytes)


def _stdout(target: str, spool_limit_bytes: int) -> Sink:
    return StdoutSink(spool_limit_bytes=spool_limit_bytes)


#: By the names of `schema.options.SINK_KINDS`.
OPENERS: Mapping[str, Opener] = {
    "syslog": _syslog,
    "file": FileSink,
    "stdout": _stdout,
}


def open_sink(kind: str, target: str, spool_limit_bytes: int) -> Sink:
    """Return the sink of a setting.

    A destination that is not there is no error: the sink says it in `trouble`, and
    tries again.
    """
    return OPENERS[kind](target, spool_limit_bytes)
