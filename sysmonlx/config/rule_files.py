# SPDX-License-Identifier: MIT
"""Packs of Sigma rules into a policy: what is stored with it is what runs.

A pack, or a directory of packs, is read as one piece by a child, since a file system
may hang; Ctrl-C then ends the wait. Rules decide what a defender gets to see: a pack is
taken only where nobody but root or the caller can have written it, and as a whole. Of a
directory all packs are taken, or none.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import stat
from collections.abc import Iterator
from dataclasses import replace

from sysmonlx.host import child_process
from sysmonlx.policy import PackFile, Policy, RulesChoice
from sysmonlx.rules.sigma.forms import (
    chosen,
    correlated,
    why_not,
    why_not_correlated,
)
from sysmonlx.rules.sigma.pack import Pack, PackError, load
from sysmonlx.schema.events import EVENT_BY_ID, PRODUCED
from sysmonlx.schema.options import SHIPPED

#: The largest pack that is read, and all packs of a directory together. 170 public
#: rules have 0.2 MB.
LIMIT_BYTES = 16 << 20
#: The pack that comes with the program, in its package or else in the checkout.
_SHIPPED_PACK = ("config_schema", "shipped.sigma.json")
#: How long reading may take.
_TIMEOUT_S = 20.0
#: Of a directory the packs, by their names, and how many of them.
SUFFIX, PACKS_LIMIT = ".sigma.json", 64
_NAMES_BYTES = PACKS_LIMIT * 8192


class RulesRefusedError(Exception):
    """A pack cannot be used; the text is one line, with its end."""


def with_packs(policy: Policy) -> tuple[Policy, str]:
    """Return a policy with the packs that its settings name, and remarks, a line each.

    Raises:
        RulesRefusedError: one of them cannot be used.
    """
    if not policy.settings.rules:
        return policy, ""
    files: list[PackFile] = []
    remarks: list[str] = []
    for choice in policy.settings.rules:
        for name, data in read_packs(choice[0]):
            try:
                files.append(_file((name, *choice[1:]), data))
                pack = load(json.loads(files[-1].text))
            except (PackError, ValueError, RecursionError) as error:
                raise _refusal(name, _one_line(error)) from None
            remarks += pack_remarks(files[-1].choice, pack, policy.settings.appended)
    ruleset = replace(policy.ruleset, packs=tuple(files))
    return replace(policy, ruleset=ruleset), "".join(f"{each}\n" for each in remarks)


def _refusal(path: str, reason: str) -> RulesRefusedError:
    return RulesRefusedError(f"Error: Rules {path}: {reason}\n")


def _file(choice: RulesChoice, data: bytes) -> PackFile:
    digest = hashlib.sha256(data, usedforsecurity=False).hexdigest()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError("is no compiled pack: not UTF-8") from None
    return PackFile(choice, digest, text)


def _one_line(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        where = f"line {error.lineno}, column {error.colno}"
        return f"is no compiled pack: no JSON at {where}: sysmonlx-sigma pack makes one"
    if isinstance(error, RecursionError):
        return "is no compiled pack: nested too deeply"
    return " ".join(str(error).split())


def place_of(path: str) -> str:
    """Return the path of a pack: of the word SHIPPED that of the program's own."""
    if path != SHIPPED:
        return path
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = os.path.join(package, *_SHIPPED_PACK)
    if os.path.exists(installed):
        return installed
    return os.path.join(os.path.dirname(package), *_SHIPPED_PACK)


def read_packs(path: str) -> list[tuple[str, bytes]]:
    """Return name and bytes of a pack, or of each pack of a directory, by name.

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
    """Return, marshalled, name, bytes, and why there are none, of each pack.

    `is_ours`: it came with the program, and may be written by whom this file may be.
    """
    if is_ours:
        return marshal.dumps([(SHIPPED, *_read(path, caller, os.stat(__file__)))])
    if not os.path.isdir(path):
        return marshal.dumps([(path, *_read(path, caller))])
    found = [(path, b"", _distrusted_directory(os.stat(path), caller))]
    if not found[0][2]:
        names = sorted(each for each in os.listdir(path) if each.endswith(SUFFIX))
        found = [(path, b"", "" if names else f"has no {SUFFIX}: sysmonlx-sigma pack")]
        if len(names) > PACKS_LIMIT:
            found = [(path, b"", f"has more than {PACKS_LIMIT} packs")]
        elif names:
            paths = [os.path.join(path, each) for each in names]
            found = [(each, *_read(each, caller)) for each in paths]
    return marshal.dumps(found)


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

    What cannot be read has not changed.
    """
    known = [(each.choice, each.sha256) for each in policy.ruleset.packs]
    found = []
    for choice in policy.settings.rules:
        try:
            files = [_file((n, *choice[1:]), d) for n, d in read_packs(choice[0])]
        except (RulesRefusedError, ValueError):
            below = os.path.join(choice[0], "")
            files = [
                each
                for each in policy.ruleset.packs
                if each.choice[0] == choice[0] or each.choice[0].startswith(below)
            ]
        found += [(each.choice, each.sha256) for each in files]
    return found != known


def pack_remarks(
    choice: RulesChoice, pack: Pack, appended: tuple[str, ...]
) -> Iterator[str]:
    """Yield what people should know about a pack that is used, a line each."""
    path, action, *_ = choice
    used = sum(1 for _ in chosen(pack, choice, appended))
    joined = sum(1 for _ in correlated(pack, choice, appended))
    more = f" and {joined} of {len(pack.correlations)} correlations" if joined else ""
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
