# SPDX-License-Identifier: MIT
"""Correlations in the pipeline: records in, names of events out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from support.enrichment import SECOND, encode, make_context
from support.packs import asks, correlation, rule, ruleset_with

from sysmonlx.capture.records import Layouts
from sysmonlx.event import Held
from sysmonlx.output.dispatch import Output
from sysmonlx.output.record_ids import RecordIds
from sysmonlx.pipeline.correlating import WAITING_OF_ALL, WAITING_OF_USER
from sysmonlx.pipeline.flow import Pipeline
from sysmonlx.policy import Ruleset
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.conditions import Operation
from sysmonlx.rules.sigma.correlator import Correlator
from sysmonlx.rules.sigma.groups import GROUPS_LIMIT
from sysmonlx.rules.sigma.pack import Head
from sysmonlx.rules.verdicts import rules_of

WRITTEN = rule("Written", asks("Image", Operation.END, "/wget"), event_id=11)
AS_ROOT = rule("As root", asks("User", Operation.IS, "root"), level="low")
ENDED = rule("Ended", asks("Image", Operation.END, "/x"), event_id=5)
FILE = {"File": {"Written": "TargetFilename", "As root": "Program"}}
RUN = correlation(
    "Loot run",
    *(WRITTEN, AS_ROOT),
    by=("Lineage", "File"),
    aliases=FILE,
    tags=("attack.t1105",),
)
NAME = (
    "sigma=Loot run,level=high,technique_id=T1105,technique_name=Ingress Tool Transfer"
)
LOGIN = 7


class LateHasher:
    """Answers when the test says so."""

    has_work = True

    def __init__(self) -> None:
        self.asked: list[Held] = []
        self.text = ""

    def expect(self, *file: object) -> None: ...

    def unexpect(self) -> None: ...

    def cached(self, file: object) -> str | None:
        return None

    def request(self, file: object, *rest: Any) -> bool:
        self.asked.append(next(each for each in rest if isinstance(each, Held)))
        return True

    def results(self) -> Iterable[tuple[Held, object, str]]:
        held, self.asked = self.asked, []
        return [(each, None, self.text) for each in held]

    def take_error(self) -> None: ...


class Stage:
    """A pipeline with rules of Sigma; `events` are event, RuleName and RuleNames."""

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
        self.context = make_context(layouts)
        self.hasher = LateHasher()
        hasher: Any = self.hasher
        self.events: list[tuple[int, str, str]] = []
        output = Output(RecordIds(None), self._watch)
        table = self.context.processes
        self.pipeline = Pipeline(
            layouts, table, self.context, output, hasher, lambda file: None
        )

    def _watch(self, event_id: int, values: Sequence[str]) -> None:
        self.events.append((event_id, values[0], values[-1]))

    def use(
        self, *rules: Head, action: str = "include", appended: tuple[str, ...] = ()
    ) -> None:
        ruleset = ruleset_with(rules, action, appended=appended)
        compiled = rules_of(compile_rules(ruleset).plain())
        self.pipeline.use_rules(compiled, ruleset.appended)

    def start(self, tgid: int, second: int, image: str, args: str, **more: Any) -> None:
        values = {
            "image": image.encode(),
            "args": args.replace(" ", "\0").encode() + b"\0",
            "cwd": b"/tmp",
            "file_inode": tgid,
            "session_id": LOGIN,
        }
        self.put("process_create", tgid, second, **(values | more))

    def file(self, tgid: int, second: int, path: str) -> None:
        self.put("file_create", tgid, second, path=path.encode())

    def put(self, name: str, tgid: int, second: int, **more: Any) -> None:
        who = {"tgid": tgid, "exec_id": 1, "start_boot_ns": tgid}
        values = who | {"boot_ns": second * SECOND} | more
        self.pipeline.take([encode(self.layouts, name, **values)])

    def hash(self, text: str = "SHA256=00") -> None:
        self.hasher.text = text
        self.pipeline.take_hashes()


@pytest.fixture
def stage(layouts: Layouts) -> Stage:
    return Stage(layouts)


def loot(
    stage: Stage, second: int = 20, session_id: int = LOGIN, line: str = "sh loot.sh"
) -> tuple[int, str, str]:
    """Have wget write a file, and root run it; return the last event."""
    stage.start(10, 10, "/bin/wget", "wget x", uid=1000)
    stage.file(10, 11, "/tmp/loot.sh")
    more = {"uid": 0, "session_id": session_id}
    stage.start(11, second, "/bin/sh", line, **more)
    stage.hash()
    return stage.events[-1]


def test_the_event_that_completes_names_the_earlier_one(stage: Stage) -> None:
    stage.use(WRITTEN, AS_ROOT, RUN)
    event_id, rule_name, names = loot(stage)
    guid = stage.context.find(10, 10).guid  # type: ignore[union-attr]  # it is there
    assert (event_id, rule_name) == (1, NAME)
    assert names == f"{NAME},after=1970-01-01 00:00:11.000 {guid}"
    assert stage.events[:-1] == [(1, "-", "-"), (11, "-", "-")]
    assert stage.pipeline.correlator.counts == [1]


@pytest.mark.parametrize(
    "other",
    [
        {"second": 11 + 61},
        {"session_id": LOGIN + 1},
        {"line": "sh other.sh"},
        {"line": "sh -s"},
    ],
)
def test_what_belongs_to_another_story_completes_nothing(
    stage: Stage, other: dict[str, Any]
) -> None:
    stage.use(WRITTEN, AS_ROOT, RUN)
    assert loot(stage, **other)[1:] == ("-", "-")


def test_rules_that_name_events_of_their_own_do_so(stage: Stage) -> None:
    told = correlation(
        "Loot run", WRITTEN, AS_ROOT, by=("Lineage",), level="low", generate=True
    )
    stage.use(WRITTEN, AS_ROOT, told)
    _, rule_name, names = loot(stage)
    assert rule_name == "sigma=Loot run,level=low"
    assert names.split(" | ")[1:] == ["sigma=As root,level=low"]
    assert ",after=" in names
    assert stage.events[1] == (11, *["sigma=Written,level=high"] * 2)


def test_with_tag_only_what_is_reported_is_a_step(stage: Stage) -> None:
    stage.use(WRITTEN, AS_ROOT, RUN, action="tag")
    assert loot(stage)[1:] == ("-", "-")  # no element asks for FileCreate


def test_a_step_that_waits_for_its_hash_is_before_what_the_process_did(
    stage: Stage,
) -> None:
    bad = rule("Bad", asks("Hashes", Operation.CONTAINS, "=bad"))
    run = correlation("Bad wrote", bad, WRITTEN, by=("ProcessGuid",))
    stage.use(bad, WRITTEN, run)
    stage.start(10, 10, "/bin/wget", "wget x")
    stage.file(10, 11, "/tmp/a")
    stage.hash("SHA256=bad")
    assert [each[:2] for each in stage.events] == [
        (1, "-"),
        (11, "sigma=Bad wrote,level=high"),
    ]
    stage.file(10, 12, "/tmp/b")
    assert stage.events[-1][1] == "sigma=Bad wrote,level=high"
    assert stage.pipeline.correlator.counts == [2]


def test_what_others_do_before_a_hash_is_known_follows_nothing(stage: Stage) -> None:
    bad = rule("Bad", asks("Hashes", Operation.CONTAINS, "=bad"))
    run = correlation("Bad wrote", bad, WRITTEN, by=("Lineage",))
    stage.use(bad, WRITTEN, run)
    stage.start(11, 9, "/bin/wget", "wget x")
    stage.hash()
    stage.start(10, 10, "/bin/bad", "bad")
    stage.file(11, 11, "/tmp/a")
    stage.hash("SHA256=bad")
    assert [each[1] for each in stage.events[1:]] == ["-", "-"]
    stage.file(11, 12, "/tmp/a")
    assert stage.events[-1][1] == "sigma=Bad wrote,level=high"


def test_who_does_much_before_a_hash_is_known_takes_no_place_of_others(
    stage: Stage,
) -> None:
    bad = rule("Bad", asks("Hashes", Operation.CONTAINS, "=bad"))
    run = correlation("Bad wrote", bad, WRITTEN, by=("ProcessGuid",))
    stage.use(bad, WRITTEN, run)
    stage.start(10, 10, "/bin/wget", "wget x", uid=1000)
    stage.file(10, 11, "/tmp/a")
    stage.start(11, 10, "/home/u/wget", "wget y", uid=1001)
    for number in range(WAITING_OF_ALL + 10):
        stage.put("file_create", 11, 12, uid=1001, path=b"/tmp/%d" % number)
    stage.hash("SHA256=bad")
    names = [name for event, name, _ in stage.events if event == 11]
    assert names[0] == "sigma=Bad wrote,level=high"
    correlator = stage.pipeline.correlator
    assert correlator.unasked == WAITING_OF_ALL + 10 - WAITING_OF_USER
    assert correlator.unasked_payer == 1001


def test_a_user_who_calls_a_group_a_container_stays_in_its_lineage(
    stage: Stage,
) -> None:
    name = f"/docker-{'a' * 64}.scope"
    stage.context.control_groups.made(7, b"/system.slice" + name.encode())
    below = f"/user.slice/user-1000.slice/user@1000.service{name}"
    stage.context.control_groups.made(8, below.encode())
    stage.use(WRITTEN, AS_ROOT, RUN, appended=("ContainerId",))
    none = 0xFFFFFFFF
    for group, is_joined in ((8, True), (7, False)):
        stage.start(10, 10, "/bin/wget", "wget x", uid=1000, session_id=none)
        stage.file(10, 11, "/tmp/loot.sh")
        of = {"parent_tgid": 10, "parent_start_boot_ns": 10, "parent_exec_id": 1}
        more = {"uid": 0, "session_id": none, "cgroup_id": group, "parent_uid": 1000}
        stage.start(11, 12, "/bin/sh", "sh loot.sh", **more, **of)
        stage.hash()
        assert (stage.events[-1][1] == NAME) is is_joined
        stage.put("process_terminate", 11, 13)
        stage.put("process_terminate", 10, 13)


def test_a_step_behind_a_hash_is_counted_once(stage: Stage) -> None:
    asks_hash = rule("Any hash", asks("Hashes", Operation.CONTAINS, "nowhere"))
    start = rule("Start", asks("Image", Operation.END, "/wget"))
    of_hash = correlation("Never", asks_hash, WRITTEN, by=("ProcessGuid",))
    run = correlation("Twice", WRITTEN, ENDED, by=("ProcessGuid",))
    ended = rule("Ended", asks("Image", Operation.END, "/wget"), event_id=5)
    stage.use(asks_hash, start, WRITTEN, ended, of_hash, run)
    stage.start(10, 10, "/bin/wget", "wget x")
    stage.file(10, 11, "/tmp/a")
    stage.put("process_terminate", 10, 12)
    stage.hash()
    assert [each[1] for each in stage.events[1:]] == ["-", "sigma=Twice,level=high"]
    assert stage.pipeline.correlator.counts == [0, 1]


def test_ancestry_is_of_processes_and_not_of_numbers(stage: Stage) -> None:
    child = rule("Child", asks("Image", Operation.END, "/child"))
    run = correlation("Child of wget", WRITTEN, child, by=("Ancestry",))
    stage.use(WRITTEN, child, run)
    stage.start(10, 10, "/bin/wget", "wget x")
    stage.file(10, 11, "/tmp/a")
    of = {"parent_tgid": 10, "parent_start_boot_ns": 10, "parent_exec_id": 1}
    stage.start(11, 12, "/bin/other", "other", parent_uid=0, **of)
    of = {"parent_tgid": 11, "parent_start_boot_ns": 11, "parent_exec_id": 1}
    stage.start(12, 13, "/bin/child", "child", parent_uid=0, **of)
    stage.hash()
    assert stage.events[-1][1] == "sigma=Child of wget,level=high"
    stage.put("process_terminate", 10, 14)
    again = {"start_boot_ns": 15 * SECOND}  # another process has its number
    stage.start(10, 15, "/bin/child", "child", **again)
    of = {"parent_tgid": 10, "parent_start_boot_ns": 15 * SECOND, "parent_exec_id": 1}
    stage.start(13, 16, "/bin/child", "child", parent_uid=0, **of)
    stage.hash()
    assert [each[1] for each in stage.events[-2:]] == ["-", "-"]


def test_users_of_one_block_of_subordinate_ids_are_charged_together(
    stage: Stage,
) -> None:
    by_user = {"name": {"Written": "TargetFilename", "As root": "Image"}}
    run = correlation("Many", WRITTEN, AS_ROOT, by=("name",), aliases=by_user)
    stage.use(WRITTEN, AS_ROOT, run)
    stage.start(9, 1, "/bin/wget", "wget", uid=1000)
    stage.file(9, 2, "/first")
    stage.file(9, 2, "/second")
    for number in range(GROUPS_LIMIT):
        tgid = 100 + number
        stage.start(tgid, 2, "/bin/wget", "wget", uid=165_536 + number)
        stage.file(tgid, 3, f"/{number}")
    stage.hash()
    assert stage.pipeline.correlator.forgotten() == {"Many": (2, 131_072)}


def test_a_reload_keeps_steps_of_rules_that_stay(stage: Stage) -> None:
    stage.use(WRITTEN, AS_ROOT, RUN)
    stage.start(10, 10, "/bin/wget", "wget x", uid=1000)
    stage.file(10, 11, "/tmp/loot.sh")
    stage.use(AS_ROOT, WRITTEN, ENDED, RUN, appended=("UserId",))
    stage.start(11, 20, "/bin/sh", "sh loot.sh")
    stage.hash()
    assert stage.events[-1][1] == NAME
    other = rule("As root", asks("User", Operation.IS, "-"))
    stage.use(WRITTEN, other, RUN)
    assert stage.pipeline.correlator.changed == {"Loot run": 1}


def test_an_error_loses_the_correlation_and_not_the_event(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.use(WRITTEN, AS_ROOT, RUN)

    def fail(*_: object) -> None:
        raise LookupError("at fault")

    monkeypatch.setattr(Correlator, "take", fail)
    assert loot(stage)[1:] == ("-", "-")
    assert stage.pipeline.correlator.errors == 2
    assert "at fault" in stage.pipeline.account.trouble


def test_without_correlations_nothing_stands_between_rules_and_events(
    stage: Stage,
) -> None:
    for ruleset in (Ruleset(), ruleset_with([WRITTEN, AS_ROOT], "include")):
        rules = rules_of(compile_rules(ruleset).plain())
        judging = stage.pipeline.prepare(rules, ruleset.appended)
        assert judging.decisions
        for event_id, decide in judging.decisions.items():
            assert decide is rules.decide[event_id]
