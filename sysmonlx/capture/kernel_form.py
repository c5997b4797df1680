# SPDX-License-Identifier: MIT
"""The rules as bytes for the kernel's maps: `struct filter_rules`, and its users.

`rules.kernel.compiler` has compiled them; here they get their layout. A form is plain
data: it can be made in another process, and is as large as the rules need it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, field

from sysmonlx.bpf.btf import Btf
from sysmonlx.rules.clauses import Decision
from sysmonlx.rules.kernel.automaton import Table
from sysmonlx.rules.kernel.bits import Atoms, true_of
from sysmonlx.rules.kernel.compiler import (
    EventRules,
    KernelRules,
    Term,
    compile_kernel_rules,
)
from sysmonlx.rules.kernel.fields import EVENTS
from sysmonlx.rules.plain_form import PlainAtom, atom_of, plain_atom

_ENUMS = (
    "filter_limit",
    "filter_word",
    "filter_event",
    "filter_choice",
    "filter_text",
    "filter_flag",
    "filter_term_flag",
)


#: The values of a `KernelForm`, atoms as plain data.
PlainKernelForm = tuple[
    dict[int, str], bytes, tuple[tuple[int, tuple[PlainAtom, ...]], ...]
]


@dataclass(frozen=True, slots=True)
class KernelForm:
    """Rules for the kernel.

    `reasons` says by event id why the kernel leaves an event to user space, "" where it
    does not. `packed` is a `struct filter_rules` without its generation and the zeros
    at its end; empty: the kernel is to discard nothing. `users` has what is asked of
    users' names, each with its bit.
    """

    reasons: dict[int, str] = field(default_factory=dict)
    packed: bytes = b""
    users: tuple[tuple[int, Atoms], ...] = ()

    def user_bits(self, name: str) -> int:
        """Return what the rules say about a user's name, for `filter_users`."""
        return true_of(iter(self.users), name)

    def plain(self) -> PlainKernelForm:
        """Return the same as plain data."""
        users = ((bit, tuple(map(plain_atom, atoms))) for bit, atoms in self.users)
        return self.reasons, self.packed, tuple(users)


def kernel_form_of(plain: PlainKernelForm) -> KernelForm:
    """Return the form that `KernelForm.plain` made plain."""
    reasons, packed, users = plain
    found = ((bit, frozenset(map(atom_of, atoms))) for bit, atoms in users)
    return KernelForm(reasons, packed, tuple(found))


def left_to_user_space(reason: str) -> KernelForm:
    """Return the form that has the kernel discard nothing, for that reason."""
    return KernelForm(dict.fromkeys(EVENTS, reason))


class Packer:
    """Packs rules as the loaded programs lay them out, which their types tell."""

    def __init__(self, btf: Btf) -> None:
        self._numbers = {
            name: value
            for enum in _ENUMS
            for name, value in btf.enumerators(enum).items()
        }
        self._layout = btf.structure("filter_rules")

    @property
    def users_limit(self) -> int:
        """How many entries `filter_users` has."""
        return self._numbers["FILTER_USERS"]

    def form(
        self, decisions: Mapping[int, Decision], left: Mapping[int, str]
    ) -> KernelForm:
        """Return the kernel's form of the decisions on events, which stand by event id.

        `left` has the events that user space decides in any case, each with the reason.
        """
        rules = compile_kernel_rules(decisions, self._numbers, left)
        if rules is None:
            reason = "its rules are too many for the kernel's tables"
            return left_to_user_space(reason)
        reasons = {event.event_id: event.reason for event in rules.events}
        if all(reasons.values()):
            return KernelForm(reasons)
        return KernelForm(reasons, self._packed(rules), rules.users)

    def packed(self, form: KernelForm, generation: int) -> bytes:
        """Return the whole `struct filter_rules` of a form."""
        size = ctypes.sizeof(self._layout)
        packed = self._layout.from_buffer_copy(form.packed.ljust(size, b"\0"))
        packed.generation = generation
        return bytes(packed)

    def _packed(self, rules: KernelRules) -> bytes:
        packed = self._layout()
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
        return bytes(packed).rstrip(b"\0")

    def _pack_table(self, packed: ctypes.Structure, table: Table) -> None:
        ctypes.memmove(packed.classes, table.byte_classes, len(table.byte_classes))
        ctypes.memmove(packed.output_of, *_buffer(table.output_of.tobytes()))
        ctypes.memmove(packed.next, *_buffer(table.transitions.tobytes()))
        for index, bits in enumerate(table.outputs):
            _set_words(packed.outputs[index], bits)

    def _pack_event(
        self, packed: ctypes.Structure, event: EventRules, rules: KernelRules
    ) -> None:
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

    def _pack_term(self, packed: ctypes.Structure, term: Term) -> None:
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


def _set_words(words: ctypes.Array[ctypes.c_uint64], bits: int) -> None:
    for index in range(len(words)):
        words[index] = bits >> (64 * index) & 0xFFFFFFFFFFFFFFFF
