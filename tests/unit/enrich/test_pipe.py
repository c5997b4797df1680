# SPDX-License-Identifier: MIT
"""Events 17 and 18: texts, fields of who listens, hooks and example."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.enrichment import complete, encode, make_context, make_maker, named

from sysmonlx.capture.records import Layouts
from sysmonlx.config.reader import read_policy
from sysmonlx.enrich.appended import with_appended
from sysmonlx.enrich.pipe import PIPE_HOOKS
from sysmonlx.enrich.registry import hooks_for
from sysmonlx.output.render import Renderer
from sysmonlx.policy import Settings
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.schema.events import EVENT_BY_ID

ROOT = Path(__file__).resolve().parents[3]
LISTENER = ("TargetProcessGuid", "TargetProcessId", "TargetImage")
SECOND = 1_000_000_000
EVENTS = [("pipe_create", 17, "CreatePipe"), ("pipe_connect", 18, "ConnectPipe")]


@pytest.mark.parametrize(("record", "event_id", "kind"), EVENTS)
@pytest.mark.parametrize(
    ("flags", "name", "shown"),
    [
        ("", b"/run/docker.sock", "/run/docker.sock"),
        ("", b"@a@b", "@a@b"),
        ("PATH_TRUNCATED", b"/s", "+/s"),
        ("PATH_GIVEN", b"s", "/resolved"),
        ("PATH_UNREADABLE", b"", "-"),
        ("", b"", "-"),
    ],
)
def test_record_of_a_pipe_has_these_values(
    layouts: Layouts,
    record: str,
    event_id: int,
    kind: str,
    flags: str,
    name: bytes,
    shown: str,
) -> None:
    context = make_context(layouts)
    maker = make_maker(layouts, context, record, event_id)
    data = encode(layouts, record, tgid=2, uid=1000, path=name, flags=flags)
    if flags == "PATH_UNREADABLE":
        context.paths.path = lambda *_: b""  # type: ignore[method-assign]  # for this one
    built = complete(maker, data, context.processes.acting(data))
    assert built is not None
    values = named(event_id, built[0])
    assert (values["EventType"], values["PipeName"]) == (kind, shown)
    assert (values["ProcessId"], values["User"]) == ("2", "user")
    assert built[1] is True


@given(name=st.binary(max_size=300))
def test_line_is_whole_whatever_the_bytes_of_a_name_are(
    layouts: Layouts, name: bytes
) -> None:
    context = make_context(layouts)
    maker = make_maker(layouts, context, "pipe_create", 17)
    data = encode(layouts, "pipe_create", tgid=2, path=b"@" + name)
    built = complete(maker, data, context.processes.acting(data))
    assert built is not None
    for form in ("xml", "json"):
        line = Renderer(form, "h", 1, 1, 0).line(17, built[0], 1, 0)
        assert b"\n" not in line
        assert b"\0" not in line


def test_who_listens_is_told_where_it_is_asked_for(layouts: Layouts) -> None:
    context = make_context(layouts)
    who = {"start_boot_ns": SECOND, "tgid": 42, "exec_id": 1}
    created = encode(layouts, "process_create", **who, image=b"/usr/bin/dockerd")
    listener = context.processes.create(created)
    layout = layouts.by_name["pipe_connect"]
    maker = make_maker(layouts, context, "pipe_connect", 18)
    longer = with_appended(18, maker, LISTENER, layout, context)
    target = {f"target_{name}": value for name, value in who.items()}
    for more, shown in [
        (target, [listener.guid, "42", "/usr/bin/dockerd"]),
        ({**target, "target_start_boot_ns": 0}, ["-", "42", "-"]),  # it has ended
        ({**target, "target_tgid": 43}, ["-", "43", "-"]),
        ({}, ["-", "-", "-"]),
    ]:
        data = encode(layouts, "pipe_connect", tgid=2, path=b"/run/s", **more)
        values = longer.make(data, context.processes.acting(data))
        assert values[-3:] == shown
    assert not {*LISTENER} & {field.name for field in EVENT_BY_ID[17].appended}


def test_hooks_are_there_for_the_events_alone() -> None:
    for event_id in (17, 18):
        assert {*hooks_for(event_id.__eq__, Settings())} & {*PIPE_HOOKS}
    assert not {*hooks_for((1).__eq__, Settings())} & {*PIPE_HOOKS}


@pytest.mark.parametrize(
    ("event_id", "image", "name", "rule"),
    [
        (18, "/usr/bin/curl", "/run/docker.sock", "T1611"),
        (18, "/usr/bin/curl", "@/run/docker.sock", None),
        (18, "/usr/bin/ssh", "/tmp/ssh-XXabcd/agent.77", "T1563.001"),
        (17, "/usr/bin/ssh-agent", "/tmp/ssh-XXabcd/agent.77", None),
        (17, "/usr/bin/mkfifo", "/tmp/f", "T1059.004"),
        (17, "/usr/bin/mkfifo", "/dev/shm/.f", "T1059.004"),
        (17, "/usr/bin/mkfifo", "/home/a/f", None),
        (18, "/usr/bin/systemctl", "/run/systemd/private", None),
    ],
)
def test_example_leaves_out_what_it_says(
    event_id: int, image: str, name: str, rule: str | None
) -> None:
    data = (ROOT / "config_schema/more.xml").read_bytes()
    policy, _ = read_policy(data, "more.xml")
    event = EVENT_BY_ID[event_id].with_appended(policy.settings.appended_fields)
    known = {"Image": image, "PipeName": name, "EventType": dict(KINDS)[event_id]}
    values = [known.get(field.name, "-") for field in event.fields]
    assert compile_rules(policy.ruleset).decide[event_id](values) == rule


KINDS = [(event_id, kind) for _, event_id, kind in EVENTS]
