# SPDX-License-Identifier: MIT
"""The requests of other processes over the control socket, and the answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sysmonlx.capture.loading import Loading
from sysmonlx.errors import ControlError
from sysmonlx.policy import FORM
from sysmonlx.service import compilation
from sysmonlx.service.compilation import Compiled, PolicyInForce
from sysmonlx.service.control import ControlServer, Later, Message
from sysmonlx.service.installed import Paths
from sysmonlx.service.loop import Loop
from sysmonlx.service.messages import PidAnswer, PolicyAnswer, ReportAnswer, StatsAnswer
from sysmonlx.service.reload import refuse_what_needs_a_start
from sysmonlx.service.self_test import SelfTests
from sysmonlx.service.snapshot import Snapshot
from sysmonlx.service.standing import Standing
from sysmonlx.service.storing import Storing
from sysmonlx.service.updates import Updates
from sysmonlx.service.wiring import Parts

#: Longest reason of a refusal that is kept.
_REASON_CHARACTERS = 2000


class Requests:
    """Answers requests; an update of the rules is answered when it is in force."""

    def __init__(
        self,
        paths: Paths,
        parts: Parts,
        loop: Loop,
        standing: Standing,
        storing: Storing,
        counters: Callable[[], Snapshot],
        put: Callable[[Compiled], object],
        refuse: Callable[[str], None],
    ) -> None:
        """Take what the answers are made of.

        Args:
            paths: Where the control socket is, and what an update stores.
            parts: Those of the daemon.
            loop: Calls the handlers of the sockets.
            standing: Says which policy is in force, and what is wrong.
            storing: Stores what an update brings.
            counters: Returns all counters.
            put: Puts compiled rules in force.
            refuse: Told why the configuration file was refused.
        """
        self._paths = paths
        self._parts = parts
        self._loop = loop
        self._standing = standing
        self._storing = storing
        self._counters = counters
        self._refuse = refuse
        self._put = put
        self._self_tests = SelfTests(parts, standing)
        self._updates = Updates(
            loop.handle,
            loop.forget,
            self._begin_loading,
            storing,
            self._put_in_force,
            standing.report,
        )
        self._control: ControlServer | None = None

    def listen(self) -> None:
        """Have the control socket; events are captured without it, too."""
        path, remarks = self._paths.control_socket, self._standing.remarks
        try:
            self._control = control = ControlServer(path, self.answer)
        except ControlError as error:
            remarks.append(f"{error}: -c and -stats cannot reach this service")
            return
        if control.moved:
            remarks.append(control.moved)
        self._loop.handle(control.fileno(), control.serve)

    def answer(self, message: Message) -> Message | Later:
        """Return the answer to a request, or that it comes later.

        Raises:
            ControlError: the request is refused, and why.
        """
        match message.get("do"):
            case "reload":
                return self._begin_update(message)
            case "stats":
                return StatsAnswer(stats=self._counters())
            case "pid":
                return PidAnswer(pid=os.getpid(), form=FORM)
            case "policy":
                return PolicyAnswer(policy=self._storing.policy)
            case "selftest":
                return self._self_tests.answer(message)
        return self._report(message)

    def _report(self, message: Message) -> ReportAnswer:
        match message.get("do"):
            case "missing":
                pass
            case "refuse":
                self._refuse(str(message.get("reason"))[:_REASON_CHARACTERS])
            case "reopen":
                self._parts.output.reopen()
            case _:
                raise ControlError("The daemon does not know this request")
        return self._standing.report()

    def _begin_update(self, message: Message) -> Later:
        text, files = _new_policy(message, self._paths)
        form = self._parts.filter.form
        return self._updates.begin(partial(compilation.begin, text, form), files)

    def _put_in_force(self, made: Compiled) -> None:
        self._self_tests.end("Another configuration came into force")
        self._put(made)

    def _begin_loading(self, made: Compiled) -> Loading | None:
        """Have a thread load the programs that a policy needs; None: all are loaded.

        Raises:
            ControlError: the policy wants what only a start can do.
        """
        settings = self._standing.policy.settings
        refuse_what_needs_a_start(settings, made.policy.settings)
        hooks = PolicyInForce.of(made).hooks()
        return self._parts.capture.begin_loading(hooks)

    @property
    def is_updating(self) -> bool:
        """Whether an update is under way, whose limits of time `expire` looks at."""
        return self._updates.is_under_way

    def expire(self) -> None:
        """End connections and an update that take too long; call it every second."""
        if self._control is not None:
            self._control.expire()
        self._updates.expire()
        self._self_tests.expire()

    def end_update(self, reason: str) -> None:
        """End the update that is under way, if there is one, and say why."""
        self._updates.end(reason)

    def close(self) -> None:
        """Listen no more, and remove the socket."""
        self._self_tests.end("The daemon is being stopped")
        if self._control is not None:
            self._control.close()


def _new_policy(message: Message, paths: Paths) -> tuple[str, dict[Path, bytes]]:
    """Return the policy of a request, and what is to be stored, by file.

    The configuration file comes last. A start that finds it older than the policy
    reads it again: an update that a power failure cuts short has not happened.

    Raises:
        ControlError: the request has no policy.
    """
    try:
        text = str(message["policy"])
        files = {paths.policy_file: text.encode()}
    except (KeyError, UnicodeEncodeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ControlError(f"The request is malformed: {reason}") from error
    for name, path in (
        ("command_line", paths.command_line_file),
        ("config", paths.config_file),
    ):
        data = message.get(name)
        if isinstance(data, str):
            files[path] = data.encode("latin-1", "replace")
    return text, files
