# SPDX-License-Identifier: MIT
"""Compiles a policy into rules, here and in the kernel, in a child of the daemon.

Compiling thousands of conditions takes a second and some 20 MB in small pieces. Events
do not wait for it while a child does it. The child answers with plain data, which the
daemon puts together in milliseconds. The data hold code: they are taken from nobody but
a copy of the daemon itself.
"""

from __future__ import annotations

import marshal
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from sysmonlx.capture.hooks import Hook
from sysmonlx.capture.kernel_form import KernelForm, kernel_form_of
from sysmonlx.config.stored_policy import policy_of
from sysmonlx.enrich.registry import hooks_for
from sysmonlx.errors import ControlError
from sysmonlx.host import child_process
from sysmonlx.host.child_process import Answer, Child
from sysmonlx.policy import Policy, Ruleset
from sysmonlx.rules.compiler import CompiledRules, compile_rules
from sysmonlx.rules.verdicts import Rules, rules_of
from sysmonlx.schema.events import DNS_QUERY, EVENT_BY_ID

#: Longest compilation, in seconds; the client of `-c` waits longer than that.
LIMIT_S = 25.0
#: Longest answer of the child: much more than any policy needs that fits in a request.
_ANSWER_BYTES = 256 << 20

#: Of a pack of Sigma rules path, number of the rules that are used, SHA-256, and number
#: of rules in YAML that were refused.
PackInForce: TypeAlias = tuple[str, int, str, int]

MakeForm = Callable[[CompiledRules, Mapping[int, str]], KernelForm]

#: Why the kernel discards no event 22 where event 3 is to name hosts.
_LEARNT = "DnsLookup learns names from all answers"


@dataclass(frozen=True, slots=True)
class Compiled:
    """A policy and what was made of it; `elements` counts its event rules.

    `policy` has none of them any more: `rules` judge here, `kernel` in the kernel.
    `packs` says which packs of Sigma rules are in them.
    """

    policy: Policy
    elements: int
    rules: Rules
    kernel: KernelForm
    packs: tuple[PackInForce, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """The parts of a policy that the daemon keeps while it runs.

    `policy` is without its event rules; `elements` is their number.
    """

    policy: Policy
    rules: Rules
    elements: int
    packs: tuple[PackInForce, ...] = ()

    @classmethod
    def of(cls, made: Compiled) -> PolicyInForce:
        """Return what is kept of a policy that was compiled."""
        return cls(made.policy, made.rules, made.elements, made.packs)

    def hooks(self) -> tuple[Hook, ...]:
        """Return the hooks that this policy needs."""
        return hooks_for(self.rules.can_emit, self.policy.settings)


def compile_policy(policy: Policy, form: MakeForm) -> bytes:
    """Return all that `compiled_of` needs, as one piece."""
    rules = compile_rules(policy.ruleset)
    rest, count = _without_rules(policy).to_json(), len(policy.ruleset.elements)
    packs = [
        (each.choice[0], rules.count_of(each), each.sha256, each.refused)
        for each in policy.ruleset.packs
    ]
    left = {DNS_QUERY.id: _LEARNT} if policy.settings.dns_lookup else {}
    plain = (rest, count, rules.plain(), form(rules, left).plain(), packs)
    return marshal.dumps(plain)


def compile_text(text: str, form: MakeForm) -> bytes:
    """Return the same of a policy as JSON, or as one text why it is refused."""
    try:
        policy = policy_of(text)
    except (TypeError, ValueError, RecursionError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        return marshal.dumps(f"The request is malformed: {reason}")
    return compile_policy(policy, form)


def begin(text: str, form: MakeForm) -> Child:
    """Begin to compile a policy that is given as JSON.

    Raises:
        ControlError: there is no process to be had.
    """
    try:
        return Child(lambda: compile_text(text, form), _ANSWER_BYTES)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ControlError(f"No process can be had to compile in: {reason}") from error


def events_at_start(policy: Policy) -> Callable[[int], bool]:
    """Return what tells which events a policy may report, by their ids.

    Packs are read by a child: what that leaves behind would stay for ever, twice what
    the rules take and a library of regular expressions.
    """
    if not policy.ruleset.packs:
        return compile_rules(policy.ruleset).can_emit

    def work() -> bytes:
        can_emit = compile_rules(policy.ruleset).can_emit
        return marshal.dumps([*filter(can_emit, EVENT_BY_ID)])

    return frozenset[int](marshal.loads(_by_child(work))).__contains__


def compile_at_start(policy: Policy, form: MakeForm) -> Compiled:
    """Return a policy compiled by a child, or by this process where the child fails."""
    made = _by_child(lambda: compile_policy(policy, form))
    return compiled_of(Answer(made, 0), _without_rules(policy))


def _by_child(work: Callable[[], bytes]) -> bytes:
    """Return what `work` returns in a child, or here where the child fails.

    A start has no events to keep waiting, and must not fail for want of a child.
    """
    try:
        child = Child(work, _ANSWER_BYTES)
    except OSError:
        return work()
    try:
        answer = child.wait(LIMIT_S)
        return work() if answer.status else answer.data
    except (TimeoutError, child_process.TooLargeError):
        return work()
    finally:
        child.end()


def _without_rules(policy: Policy) -> Policy:
    return replace(policy, ruleset=Ruleset(policy.ruleset.schema_version))


def compiled_of(answer: Answer, rest: Policy | None = None) -> Compiled:
    """Return what a child answered; `rest` is the policy but its rules, where known.

    Raises:
        ControlError: it refused the policy, or did not come to its end.
    """
    if answer.status:
        raise ControlError(f"The process that compiles the rules {_why(answer)}")
    plain = marshal.loads(answer.data)
    if isinstance(plain, str):
        raise ControlError(plain)
    text, elements, rules, kernel, packs = plain
    policy = rest or policy_of(text, is_whole=False)
    return Compiled(
        policy, elements, rules_of(rules), kernel_form_of(kernel), tuple(packs)
    )


def _why(answer: Answer) -> str:
    if answer.status < 0:
        return f"was ended by {signal.Signals(-answer.status).name}: try again"
    if answer.status == child_process.NO_MEMORY:
        return "is short of memory: use fewer rules"
    text = answer.data.decode("utf-8", "replace")
    if answer.status != child_process.FAILED:
        text = f"status {answer.status}"
    return f"failed: {text}"
