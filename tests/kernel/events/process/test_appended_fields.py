# SPDX-License-Identifier: MIT
"""Fields of ours, behind the last field of real events; a reload takes them away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from support.running import Daemon, Event

from sysmonlx.schema.events import APPENDED, EVENT_BY_ID

pytestmark = pytest.mark.kernel

#: A shell that starts another, which starts a program.
_NESTED = ["/bin/sh", "-c", "/bin/sh -c '/bin/false; :'; :"]


def _started(events: list[Event]) -> list[Event]:
    image = os.path.realpath("/bin/false")
    return [e for e in events if e["EventID"] == "1" and e["Image"] == image]


def check_chain(watch: Daemon) -> None:
    """A subshell within a subshell runs a program; neither ran one of its own."""
    script = "( ( /bin/true chain; : ); : ); /bin/true direct; :"
    _, events = watch.run(["/bin/sh", "-c", script])
    started = [each for each in watch.events() if each["EventID"] == "1"]
    found = {each["CommandLine"]: each for each in started}
    shell = next(each for each in events if script in each.get("CommandLine", ""))
    chain, direct = found["/bin/true chain"], found["/bin/true direct"]
    assert chain["ParentProgramGuid"] == shell["ProcessGuid"]
    assert chain["ParentProcessGuid"] != shell["ProcessGuid"]
    ends = [each for each in watch.events() if each["EventID"] == "5"]
    (end,) = [e for e in ends if e["ProcessGuid"] == chain["ParentProcessGuid"]]
    assert end["ParentProgramGuid"] == shell["ProcessGuid"]
    assert direct["ParentProgramGuid"] == direct["ParentProcessGuid"]
    assert direct["ParentProgramGuid"] == shell["ProcessGuid"]


def test_fields_of_ours_come_and_go_with_the_setting(
    daemon: Callable[..., Daemon],
) -> None:
    rules = (
        '<ProcessCreate onmatch="exclude"><Rule groupRelation="and">'
        '<Image condition="image">false</Image>'
        '<GrandparentImage condition="excludes">/dash</GrandparentImage></Rule>'
        "</ProcessCreate>"
    )
    settings = f"<Fields>{','.join(APPENDED)}</Fields>"
    watch = daemon(rules, settings)
    subprocess.run(_NESTED, check=True)
    # Its grandparent is this process: a shell may have started the tests.
    script = "import subprocess; subprocess.run(['/bin/false'])"
    subprocess.run([sys.executable, "-c", script], check=True)
    [first] = _started(watch.settle())
    names = [each.name for each in EVENT_BY_ID[1].with_appended(APPENDED).fields]
    assert [name for name in first if name in names] == names
    assert first["GrandparentImage"] == os.path.realpath("/bin/sh")
    assert first["UserId"] == str(os.getuid())
    check_chain(watch)
    ended = [each for each in watch.events() if each["EventID"] == "5"]
    assert ended
    assert all(each["UserId"].isdecimal() for each in ended)
    watch.write_config('<ProcessCreate onmatch="exclude"/>')
    watch.told("-c", os.fspath(watch.config)).check_returncode()
    subprocess.run(_NESTED, check=True)
    later = _started(watch.settle())[1:]
    assert later
    ours = {each.name for each in EVENT_BY_ID[1].appended}
    assert not any(ours & each.keys() for each in later)
