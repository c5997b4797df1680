# SPDX-License-Identifier: MIT
"""The rules in the kernel's maps: packed as `struct filter_rules`, swapped whole."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from errno import ENOENT
from itertools import islice
from typing import Any

from sysmonlx.automaton import Table
from sysmonlx.bpfobject import BpfMap, create_array
from sysmonlx.btf import Btf, Kind
from sysmonlx.errors import LibbpfError
from sysmonlx.kernelfields import EVENTS
from sysmonlx.kernelrules import (
    ALL_REPORTED,
    EventRules,
    KernelRules,
    Term,
    compile_kernel_rules,
)
from sysmonlx.libbpf import map_id
from sysmonlx.rules import Rules

_ENUMS = (
    "filter_limit",
    "filter_word",
    "filter_event",
    "filter_choice",
    "filter_text",
    "filter_flag",
    "filter_term_flag",
)
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
    rules: KernelRules | None = None
    users: dict[int, str] = field(default_factory=dict)
    answers: dict[int, bytes] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    can_emit: Callable[[int], bool] = _nothing


class KernelFilter:
    """Has the kernel discard what the rules exclude for certain."""

    def __init__(self, maps: Mapping[str, BpfMap], btf: Btf) -> None:
        self._maps = maps
        self._numbers = {
            name: value
            for enum in _ENUMS
            for name, value in btf.enumerators(enum).items()
        }
        self._layout = btf.ctype(btf.find("filter_rules", Kind.STRUCT))
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

    def install(self, rules: Rules, users: Mapping[int, str]) -> None:
        """Put rules in force, at once for every event that begins from now on.

        What the kernel refuses is left to user space; `reasons` has its error.

        Args:
            rules: The compiled rules.
            users: Names of the users that are known, by number; see `add_user`.
        """
        self.discard(self.use(self.prepare(rules, users)))

    def prepare(self, rules: Rules, users: Mapping[int, str]) -> Prepared:
        """Return rules ready for `use`; `discard` gives back what they hold.

        The rules in force stay in force. Rules that the kernel does not take are left
        to user space: what is returned has the kernel discard nothing.
        """
        self._generation += 1
        made = Prepared(self._generation, can_emit=rules.can_emit)
        if "filter_rules" not in self._maps:
            return _left(made, "this kernel has no bpf_loop()")
        decisions = {event_id: rules.decision(event_id) for event_id in EVENTS}
        compiled = compile_kernel_rules(decisions, self._numbers)
        if compiled is None:
            return _left(made, "its rules are too many for the kernel's tables")
        made.reasons = {event.event_id: event.reason for event in compiled.events}
        if all(made.reasons.values()):  # nothing to ask; to swap takes milliseconds
            return made
        try:
            self._fill(made, compiled, users)
        except LibbpfError as error:
            self.discard(made)
            return _left(made, f"the kernel refuses the rules: {error}")
        except BaseException:
            self.discard(made)
            raise
        return made

    def _fill(
        self, made: Prepared, compiled: KernelRules, users: Mapping[int, str]
    ) -> None:
        made.rules = compiled
        for uid, name in users.items():
            self._tell(made, uid, name)
        made.fd = create_array("filter_rules", self._packed(compiled, made.generation))
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

    def _made_again(self, now: Prepared, rules: KernelRules) -> Prepared:
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
        if len(rules.users) * 2 >= self._numbers["FILTER_USERS"]:
            return
        key = _USER.pack(rules.generation, uid, 0)
        bits = _BITS.pack(rules.rules.user_bits(name))
        self._maps["filter_users"].update(key, bits)
        rules.users[uid], rules.answers[uid] = name, bits

    def _packed(self, rules: KernelRules, generation: int) -> bytes:
        packed = self._layout()
        packed.generation = generation
        packed.image = rules.starts.get("image", 0)
        packed.path = rules.starts.get("path", 0)
        packed.path_tail = rules.starts.get("path tail", 0)
        _set_words(packed.tail_doubt, rules.tail_doubt)
        self._pack_table(packed, rules.table)
        for event in rules.events:
            index = self._numbers[EVENTS[event.event_id]]
            self._pack_event(packed.events[index], event, rules)
        for index, term in enumerate(rules.terms):
            self._pack_term(packed.terms[index], term)
        return bytes(packed)

    def _pack_table(self, packed: Any, table: Table) -> None:
        ctypes.memmove(packed.classes, table.byte_classes, len(table.byte_classes))
        ctypes.memmove(packed.output_of, *_buffer(table.output_of.tobytes()))
        ctypes.memmove(packed.next, *_buffer(table.transitions.tobytes()))
        for index, bits in enumerate(table.outputs):
            _set_words(packed.outputs[index], bits)

    def _pack_event(self, packed: Any, event: EventRules, rules: KernelRules) -> None:
        flags = {
            "FILTER_IN_USER_SPACE": bool(event.reason),
            "FILTER_NEVER": event.never,
            "FILTER_DEFAULT_INCLUDE": event.default_include,
            "FILTER_QUIET_DISCARD": event.quiet_discard,
            "FILTER_BY_IMAGE": event.by_image,
        }
        packed.flags = sum(self._numbers[name] for name, on in flags.items() if on)
        packed.exclude_begin = event.exclude
        packed.include_begin = event.include
        packed.include_end = event.end
        for word, bits in rules.used(event).items():
            packed.used[word] = bits
        for name, (decides, values) in (event.choices or {}).items():
            choice = self._numbers[name]
            packed.choice_bits[choice] = decides
            for value, bits in enumerate(values):
                packed.choices[choice][value] = bits
        for space, state in rules.starts.items():
            if isinstance(space, tuple) and space[0] == event.event_id:
                packed.texts[self._numbers[space[1]]] = state

    def _pack_term(self, packed: Any, term: Term) -> None:
        flags = {
            "FILTER_NEGATED": term.negated,
            "FILTER_END_OF_GROUP": term.ends_group,
            "FILTER_END_OF_CLAUSE": term.ends_clause,
        }
        packed.mask = term.mask
        packed.word = term.word
        packed.flags = sum(self._numbers[name] for name, on in flags.items() if on)
        packed.next_clause = term.next_clause


def _left(prepared: Prepared, reason: str) -> Prepared:
    """Return the same with all events left to user space, for that reason."""
    prepared.reasons = dict.fromkeys(EVENTS, reason)
    return prepared


def _buffer(data: bytes) -> tuple[bytes, int]:
    return data, len(data)


def _set_words(words: Any, bits: int) -> None:
    for index in range(len(words)):
        words[index] = bits >> (64 * index) & 0xFFFFFFFFFFFFFFFF
