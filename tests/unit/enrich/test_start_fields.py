# SPDX-License-Identifier: MIT
from __future__ import annotations

from typing import Any

import pytest
from support.enrichment import encode, make_context, make_maker

from sysmonlx.capture.records import Layouts
from sysmonlx.enrich.appended import with_appended
from sysmonlx.enrich.start_fields import (
    KERNEL_SWITCHES,
    START_APPENDERS,
    kernel_switches,
)
from sysmonlx.schema.events import APPENDED, EVENT_BY_ID


def values_of(
    layouts: Layouts, flags: str = "TELLS_MORE", **more: Any
) -> dict[str, str]:
    context = make_context(layouts)
    context.processes.launches.fit(APPENDED)
    layout = layouts.by_name["process_create"]
    maker = make_maker(layouts, context, "process_create", 1)
    longer = with_appended(1, maker, APPENDED, layout, context)
    who = {"tgid": 7, "start_boot_ns": 1, "exec_id": 1, "uid": 1000, "cwd": b"/src"}
    data = encode(layouts, "process_create", flags=flags, **(who | more))
    values = longer.make(data, context.processes.create(data))
    names = [each.name for each in EVENT_BY_ID[1].with_appended(APPENDED).fields]
    return dict(zip(names, values, strict=True))


def test_rights_are_those_after_the_exec(layouts: Layouts) -> None:
    found = values_of(layouts, effective_uid=0, capabilities=(1 << 41) - 1)
    assert (found["User"], found["EffectiveUser"]) == ("user", "root")
    assert found["Capabilities"] == "000001ffffffffff"
    assert values_of(layouts, effective_uid=1000)["Capabilities"] == "0" * 16


def test_owner_of_mounts_is_who_made_the_user_namespace(layouts: Layouts) -> None:
    assert values_of(layouts, mount_owner=0)["MountOwner"] == "root"
    assert values_of(layouts, mount_owner=1000)["MountOwner"] == "user"


def test_record_that_does_not_tell_more_tells_nothing_wrong(layouts: Layouts) -> None:
    """Programs that ran before the kernel side was told, at `-c`."""
    found = values_of(layouts, "")
    names = [name for names in KERNEL_SWITCHES.values() for name in names]
    assert {found[name] for name in names} == {"-"}


@pytest.mark.parametrize(
    ("flags", "more", "name"),
    [
        ("TTY_IS_PTS", {"tty_index": 3, "tty_name": b"pts3"}, "pts/3"),
        ("", {"tty_index": 1, "tty_name": b"tty1"}, "tty1"),
        ("", {"tty_name": b"ttyS0"}, "ttyS0"),
        ("", {}, "-"),
    ],
)
def test_terminal(
    layouts: Layouts, flags: str, more: dict[str, Any], name: str
) -> None:
    assert values_of(layouts, f"TELLS_MORE {flags}", **more)["TerminalName"] == name


@pytest.mark.parametrize(
    ("script", "path"),
    [
        (b"/usr/bin/ldd", "/usr/bin/ldd"),
        (b"./a.sh", "/src/a.sh"),
        (b".//./a.sh", "/src/a.sh"),
        (b"bin/../a.sh", "/src/bin/../a.sh"),
        (b"", "-"),
    ],
)
def test_script_begins_in_the_current_directory(
    layouts: Layouts, script: bytes, path: str
) -> None:
    assert values_of(layouts, script=script)["ScriptPath"] == path


def test_script_in_a_directory_that_is_cut_is_as_given(layouts: Layouts) -> None:
    found = values_of(layouts, "TELLS_MORE CWD_TRUNCATED", script=b"./a")
    assert found["ScriptPath"] == "a"


def test_variables_are_told_one_behind_the_other(layouts: Layouts) -> None:
    both = b"LD_PRELOAD=/tmp/x.so\0PYTHONPATH=a;b\0"
    one = values_of(layouts, environment=both)["Environment"]
    assert one == "LD_PRELOAD=/tmp/x.so; PYTHONPATH=a;b"
    cut = values_of(layouts, "ENVIRONMENT_TRUNCATED", environment=b"LD_AUDIT=aa\0")
    assert cut["Environment"] == "LD_AUDIT=aa..."
    assert values_of(layouts, "ENVIRONMENT_TRUNCATED")["Environment"] == "..."
    unread = values_of(layouts, "ENVIRONMENT_UNREADABLE", environment=b"LD_AUDIT=aa\0")
    assert unread["Environment"] == "-"


def test_session_leader_is_named_by_what_it_runs(layouts: Layouts) -> None:
    assert values_of(layouts, session_leader=7, image=b"/bin/x")["SessionLeader"] == (
        "/bin/x"
    )
    assert values_of(layouts, session_leader=8)["SessionLeader"] == "-"


def test_kernel_side_tells_what_is_asked_for() -> None:
    assert {*kernel_switches(())} == {*KERNEL_SWITCHES}
    assert not any(kernel_switches(("UserId", "ContainerId")).values())
    assert kernel_switches(("ScriptPath",))["execs_tell_more"]
    assert kernel_switches(("Environment",))["execs_tell_environment"]
    names = {name for names in KERNEL_SWITCHES.values() for name in names}
    assert names < START_APPENDERS.keys()
