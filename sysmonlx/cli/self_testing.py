# SPDX-License-Identifier: MIT
"""The action -selftest: asks the running service whether it sees what it should."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import cast

from sysmonlx.cli.exit_status import BAD_PARAMETERS, DIFFERENT
from sysmonlx.errors import ControlError
from sysmonlx.selftest import report
from sysmonlx.selftest.run import run
from sysmonlx.service import control
from sysmonlx.service.exit_status import OK
from sysmonlx.service.installed import Paths
from sysmonlx.service.messages import Question, ReportAnswer, SelfTestStep
from sysmonlx.service.situation import why_it_is_silent, why_it_is_strange

_NOT_RUNNING = (
    "Error: Sysmon is not running, so there is nothing to test: "
    "'sysmonlx -i' installs and starts it."
)
#: Longest wait for the answer to one step, in seconds; nothing passes any longer.
_ANSWER_S = 6.0
#: The answer of a service of a version before this one.
_TOO_OLD = "does not know this request"


def self_test(paths: Paths, *, as_json: bool) -> int:
    """Test the running service, print what it saw, and return the exit status.

    Raises:
        ControlError: the service refuses, or does not answer.
    """
    if not control.is_running(paths.control_socket):
        print(why_it_is_silent(paths) or _NOT_RUNNING, file=sys.stderr)
        return BAD_PARAMETERS
    if text := why_it_is_strange(paths):
        print(f"Error: {text}", file=sys.stderr)
        return BAD_PARAMETERS
    sys.stdout.flush()  # what children print of it would come twice

    def ask(step: SelfTestStep) -> Mapping[str, object]:
        return control.request(paths.control_socket, step, _ANSWER_S)

    try:
        result = run(ask)
    except ControlError as error:
        if _TOO_OLD not in str(error):
            raise
        raise ControlError(f"{error}: 'sysmonlx -i' renews the service") from error
    missing = control.request(paths.control_socket, Question(do="missing"))
    troubles = cast("ReportAnswer", missing)["trouble"]
    if as_json:
        print(report.as_json(result, troubles))
    else:
        print(report.as_text(result, troubles), end="")
    return OK if result.is_good and not troubles else DIFFERENT
