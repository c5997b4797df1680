# SPDX-License-Identifier: MIT
"""The rules in the kernel's maps: packed as `struct filter_rules`, swapped whole."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from errno import ENOENT
from itertools import islice
from types import MappingProxyType

from sysmonlx.bpf.btf import Btf
from sysmonlx.bpf.object import BpfMap, create_array
from sysmonlx.bpf.object_info import map_id
from sysmonlx.capture.kernel_form import KernelForm, Packer, left_to_user_space
from sysmonlx.errors import LibbpfError
from sysmonlx.rules.compiler import CompiledRules
from sysmonlx.rules.kernel.compiler import ALL_REPORTED
from sysmonlx.rules.kernel.fields import EVENTS

#: Their records keep the process table true: they are never discarded.
_PROCESS = (1, 5)
_FIRST = bytes(4)
_USER = struct.Struct("=QII")  # struct filter_user
_BITS = struct.Struct("=Q")
#: A look at one takes 3 us.
_CHECKED_AT_ONCE = 32


def _nothing(event_id: int) -> bool:
    return False


@dataclass(slots=True)
class Prepared:
    """Rules that are ready for the kernel: a switch puts them in force.

    `fd` is a map with the packed rules, known to the kernel as `map_id`; -1 where the
    kernel is to discard nothing. `users` are those whose answers the kernel has been
    told for this `generation`, `answers` what it has been told.
    """

    generation: int = 0
    fd: int = -1
    map_id: int = 0
    rules: KernelForm | None = None
    users: dict[int, str] = field(default_factory=dict)
    answers: dict[int, bytes] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    can_emit: Callable[[int], bool] = _nothing


class KernelFilter:
    """Has the kernel discard what the rules exclude for certain."""

    def __init__(self, maps: Mapping[str, BpfMap], btf: Btf) -> None:
        self._maps = maps
        self._packer = Packer(btf)
        self._generation = 0
        self._now = Prepared()
        self._may_hold_rules = False
        self._checked: Iterator[int] = iter(())

    @property
    def now(self) -> Prepared:
        """The rules in force, for `use`: also after a `use` that failed half way."""
        return self._now

    @property
    def reasons(self) -> dict[int, str]:
        """Why user space filters an event, by its id; "" for the kernel."""
        return self._now.reasons

    def install(self, rules: CompiledRules, users: Mapping[int, str]) -> None:
        """Put rules in force, at once for every event that begins from now on.

        Rules that the kernel refuses are left to user space; `reasons` has its error.

        Args:
            rules: The compiled rules.
            users: Names of the users that are known, by number; see `add_user`.
        """
        self.begin(self.form(rules), rules.can_emit, users)

    def begin(
        self,
        form: KernelForm,
        can_emit: Callable[[int], bool],
        users: Mapping[int, str],
    ) -> None:
        """Put compiled rules in force, as `install` does."""
        self.discard(self.use(self.prepare(form, can_emit, users)))

    def form(
        self, rules: CompiledRules, left: Mapping[int, str] = MappingProxyType({})
    ) -> KernelForm:
        """Return rules as the kernel takes them; nothing changes, and no map is made.

        Rules that do not fit are left to user space: the form says why. The events of
        `left` always are, for the reason given there.
        """
        if "filter_rules" not in self._maps:
            return left_to_user_space("this kernel has no bpf_loop()")
        decisions = {each: rules.kernel_decision(each) for each in EVENTS}
        return self._packer.form(decisions, left)

    def prepare(
        self,
        form: KernelForm,
        can_emit: Callable[[int], bool],
        users: Mapping[int, str],
    ) -> Prepared:
        """Return rules ready for `use`; `discard` gives back what they hold.

        The rules in force stay in force. Where the kernel does not take the rules, the
        result has it discard nothing: they are left to user space.
        """
        self._generation += 1
        made = Prepared(self._generation, can_emit=can_emit, reasons=form.reasons)
        if not form.packed:  # nothing to ask; to swap takes milliseconds
            return made
        try:
            self._fill(made, form, users)
        except LibbpfError as error:
            self.discard(made)
            return _left(made, f"the kernel refuses the rules: {error}")
        except BaseException:
            self.discard(made)
            raise
        return made

    def _fill(self, made: Prepared, form: KernelForm, users: Mapping[int, str]) -> None:
        made.rules = form
        for uid, name in users.items():
            self._tell(made, uid, name)
        packed = self._packer.packed(form, made.generation)
        made.fd = create_array("filter_rules", packed)
        made.map_id = map_id(made.fd)

    def use(self, prepared: Prepared) -> Prepared:
        """Put prepared rules in force; return those that were, which `use` takes back.

        Raises:
            LibbpfError: the kernel keeps the rules that were in force.
        """
        before = self._now
        if prepared.fd >= 0:
            self._may_hold_rules = True
            packed_fd = struct.pack("=I", prepared.fd)
            self._maps["filter_rules"].update(_FIRST, packed_fd)
        elif self._may_hold_rules:
            try:
                self._maps["filter_rules"].delete(_FIRST)
            except LibbpfError as error:
                if error.errno != ENOENT:
                    raise
            self._may_hold_rules = False
        self._now = prepared
        return before

    def discard(self, prepared: Prepared) -> None:
        """Give back what rules hold that are not in force, or not any more."""
        for uid in prepared.users:
            with suppress(LibbpfError):
                key = _USER.pack(prepared.generation, uid, 0)
                self._maps["filter_users"].delete(key)
        prepared.users, prepared.answers, prepared.rules = {}, {}, None
        if prepared.fd >= 0:
            os.close(prepared.fd)
            prepared.fd = -1

    def restore(self) -> str:
        """Say what others have changed of the rules in force, after undoing it.

        Empty: nothing. The rules themselves cannot be changed, only replaced by others;
        of the users `_CHECKED_AT_ONCE` are looked at in one call.

        Raises:
            LibbpfError: the maps are out of reach.
        """
        found, now = self._foreign_rules() or self._foreign_user(), self._now
        if found and now.rules is not None:
            self.discard(self.use(self._made_again(now, now.rules)))
        elif found:
            self._may_hold_rules = True
            self.use(now)
        return found

    def _made_again(self, now: Prepared, rules: KernelForm) -> Prepared:
        """Return the rules in force anew: answers that foreign rules gave are void."""
        self._generation += 1
        made = Prepared(
            self._generation, can_emit=now.can_emit, reasons=dict(now.reasons)
        )
        try:
            self._fill(made, rules, now.users)
        except BaseException:
            self.discard(made)
            raise
        return made

    def _foreign_rules(self) -> str:
        if "filter_rules" not in self._maps:
            return ""
        has_rules = self._now.fd >= 0
        try:
            (number,) = struct.unpack("=I", self._maps["filter_rules"].lookup(_FIRST))
        except LibbpfError as error:
            if error.errno != ENOENT:
                raise
            return "its rules were removed" if has_rules else ""
        if has_rules and number == self._now.map_id:
            return ""
        return f"foreign rules are in force (map {number})"

    def _foreign_user(self) -> str:
        """Return which user the kernel was told something else of."""
        answers = self._now.answers
        if self._now.rules is None or not answers:
            return ""
        uids = [*islice(self._checked, _CHECKED_AT_ONCE)]
        if len(uids) < _CHECKED_AT_ONCE:
            self._checked = iter(tuple(answers))
        for uid in uids:
            if uid in answers and self._told(uid) != answers[uid]:
                return f"what the rules say of user {uid} was changed"
        return ""

    def _told(self, uid: int) -> bytes:
        key = _USER.pack(self._now.generation, uid, 0)
        try:
            return self._maps["filter_users"].lookup(key)
        except LibbpfError as error:
            if error.errno != ENOENT:
                raise
            return b""

    def remove(self, reason: str) -> None:
        """Discard nothing in the kernel any more.

        Raises:
            LibbpfError: the kernel keeps the rules that were in force.
        """
        self._generation += 1
        left = Prepared(self._generation, can_emit=self._now.can_emit)
        self.discard(self.use(_left(left, reason)))

    def wanted(self) -> list[int]:
        """Return the events that the rules could report and the kernel knows."""
        return [event_id for event_id in self.reasons if self._now.can_emit(event_id)]

    def remarks(self) -> list[str]:
        """Return which events cost more than they had to, and why, a line each."""
        return [
            f"event {event_id} is filtered in {self.place(event_id)}"
            for event_id in self.wanted()
            if self.reasons[event_id] not in ("", ALL_REPORTED)
        ]

    def place(self, event_id: int) -> str:
        """Return where an event is filtered: "kernel" or "user space (reason)"."""
        if event_id not in self.reasons:
            reason = "its record is needed" if event_id in _PROCESS else ""
            return f"user space ({reason})" if reason else "-"
        reason = self.reasons[event_id]
        return f"user space ({reason})" if reason else "kernel"

    def add_user(self, uid: int, name: str) -> None:
        """Tell what a user is called; again when that has changed.

        Events of users who were never told are left to user space.
        """
        if self._now.rules is None:
            return
        try:
            self._tell(self._now, uid, name)
        except LibbpfError as error:
            self.remove(f"the kernel refuses a user: {error}")

    def _tell(self, rules: Prepared, uid: int, name: str) -> None:
        if rules.rules is None or rules.users.get(uid) == name:
            return
        if len(rules.users) * 2 >= self._packer.users_limit:
            return
        key = _USER.pack(rules.generation, uid, 0)
        bits = _BITS.pack(rules.rules.user_bits(name))
        self._maps["filter_users"].update(key, bits)
        rules.users[uid], rules.answers[uid] = name, bits


def _left(prepared: Prepared, reason: str) -> Prepared:
    """Return the same with all events left to user space, for that reason."""
    prepared.reasons = left_to_user_space(reason).reasons
    return prepared
