# SPDX-License-Identifier: MIT
"""Files of Sigma rules to a pack, in a child that has given up its rights.

It gives them up before it imports anything that reads YAML. What it answers is read
with distrust.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

from sysmonlx.config.confinement import CPU_S, MEMORY_BYTES, confine
from sysmonlx.config.sigma.files import Found
from sysmonlx.config.sigma.notes import Kind, Note
from sysmonlx.config.sigma.outline import Outline, outline_of
from sysmonlx.errors import SysmonlxError
from sysmonlx.host import child_process
from sysmonlx.rules.sigma.pack import (
    Correlation,
    Pack,
    PackError,
    SigmaRule,
    dump,
    load,
)

_ANSWER_BYTES = 64 << 20
_TIMEOUT_S = 2.0 * CPU_S
#: Libraries that the child imports after it has given up its rights.
_LIBRARIES = ("yaml", "pyparsing", "re2")
NEEDED = (
    "Sigma rules in YAML need pySigma: pip install 'sysmonlx[sigma]', or compile them"
    " elsewhere: sysmonlx-sigma pack"
)


@dataclass(slots=True)
class Reading:
    """What files say: as `reader.RulesRead`; `outlines` are by position in the pack."""

    pack: Pack
    notes: list[Note] = field(default_factory=list)
    outlines: dict[int, Outline] = field(default_factory=dict)
    others: int = 0


def read(files: Sequence[Found]) -> Reading:
    """Return the rules of all files: of compiled ones as they are, of YAML compiled.

    Raises:
        SysmonlxError: no pySigma, or a child that did not come to its end.
    """
    notes = [_refusal(each.name, each.reason) for each in files if each.reason]
    rules: list[SigmaRule] = []
    correlations: list[Correlation] = []
    outlines: dict[int, Outline] = {}
    others = 0
    written = [each for each in files if not each.is_pack and not each.reason]
    if written:
        made = _compiled(written)
        rules += made.pack.rules
        correlations += made.pack.correlations
        notes += made.notes
        outlines, others = made.outlines, made.others
    for each in files:
        if each.is_pack and not each.reason:
            try:
                pack = load(json.loads(each.data))
                load(
                    dump(
                        Pack((*rules, *pack.rules), (*correlations, *pack.correlations))
                    )
                )
            except (ValueError, RecursionError) as error:
                notes.append(_refusal(each.name, f"is no pack to use: {error}"))
                continue
            rules += pack.rules
            correlations += pack.correlations
    return Reading(Pack(tuple(rules), tuple(correlations)), notes, outlines, others)


def _refusal(name: str, reason: str) -> Note:
    return Note(Kind.REFUSED, name, 0, "", " ".join(reason.split()))


def _compiled(files: Sequence[Found]) -> Reading:
    if any(importlib.util.find_spec(each) is None for each in ("sigma", *_LIBRARIES)):
        raise SysmonlxError(NEEDED)
    pairs = [(each.name, each.data) for each in files]

    def work(pipe: int) -> bytes:
        confine(pipe, _LIBRARIES, [os.path.dirname(__file__)])
        from sysmonlx.config.sigma.reader import read_rules

        made = read_rules(pairs)
        notes = [each.plain() for each in made.notes]
        plain = [dump(made.pack), notes, made.outlines, made.others]
        return json.dumps(plain).encode()

    try:
        answer = child_process.ask(work, _ANSWER_BYTES, _TIMEOUT_S)
    except TimeoutError:
        raise SysmonlxError(_reason(-signal.SIGXCPU, b"")) from None
    except child_process.TooLargeError:
        raise SysmonlxError("the rules are too large: use fewer") from None
    if answer.status:
        raise SysmonlxError(_reason(answer.status, answer.data))
    return _reading(answer.data)


def _reason(status: int, data: bytes) -> str:
    if status == child_process.NO_MEMORY:
        most = f"{MEMORY_BYTES >> 20} MiB of memory"
        return f"the rules take more than {most} to read: use fewer"
    if status == -signal.SIGXCPU:
        return f"the rules take more than {CPU_S} s to read: use fewer"
    if status < 0:
        return f"what reads the rules was ended by {signal.Signals(-status).name}"
    text = data.decode("utf-8", "replace") if status == child_process.FAILED else ""
    return f"what reads the rules failed: {' '.join(text.split())[:200] or status}"


def _reading(data: bytes) -> Reading:
    try:
        pack, notes, outlines, others = json.loads(data)
        found = [_note(each) for each in notes]
        drawn = dict(enumerate(map(outline_of, outlines)))
        return Reading(load(pack), found, drawn, int(others))
    except PackError as error:
        raise SysmonlxError(f"the rules are too many to use: {error}") from None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SysmonlxError("what reads the rules answered nonsense") from error


def _note(raw: dict[str, object]) -> Note:
    kind, line = Kind(raw["kind"]), int(str(raw["line"]))
    return Note(kind, str(raw["file"]), line, str(raw["title"]), str(raw["reason"]))
