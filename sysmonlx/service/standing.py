# SPDX-License-Identifier: MIT
"""The policy in force and the present troubles, for commands and `systemctl status`."""

from __future__ import annotations

from sysmonlx.capture.kernel_facts import cgroup_remarks
from sysmonlx.host import inode, surroundings
from sysmonlx.policy import Policy
from sysmonlx.service.compilation import PolicyInForce
from sysmonlx.service.keeper import KeeperWatch
from sysmonlx.service.messages import ReportAnswer
from sysmonlx.service.storing import Storing
from sysmonlx.service.wiring import Options, Parts


class Standing:
    """The policy in force, and why it is not the installed one: `refused`, else ""."""

    def __init__(
        self,
        parts: Parts,
        options: Options,
        in_force: PolicyInForce,
        storing: Storing,
    ) -> None:
        self._parts = parts
        self._storing = storing
        self._keeper = KeeperWatch(options.paths)
        self.in_force = in_force
        self.refused = options.refused
        self.remarks = [*parts.remarks]
        """Texts about files that cannot be used, from the start on."""

    @property
    def is_stored(self) -> bool:
        """Whether the policy in force is the stored one."""
        return not self._storing.policy

    @property
    def policy(self) -> Policy:
        """The policy in force, without its rules."""
        return self.in_force.policy

    def report(self) -> ReportAnswer:
        """Return what is missing, what is in trouble, and what was refused."""
        return {
            "missing": self.missing(),
            "trouble": self._troubles(),
            "refused": self.refused,
        }

    def sink_troubles(self, *others: str) -> list[str]:
        """Return why sinks are not written at present, and the like, for `-stats`.

        Args:
            others: Troubles of other destinations; "" is none.
        """
        stored = self._storing.trouble
        troubles = (self.refused, stored, *others, self._keeper.trouble())
        return [*self._parts.output.troubles(), *filter(None, troubles)]

    def missing(self) -> list[str]:
        """Return what this kernel cannot do for the policy in force, a line each."""
        return [*self.lacking(), *self._parts.filter.remarks()]

    def lacking(self) -> list[str]:
        """Return what `missing` returns, without remarks on where events are filtered.

        `-stats` shows those in a column of their own.
        """
        parts = self._parts
        return [
            *dict.fromkeys(map(str, parts.capture.missing)),  # hooks may lack the same
            *parts.guard.missing(),
            *parts.health.remarks(),
            *surroundings.remarks(),
            *cgroup_remarks(surroundings.is_first("cgroup")),
            *_without_openat2(),
        ]

    def status(self) -> str:
        """Return what is in force and what is wrong, in one line."""
        name = self.policy.source or "the built-in defaults"
        rules = f"{name} ({self.in_force.elements} event rules)"
        return "; ".join((rules, *self._troubles()))

    def _troubles(self) -> list[str]:
        policy = filter(None, (self.refused, self._storing.trouble))
        keeper = filter(None, (self._keeper.trouble(),))
        return [*policy, *self.remarks, *self._parts.output.troubles(), *keeper]


def _without_openat2() -> list[str]:
    """Return what is missing where openat2(2) cannot be used, a line at most."""
    reason = inode.why_not()
    what = "paths through links, and hashes of programs that end at once"
    return [f"{what} (openat2: {reason})"] if reason else []
