# SPDX-License-Identifier: MIT
"""How long a line may be, so that the log daemon of this machine does not cut it.

The daemon's own configuration says it. Where that cannot be read or understood, the
default of rsyslog counts.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sysmonlx.host.file_calls import Worker
from sysmonlx.host.private_files import read_file

#: What a daemon puts before a line that it passes on, in bytes: RFC 5424, with a host
#: name of 64 bytes and the sender's pid has 126 at most. The rest is for the pid that
#: the journal puts behind the name.
_HEADER_BYTES = 146

#: maxMessageSize of rsyslog and log-msg-size() of syslog-ng, in bytes, where their
#: configurations do not say.
_RSYSLOG_BYTES, _SYSLOG_NG_BYTES = 8096, 65_536

#: The longest line that a log daemon may get, and the shortest, in bytes.
MOST_BYTES, LEAST_BYTES = 65_535, 2048

#: The limit where nothing is known about the log daemon, in bytes.
UNKNOWN_BYTES = _RSYSLOG_BYTES - _HEADER_BYTES

_RSYSLOG, _RSYSLOG_PID = Path("etc/rsyslog.conf"), Path("run/rsyslogd.pid")
_SYSLOG_NG = Path("etc/syslog-ng/syslog-ng.conf")
_JOURNAL = Path("run/systemd/journal/dev-log")

#: Files that a configuration includes: how many are read, and the longest, in bytes.
_MOST_FILES, _LONGEST_FILE = 200, 1 << 20
#: Files may hang: the caller does not wait longer for them, in seconds.
_PATIENCE_S = 0.5

_COMMENTS = re.compile(r'("(?:\\.|[^"\\])*")|/\*.*?\*/|#[^\n]*', re.DOTALL)
_INCLUDE = re.compile(
    r'\binclude\s*\(\s*file\s*=\s*"([^"]+)"|^\s*\$IncludeConfig\s+(\S+)', re.I | re.M
)
_NEW_SIZE = re.compile(r'\bmaxMessageSize\s*=\s*"([\d.,]+)\s*([a-z]?)"', re.I)
_OLD_SIZE = re.compile(r"^\s*\$MaxMessageSize\s+([\d.,]+)\s*([a-z]?)", re.I | re.M)
_MODULE = re.compile(r"\bmodule\s*\(|^\s*\$ModLoad|\binput\s*\(", re.I | re.M)
_SYSLOG_NG_SIZE = re.compile(r"\blog[-_]msg[-_]size\s*\(\s*(\d+)\s*([a-z]*)\s*\)", re.I)

#: Units of rsyslog: small letters are powers of 1024, capital ones of 1000.
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "K": 1000, "M": 1_000_000}
#: Units of syslog-ng, in small letters.
_SYSLOG_NG_UNITS = {
    **{"": 1, "b": 1, "k": 1000, "kb": 1000, "kib": 1 << 10},
    **{"m": 1_000_000, "mb": 1_000_000, "mib": 1 << 20},
}


class LogLimit(NamedTuple):
    """The longest line for the log daemon, in bytes, and whose limit that is."""

    size_bytes: int
    reason: str


def log_limit(root: Path = Path("/")) -> LogLimit:
    """Return the limit of the log daemon behind /dev/log.

    The files are read in a thread: one that hangs holds nobody up.
    """
    unknown = LogLimit(UNKNOWN_BYTES, "its configuration cannot be read")
    try:
        worker = Worker()
    except OSError:
        return unknown
    call = worker.begin(lambda: _limit(root))
    try:
        return call.result() if call.wait(_PATIENCE_S) else unknown
    except (OSError, ValueError):
        return unknown
    finally:
        worker.end()


def _limit(root: Path) -> LogLimit:
    if (root / _RSYSLOG).exists():
        return _of_rsyslog(root)
    if (root / _SYSLOG_NG).exists():
        return _of_syslog_ng(root)
    if (root / _JOURNAL).exists():
        return LogLimit(MOST_BYTES, "the journal takes all")
    return LogLimit(UNKNOWN_BYTES, "which it is cannot be told")


def _of_rsyslog(root: Path) -> LogLimit:
    """Return the smallest limit that the configuration names, else the default.

    The old directive counts before the first module only: later it may come too late.
    """
    read = dict(_read(root, root / _RSYSLOG))
    main = next(iter(read.values()), "")
    before = main[: found.start()] if (found := _MODULE.search(main)) else main
    named = [each for text in read.values() for each in _NEW_SIZE.findall(text)]
    named += _OLD_SIZE.findall(before)
    sizes = [_number(number, unit, _UNITS) for number, unit in named]
    if not sizes:
        return _fitting(_RSYSLOG_BYTES, "rsyslog's default")
    if _is_newer(read, root / _RSYSLOG_PID):
        return _fitting(_RSYSLOG_BYTES, "rsyslog has not been restarted since")
    return _fitting(min(sizes), "maxMessageSize of rsyslog")


def _of_syslog_ng(root: Path) -> LogLimit:
    folder = (root / _SYSLOG_NG).parent
    sizes = [
        _number(number, unit.lower(), _SYSLOG_NG_UNITS)
        for name in (str(root / _SYSLOG_NG), *_found(f"{folder}/conf.d/*.conf"))
        for number, unit in _SYSLOG_NG_SIZE.findall(_text(Path(name)))
    ]
    reason = "log-msg-size of syslog-ng" if sizes else "syslog-ng's default"
    return _fitting(min(sizes, default=_SYSLOG_NG_BYTES), reason)


def _fitting(message_bytes: int, reason: str) -> LogLimit:
    size_bytes = message_bytes - _HEADER_BYTES
    return LogLimit(max(LEAST_BYTES, min(MOST_BYTES, size_bytes)), reason)


def _read(root: Path, main: Path) -> Iterator[tuple[Path, str]]:
    """Yield a configuration of rsyslog and what it includes, without comments.

    Raises:
        OSError: one cannot be read.
    """
    waiting, seen = [main], set[Path]()
    while waiting and len(seen) < _MOST_FILES:
        path = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        text = _text(path)
        yield path, text
        for pattern in filter(None, sum(_INCLUDE.findall(text), ())):
            waiting += map(Path, _found(f"{root}/{pattern.lstrip('/')}"))


def _found(pattern: str) -> list[str]:
    return sorted(each for each in glob.glob(pattern) if os.path.isfile(each))


def _text(path: Path) -> str:
    text = read_file(path, _LONGEST_FILE).decode("utf-8", "replace")
    return _COMMENTS.sub(lambda found: found[1] or " ", text)


def _number(digits: str, unit: str, units: dict[str, int]) -> int:
    """Return a size in bytes.

    Raises:
        ValueError: the unit is not known, or there is no digit.
    """
    if unit not in units:
        raise ValueError(f"no unit of a message: {unit}")
    return int(re.sub("[.,]", "", digits)) * units[unit]


def _is_newer(read: dict[Path, str], pid_file: Path) -> bool:
    """Return whether a file was changed after the daemon had started."""
    try:
        started_s = pid_file.stat().st_mtime
    except OSError:
        return False
    return any(path.stat().st_mtime > started_s for path in read)
