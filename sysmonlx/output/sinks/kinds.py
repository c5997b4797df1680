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
    extras = (choice.group, choice.prefix, spool_limit_bytes)
    if choice.rotation.is_wanted:
        from sysmonlx.output.sinks.rotating_file import RotatingFileSink

        return RotatingFileSink(choice.target, choice.rotation, *extras)
    return FileSink(choice.target, *extras)


def _stdout(choice: SinkChoice, spool_limit_bytes: int) -> Sink:
    return StdoutSink(spool_limit_bytes=spool_limit_bytes)


def _socket(choice: SinkChoice, spool_limit_bytes: int) -> Sink:
    from sysmonlx.output.sinks.unix_socket import SocketSink

    return SocketSink(choice.place, choice.group, spool_limit_bytes)


#: By the names of `schema.options.SINK_KINDS`.
OPENERS: Mapping[str, Opener] = {
    "syslog": _syslog,
    "file": _file,
    "stdout": _stdout,
    "journald": _journald,
    "socket": _socket,
}


def open_sink(choice: SinkChoice, spool_limit_bytes: int) -> Sink:
    """Return the sink of a setting.

    A destination that is not there is no error: the sink says it in `trouble`, and
    tries again.
    """
    return OPENERS[choice.kind](choice, spool_limit_bytes)
