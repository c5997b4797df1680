# SPDX-License-Identifier: MIT
"""The rules in the kernel's maps: packed as `struct filter_rules`, swapped whole."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
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


class KernelFilter:
    """Has the kernel discard what the rules exclude for certain.

    `reasons` says for each event why user space filters it; "" for the kernel.
    """

    def __init__(self, maps: Mapping[str, BpfMap], btf: Btf) -> None:
        self._maps = maps
        self._numbers = {
            name: value
            for enum in _ENUMS
            for name, value in btf.enumerators(enum).items()
        }
        self._layout = btf.ctype(btf.find("filter_rules", Kind.STRUCT))
        self._generation = 0
        self._in_force = False
        self._rules: KernelRules | None = None
        self._users: dict[int, str] = {}
        self.reasons: dict[int, str] = {}
        self._can_emit: Callable[[int], bool] = lambda event_id: False

    def install(self, rules: Rules, users: Mapping[int, str]) -> None:
        """Put rules in force, at once for every event that begins from now on.

        What the kernel refuses is left to user space; `reasons` has its error.

        Args:
            rules: The compiled rules.
            users: Names of the users that are known, by number; see `add_user`.
        """
        self._can_emit = rules.can_emit
        if "filter_rules" not in self._maps:
            self.remove("this kernel has no bpf_loop()")
            return
        decisions = {event_id: rules.decision(event_id) for event_id in EVENTS}
        compiled = compile_kernel_rules(decisions, self._numbers)
        if compiled is None:
            self.remove("its rules are too many for the kernel's tables")
            return
        reasons = {event.event_id: event.reason for event in compiled.events}
        if all(reasons.values()):  # nothing to ask; to swap rules takes milliseconds
            self.remove("")
            self.reasons = reasons
            return
        self._generation += 1
        former, self._rules = self._users, compiled
        self._users = {}
        try:
            self._put(compiled, users)
        except LibbpfError as error:
            self.remove(f"the kernel refuses the rules: {error}")
        else:
            self.reasons = reasons
        self._forget(self._generation - 1, former)

    def _put(self, compiled: KernelRules, users: Mapping[int, str]) -> None:
        for uid, name in users.items():
            self._tell(compiled, uid, name)
        fd = create_array("filter_rules", self._packed(compiled))
        try:
            self._maps["filter_rules"].update(_FIRST, struct.pack("=I", fd))
        finally:
            os.close(fd)
        self._in_force = True

    def remove(self, reason: str) -> None:
        """Discard nothing in the kernel any more.

        Raises:
            LibbpfError: the kernel keeps the rules that were in force.
        """
        self.reasons = dict.fromkeys(EVENTS, reason)
        self._rules = None
        if self._in_force:
            self._maps["filter_rules"].delete(_FIRST)
            self._in_force = False
        self._forget(self._generation, self._users)
        self._users = {}

    def wanted(self) -> list[int]:
        """Return the events that the rules could report and the kernel knows."""
        return [event_id for event_id in self.reasons if self._can_emit(event_id)]

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
        if self._rules is None:
            return
        try:
            self._tell(self._rules, uid, name)
        except LibbpfError as error:
            self.remove(f"the kernel refuses a user: {error}")

    def _tell(self, rules: KernelRules, uid: int, name: str) -> None:
        if self._users.get(uid) == name:
            return
        if len(self._users) * 2 >= self._numbers["FILTER_USERS"]:
            return
        key = _USER.pack(self._generation, uid, 0)
        self._maps["filter_users"].update(key, _BITS.pack(rules.user_bits(name)))
        self._users[uid] = name

    def _forget(self, generation: int, users: Mapping[int, str]) -> None:
        """Make room; what stays belongs to rules that are no more."""
        for uid in users:
            with suppress(LibbpfError):
                self._maps["filter_users"].delete(_USER.pack(generation, uid, 0))

    def _packed(self, rules: KernelRules) -> bytes:
        packed = self._layout()
        packed.generation = self._generation
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


def _buffer(data: bytes) -> tuple[bytes, int]:
    return data, len(data)


def _set_words(words: Any, bits: int) -> None:
    for index in range(len(words)):
        words[index] = bits >> (64 * index) & 0xFFFFFFFFFFFFFFFF
