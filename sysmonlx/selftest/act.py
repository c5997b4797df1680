# SPDX-License-Identifier: MIT
"""One act of a self-test: what it is given, and what it says of the events it makes.

An act runs in a process of its own, with namespaces and a file system of its own (see
`scene`). It calls `tell` with the values that it alone knows, by the names of fields,
once for each event that it makes. `verdict.defaults` knows the others. An act that runs
a program tells before it does. `CannotError` and OSError say why nothing was done.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sysmonlx.selftest.expected import Expected, Some

_FORMAT = "%Y-%m-%d %H:%M:%S"
#: Clocks that were read one after the other differ by less, in seconds.
_SLACK_S = 1.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Where an act takes place.

    `directory` is on the private tmpfs. `target` is the id, in the private pid
    namespace, of the process that an act may reach into. `algorithms` are those of
    Hashes, `hash_size_limit_bytes` is the largest file that is hashed.
    """

    directory: str
    target: int
    algorithms: tuple[str, ...] = ()
    hash_size_limit_bytes: int = 0


Values = Mapping[str, Expected]
#: Takes how the event came about ("" where there is one way), and its values.
Tell = Callable[[str, Values], None]
Act = Callable[[Scene, Tell], None]


class CannotError(Exception):
    """Why an act cannot be done on this machine."""


@dataclass(frozen=True, slots=True)
class Action:
    """An act of a self-test that makes one event.

    `runs`: the act runs a program, and the event is that program's. `needs_setting`
    names a switch of `policy.Settings`: where it is off, there is no such event.
    """

    event_id: int
    act: Act
    runs: bool = False
    name: str = ""
    needs_setting: str = ""


def moment(time_s: float) -> Some:
    """Return the times that an event may have that happened about then."""
    low, high = time_s - _SLACK_S, time_s + _SLACK_S
    return Some(low=_utc(low), high=_utc(high))


def span(begin_s: float, end_s: float) -> Some:
    """Return what a time of an event is, where it happened between these."""
    return Some(low=_utc(begin_s - _SLACK_S), high=_utc(end_s + _SLACK_S))


def _utc(time_s: float) -> str:
    milliseconds = int(time_s * 1000)
    text = time.strftime(_FORMAT, time.gmtime(milliseconds // 1000))
    return f"{text}.{milliseconds % 1000:03d}"


def failed(call: str) -> CannotError:
    """Return why a call of the C library, whose name this is, has just failed."""
    return CannotError(f"{call}: {os.strerror(ctypes.get_errno())}")
