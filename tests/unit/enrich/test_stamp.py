# SPDX-License-Identifier: MIT
"""Event 2: its values, its hooks, and the example."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from support.enrichment import encode, make_context, make_maker, named

from sysmonlx.capture.records import Layouts
from sysmonlx.config.reader import read_policy
from sysmonlx.enrich.registry import hooks_for
from sysmonlx.enrich.stamp import STAMP_HOOKS
from sysmonlx.policy import Settings
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.schema.events import EVENT_BY_ID

ROOT = Path(__file__).resolve().parents[3]
RECORD = "time_set"
YEAR_2001, YEAR_2020 = 1_000_000_000 * 10**9, 1_600_000_000 * 10**9
BIRTH = 1_500_000_000 * 10**9


class Resolved:
    """Paths of a file system where one file has a known birth."""

    def __init__(self, birth_ns: int, kind: int = stat.S_IFREG) -> None:
        self._state = kind | 0o644, birth_ns

    def path(self, place: Any, base: bytes, path: bytes, uid: int = 0) -> bytes:
        return base + b"/" + path

    def as_given(self, place: Any, base: bytes, path: bytes) -> bytes:
        return base + b"/" + path

    def state(self, place: Any, path: bytes) -> tuple[int, int]:
        return self._state


def values_of(
    layouts: Layouts, *, flags: str = "", there: Resolved | None = None
) -> dict[str, str]:
    context = make_context(layouts)
    if there is not None:
        context.paths = there
    maker = make_maker(layouts, context, RECORD, 2)
    more = {"flags": flags} if flags else {}
    data = encode(
        layouts,
        RECORD,
        tgid=2,
        path=b"file" if flags else b"/srv/file",
        base=b"/srv" if flags else b"",
        mtime_ns=YEAR_2001,
        previous_ns=YEAR_2020,
        birth_ns=BIRTH,
        **more,
    )
    process = context.processes.acting(data)
    values = maker.make(data, process)
    assert maker.finish(values, data, process) is False
    return named(2, values)


def test_times_are_the_new_one_and_the_one_before(layouts: Layouts) -> None:
    values = values_of(layouts)
    assert values["TargetFilename"] == "/srv/file"
    assert values["CreationUtcTime"] == "2001-09-09 01:46:40.000"
    assert values["PreviousCreationUtcTime"] == "2020-09-13 12:26:40.000"


@pytest.mark.parametrize(
    ("there", "shown"),
    [
        (Resolved(BIRTH), "/srv/file"),
        (Resolved(0), "/srv/file"),
        (Resolved(0, 0), "/srv/file"),
        (Resolved(BIRTH + 1, stat.S_IFLNK), "/srv/file"),
        (Resolved(BIRTH + 1), "-"),
    ],
)
def test_path_of_the_caller_must_lead_to_that_file(
    layouts: Layouts, there: Resolved, shown: str
) -> None:
    values = values_of(layouts, flags="PATH_GIVEN", there=there)
    assert values["TargetFilename"] == shown


def test_hooks_are_there_for_the_event_alone() -> None:
    assert hooks_for((2).__eq__, Settings()) == STAMP_HOOKS
    assert not {*STAMP_HOOKS} & {*hooks_for((11).__eq__, Settings())}


@pytest.mark.parametrize(
    ("path", "rule"), [("/usr/bin/ls", "T1070.006"), ("/srv/www/x.html", None)]
)
def test_example_names_the_technique(path: str, rule: str | None) -> None:
    data = (ROOT / "config_schema/more.xml").read_bytes()
    policy, _ = read_policy(data, "more.xml")
    event = EVENT_BY_ID[2].with_appended(policy.settings.appended_fields)
    values = [{"TargetFilename": path}.get(f.name, "-") for f in event.fields]
    assert compile_rules(policy.ruleset).decide[2](values) == rule
