# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import pwd
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.patience import patient

from sysmonlx.host import users
from sysmonlx.host.aside import begun
from sysmonlx.host.users import Users, read_logons, read_names, utmp_layout

PASSWD = """\
# local users
root:x:0:0:root:/root:/bin/bash
+nis::1500::::
alice:x:1000:1000:Alice:/home/alice:/bin/bash
second:x:1000:1000:same uid:/home/alice:/bin/bash
longuid:x:70000:100::/:/bin/sh
"""


DEADLINE_S = 30.0


def nobody(uid: int) -> str | None:
    return None


@pytest.fixture
def passwd(tmp_path: Path) -> Path:
    path = tmp_path / "passwd"
    path.write_text(PASSWD)
    return path


def until(done: Callable[[], bool]) -> None:
    """Wait for what another thread does; on a busy machine it takes a moment."""
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Asking:
    """Asks a directory for names, and looks how long it is waited for.

    A wait only begins while there is time left; how late it ends is not ours.
    """

    def __init__(self, passwd: Path, directory: Callable[[int], str | None]) -> None:
        self._begun_s = time.monotonic()
        lanes = begun()
        self._lane = lanes.names
        self.users = Users(passwd, nss=directory, aside=lanes)

    def name(self, uid: int) -> str:
        before_s = self._lane.waited_s
        found = self.users.name(uid)
        if self._lane.waited_s > before_s:
            assert before_s < 0.04 + 0.04 * (time.monotonic() - self._begun_s)
        return found


def record(line: str, user: str, second: int, kind: int = 7) -> bytes:
    # struct utmp of x86-64, field by field out of utmp(5).
    return struct.pack(
        "=hxxi32s4s32s256shhiii4I20s",
        *(kind, 42, line.encode(), b"ts/1", user.encode(), b"host", 0, 0, 0),
        *(second, 123456, 0, 0, 0, 0, b""),
    )


@pytest.mark.parametrize(
    ("uid", "name"),
    [(0, "root"), (1000, "alice"), (70000, "longuid"), (100, "-"), (1500, "-")],
)
def test_name_is_the_first_entry_with_the_uid(
    passwd: Path, uid: int, name: str
) -> None:
    ours = Users(passwd, nss=nobody, aside=patient())
    ours.begin(wait_s=DEADLINE_S)
    assert ours.name(uid) == name


def test_names_agree_with_getpwuid_for_every_local_user() -> None:
    known = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
    uids = [int(words[2]) for words in known]
    ours = Users(nss=nobody, aside=patient())
    ours.begin(wait_s=DEADLINE_S)
    assert uids
    assert [ours.name(uid) for uid in uids] == [pwd.getpwuid(u).pw_name for u in uids]


def test_names_that_are_new_are_told_once(passwd: Path) -> None:
    ours = Users(passwd, nss=nobody, look_interval_s=0, aside=patient())
    ours.begin([0], DEADLINE_S)
    assert ours.names.take_learnt() == {0: "root"}
    assert ours.name(1000) == "alice"
    assert ours.names.take_learnt() == {1000: "alice"}
    assert ours.name(1000) == "alice"
    assert ours.names.take_learnt() == {}
    passwd.write_text(PASSWD.replace("alice:", "bob:"))
    until(lambda: ours.name(1000) == "bob")
    assert ours.names.take_learnt()[1000] == "bob"


def test_names_that_nobody_takes_are_bounded() -> None:
    names = users.Names(str)
    for uid in range(2 * users.NAMES_LIMIT + 1):
        names[uid] = str(uid)
    assert len(names.take_learnt()) <= users.NAMES_LIMIT


def test_uid_that_nobody_has_is_a_hyphen() -> None:
    assert Users(aside=patient()).name(4294967294) == "-"


def test_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_bytes(b"m\xfcller:x:7:7::/:/bin/sh\n")
    name = Users(path, nss=nobody, aside=patient()).name(7)
    assert os.fsencode(name) == b"m\xfcller"


def test_changed_passwd_is_seen_at_once(passwd: Path) -> None:
    ours = Users(passwd, nss=nobody, look_interval_s=0, aside=patient())
    assert ours.name(1000) == "alice"
    passwd.write_text(PASSWD.replace("alice:", "bob:"))
    until(lambda: ours.name(1000) == "bob")


def test_name_of_a_directory_is_asked_once_and_again_after_the_keep_time(
    passwd: Path,
) -> None:
    asked: list[int] = []

    def directory(uid: int) -> str | None:
        asked.append(uid)
        return f"ldap{len(asked)}"

    os.utime(passwd, (1, 1))
    ours = Users(passwd, nss=directory, keep_s=3600, look_interval_s=0, aside=patient())
    assert [ours.name(5000), ours.name(5000)] == ["ldap1", "ldap1"]
    ours = Users(passwd, nss=directory, keep_s=0, look_interval_s=0, aside=patient())
    assert ours.name(5000) == "ldap2"
    until(lambda: ours.name(5000) == "ldap3")


def test_directory_that_hangs_costs_the_wait_once_and_its_late_answer_counts(
    passwd: Path,
) -> None:
    go = threading.Event()

    def directory(uid: int) -> str | None:
        go.wait(DEADLINE_S)
        return "late"

    os.utime(passwd, (1, 1))
    asking = Asking(passwd, directory)
    assert [asking.name(uid) for uid in range(5000, 5100)] == ["-"] * 100
    go.set()
    ours = asking.users
    until(lambda: ours.name(5000) == "late")


def test_slow_directory_may_take_a_tenth_of_the_time(passwd: Path) -> None:
    def directory(uid: int) -> str | None:
        time.sleep(0.02)
        return f"u{uid}"

    asking = Asking(passwd, directory)
    until(lambda: asking.name(5000) == "u5000")
    assert "-" in [asking.name(uid) for uid in range(5001, 5050)]


def test_a_name_once_given_stays_while_the_directory_hangs(passwd: Path) -> None:
    go = threading.Event()
    asked: list[int] = []

    def directory(uid: int) -> str | None:
        asked.append(uid)
        if len(asked) > 1:
            go.wait(DEADLINE_S)
            return None
        return "alice"

    ours = Users(passwd, nss=directory, keep_s=0, look_interval_s=0)
    until(lambda: ours.name(5000) == "alice")
    assert {ours.name(5000) for _ in range(100)} == {"alice"}
    until(lambda: len(asked) > 1)
    assert {ours.name(5000) for _ in range(100)} == {"alice"}
    assert len(asked) == 2
    go.set()
    assert ours.name(5000) == "alice"


def test_any_number_of_unknown_users_costs_local_ones_nothing(passwd: Path) -> None:
    go = threading.Event()

    def directory(uid: int) -> str | None:
        go.wait(DEADLINE_S)
        return None

    ours = Users(passwd, nss=directory, look_interval_s=0)
    ours.begin(wait_s=DEADLINE_S)
    start_s = time.thread_time()
    for uid in range(100_000, 110_000):
        assert ours.name(uid) == "-"
    assert [ours.name(0), ours.name(1000)] == ["root", "alice"]
    assert time.thread_time() - start_s < 5
    go.set()


def test_files_are_read_before_the_first_event(passwd: Path) -> None:
    ours = Users(passwd, nss=lambda uid: "ldap", aside=patient())
    ours.begin([1000, 5000], DEADLINE_S)
    assert dict(ours.names) == {1000: "alice", 5000: "ldap"}


def test_names_are_bounded(passwd: Path) -> None:
    ours = Users(passwd, nss=nobody, aside=patient())
    ours.names.update({uid: "x" for uid in range(10_000, 10_000 + users.NAMES_LIMIT)})
    assert ours.names[0] == "root"
    assert len(ours.names) == 1


def test_logon_second_is_of_the_same_user_and_terminal(
    passwd: Path, tmp_path: Path
) -> None:
    utmp = tmp_path / "utmp"
    utmp.write_bytes(
        record("tty1", "alice", 5)
        + record("pts/1", "alice", 1700000000)
        + record("pts/2", "alice", 1700000001, kind=8)
        + record("pts/3", "root", 1700000002)
    )
    ours = Users(passwd, utmp, nss=nobody, aside=patient())
    assert ours.logon_second(1000, 1, is_pts=True) == 1700000000
    assert ours.logon_second(1000, 1, is_pts=False) == 0
    assert ours.logon_second(1000, 2, is_pts=True) == 0
    assert ours.logon_second(1000, 3, is_pts=True) == 0
    assert ours.logon_second(0, 3, is_pts=True) == 1700000002


def test_new_session_is_seen_at_once(passwd: Path, tmp_path: Path) -> None:
    utmp = tmp_path / "utmp"
    ours = Users(passwd, utmp, nss=nobody, look_interval_s=0, aside=patient())
    assert ours.logon_second(1000, 1, is_pts=True) == 0
    utmp.write_bytes(record("pts/1", "alice", 10))
    until(lambda: ours.logon_second(1000, 1, is_pts=True) == 10)
    utmp.write_bytes(record("pts/1", "alice", 11))
    until(lambda: ours.logon_second(1000, 1, is_pts=True) == 11)


def test_long_names_match_by_the_32_bytes_that_utmp_keeps(tmp_path: Path) -> None:
    name = "a" * 40
    (tmp_path / "passwd").write_text(f"{name}:x:9:9::/:/bin/sh\n")
    (tmp_path / "utmp").write_bytes(record("pts/0", name[:32], 77))
    ours = Users(tmp_path / "passwd", tmp_path / "utmp", nss=nobody, aside=patient())
    assert ours.logon_second(9, 0, is_pts=True) == 77


@pytest.mark.parametrize("data", [b"", b"\0" * 383, b"\xff" * 1000])
def test_damaged_utmp_knows_no_session(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "utmp").write_bytes(data)
    assert read_logons(tmp_path / "utmp", utmp_layout("x86_64")) == {}


def test_arm64_keeps_64_bit_times(tmp_path: Path) -> None:
    packed = struct.pack(
        "@hi32s4s32s256shhlll4I20s0l",
        *(7, 42, b"pts/4", b"ts/4", b"alice", b"host", 0, 0, 0),
        *(1700000000, 1, 0, 0, 0, 0, b""),
    )
    (tmp_path / "utmp").write_bytes(packed)
    layout = utmp_layout("aarch64")
    assert layout.size == len(packed) == 400
    assert read_logons(tmp_path / "utmp", layout) == {("alice", 4): 1700000000}


def test_passwd_without_file_knows_nobody(tmp_path: Path) -> None:
    assert read_names(tmp_path / "none") == {}


def test_state_changes_when_a_name_or_a_logon_may_be_another(
    passwd: Path, tmp_path: Path
) -> None:
    utmp, names = tmp_path / "utmp", {5000: "remote"}
    utmp.write_bytes(record("pts/3", "alice", 1))
    made = Users(passwd, utmp, nss=names.get, keep_s=3600, look_interval_s=0)
    made.begin()
    until(lambda: made.logon_second(1000, 3, is_pts=True) == 1)
    state = made.state
    assert made.name(1000) == "alice"
    made.renew()
    assert made.state == state  # nothing is another than before
    until(lambda: made.name(5000) == "remote")
    assert made.state == state + 1  # before the answer it was not known
    passwd.write_text(PASSWD.replace("alice", "renamed"))
    until(lambda: made.name(1000) == "renamed")
    assert made.state >= state + 2
    state = made.state
    utmp.write_bytes(record("pts/3", "renamed", 2))
    until(lambda: made.logon_second(1000, 3, is_pts=True) == 2)
    assert made.state > state


def test_state_changes_when_names_are_asked_for_again(passwd: Path) -> None:
    made = Users(passwd, Path("/nonexistent"), nss=nobody, keep_s=0, look_interval_s=0)
    state = made.state
    made.renew()
    made.renew()
    assert made.state == state + 2
