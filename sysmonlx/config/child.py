# SPDX-License-Identifier: MIT
"""Configuration files to policies, in a child process.

lxml and xmlschema take 40 MB that the daemon must not keep, and are large programs that
work on what somebody wrote: a child that gave up all its rights reads, the parent gets
the policy as JSON and the remarks as text.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING

from sysmonlx.config.confinement import CPU_S, MEMORY_BYTES, confine
from sysmonlx.config.stored_policy import policy_of
from sysmonlx.errors import SysmonlxError
from sysmonlx.host import child_process
from sysmonlx.policy import Policy
from sysmonlx.schema.events import DRIVER_LOAD, FILE_CREATE_TIME, SCHEMA_VERSION

if TYPE_CHECKING:
    from sysmonlx.config.command_line import CommandLineOptions

#: The configuration in which every event type keeps its default.
EMPTY = f'<Sysmon schemaversion="{SCHEMA_VERSION}"></Sysmon>\n'.encode()

#: The largest file that is read. Published ones of 10,000 lines have 1 MB.
LIMIT_BYTES = 8 << 20
_ADDRESS = re.compile("(https?|ftp)://", re.IGNORECASE)
#: The longest answer of the child.
_ANSWER_BYTES = 64 << 20
#: The longest text of an error in the child that is shown.
_ERROR_CHARACTERS = 200
#: How long an answer may take; on a busy machine that is more than its CPU time.
_TIMEOUT_S = 2.0 * CPU_S
#: Libraries that the child imports after it has given up its rights.
_LIBRARIES = ("lxml", "xmlschema", "elementpath")

#: Directories that may be links to others; rules that name them never match then.
_PROGRAM_DIRECTORIES = (
    *("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"),
    "/etc/alternatives",
)
_LOCKDOWN = "/sys/kernel/security/lockdown"
_MOST_LINKS = 8
_LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/var/run", "/var/lock")


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of reading a file.

    `policy` is None when the file is refused. `text` has the remarks, for people.
    `data` are the bytes of the file, since a pipe cannot be read twice.
    """

    policy: Policy | None
    text: str
    data: bytes = b""


def directory_links() -> dict[str, str]:
    """Return where the well-known directories that are symbolic links lead."""
    return {name: os.path.realpath(name) for name in _LINKS if os.path.islink(name)}


def absent_events(
    proc: str = "/proc", lockdown: str = _LOCKDOWN, release: str = ""
) -> dict[int, str]:
    """Return which events cannot occur on this machine, by their ids, and why.

    `release` is that of the kernel, empty for the running one.
    """
    found = {}
    has_proc = os.path.exists(f"{proc}/self")
    if has_proc and not os.path.exists(f"{proc}/modules"):
        found[DRIVER_LOAD.id] = "its kernel has no modules"
    if _is_before(release or os.uname().release, 6, 13) and _is_locked_down(lockdown):
        why = "its kernel is under lockdown and older than Linux 6.13"
        found[FILE_CREATE_TIME.id] = why
    return found


def _is_before(release: str, major: int, minor: int) -> bool:
    numbers = [int(each) for each in re.findall("[0-9]+", release)[:2]]
    return len(numbers) == 2 and numbers < [major, minor]


def _is_locked_down(path: str) -> bool:
    """Say whether the kernel lets no program be attached to its functions."""
    try:
        with open(path, encoding="ascii") as file:
            return "[none]" not in file.read()
    except OSError:  # it has no lockdown, or the file is not mounted
        return False


def program_behind(path: str) -> str:
    """Return the path of the program that a path leads to, the path where it is none.

    Only links in directories of the system are followed: others may hang.
    """
    for _ in range(_MOST_LINKS):
        if os.path.dirname(path) not in _PROGRAM_DIRECTORIES:
            break
        try:
            target = os.readlink(path)
        except OSError:
            break
        path = os.path.normpath(os.path.join(os.path.dirname(path), target))
    return path


def read_file(
    path: str | os.PathLike[str],
    options: CommandLineOptions,
    *,
    lax: bool = False,
    strict: bool = False,
) -> Reading:
    """Read a configuration file, named in messages as typed.

    `strict`: a rule of Sigma that cannot be used refuses the configuration.

    Raises:
        SysmonlxError: the child died.
    """
    name = os.fspath(path)
    try:
        data = _fetched(name)
    except OSError as error:
        return unopened(name, error)
    except child_process.TooLargeError:
        return _too_large(name)
    return read_data(data, name, options, lax=lax, strict=strict)


def _fetched(path: str) -> bytes:
    """Return the bytes of a file; Ctrl-C ends the wait for one that hangs, or a pipe.

    Raises:
        OSError: it cannot be read.
        TooLargeError: it has more than `LIMIT_BYTES`.
    """
    answer = child_process.ask(
        lambda _: _start_of(path), LIMIT_BYTES, on_wait=lambda: _tell_the_wait(path)
    )
    code = child_process.errno_of(answer.status)
    if code is not None:
        raise OSError(code, os.strerror(code))
    if answer.status:
        raise OSError(0, f"its reader ended with {answer.status}")
    return answer.data


def _tell_the_wait(path: str) -> None:
    print(f"Waiting for {path}; Ctrl-C ends it.", file=sys.stderr, flush=True)


def _start_of(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(LIMIT_BYTES + 1)


def _too_large(path: str) -> Reading:
    most = f"{LIMIT_BYTES >> 20} MiB"
    text = f"Error: {path} has more than {most}: no configuration is that large\n"
    return Reading(None, text)


def unopened(path: str | os.PathLike[str], error: OSError) -> Reading:
    """Return the reading of a file that cannot be opened, in Sysmon's words."""
    reason = error.strerror or "unreadable"
    text = f"Error: Failed to open xml configuration: {path} ({reason})\n"
    if _ADDRESS.match(os.fspath(path)):
        text += "    download it first: nothing is fetched\n"
    return Reading(None, text)


def read_data(
    data: bytes,
    name: str,
    options: CommandLineOptions,
    *,
    lax: bool = False,
    strict: bool = False,
) -> Reading:
    """Read the bytes of a configuration in a child process, as `read_file` does.

    Raises:
        SysmonlxError: the child died; the text says why.
    """

    def work(pipe: int) -> bytes:
        from sysmonlx.config import reader as config
        from sysmonlx.schema import (
            versions,
            xsd,  # they have no library yet
        )

        confine(pipe, _LIBRARIES, [os.fspath(versions.schema_data(xsd.MAIN).parent)])
        return json.dumps(_read(config, data, name, options, lax)).encode()

    try:
        answer = child_process.ask(work, _ANSWER_BYTES, _TIMEOUT_S)
    except TimeoutError as error:
        raise SysmonlxError(_reason(name, -signal.SIGXCPU)) from error
    except child_process.TooLargeError as error:
        raise SysmonlxError(f"{name} is too large: use fewer rules") from error
    if answer.status:
        raise SysmonlxError(_reason(name, answer.status, answer.data))
    return _with_packs(_reading(name, data, answer.data), strict=strict)


def _reading(name: str, data: bytes, answer: bytes) -> Reading:
    try:
        policy, text = json.loads(answer)
        found = policy_of(policy, is_whole=False) if policy else None
        return Reading(found, str(text), data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        text = f"{name}: its reader answered what cannot be used: try again"
        raise SysmonlxError(text) from error


def _with_packs(reading: Reading, *, strict: bool) -> Reading:
    """Return the reading with the packs of rules that the policy names, or refused."""
    if reading.policy is None or not reading.policy.settings.rules:
        return reading
    from sysmonlx.config import rule_files  # most configurations have none

    try:
        policy, remarks = rule_files.with_packs(reading.policy, strict=strict)
    except rule_files.RulesRefusedError as error:
        return replace(reading, policy=None, text=str(error))
    return replace(reading, policy=policy, text=reading.text + remarks)


def _reason(name: str, status: int, data: bytes = b"") -> str:
    """Return why a child did not answer, and what the user can do."""
    if status == child_process.NO_MEMORY:
        most = f"{MEMORY_BYTES >> 20} MiB of memory"
        return f"{name}: reading it takes more than {most}: use fewer rules"
    if status == -signal.SIGXCPU:
        return f"{name}: reading it takes more than {CPU_S} s: use fewer rules"
    if status < 0:
        ended = f"was ended by {signal.Signals(-status).name}"
        return f"{name}: the process that reads it {ended}: try again"
    error = (
        data.decode("utf-8", "replace")
        if status == child_process.FAILED
        else str(status)
    )
    error = error.splitlines()[0][:_ERROR_CHARACTERS] if error else "no reason"
    return f"{name}: the process that reads it failed ({error}): try another file"


def read_options(options: CommandLineOptions, *, lax: bool = False) -> Reading:
    """Read switches that stand for a configuration, without a file."""
    made = read_data(EMPTY, "", options, lax=lax)
    if made.policy is None:
        return made
    return Reading(replace(made.policy, digests=()), "", EMPTY)


def _read(
    config: ModuleType,
    data: bytes,
    name: str,
    options: CommandLineOptions,
    lax: bool,
) -> tuple[str, str]:
    from sysmonlx.config.lint_values import Links
    from sysmonlx.errors import ConfigError

    links = Links(directory_links(), program_behind, absent_events())
    try:
        policy, warnings = config.read_policy(
            data, name, lax=lax, command_line=options, links=links
        )
    except ConfigError as error:
        return "", config.refused_text(error)
    return policy.to_json(), config.accepted_text(policy, warnings)
