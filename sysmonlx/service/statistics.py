# SPDX-License-Identifier: MIT
"""Collects what the kernel, the pipeline and the sinks have counted."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from sysmonlx.enrich.registry import BUILDERS
from sysmonlx.pipeline.books import RECORD_OF, by_event, gaps
from sysmonlx.rules.sigma.correlator import Correlator
from sysmonlx.rules.sigma.judge import MEASURED_EACH, Head, SigmaJudge
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.schema.options import RULE_LEVELS
from sysmonlx.service.health import cpu_s
from sysmonlx.service.snapshot import (
    CacheTerms,
    EventTerms,
    LineTerms,
    ProgramTimes,
    RecordTerms,
    RuleTerms,
    SigmaTerms,
    Sinks,
    Snapshot,
)
from sysmonlx.service.wiring import Parts

_NO_CORRELATIONS = Correlator()


class Statistics:
    """Reads the counters of all parts of a daemon."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._started_s = time.time()

    def collect(self, troubles: Sequence[str], missing: Sequence[str] = ()) -> Snapshot:
        """Return all counters.

        `troubles` are texts about the sinks, `missing` about what cannot be had here.

        The counters of this process are of one moment, because `collect` is called
        between two batches of records. The kernel's counters are read after them: each
        record that is counted as received is then counted as submitted, too.
        """
        events, lines, records = self._events(), self._lines(), self._records()
        snapshot: Snapshot = {
            "uptime_s": round(time.time() - self._started_s, 3),
            "cpu_s": round(cpu_s(), 3),
            "rss_bytes": rss_bytes(),
            "records": records,
            "events": events,
            "bad_records": self._parts.pipeline.bad,
            "waiting_for_hash": self._parts.pipeline.held,
            "hashes": dict(self._parts.hasher.counts),
            "caches": self._caches(),
            "unknown_values": self._unknown_values(),
            "threads_aside": self._parts.aside.threads(),
            "left_out": sum(each["left_out"] for each in records.values()),
            "shortened": self._parts.capture.variable("args_shortened"),
            "shortened_paths": self._parts.capture.variable("paths_shortened"),
            "unproved_names": self._parts.capture.variable("names_unproved"),
            "processes": len(self._parts.processes),
            "ring_fill": round(self._parts.capture.ring.fill(), 4),
            "spooled_bytes": self._parts.output.spooled_bytes(),
            "lines": lines,
            "sinks": self._sinks(troubles),
            "programs": self._programs(),
            "attached": sorted(self._parts.capture.attached()),
            "put_right": dict(self._parts.guard.counts),
            "missing": [*missing],
            "gaps": gaps(records, events, lines),
        }
        if judges := self._parts.pipeline.judges:
            snapshot["sigma"] = sigma_terms(judges, self._parts.pipeline.correlator)
        return snapshot

    def _caches(self) -> dict[str, CacheTerms]:
        uses = self._parts.pipeline.cache_use()
        uses["templates"] = self._parts.output.template_use()
        return {
            name: {"hits": use.hits, "misses": use.misses, "kept": use.kept}
            for name, use in uses.items()
        }

    def _sinks(self, troubles: Sequence[str]) -> Sinks:
        output = self._parts.output
        found: Sinks = {"lost": output.losses(), "trouble": [*troubles]}
        if readers := output.readers():
            found["readers"] = readers
        return found

    def _unknown_values(self) -> dict[str, int]:
        return {
            f"{what}: {why}": count
            for source in (
                self._parts.aside,
                self._parts.census,
                self._parts.pipeline.dns,
            )
            for (what, why), count in source.losses().items()
            if count
        }

    def _programs(self) -> dict[str, ProgramTimes]:
        return {
            name: {"run_time_ns": time_ns, "runs": runs, "missed": misses}
            for name, (time_ns, runs, misses) in sorted(
                self._parts.capture.program_times().items()
            )
        }

    def _records(self) -> dict[str, RecordTerms]:
        received = self._parts.pipeline.received
        lost_here = self._parts.pipeline.account.lost_records
        found: dict[str, RecordTerms] = {}
        for name, counts in self._parts.capture.counts().items():
            if not counts.seen and name not in BUILDERS:
                continue
            lost = zip(self._parts.capture.layouts.reasons, counts.lost, strict=True)
            fates = counts.filtered + counts.left_out + counts.submitted
            found[name] = {
                "seen": counts.seen,
                "filtered_in_kernel": counts.filtered,
                "left_out": counts.left_out,
                "submitted": counts.submitted,
                "lost": {reason: count for reason, count in lost if count},
                "under_way": counts.seen - fates - sum(counts.lost),
                "received": received[name],
                "in_ring": counts.submitted - received[name],
                "lost_here": {
                    why: count
                    for (what, why), count in lost_here.items()
                    if what == name
                },
            }
        return found

    def _events(self) -> dict[str, EventTerms]:
        account, emitted = self._parts.pipeline.account, self._parts.output.emitted()
        found: dict[str, EventTerms] = {}
        for event_id in sorted({*emitted, *RECORD_OF, *self._parts.filter.wanted()}):
            event = EVENT_BY_ID[event_id]
            found[str(event_id)] = {
                "name": event.tag or event.template,
                "emitted": emitted[event_id],
                "filtered": account.filtered[event_id],
                "filtered_in": self._parts.filter.place(event_id),
            }
        self._add_record_terms(found)
        return found

    def _add_record_terms(self, found: Mapping[str, EventTerms]) -> None:
        """Add the terms of events that are made of records."""
        account, waiting = self._parts.pipeline.account, self._parts.pipeline.waiting()
        received = account.received_by_name()
        no_event, lost = by_event(account.without_event()), by_event(account.lost)
        for event_id, record in RECORD_OF.items():
            each = found[str(event_id)]
            each["record"] = record
            each["received"] = received[record] + account.more[event_id]
            each["waiting"] = waiting[event_id]
            each["no_event"] = no_event.get(event_id, {})
            each["lost"] = lost.get(event_id, {})

    def _lines(self) -> LineTerms:
        output = self._parts.output
        return {
            "due": output.due,
            "delivered": output.delivered(),
            "spooled": output.spooled(),
            "lost": output.losses(),
        }


def sigma_terms(
    judges: Collection[SigmaJudge], correlator: Correlator = _NO_CORRELATIONS
) -> SigmaTerms:
    """Return the hits of each rule and correlation, whatever the events."""
    found: dict[tuple[str, str], RuleTerms] = {}
    for form, hits, last_s in zip(
        correlator.forms, correlator.counts, correlator.last_s, strict=True
    ):
        _add(found, form.head, hits, last_s)
    took_ns: Counter[tuple[str, str]] = Counter()
    for judge in judges:
        each = zip(judge.heads, judge.counts, judge.last_s, strict=True)
        for number, (head, hits, last_s) in enumerate(each):
            rule, use = _add(found, head, hits, last_s), judge.use
            new = use.candidates[number] * MEASURED_EACH
            rule["candidates"] = rule.get("candidates", 0) + new
            took_ns[head[:2]] += use.rules_ns[number]
    for key, ns in took_ns.items():
        measured = found[key]["candidates"] / MEASURED_EACH
        found[key]["us"] = round(ns / measured / 1000, 1) if measured else 0.0
    terms: SigmaTerms = {
        "rules": sorted(found.values(), key=_severest_first),
        "events_named": sum(judge.named for judge in judges) + correlator.named,
        "errors": sum(judge.errors for judge in judges),
    }
    if measured := sum(judge.use.measured for judge in judges):
        spent_ns = sum(judge.use.measured_ns for judge in judges)
        terms["asked"] = sum(judge.use.asked for judge in judges)
        terms["us_asked"] = round(spent_ns / measured / 1000, 1)
    if correlator.forms:
        terms["correlations"] = {
            "groups": correlator.groups,
            "forgotten": correlator.unasked
            + sum(count for count, _ in correlator.forgotten().values()),
            "errors": correlator.errors,
        }
    return terms


def _add(
    found: dict[tuple[str, str], RuleTerms], head: Head, hits: int, last_s: float
) -> RuleTerms:
    """Add the hits of a rule in events of one type; return its entry in `found`."""
    rule_id, title, level, _, author = head
    new = RuleTerms(title=title, id=rule_id, level=level, hits=0, last_s=0.0)
    rule = found.setdefault((rule_id, title), new)
    rule["author"] = author
    rule["hits"] += hits
    rule["last_s"] = max(rule["last_s"], round(last_s, 3))
    return rule


def _severest_first(rule: RuleTerms) -> tuple[int, str]:
    return -RULE_LEVELS.index(rule["level"]), rule["title"]


def rss_bytes() -> int:
    """Return this process's resident memory in bytes, proc_pid_statm(5)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
