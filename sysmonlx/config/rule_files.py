# SPDX-License-Identifier: MIT
"""Files of Sigma rules into a policy: the rules stored with it are those that run.

A file, or a directory of files, is read as one piece by a child, since a file system
may hang; Ctrl-C then ends the wait. Rules decide what a defender gets to see: a file is
taken only where nobody but root or the caller can have written it, and as a whole. Of a
directory all files are taken, or none.

A pack is stored as it is. All files in YAML of a directory are compiled, by
`config.sigma.child`, into one pack that is stored under the path of the directory: a
restart needs neither the files nor what reads YAML.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from sysmonlx.config.sigma.files import PACKS, YAML, Found, place_of
from sysmonlx.errors import SysmonlxError
from sysmonlx.host import child_process
from sysmonlx.policy import PackFile, Policy, RulesChoice
from sysmonlx.rules.sigma.forms import (
    chosen,
    correlated,
    why_not,
    why_not_correlated,
)
from sysmonlx.rules.sigma.pack import Pack, PackError, dump, load
from sysmonlx.schema.events import EVENT_BY_ID, PRODUCED
from sysmonlx.schema.options import SHIPPED

#: The largest file that is read, and all files of a directory together. 170 public
#: rules have 0.2 MB as a pack, and 0.3 MB as YAML.
LIMIT_BYTES = 16 << 20
#: How long reading may take.
_TIMEOUT_S = 20.0
#: Of a directory the files, by their names, and how many of them.
PACKS_LIMIT, YAML_LIMIT = 64, 4096
_NAMES_BYTES = (PACKS_LIMIT + YAML_LIMIT) * 8192
#: Refused rules that are named one by one.
_NAMED = 20

#: The path of a file, and its bytes.
NamedFile: TypeAlias = tuple[str, bytes]


class RulesRefusedError(Exception):
    """A pack cannot be used; the text is one line, with its end."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Files that become one pack: one pack, or all files in YAML of a path.

    `name` is the path. `digest` is the SHA-256 in lower-case hexadecimal: of the bytes
    of the pack, or of names and bytes of all files in YAML.
    """

    name: str
    digest: str
    files: tuple[NamedFile, ...]
    is_yaml: bool


def with_packs(policy: Policy, *, strict: bool = False) -> tuple[Policy, str]:
    """Return a policy with the rules that its settings name, and remarks, a line each.

    With `strict` one rule that cannot be used refuses all of them.

    Raises:
        RulesRefusedError: a file cannot be used; with `strict`, a rule cannot.
    """
    if not policy.settings.rules:
        return policy, ""
    files: list[PackFile] = []
    remarks: list[str] = []
    for choice in policy.settings.rules:
        for source in _sources(choice[0]):
            try:
                made, notes = _pack_file((source.name, *choice[1:]), source)
                pack = load(json.loads(made.text))
            except (PackError, ValueError, RecursionError) as error:
                raise _refusal(source.name, _one_line(error)) from None
            except SysmonlxError as error:  # no pySigma, or too much of it
                raise _refusal(source.name, str(error)) from None
            if strict and notes:
                raise RulesRefusedError(f"Error: {notes[0]}\n")
            files.append(made)
            remarks += pack_remarks(made, pack, policy.settings.appended)
            remarks += _shown(notes, source.name)
    ruleset = replace(policy.ruleset, packs=tuple(files))
    return replace(policy, ruleset=ruleset), "".join(f"{each}\n" for each in remarks)


def _refusal(path: str, reason: str) -> RulesRefusedError:
    return RulesRefusedError(f"Error: Rules {path}: {reason}\n")


def _sources(path: str) -> Iterator[_Source]:
    """Yield each pack at a path as a source, then all files in YAML there as one."""
    files = read_files(path)
    written = tuple(each for each in files if each[0].endswith(YAML))
    for each in files:
        if not each[0].endswith(YAML):
            yield _Source(each[0], _digest(each[1]), (each,), is_yaml=False)
    if written:
        yield _Source(path, _digest_of_all(written, path), written, is_yaml=True)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data, usedforsecurity=False).hexdigest()


def _digest_of_all(files: Sequence[NamedFile], top: str) -> str:
    """Return the SHA-256 of files: of their names below `top`, sizes and bytes."""
    parts = (
        f"{os.path.relpath(name, top)}\0{len(data)}\0".encode(
            "utf-8", "surrogateescape"
        )
        + data
        for name, data in files
    )
    return _digest(b"".join(parts))


def _pack_file(choice: RulesChoice, source: _Source) -> tuple[PackFile, list[str]]:
    """Return a pack as it is stored, and which rules it is without, and why."""
    if source.is_yaml:
        return _compiled(choice, source)
    try:
        text = source.files[0][1].decode()
    except UnicodeDecodeError:
        raise ValueError("is no compiled pack: not UTF-8") from None
    return PackFile(choice, source.digest, text), []


def _compiled(choice: RulesChoice, source: _Source) -> tuple[PackFile, list[str]]:
    # The module that reads YAML is loaded only where there is some.
    from sysmonlx.config.sigma.child import read
    from sysmonlx.config.sigma.notes import Kind

    reading = read([Found(*each) for each in source.files])
    refused = [each.text for each in reading.notes if each.kind is Kind.REFUSED]
    if not reading.pack.rules:
        first = f": {refused[0]}" if refused else ""
        raise ValueError(f"has no rule that can be used{first}")
    text = json.dumps(dump(reading.pack), separators=(",", ":"))
    return PackFile(choice, source.digest, text, len(refused)), refused


def _shown(notes: Sequence[str], path: str) -> Iterator[str]:
    for each in notes[:_NAMED]:
        yield f"Warning: {each}"
    if len(notes) > _NAMED:
        more = f"{len(notes) - _NAMED} more rules are not used"
        yield f"Warning: {more}: sysmonlx-sigma check {path}"


def _one_line(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        where = f"line {error.lineno}, column {error.colno}"
        return f"is no compiled pack: no JSON at {where}: sysmonlx-sigma pack makes one"
    if isinstance(error, RecursionError):
        return "is no compiled pack: nested too deeply"
    return " ".join(str(error).split())


def read_files(path: str) -> list[NamedFile]:
    """Return a file of rules, or all of a directory and of those below it, by name.

    Raises:
        RulesRefusedError: one cannot be read, is not to be trusted, or has changed.
    """
    caller, place = os.geteuid(), place_of(path)
    try:
        answer = child_process.ask(
            lambda _: _answer(place, caller, is_ours=path == SHIPPED),
            LIMIT_BYTES + _NAMES_BYTES,
            _TIMEOUT_S,
        )
    except TimeoutError:
        raise _refusal(path, f"no answer within {_TIMEOUT_S:g} s") from None
    except child_process.TooLargeError:
        raise _refusal(path, f"has more than {LIMIT_BYTES >> 20} MiB") from None
    if answer.status:
        code = child_process.errno_of(answer.status)
        reason = f"its reader ended with {answer.status}"
        if code is not None:
            reason = f"cannot be read: {os.strerror(code)}"
        raise _refusal(path, reason)
    found: list[tuple[str, bytes, str]] = marshal.loads(answer.data)
    for name, _, reason in found:
        if reason:
            raise _refusal(name, reason)
    return [(name, data) for name, data, _ in found]


def _answer(path: str, caller: int, *, is_ours: bool) -> bytes:
    """Return, marshalled, name, bytes, and why there are none, of each file.

    `is_ours`: it came with the program, and may be written by whom this file may be.
    """
    if is_ours:
        return marshal.dumps([(SHIPPED, *_read(path, caller, os.stat(__file__)))])
    if not os.path.isdir(path):
        return marshal.dumps([(path, *_read(path, caller))])
    found: list[tuple[str, bytes, str]] = []
    left = LIMIT_BYTES
    for name, reason in _names_below(path, caller):
        data, why = (b"", reason) if reason else _read(name, caller)
        found.append((name, data, why))
        left -= len(data)
        if left < 0:
            reason = f"has more than {LIMIT_BYTES >> 20} MiB"
            return marshal.dumps([(path, b"", reason)])
    if not found:
        kinds = ", ".join(f"*{each}" for each in (*YAML, *PACKS))
        found = [(path, b"", f"has no {kinds}")]
    return marshal.dumps(found)


def _names_below(path: str, caller: int) -> Iterator[tuple[str, str]]:
    """Yield paths below a directory, and why they are not to be trusted.

    The reason is "" for a file of rules. A directory is yielded only with a reason.
    Links to directories are not followed.
    """
    packs = written = 0
    for folder, folders, names in os.walk(path, onerror=_raise):
        folders.sort()
        if reason := _distrusted_directory(os.stat(folder), caller):
            yield folder, reason
        for name in sorted(names):
            packs += name.endswith(PACKS)
            written += name.endswith(YAML)
            if packs > PACKS_LIMIT or written > YAML_LIMIT:
                limits = f"{PACKS_LIMIT} packs, or than {YAML_LIMIT} files in YAML"
                yield path, f"has more than {limits}"
                return
            if name.endswith((*PACKS, *YAML)):
                yield os.path.join(folder, name), ""


def _raise(error: OSError) -> None:
    raise error


def _read(
    path: str, caller: int, program: os.stat_result | None = None
) -> tuple[bytes, str]:
    """Return the bytes of a file, or why it is not used.

    `program`: facts of a file of ours, whose owner and modes are trusted; None: the
    file did not come with it.
    """
    # A FIFO would make the open wait, a device might act on it.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        return b"", f"cannot be read: {os.strerror(error.errno or 0)}"
    with open(fd, "rb") as file:
        before = os.fstat(fd)
        if reason := _distrusted(before, caller, program):
            return b"", reason
        data = file.read(LIMIT_BYTES + 1)
        after = os.fstat(fd)
    if len(data) > LIMIT_BYTES:
        return b"", f"has more than {LIMIT_BYTES >> 20} MiB"
    if len(data) != after.st_size or before.st_mtime_ns != after.st_mtime_ns:
        return b"", "changed while it was read: try again"
    return data, ""


def _distrusted(
    facts: os.stat_result, caller: int, program: os.stat_result | None
) -> str:
    if not stat.S_ISREG(facts.st_mode):
        return "is no regular file: a compiled pack is expected"
    return _distrusted_directory(facts, caller, program)


def _distrusted_directory(
    facts: os.stat_result, caller: int, program: os.stat_result | None = None
) -> str:
    if facts.st_uid not in (0, caller, program.st_uid if program else 0):
        return f"belongs to user {facts.st_uid}: chown root"
    usual = program.st_mode if program and program.st_gid == facts.st_gid else 0
    if facts.st_mode & ~usual & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write it: chmod go-w"
    return ""


def is_changed(policy: Policy) -> bool:
    """Return whether packs have other bytes now, or there are more or fewer.

    A file that cannot be read counts as unchanged.
    """
    known = [(each.choice, each.sha256) for each in policy.ruleset.packs]
    found = []
    for choice in policy.settings.rules:
        try:
            found += [
                ((each.name, *choice[1:]), each.digest) for each in _sources(choice[0])
            ]
        except RulesRefusedError:
            below = os.path.join(choice[0], "")
            found += [
                (each.choice, each.sha256)
                for each in policy.ruleset.packs
                if each.choice[0] == choice[0] or each.choice[0].startswith(below)
            ]
    return found != known


def pack_remarks(
    file: PackFile, pack: Pack, appended: tuple[str, ...]
) -> Iterator[str]:
    """Yield what people should know about a pack that is used, a line each."""
    path, action, *_ = choice = file.choice
    used = sum(1 for _ in chosen(pack, choice, appended))
    joined = sum(1 for _ in correlated(pack, choice, appended))
    more = f" and {joined} of {len(pack.correlations)} correlations" if joined else ""
    more += f", {file.refused} refused" if file.refused else ""
    yield f"Rules {path}: {used} of {len(pack.rules)} rules{more}, action {action}"
    for rule in pack.rules:
        where = f"Warning: {path}: rule '{rule.title}'"
        if reason := why_not(rule, appended):
            yield f"{where} is not used: {reason}"
        elif not PRODUCED.intersection(rule.event_ids):
            events = ", ".join(EVENT_BY_ID[each].label for each in rule.event_ids)
            yield f"{where} never matches: {events} does not occur here"
    for each in pack.correlations:
        if reason := why_not_correlated(each, pack, appended):
            where = f"Warning: {path}: correlation '{each.title}'"
            yield f"{where} is not used: {reason}"
