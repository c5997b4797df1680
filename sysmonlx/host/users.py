# SPDX-License-Identifier: MIT
"""Names of users, and when their sessions began: passwd(5), NSS and utmp(5)."""

from __future__ import annotations

import os
import pwd
import re
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from sysmonlx.bounded import Bounded
from sysmonlx.host.aside import Aside, begun
from sysmonlx.host.watched_file import WatchedFile
from sysmonlx.kernel_text import UNKNOWN

#: Any process may show us a new uid (user namespaces have 65,536 each).
NAMES_LIMIT = 4096
#: Of a larger file NSS knows the rest.
PASSWD_LIMIT_BYTES = 4 << 20
UTMP_LIMIT_BYTES = 4 << 20

#: For users who are not known, passwd is looked at again after this many seconds.
_LOOK_AGAIN_S = 0.01
#: Names that begin with "+" or "-" are NIS compat entries, not users.
_ENTRY = re.compile(rb"^([^:\n+#-][^:\n]*):[^:\n]*:([0-9]{1,12}):", re.MULTILINE)
_USER_PROCESS = 7

#: type, line, user, seconds; utmp(5). 64-bit machines that also run 32-bit programs
#: keep 32-bit times in the file; arm64 and loongarch64 do not (glibc bits/utmp.h).
_UTMP_NARROW = struct.Struct("=h6x32s4x32s260x4xi4x36x")
_UTMP_WIDE = struct.Struct("=h6x32s4x32s260x8xq8x40x")


def utmp_layout(machine: str) -> struct.Struct:
    """Return the layout of one utmp record on `machine`, as uname(2) names it."""
    return _UTMP_WIDE if machine in ("aarch64", "loongarch64") else _UTMP_NARROW


def ask_nss(uid: int) -> str | None:
    """Return the name that getpwuid(3) knows, through all of nsswitch.conf(5)."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


class Names(Bounded[int, str]):
    """Name by uid; a uid not asked for yet is looked up when first read."""

    def __init__(self, look_up: Callable[[int], str]) -> None:
        super().__init__(NAMES_LIMIT)
        self._look_up = look_up
        self._learnt: Bounded[int, str] = Bounded(NAMES_LIMIT)

    def __setitem__(self, uid: int, name: str) -> None:
        super().__setitem__(uid, name)
        self._learnt[uid] = name

    def take_learnt(self) -> dict[int, str]:
        """Return the names found since the last call, the oldest first."""
        learnt, self._learnt = self._learnt, Bounded(NAMES_LIMIT)
        return learnt

    def __missing__(self, uid: int) -> str:
        return self._look_up(uid)


class Users:
    """Names of user ids, and the times when terminal sessions began.

    /etc/passwd and utmp are read, and NSS is asked, by other threads: a directory
    server or a file system that does not answer must not stop the capture. An answer
    that comes late serves later events. A name that NSS once gave stays in use until it
    gives another one.
    """

    def __init__(
        self,
        passwd: Path = Path("/etc/passwd"),
        utmp: Path = Path("/run/utmp"),
        *,
        nss: Callable[[int], str | None] = ask_nss,
        keep_s: float = 60.0,
        look_interval_s: float = 0.1,
        aside: Aside | None = None,
    ) -> None:
        aside = aside or begun()
        layout = utmp_layout(os.uname().machine)
        self._nss = nss
        self._keep_s = keep_s
        self._look_interval_s = look_interval_s
        self._lane = aside.names
        nobody: dict[int, str] = {}
        self._local = WatchedFile(passwd, read_names, nobody, aside.files)
        nowhere: dict[tuple[str, int], int] = {}
        self._logons = WatchedFile(
            utmp, lambda path: read_logons(path, layout), nowhere, aside.files
        )
        self._answers: deque[tuple[int, str | None]] = deque()
        self._known: dict[int, tuple[str, float]] = {}  # by NSS, and when to ask again
        self._next_look = self._next_look_at_passwd = 0.0
        self._expiry = 0.0
        self.names = Names(self._look_up)
        """Name by uid without a look for changes: for loops that call `renew`."""
        self.state = 0
        """A number that is another one when a name or a logon may be another one."""

    def begin(self, uids: Iterable[int] = (), wait_s: float = 0.5) -> None:
        """Read the files before the first event, and ask for users known to be there.

        Waits `wait_s` at most; answers that come later serve later events.
        """
        deadline = time.monotonic() + wait_s
        self._next_look = 0.0
        self.renew()
        while not self._local.was_read and time.monotonic() < deadline:
            time.sleep(0.001)
            self._local.renew()
        unknown = [uid for uid in uids if self.names[uid] == UNKNOWN]
        while not self.names.keys() >= {*unknown} and time.monotonic() < deadline:
            time.sleep(0.001)
            self._take_answers()

    def name(self, uid: int) -> str:
        """Return the user name of `uid`, "-" when there is none."""
        self.renew()
        return self.names[uid]

    def logon_second(self, uid: int, tty_index: int, *, is_pts: bool) -> int:
        """Return when `uid` logged in on pts/`tty_index`, seconds since the epoch.

        0 when utmp has no such session, or the terminal is not a pseudo-terminal.
        """
        if not is_pts:
            return 0
        self.renew()
        # utmp(5) keeps 32 bytes of a name.
        name = _encode(self.names[uid])[:32].decode("utf-8", "surrogateescape")
        return self._logons.value.get((name, tty_index), 0)

    def renew(self) -> None:
        """Forget what may have changed; looks at the files every 0.1 s at most."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + self._look_interval_s
        if self._local.renew() or now >= self._expiry:
            self._expiry = now + self._keep_s
            self._forget_names()
        if self._logons.renew():
            self.state += 1
        self._take_answers()

    def _forget_names(self) -> None:
        self.names.clear()
        self.state += 1

    def _look_up(self, uid: int) -> str:
        self._take_answers()
        name = self._local_name(uid)
        if name is None:
            return self._ask_nss(uid)
        self.names[uid] = name
        return name

    def _local_name(self, uid: int) -> str | None:
        """Return the name that passwd has now, though `renew` is not due."""
        name = self._local.value.get(uid)
        now = time.monotonic()
        if name is None and now >= self._next_look_at_passwd:
            self._next_look_at_passwd = now + min(_LOOK_AGAIN_S, self._look_interval_s)
            if self._local.renew():
                self._forget_names()
                name = self._local.value.get(uid)
        return name

    def _ask_nss(self, uid: int) -> str:
        known, due = self._known.get(uid, (None, 0.0))
        if known is not None:
            self.names[uid] = known
            if time.monotonic() < due:
                return known
        self._lane.post(lambda: self._answer(uid), uid, wait=known is None)
        self._take_answers()
        return self.names.get(uid, UNKNOWN)

    def _answer(self, uid: int) -> None:  # in the lane
        self._answers.append((uid, self._nss(uid)))

    def _take_answers(self) -> None:
        while self._answers:
            uid, name = self._answers.popleft()
            if name is not None:
                known, _ = self._known.pop(uid, (None, 0.0))
                if known != name:
                    self.state += 1
                if len(self._known) >= NAMES_LIMIT:
                    del self._known[next(iter(self._known))]
                self._known[uid] = (name, time.monotonic() + self._keep_s)
                self.names[uid] = name
            elif uid not in self._known:
                self.names[uid] = UNKNOWN


def read_names(path: Path) -> dict[int, str]:
    """Return names by uid of a passwd(5) file; the first entry of a uid counts."""
    try:
        with open(path, "rb") as file:
            text = file.read(PASSWD_LIMIT_BYTES)
    except OSError:
        return {}
    names: dict[int, str] = {}
    for entry in _ENTRY.finditer(text):
        name, uid = entry.groups()
        names.setdefault(int(uid), name.decode("utf-8", "surrogateescape"))
    return names


def read_logons(path: Path, layout: struct.Struct) -> dict[tuple[str, int], int]:
    """Return the logon second of each (user, pts number) in a utmp(5) file."""
    try:
        with open(path, "rb") as file:
            data = file.read(UTMP_LIMIT_BYTES)
    except OSError:
        return {}
    logons = {}
    whole = len(data) - len(data) % layout.size
    for kind, line, user, second in layout.iter_unpack(data[:whole]):
        terminal = re.fullmatch(rb"pts/([0-9]+)\0*", line)
        if kind == _USER_PROCESS and terminal:
            name = user.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            logons[name, int(terminal[1])] = second & 0xFFFFFFFF
    return logons


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
