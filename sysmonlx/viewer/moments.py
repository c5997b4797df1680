# SPDX-License-Identifier: MIT
"""Moments in UTC as texts "YYYY-MM-DD HH:MM:SS.mmm", which compare as they stand."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

#: Stands for no limit.
NO_MOMENT = ""

_WRITTEN = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?Z?"
)
_CLOCK = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,3})?)?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_AGO = re.compile(r"-(\d{1,6})([smhd])")
#: Minutes of which the local time is kept.
_MINUTES = 10_000
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def line_moment(text: str) -> str:
    """Return the moment of a line's TimeCreated or UtcTime, in milliseconds."""
    return f"{text[:10]} {text[11:23]}".rstrip("Z").strip()


def written_moment(text: str) -> str | None:
    """Return the moment that sysmonLogView's -t takes, None if it is none.

    `.5` is 5 milliseconds there, and here.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second, part = found.groups()
    milliseconds = (part or "0").rjust(3, "0")[:3]
    return f"{year}-{month}-{day} {hour}:{minute}:{int(second or 0):02}.{milliseconds}"


def moment(text: str, now: datetime) -> str | None:
    """Return the moment of a text like 10:00, yesterday or -2h; None if it is none."""
    if text in ("now", "today", "yesterday"):
        day = now - timedelta(days=text == "yesterday")
        return text_of(now) if text == "now" else f"{day:%Y-%m-%d} 00:00:00.000"
    if ago := _AGO.fullmatch(text):
        try:
            return text_of(now - timedelta(seconds=int(ago[1]) * _UNITS_S[ago[2]]))
        except OverflowError:  # before the year 1
            return None
    if _CLOCK.fullmatch(text):
        text = f"{now:%Y-%m-%d} {text}"
    elif _DATE.fullmatch(text):
        text += " 00:00"
    return written_moment(text)


def text_of(when: datetime) -> str:
    """Return a moment as text."""
    return f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03}"


def seconds_of(text: str) -> float | None:
    """Return seconds since 1970 of a moment, None if it is none."""
    try:
        when = datetime.fromisoformat(text[:23].replace(" ", "T"))
        return when.replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def local_clock() -> Callable[[str], str]:
    """Return a function from a moment in UTC to one in this machine's zone."""
    minutes: dict[str, str] = {}

    def local(text: str) -> str:
        minute = text[:16]
        found = minutes.get(minute)
        if found is None:
            seconds = seconds_of(f"{minute}:00.000")
            if seconds is None:
                return text
            if len(minutes) > _MINUTES:
                minutes.clear()
            found = minutes[minute] = _local_minute(seconds) or minute
        return found + text[16:]

    return local


def _local_minute(seconds: float) -> str:
    """Return a minute of this machine's zone; empty where no year has it."""
    try:
        return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return ""
