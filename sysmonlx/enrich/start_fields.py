# SPDX-License-Identifier: MIT
"""Fields of ours of event 1, from what a process_create record tells more."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.context import Context
from sysmonlx.kernel_text import UNKNOWN, text
from sysmonlx.processes.entry_points import entry_point
from sysmonlx.processes.identity import NO_GUID
from sysmonlx.processes.process import Process

#: Returns the text of one field, "-" where it is not known.
Appender = Callable[[bytes, Process], str]

#: Login uid of a task without login: proc(5), /proc/PID/loginuid.
_NO_LOGIN = 0xFFFFFFFF
#: Stands between two variables of Environment, and at the end where some are missing.
_BETWEEN, _MORE = b"; ", b"..."

#: Variables of the programs, by the fields that need what they switch on.
KERNEL_SWITCHES = {
    "execs_tell_more": (
        *("EffectiveUser", "Capabilities", "SessionLeader", "TerminalName"),
        *("ScriptPath", "NamespacePid", "MountOwner"),
    ),
    "execs_tell_environment": ("Environment",),
}


def kernel_switches(names: Collection[str]) -> dict[str, bool]:
    """Return the variables of the programs where these fields are configured."""
    return {
        variable: any(name in names for name in fields)
        for variable, fields in KERNEL_SWITCHES.items()
    }


class _Started(Protocol):
    """Members of a decoded struct process_create."""

    flags: int
    loginuid: int
    effective_uid: int
    mount_owner: int
    capabilities: int
    session_leader: int
    namespace_pid: int
    tty_index: int
    tty_name: bytes
    cwd: bytes
    script: bytes
    environment: bytes


def _field(
    value: Callable[[_Started, Context], str],
) -> Callable[[Layout, Context], Appender]:
    """Return a maker of appenders; `value` is asked once for each launch."""

    def make(layout: Layout, context: Context) -> Appender:
        decode: Callable[[bytes], _Started] = layout.decode
        return lambda data, process: value(decode(data), context)

    return make


def _login_user(record: _Started, context: Context) -> str:
    """Return the user who logged in; su and sudo do not change him."""
    uid = record.loginuid
    return UNKNOWN if uid == _NO_LOGIN else context.users.names[uid]


def _effective_user(record: _Started, context: Context) -> str:
    """With whose rights the program runs: set-user-ID changes it, not User."""
    if not record.flags & context.tells_more:
        return UNKNOWN
    return context.users.names[record.effective_uid]


def _capabilities(record: _Started, context: Context) -> str:
    """Effective capabilities as CapEff of proc_pid_status(5) shows them."""
    is_told = record.flags & context.tells_more
    return f"{record.capabilities:016x}" if is_told else UNKNOWN


def _mount_owner(record: _Started, context: Context) -> str:
    """Return the user who may choose the files at the paths that the program sees.

    A mount namespace belongs to a user namespace, and that to who made it. Whoever may
    make one can have any file under any path there.
    """
    if not record.flags & context.tells_more:
        return UNKNOWN
    return context.users.names[record.mount_owner]


def _terminal_name(record: _Started, context: Context) -> str:
    """The name of the terminal below /dev."""
    if record.flags & context.has_pts:
        return f"pts/{record.tty_index}"
    return text(record.tty_name)


def _environment(record: _Started, context: Context) -> str:
    """NAME=value of chosen variables, in the order of the environment."""
    if record.flags & context.environment_unreadable:
        return UNKNOWN
    shown = record.environment.rstrip(b"\0").replace(b"\0", _BETWEEN)
    if record.flags & context.environment_truncated:
        shown += _MORE
    return text(shown)


def _script_path(record: _Started, context: Context) -> str:
    """The file that was run, where Image is the interpreter of it.

    It is the name that the caller gave. Where that is relative, the current directory
    stands before it. Links in it are not followed.
    """
    script = record.script
    if not script or script.startswith(b"/"):
        return text(script)
    while script.startswith(b"./"):
        script = script[2:].lstrip(b"/")
    is_whole = record.cwd and not record.flags & context.cwd_truncated
    return text(record.cwd.rstrip(b"/") + b"/" + script if is_whole else script)


def _namespace_pid(layout: Layout, context: Context) -> Appender:
    """NamespacePid: the process id that the process itself sees."""
    read: Callable[[bytes], tuple[int]] = layout.reader("namespace_pid")
    # Where the record does not tell it there is 0, which is no process.
    return lambda data, process: str(read(data)[0] or UNKNOWN)


def _grandparent_image(layout: Layout, context: Context) -> Appender:
    """GrandparentImage: the image of the parent's parent."""

    def grandparent_image(data: bytes, process: Process) -> str:
        grandparent = process.parent and process.parent.parent
        return grandparent.image if grandparent else UNKNOWN

    return grandparent_image


def _parent_program_guid(layout: Layout, context: Context) -> Appender:
    """ParentProgramGuid: the image whose event 1 tells how the parent's image began."""

    def parent_program_guid(data: bytes, process: Process) -> str:
        return process.parent.with_program().guid if process.parent else NO_GUID

    return parent_program_guid


def _session_leader(layout: Layout, context: Context) -> Appender:
    """SessionLeader: the image of the process that began the session by setsid(2)."""
    read: Callable[[bytes], tuple[int]] = layout.reader("session_leader")
    alive = context.processes.alive

    def session_leader(data: bytes, process: Process) -> str:
        leader = alive(read(data)[0])
        return leader.image if leader else UNKNOWN

    return session_leader


def _entry_point(layout: Layout, context: Context) -> Appender:
    """EntryPoint: see `processes.entry_points`."""

    def is_container(number: int) -> bool:
        return context.of_group(number)[0] != UNKNOWN

    return lambda data, process: entry_point(process, is_container)


START_APPENDERS: dict[str, Callable[[Layout, Context], Appender]] = {
    "LoginUser": _field(_login_user),
    "EffectiveUser": _field(_effective_user),
    "Capabilities": _field(_capabilities),
    "GrandparentImage": _grandparent_image,
    "SessionLeader": _session_leader,
    "EntryPoint": _entry_point,
    "TerminalName": _field(_terminal_name),
    "Environment": _field(_environment),
    "ScriptPath": _field(_script_path),
    "NamespacePid": _namespace_pid,
    "MountOwner": _field(_mount_owner),
    "ParentProgramGuid": _parent_program_guid,
}
