# SPDX-License-Identifier: MIT
"""The counters of the daemon as tables for a person: what `-stats` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sysmonlx.service.snapshot import (
    CacheTerms,
    EventTerms,
    RecordTerms,
    SigmaTerms,
    Snapshot,
)

#: Rules of Sigma that are shown, those that hit most often.
_RULES_SHOWN = 20


def report(snapshot: Snapshot) -> str:
    """Return the counters as a table for a person."""
    lines = [
        f"up {snapshot['uptime_s']:.0f} s, CPU {snapshot['cpu_s']:.2f} s, "
        f"memory {snapshot['rss_bytes'] / (1 << 20):.1f} MiB, "
        f"{snapshot['processes']} processes known",
        *_record_lines(snapshot["records"]),
        *_event_lines(snapshot["events"]),
    ]
    account = snapshot["lines"]
    lines.append(
        f"lines for sinks: {account['due']} due, {account['delivered']} delivered,"
        f" {account['spooled']} waiting" + _why(", lost: ", account["lost"])
    )
    for path, counts in snapshot["sinks"].get("readers", {}).items():
        lines.append(_why(f"readers of {path}: ", counts) or f"readers of {path}: none")
    lines += _sigma_lines(snapshot.get("sigma"))
    lines += _plain_lines(snapshot)
    hashes = ", ".join(f"{why} {n}" for why, n in snapshot["hashes"].items())
    lines += [f"hashes: {hashes}"] if hashes else []
    lines += _cache_lines(snapshot["caches"])
    put_right = ", ".join(f"{what} {n}" for what, n in snapshot["put_right"].items())
    lines += [f"put right: {put_right}"] if put_right else []
    unknown = snapshot["unknown_values"].items()
    lines += [f"unknown values: {what} {n}" for what, n in unknown]
    lines += [f"trouble: {each}" for each in snapshot["sinks"]["trouble"]]
    lines += [f"missing: {each}" for each in snapshot["missing"]]
    lines += [f"THE COUNTERS DO NOT ADD UP: {each}" for each in snapshot["gaps"]]
    return "\n".join(lines) + "\n"


def _plain_lines(snapshot: Snapshot) -> Iterator[str]:
    for name, value in (
        ("waiting_for_hash", snapshot["waiting_for_hash"]),
        ("bad_records", snapshot["bad_records"]),
        ("left_out", snapshot["left_out"]),
        ("shortened", snapshot["shortened"]),
        ("shortened_paths", snapshot["shortened_paths"]),
        ("unproved_names", snapshot["unproved_names"]),
        ("unproven_requests", snapshot["unproven_requests"]),
        ("spooled_bytes", snapshot["spooled_bytes"]),
        ("ring_fill", snapshot["ring_fill"]),
    ):
        yield f"{name}: {value}"


def _cache_lines(caches: Mapping[str, CacheTerms]) -> Iterator[str]:
    """Yield how often starts of programs found what is made once for many."""
    for name, use in caches.items():
        if asked := use["hits"] + use["misses"]:
            share = 100 * use["hits"] / asked
            yield f"known {name}: {share:.1f} % of {asked}, {use['kept']} kept"


def _sigma_lines(terms: SigmaTerms | None) -> Iterator[str]:
    """Yield how often rules of Sigma hit; those that hit most often by name."""
    if terms is None:
        return
    hit = [each for each in terms["rules"] if each["hits"]]
    failed = f", {terms['errors']} questions failed" if terms["errors"] else ""
    yield (
        f"Sigma: {len(terms['rules'])} rules, {len(hit)} hit,"
        f" {terms['events_named']} events named{_cost(terms)}{failed}"
    )
    if joined := terms.get("correlations"):
        failed = f", {joined['errors']} steps failed" if joined["errors"] else ""
        yield (
            f"Sigma: {joined['groups']} groups of correlations are remembered,"
            f" {joined['forgotten']} forgotten for want of room{failed}"
        )
    hit.sort(key=lambda each: -each["hits"])
    for each in hit[:_RULES_SHOWN]:
        yield f"{each['hits']:>9} {each['level']:<14} {each['title']}"
    if len(hit) > _RULES_SHOWN:
        yield f"          {len(hit) - _RULES_SHOWN} more: -stats json"


def _cost(terms: SigmaTerms) -> str:
    """Return the processor time of an event that the rules of Sigma are asked of.

    An event whose answer is in memory is not asked. The text is empty where no event
    was measured.
    """
    if "us_asked" not in terms:
        return ""
    return f", {terms['us_asked']} us an event asked"


def _record_lines(records: Mapping[str, RecordTerms]) -> Iterator[str]:
    yield (
        f"{'record':<20}{'seen':>11}{'discarded':>11}{'left out':>11}"
        f"{'submitted':>11}{'lost':>9}{'received':>11}"
    )
    for name, counts in records.items():
        lost = sum(counts["lost"].values())
        yield (
            f"{name:<20}{counts['seen']:>11}{counts['filtered_in_kernel']:>11}"
            f"{counts['left_out']:>11}{counts['submitted']:>11}{lost:>9}"
            f"{counts['received']:>11}"
        )
        for title, reasons in (
            ("lost", counts["lost"]),
            ("lost here", counts["lost_here"]),
        ):
            if reasons:
                yield _why(f"    {title}: ", reasons)


def _event_lines(events: Mapping[str, EventTerms]) -> Iterator[str]:
    yield (
        f"{'event':<25}{'received':>11}{'emitted':>11}{'filtered':>11}"
        f"{'waiting':>9}{'no event':>11}{'lost':>7}  filtered in"
    )
    for event_id, counts in events.items():
        none, lost = counts.get("no_event", {}), counts.get("lost", {})
        yield (
            f"{event_id:>3} {counts['name'][:20]:<21}{counts.get('received', '-'):>11}"
            f"{counts['emitted']:>11}{counts['filtered']:>11}"
            f"{counts.get('waiting', 0):>9}{sum(none.values()):>11}"
            f"{sum(lost.values()):>7}  {counts['filtered_in']}"
        )
        for title, reasons in (("no event", none), ("lost", lost)):
            if reasons:
                yield _why(f"    {title}: ", reasons)


def _why(title: str, counts: Mapping[str, int]) -> str:
    """Return the title and the count of each reason; "" when all counts are 0."""
    text = ", ".join(f"{reason} {count}" for reason, count in counts.items() if count)
    return f"{title}{text}" if text else ""
