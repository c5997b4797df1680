# SPDX-License-Identifier: MIT
"""The messages of the control socket: JSON objects, one question and one answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

from sysmonlx.service.snapshot import Snapshot

#: How the `refused` of a report begins when the policy itself could not be started.
START_FAILED = "The start failed: "


class Question(TypedDict):
    """A request without more than its name."""

    do: Literal["stats", "pid", "policy", "missing", "reopen"]


class Update(TypedDict):
    """Another policy, and what is to be stored with it.

    The characters of `config` and `command_line` stand for the bytes of these numbers.
    """

    do: Literal["reload"]
    policy: str
    """As JSON, see `Policy.to_json`."""
    config: NotRequired[str]
    command_line: NotRequired[str]


class Refusal(TypedDict):
    """That the configuration file was refused; the answer is a report."""

    do: Literal["refuse"]
    reason: str


class StatsAnswer(TypedDict):
    """The answer to "stats"."""

    stats: Snapshot


class PidAnswer(TypedDict):
    """The answer to "pid": the process, and which form of policies it understands."""

    pid: int
    form: int


class PolicyAnswer(TypedDict):
    """The answer to "policy".

    The policy in force as JSON where it is not stored yet; else empty.
    """

    policy: str


class ReportAnswer(TypedDict):
    """The answer to "missing", "reopen" and "reload", texts of one line each.

    `missing` cannot be had on this kernel. `trouble` keeps events from their
    destination, and the like. `refused` is why the installed configuration is not in
    force, empty when it is.
    """

    missing: list[str]
    trouble: list[str]
    refused: str


class SelfTestStep(TypedDict):
    """One step of a self-test; `token` is what the first step answered.

    begin: nothing more is said. pass: each of `processes` is the id of a process, the
    id of the event that passes (0: none), and whether it runs a program first. events,
    end: what came, and the end of it.
    """

    do: Literal["selftest"]
    step: Literal["begin", "pass", "events", "end"]
    token: NotRequired[str]
    processes: NotRequired[Sequence[tuple[int, int, bool]]]


class SelfTestBegun(TypedDict):
    """The answer to the step "begin"; it ends by itself after `seconds`.

    `unwanted` says of some events why the configuration reports none, by event id.
    `settings` are the attributes of `policy.Settings` that are switched on.
    """

    token: str
    seconds: float
    unwanted: dict[str, str]
    algorithms: list[str]
    hash_size_limit_bytes: int
    names_hosts: bool
    settings: list[str]


class SelfTestPassing(TypedDict):
    """The answer to the step "pass": ProcessGuid of each process, in their order."""

    guids: list[str]


class SelfTestEvents(TypedDict):
    """The answer to the step "events": event ids, and texts by field name."""

    events: list[tuple[int, dict[str, str]]]


class SelfTestEnded(TypedDict):
    """The answer to the step "end".

    `why` says of events that did not come what became of them, by event id. `off` are
    programs that are off their hooks.
    """

    why: dict[str, str]
    off: list[str]


class Failure(TypedDict):
    """The message of a daemon that cannot start to the process that started it."""

    error: str
