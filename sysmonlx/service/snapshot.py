# SPDX-License-Identifier: MIT
"""The counters of the daemon at one moment, as `-stats json` shows them.

`sysmonlx.pipeline.books` says how the numbers add up, sysmonlx(8) what each means.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class RecordTerms(TypedDict):
    """Records of one kind; the kernel counts all but the last three."""

    seen: int
    filtered_in_kernel: int
    left_out: int
    submitted: int
    lost: dict[str, int]
    """By reason, reasons with a count only."""
    under_way: int
    received: int
    in_ring: int
    lost_here: dict[str, int]
    """Records that this side could not read, by reason."""


class EventTerms(TypedDict):
    """Events of one id. The daemon's own events have no `record`, and no such terms."""

    name: str
    emitted: int
    filtered: int
    filtered_in: str
    record: NotRequired[str]
    received: NotRequired[int]
    waiting: NotRequired[int]
    no_event: NotRequired[dict[str, int]]
    lost: NotRequired[dict[str, int]]


class LineTerms(TypedDict):
    """Lines for all sinks together."""

    due: int
    delivered: int
    spooled: int
    lost: dict[str, int]


class Sinks(TypedDict):
    """Lines lost by reason, and texts that say which destination takes nothing."""

    lost: dict[str, int]
    trouble: list[str]
    readers: NotRequired[dict[str, dict[str, int]]]
    """By the path of a socket: readers connected, dropped, refused."""


class ProgramTimes(TypedDict):
    """How often one eBPF program ran, for how long in all, how often it could not."""

    run_time_ns: int
    runs: int
    missed: int


class RuleTerms(TypedDict):
    """One rule of Sigma: events that it named, and when it last did.

    Of a rule that is but a step of a correlation: events that it was true of.
    """

    title: str
    id: str
    level: str
    hits: int
    last_s: float
    """Seconds since the epoch; 0: never."""
    author: NotRequired[str]
    candidates: NotRequired[int]
    """About how many events got as far as the rule, by one in 256 that is measured."""
    us: NotRequired[float]
    """Processor time that such an event took, on an average."""


class CorrelationTerms(TypedDict):
    """What correlations remember, and what had no room."""

    groups: int
    forgotten: int
    errors: int


class SigmaTerms(TypedDict):
    """The rules of Sigma in force, the severest first, and the events they named."""

    rules: list[RuleTerms]
    """Correlations are among them, and before rules of their level."""
    correlations: NotRequired[CorrelationTerms]
    """Where correlations are in force."""
    events_named: int
    asked: NotRequired[int]
    """Events that had no answer in memory."""
    us_asked: NotRequired[float]
    """Processor time of such an event, by one in 256."""
    errors: int
    """Questions that failed by an error of the service; the rule counts as not true."""


class CacheTerms(TypedDict):
    """What starts of programs have in common: found, made anew, and kept now."""

    hits: int
    misses: int
    kept: int


class Snapshot(TypedDict):
    """All counters. Numbers count from the start of the daemon."""

    uptime_s: float
    cpu_s: float
    rss_bytes: int
    records: dict[str, RecordTerms]
    """By kind of record: "process_create"."""
    events: dict[str, EventTerms]
    """By event id in decimal digits."""
    bad_records: int
    waiting_for_hash: int
    hashes: dict[str, int]
    """Answers of the hasher by kind."""
    caches: dict[str, CacheTerms]
    """Launches (starts of one program in one way), their hashes, and their lines."""
    unknown_values: dict[str, int]
    """Values that became "-", by what they are and why."""
    threads_aside: int
    left_out: int
    shortened: int
    shortened_paths: int
    unproved_names: int
    unproven_requests: int
    processes: int
    ring_fill: float
    """Share of the ring buffer that is full, 0 to 1."""
    spooled_bytes: int
    lines: LineTerms
    sinks: Sinks
    programs: dict[str, ProgramTimes]
    attached: list[str]
    put_right: dict[str, int]
    missing: list[str]
    sigma: NotRequired[SigmaTerms]
    """Where rules of Sigma are in force."""
    gaps: list[str]
    """Sums that do not hold, a line each; computed from all the rest."""
