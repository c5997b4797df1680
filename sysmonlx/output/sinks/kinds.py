# SPDX-License-Identifier: MIT
"""How a sink of each kind is opened; `base` says how to add one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sysmonlx.output.sinks.base import Sink
from sysmonlx.output.sinks.file import FileSink
from sysmonlx.output.sinks.stdout import StdoutSink
from sysmonlx.output.sinks.syslog import SyslogSink
from sysmonlx.policy import SinkChoice

#: Takes the setting and the spool's limit in bytes.
Opener = Callable[[SinkChoice, int], Sink]


def _syslog(choice: SinkChoice, spool_limit_bytes: int) -> Sink:
    return SyslogSink(choice.target or "/dev/log", spool_limit_bytes)


def _journald(choice: SinkChoice, spool_limit_bytes: int) -> Sink:
    from sysmonlx.output.sinks.journald import SOCKET, JournaldSink

    return JournaldSink(choice.target or SOCKET, spool_limit_bytes)


def _file(choice: SinkChoice, spool_limit_bytes: int) -> Sink:
    return FileSink(choice.target, spool_limit_bytes)


def _stdout(choice: SinkChoice, spool_limit_bytes: int) -> Sink:
    return StdoutSink(spool_limit_bytes=spool_limit_bytes)


#: By the names of `schema.options.SINK_KINDS`.
OPENERS: Mapping[str, Opener] = {
    "syslog": _syslog,
    "file": _file,
    "stdout": _stdout,
    "journald": _journald,
}


def open_sink(choice: SinkChoice, spool_limit_bytes: int) -> Sink:
    """Return the sink of a setting.

    A destination that is not there is no error: the sink says it in `trouble`, and
    tries again.
    """
    return OPENERS[choice.kind](choice, spool_limit_bytes)
