# SPDX-License-Identifier: MIT
"""Names of users, and when their sessions began: passwd(5), NSS and utmp(5)."""

from __future__ import annotations

import os
import pwd
import re
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

UNKNOWN = "-"

#: Any process may show us a new uid (user namespaces have 65,536 each).
NAMES_LIMIT = 4096
PASSWD_LIMIT_BYTES = 64 << 20
UTMP_LIMIT_BYTES = 4 << 20

#: A file changed this recently may change again within the same time stamp.
_CLOCK_TICK_NS = 20_000_000
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


class Names(dict[int, str]):
    """Name by uid; a uid not asked for yet is looked up when first read."""

    def __init__(self, look_up: Callable[[int], str]) -> None:
        super().__init__()
        self._look_up = look_up

    def __missing__(self, uid: int) -> str:
        if len(self) >= NAMES_LIMIT:
            self.clear()
        return self._look_up(uid)


class _Watched:
    """Tells whether a file has changed since it was last asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, ...] | None = ()

    def has_changed(self) -> bool:
        try:
            found = os.stat(self._path)
        except OSError:
            stamp = None
        else:
            stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        changed = stamp != self._stamp
        is_fresh = stamp and abs(time.time_ns() - stamp[-1]) < _CLOCK_TICK_NS
        self._stamp = () if is_fresh else stamp
        return changed


class Users:
    """Who a uid is, and when a terminal session began.

    /etc/passwd is read here; uids that it lacks are asked of NSS, in a thread, for at
    most `nss_wait_s`: a directory server that does not answer must not stop the
    capture. An answer that comes later serves later events.
    """

    def __init__(
        self,
        passwd: Path = Path("/etc/passwd"),
        utmp: Path = Path("/run/utmp"),
        *,
        nss: Callable[[int], str | None] = ask_nss,
        nss_wait_s: float = 0.2,
        keep_s: float = 60.0,
        look_interval_s: float = 0.1,
    ) -> None:
        self._passwd = passwd
        self._utmp = utmp
        self._nss = nss
        self._nss_wait_s = nss_wait_s
        self._keep_s = keep_s
        self._look_interval_s = look_interval_s
        self._passwd_watch = _Watched(passwd)
        self._utmp_watch = _Watched(utmp)
        self._utmp_layout = utmp_layout(os.uname().machine)
        self._asking: threading.Thread | None = None
        self._no_wait_before = 0.0
        self._next_look = 0.0
        self._expiry = 0.0
        self._logons: dict[tuple[str, int], int] = {}
        self.names = Names(self._look_up)
        """Name by uid without a look for changes: for loops that call `renew`."""

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
        return self._logons.get((name, tty_index), 0)

    def renew(self) -> None:
        """Forget what may have changed; looks at the files every 0.1 s at most."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + self._look_interval_s
        if self._passwd_watch.has_changed() or now >= self._expiry:
            self._expiry = now + self._keep_s
            self.names.clear()
        if self._utmp_watch.has_changed():
            self._logons = read_logons(self._utmp, self._utmp_layout)

    def _look_up(self, uid: int) -> str:
        name = passwd_name(self._passwd, uid)
        if name is not None:
            self.names[uid] = name
            return name
        return self._ask_nss(uid)

    def _ask_nss(self, uid: int) -> str:
        if self._asking is not None and self._asking.is_alive():
            return UNKNOWN
        self._asking = threading.Thread(
            target=self._answer, args=(uid, self.names), daemon=True
        )
        start = time.monotonic()
        self._asking.start()
        if start >= self._no_wait_before:
            self._asking.join(self._nss_wait_s)
            # Waiting may take a tenth of the time, whoever makes up new uids.
            end = time.monotonic()
            self._no_wait_before = end + 10 * (end - start)
        return self.names.get(uid, UNKNOWN)

    def _answer(self, uid: int, names: Names) -> None:
        names[uid] = self._nss(uid) or UNKNOWN


def passwd_name(path: Path, uid: int) -> str | None:
    """Return the first name with `uid` in a passwd(5) file, None when there is none."""
    try:
        with open(path, "rb") as file:
            text = file.read(PASSWD_LIMIT_BYTES)
    except OSError:
        return None
    # Names that begin with "+" or "-" are NIS compat entries, not users.
    pattern = rb"^([^:\n+#-][^:\n]*):[^:\n]*:0*%d:" % uid
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].decode("utf-8", "surrogateescape") if found else None


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
