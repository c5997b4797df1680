# SPDX-License-Identifier: MIT
"""What event 1 must say of a running process: from /proc, from nothing of ours."""

from __future__ import annotations

import hashlib
import os
import pwd
import uuid
from dataclasses import dataclass

_TICKS = os.sysconf("SC_CLK_TCK")
NO_LOGON = "{00000000-0000-0000-0000-000000000000}"


@dataclass(frozen=True)
class Guid:
    """A ProcessGuid taken apart."""

    machine: int
    start_boot_ns: int
    tgid: int
    exec_id: int


def take_apart(guid: str, offset_ns: int = 0) -> Guid:
    """Read a ProcessGuid, made with that distance of wall clock and boot clock."""
    data = uuid.UUID(guid).bytes_le
    second = int.from_bytes(data[4:8], "little")
    key = int.from_bytes(data[8:], "little")
    begin_ns = second * 1_000_000_000 - offset_ns
    within_ns = ((key >> 34) - begin_ns) % (1 << 30)
    assert within_ns < 1_000_000_000 or not offset_ns
    return Guid(
        int.from_bytes(data[:4], "little"),
        begin_ns + within_ns,
        key >> 12 & 0x3FFFFF,
        key & 0xFFF,
    )


def status(pid: int, name: str) -> list[str]:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key == name:
                return value.split()
    raise LookupError(name)


def start_ticks(pid: int) -> int:
    """Return when a process started, in clock ticks since boot."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b") ")[2].split()[19])


def ticks(boot_ns: int) -> int:
    return boot_ns * _TICKS // 1_000_000_000


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def command_line(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return text(file.read()[:-1].replace(b"\0", b" "))


def link(pid: int, name: str) -> str:
    return text(os.readlink(f"/proc/{pid}/{name}".encode()))


def user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "-"


def sha256(path: str) -> str:
    with open(path, "rb") as file:
        return f"SHA256={hashlib.file_digest(file, 'sha256').hexdigest()}"


def expected(pid: int) -> dict[str, str]:
    """Return the fields of event 1 but times, GUIDs and the record id."""
    uid = int(status(pid, "Uid")[0])
    parent = int(status(pid, "PPid")[0])
    with open(f"/proc/{pid}/sessionid", encoding="ascii") as file:
        session = file.read()
    return {
        "EventID": "1",
        "RuleName": "-",
        "ProcessId": str(pid),
        "Image": link(pid, "exe"),
        "FileVersion": "-",
        "Description": "-",
        "Product": "-",
        "Company": "-",
        "OriginalFileName": "-",
        "CommandLine": command_line(pid),
        "CurrentDirectory": link(pid, "cwd"),
        "User": user(uid),
        "LogonId": str(uid),
        "TerminalSessionId": session,
        "IntegrityLevel": "no level",
        "Hashes": sha256(f"/proc/{pid}/exe"),
        "ParentProcessId": str(parent),
        "ParentImage": link(parent, "exe"),
        "ParentCommandLine": command_line(parent),
        "ParentUser": user(int(status(parent, "Uid")[0])),
    }
