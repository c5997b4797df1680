# SPDX-License-Identifier: MIT
"""Packs of Sigma rules into a policy: what is stored with it is what runs.

A pack is read as one piece by a child, since a file system may hang; Ctrl-C then ends
the wait. Rules decide what a defender gets to see: a pack is taken only where nobody
but root or the caller can have written it, and as a whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import replace

from sysmonlx.host import child_process
from sysmonlx.policy import PackFile, Policy, RulesChoice
from sysmonlx.rules.sigma.forms import chosen, why_not
from sysmonlx.rules.sigma.pack import Pack, PackError, load
from sysmonlx.schema.events import EVENT_BY_ID, PRODUCED
from sysmonlx.schema.options import SHIPPED

#: The largest pack that is read. 170 public rules have 0.2 MB.
LIMIT_BYTES = 16 << 20
#: The pack that comes with the program, in its package or else in the checkout.
_SHIPPED_PACK = ("config_schema", "shipped.sigma.json")
#: How long reading may take.
_TIMEOUT_S = 20.0
_FOUND, _REFUSED = b"=", b"!"


class RulesRefusedError(Exception):
    """A pack cannot be used; the text is one line."""


def with_packs(policy: Policy) -> tuple[Policy, str]:
    """Return a policy with the packs that its settings name, and remarks, a line each.

    Raises:
        RulesRefusedError: one of them cannot be used.
    """
    if not policy.settings.rules:
        return policy, ""
    files, remarks = [], []
    for choice in policy.settings.rules:
        try:
            data = read_pack(choice[0])
            files.append(_file(choice, data))
            remarks += _remarks(choice, load(json.loads(files[-1].text)))
        except (RulesRefusedError, PackError, ValueError, RecursionError) as error:
            reason = _one_line(error)
            raise RulesRefusedError(f"Error: Rules {choice[0]}: {reason}\n") from None
    ruleset = replace(policy.ruleset, packs=tuple(files))
    return replace(policy, ruleset=ruleset), "".join(f"{each}\n" for each in remarks)


def _file(choice: RulesChoice, data: bytes) -> PackFile:
    digest = hashlib.sha256(data, usedforsecurity=False).hexdigest()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise RulesRefusedError("is no compiled pack: not UTF-8") from None
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


def read_pack(path: str) -> bytes:
    """Return the bytes of a pack.

    Raises:
        RulesRefusedError: it cannot be read, is not to be trusted, or has changed.
    """
    caller, place = os.geteuid(), place_of(path)
    try:
        answer = child_process.ask(
            lambda _: _read(place, caller, is_ours=path == SHIPPED),
            LIMIT_BYTES + 1,
            _TIMEOUT_S,
        )
    except TimeoutError:
        raise RulesRefusedError(f"no answer within {_TIMEOUT_S:g} s") from None
    except child_process.TooLargeError:
        raise RulesRefusedError(f"has more than {LIMIT_BYTES >> 20} MiB") from None
    code = child_process.errno_of(answer.status)
    if code is not None:
        raise RulesRefusedError(f"cannot be read: {os.strerror(code)}")
    if answer.status:
        raise RulesRefusedError(f"its reader ended with {answer.status}")
    if answer.data[:1] != _FOUND:
        raise RulesRefusedError(answer.data[1:].decode())
    return answer.data[1:]


def _read(path: str, caller: int, *, is_ours: bool) -> bytes:
    """Return the bytes of a file behind _FOUND, or why not behind _REFUSED.

    `is_ours`: it came with the program, and may be written by whom this file may be.
    """
    # A FIFO would make the open wait, a device might act on it.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(fd, "rb") as file:
        before = os.fstat(fd)
        program = os.stat(__file__) if is_ours else None
        if reason := _distrusted(before, caller, program):
            return _REFUSED + reason.encode()
        data = file.read(LIMIT_BYTES + 1)
        after = os.fstat(fd)
    if len(data) > LIMIT_BYTES:
        return _REFUSED + f"has more than {LIMIT_BYTES >> 20} MiB".encode()
    if len(data) != after.st_size or before.st_mtime_ns != after.st_mtime_ns:
        return _REFUSED + b"changed while it was read: try again"
    return _FOUND + data


def _distrusted(
    facts: os.stat_result, caller: int, program: os.stat_result | None
) -> str:
    if not stat.S_ISREG(facts.st_mode):
        return "is no regular file: a compiled pack is expected"
    if facts.st_uid not in (0, caller, program.st_uid if program else 0):
        return f"belongs to user {facts.st_uid}: chown root"
    usual = program.st_mode if program and program.st_gid == facts.st_gid else 0
    if facts.st_mode & ~usual & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write it: chmod go-w"
    return ""


def is_changed(packs: tuple[PackFile, ...]) -> bool:
    """Return whether a pack has other bytes now; one that cannot be read has not."""
    for each in packs:
        try:
            digest = _file(each.choice, read_pack(each.choice[0])).sha256
        except RulesRefusedError:
            continue
        if digest != each.sha256:
            return True
    return False


def _remarks(choice: RulesChoice, pack: Pack) -> list[str]:
    """Return what people should know about a pack that is used."""
    path, action, *_ = choice
    used = [*chosen(pack, choice)]
    lines = [f"Rules {path}: {len(used)} of {len(pack.rules)} rules, action {action}"]
    for rule in pack.rules:
        where = f"Warning: {path}: rule '{rule.title}'"
        if reason := why_not(rule):
            lines.append(f"{where} is not used: {reason}")
        elif not PRODUCED.intersection(rule.event_ids):
            events = ", ".join(EVENT_BY_ID[each].label for each in rule.event_ids)
            lines.append(f"{where} never matches: {events} does not occur here")
    if pack.correlations:
        count = len(pack.correlations)
        lines.append(f"Warning: {path}: {count} correlations are not used")
    return lines
