# SPDX-License-Identifier: MIT
"""Configuration files to policies, in a child process.

lxml and xmlschema take 40 MB that the daemon must not keep: a child reads, the parent
gets the policy as JSON and the remarks as text.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sysmonlx.errors import SysmonlxError, UsageError
from sysmonlx.ruleset import Policy
from sysmonlx.state import Paths, load_command_line
from sysmonlx.state import read_file as read_file_of_ours

if TYPE_CHECKING:
    from sysmonlx.arguments import CommandLineOptions

#: The configuration in which every event type keeps its default.
EMPTY = b'<Sysmon schemaversion="4.90"></Sysmon>\n'

#: Directories that may be links to others; a rule that names them never matches.
_LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/var/run", "/var/lock")


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of a file: no policy when it is refused; `text` is for people.

    `data` is what was read: a pipe cannot be read twice.
    """

    policy: Policy | None
    text: str
    data: bytes = b""


def directory_links() -> dict[str, str]:
    """Return where the well-known directories that are symbolic links lead."""
    return {name: os.path.realpath(name) for name in _LINKS if os.path.islink(name)}


def read_file(path: Path, options: CommandLineOptions, *, lax: bool = False) -> Reading:
    """Read a configuration file, named in messages as typed."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return _unopened(path, error)
    return read_data(data, os.fspath(path), options, lax=lax)


def _unopened(path: Path, error: OSError) -> Reading:
    reason = error.strerror or "unreadable"
    text = f"Error: Failed to open xml configuration: {path} ({reason})\n"
    return Reading(None, text)


def read_data(
    data: bytes, name: str, options: CommandLineOptions, *, lax: bool = False
) -> Reading:
    """Read the bytes of a configuration in a child process.

    Raises:
        SysmonlxError: the child died.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _answer_and_exit(writer, data, name, options, lax)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise SysmonlxError(f"{name} could not be read: the reader ended with {code}")
    policy, text = json.loads(answer)
    return Reading(Policy.from_json(policy) if policy else None, text, data)


def read_options(options: CommandLineOptions, *, lax: bool = False) -> Reading:
    """Read switches that stand for a configuration, without a file."""
    made = read_data(EMPTY, "", options, lax=lax)
    if made.policy is None:
        return made
    return Reading(replace(made.policy, digests=()), "", EMPTY)


def read_installed(paths: Paths) -> Reading:
    """Read what is installed, with the switches that it was installed with."""
    from sysmonlx.arguments import Action, CommandLine, parse  # not for a stored policy

    try:
        line = parse(load_command_line(paths.command_line_file)[1:])
    except UsageError:
        line = CommandLine(Action.CONFIGURE)
    path = paths.config_file
    try:
        data = read_file_of_ours(path)
    except OSError as error:
        return _unopened(path, error)
    return read_data(data, os.fspath(path), line.config_options, lax=line.has("Lax"))


def is_changed(path: Path, policy: Policy) -> bool:
    """Tell whether the stored file is another than the policy was made from.

    A file that is gone changes nothing.
    """
    try:
        found = read_file_of_ours(path)
    except OSError:
        return False
    import hashlib  # 3.7 MB of libcrypto, which the daemon may not need

    digest = hashlib.sha256(found).hexdigest()
    known = dict(policy.digests).get("SHA256")
    return digest != known if known else found != EMPTY


def _answer_and_exit(
    writer: int, data: bytes, name: str, options: CommandLineOptions, lax: bool
) -> None:
    """In the child: read, write the answer, end."""
    status = 1
    try:
        with open(writer, "wb") as pipe:
            pipe.write(json.dumps(_read(data, name, options, lax)).encode())
        status = 0
    finally:
        os._exit(status)


def _read(
    data: bytes, name: str, options: CommandLineOptions, lax: bool
) -> tuple[str, str]:
    from sysmonlx import config  # here only: see the module's docstring
    from sysmonlx.errors import ConfigError

    try:
        policy, warnings = config.read_policy(
            data, name, lax=lax, command_line=options, links=directory_links()
        )
    except ConfigError as error:
        return "", config.refused_text(error)
    return policy.to_json(), config.accepted_text(policy, warnings)
