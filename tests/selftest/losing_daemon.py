# SPDX-License-Identifier: MIT
"""A daemon that loses a program on request and does not notice: see test_sabotage.

The request {"do": "lose", "program": NAME} takes a program off its hook and puts all
others back; the answer names those that are at their hooks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from sysmonlx.cli.main import main
from sysmonlx.service.control import Later, Message
from sysmonlx.service.guard import Finding, Guard
from sysmonlx.service.requests import Requests

_answer = Requests.answer


def _losing(self: Requests, message: Message) -> Message | Later:
    if message.get("do") != "lose":
        return _answer(self, message)
    capture = self._parts.capture
    for name in capture.wanted_programs() - capture.attached():
        capture.attach_again(name)
    if program := str(message.get("program")):
        capture._loaded.holder(program).detach(program)
    return {"attached": sorted(capture.attached())}


def _unnoticed(self: Guard, at_rest: bool) -> Iterator[Finding]:
    return iter(())


if __name__ == "__main__":
    setattr(Requests, "answer", _losing)  # noqa: B010 - for the type checker
    setattr(Guard, "_hooks", _unnoticed)  # noqa: B010 - the same
    sys.exit(main())
