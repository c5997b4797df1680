# SPDX-License-Identifier: MIT
"""The in-kernel rules, asked one event at a time through `filter_test.bpf.c`."""

from __future__ import annotations

import ctypes
import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from sysmonlx.bpf.btf import Btf, Kind
from sysmonlx.bpf.libbpf import library, run_program
from sysmonlx.bpf.object import BpfObject
from sysmonlx.capture.kernel_filter import KernelFilter
from sysmonlx.rules.compiler import CompiledRules
from sysmonlx.rules.kernel.fields import EVENTS, FIELDS
from sysmonlx.schema.event_types import Answer, AnswerKind

OBJECT = Path(__file__).resolve().parents[2] / "build" / "filter_test.bpf.o"

#: The only users that the kernel is told.
USERS = {0: "root", 1000: "alice", 65534: "Nobody"}
STRANGER = 4242

_ZERO = bytes(4)
_GIVEN = {
    AnswerKind.IMAGE: "FILTER_GIVEN_IMAGE",
    AnswerKind.TARGET_IMAGE: "FILTER_GIVEN_TARGET",
    AnswerKind.USER: "FILTER_GIVEN_USER",
    AnswerKind.TARGET_USER: "FILTER_GIVEN_TARGET_USER",
    AnswerKind.PATH: "FILTER_GIVEN_PATH",
}
_STRINGS = {
    AnswerKind.IMAGE: "image",
    AnswerKind.TARGET_IMAGE: "target",
    AnswerKind.PATH: "path",
}
_USERS = {AnswerKind.USER: "uid", AnswerKind.TARGET_USER: "target_uid"}


class Judge:
    """The loaded test program. `discards` says what the kernel does with an event."""

    def __init__(self) -> None:
        self._object = BpfObject(str(OBJECT))
        btf = Btf(library(), self._object.btf)
        self._object.load()
        self._maps = self._object.maps()
        self.filter = KernelFilter(self._maps, btf)
        self.users = self._maps["filter_users"]
        self._input = btf.structure("filter_test")
        scratch = btf.find("scratch", Kind.STRUCT)
        self._scratch_size = btf.type(scratch).size
        self._data_at = {m.name: m.offset for m in btf.members(scratch)}["data"]
        self.numbers = {
            name: value
            for enum in (
                *("filter_event", "filter_given", "filter_text_kind", "filter_limit"),
                *("filter_choice", "filter_text"),
            )
            for name, value in btf.enumerators(enum).items()
        }
        self._fd = self._object.program_fd("judge")
        self._uids: dict[str, int] = {}

    def close(self) -> None:
        self._object.close()

    def install(self, rules: CompiledRules, users: Mapping[int, str] = USERS) -> None:
        self.filter.install(rules, users)
        self._uids = {name: uid for uid, name in users.items()}

    def discards(
        self,
        event_id: int,
        text: Mapping[str, str],
        *,
        keep_back: Sequence[str] = (),
        is_given_path: bool = False,
        question: bytes | None = None,
        repeat: int = 1,
    ) -> bool:
        """Return the kernel's verdict when it is told all fields but `keep_back`.

        `question` is that of a DNS message, in place of a QueryName.
        """
        given = self._input(event=self.numbers[EVENTS[event_id]], repeat=repeat)
        self._data = bytearray(self._scratch_size)
        self._used = 0
        for choice in range(len(given.choices)):
            given.choices[choice] = self.numbers["FILTER_VALUES"]
        for name, answer in FIELDS[event_id].items():
            if name in text and name not in keep_back:
                self._give(given, answer, text[name])
        if question is not None:
            self._question(given, question)
        if is_given_path:
            given.given |= self.numbers["FILTER_GIVEN_PATH_TAIL"]
        self._maps["test_input"].update(_ZERO, bytes(given))
        self._maps["test_scratch"].update(_ZERO, bytes(self._data))
        verdict = run_program(self._fd, bytes(8))
        assert verdict in (0, 1), "no rules in the kernel"
        return verdict == 1

    def nanoseconds(self, event_id: int, text: Mapping[str, str]) -> float:
        """Return what one judgement takes."""
        self.discards(event_id, text, repeat=100_000)
        raw = self._maps["test_input"].lookup(_ZERO)
        return float(self._input.from_buffer_copy(raw).ns) / 100_000

    def discarded(self) -> int:
        """Return how many of the last judgements, `repeat` of them, discarded."""
        raw = self._maps["test_input"].lookup(_ZERO)
        return int(self._input.from_buffer_copy(raw).discarded)

    def _give(self, given: Any, answer: Answer, text: str) -> None:
        kind = answer.kind
        given.given |= self.numbers[_GIVEN[kind]] if kind in _GIVEN else 0
        if kind in _STRINGS:
            self._store(getattr(given, _STRINGS[kind]), text)
        elif kind in _USERS:
            setattr(given, _USERS[kind], self._uids.get(text, STRANGER))
        elif kind is AnswerKind.TEXT:
            self._number(
                given, self.numbers[answer.enumerator], answer.enumerator, text
            )
        elif text in answer.values:
            given.choices[self.numbers[answer.enumerator]] = answer.values.index(text)

    def _store(self, string: Any, text: str) -> None:
        raw = text.encode("utf-8", "surrogateescape")
        string.offset = self._used
        string.length = len(raw)
        at = self._data_at + self._used
        self._data[at : at + len(raw) + 4] = raw + b"junk"
        self._used += len(raw)

    def _question(self, given: Any, question: bytes) -> None:
        """Have the kernel told a name as it stands in a message."""
        text = question.decode("utf-8", "surrogateescape")
        self._store(given.path, text)
        index = self.numbers["FILTER_QUERY_NAME"]
        given.kinds[index] = self.numbers["FILTER_TEXT_QUERY_NAME"]

    def _number(self, given: Any, index: int, name: str, text: str) -> None:
        if name == "FILTER_QUERY_NAME":
            self._question(given, question_of(text))
            return
        if name.endswith("_NAME"):
            raw = text.removeprefix("-").encode("utf-8", "surrogateescape")
            ctypes.memmove(given.bytes[index], raw.ljust(16, b"\0"), 16)
            kind = "NAME"
        elif name.endswith("_IP"):
            address = ipaddress.ip_address(text)
            ctypes.memmove(given.bytes[index], address.packed, len(address.packed))
            kind = f"IPV{address.version}"
        else:
            kind = "HEXADECIMAL" if text.startswith("0x") else "DECIMAL"
            given.numbers[index] = int(text, 0)
        given.kinds[index] = self.numbers[f"FILTER_TEXT_{kind}"]


#: Pieces of texts and numbers, of which the values of rules and of events are made.
PARTS = ["/", "/etc", "/ETC/cron.d", "passwd", "a", "A", ".so", "é", "usr", "bin", "sh"]
NUMBERS = ["0", "1", "9", "53", "80", "443", "8080", "65535", "4294967295", "0x10"]
WORDS = [
    *["example.org", ".a", "Example", "x.", "."],
    *PARTS,
    *NUMBERS,
    *["", "root", "alice", "Nobody", "tcp", "udp", "true", "false", "-", "KPROBE"],
    *[
        "127.0.0.1",
        "10.",
        "192.168.1.7",
        ".1",
        "fe80",
        ":",
        "::",
        "0:0",
        "\\",
    ],
]
ADDRESSES = [
    "127.0.0.1",
    "10.0.0.53",
    "192.168.1.7",
    "fe80::1",
    "::1",
    "::",
    "2001:db8::",
]


def question_of(name: str) -> bytes:
    """Return the question of a DNS message for a name that has no strange bytes."""
    labels = [] if name == "." else name.split(".")
    wire = b"".join(bytes([len(each)]) + each.encode() for each in labels)
    return wire + b"\0\0\1\0\1"


NAMES = ["-", "my_probe", "Aa", "é", "0123456789abcde"]
HOSTS = [
    *["a", "A.so", "example.ORG", "bin.sh.a", "-", ".", "_tcp.a-b.example.org"],
    *["127.0.0.1", "xn--bcher-kva.example", "x" * 63 + "." + "a.b" * 40],
]
ACCESSES = ["0x0", "0x10", "0x28", "0x1fffff", "0xdeadbeef"]
PORTS = ["0", "9", "53", "80", "443", "8080", "65535"]
IDS = ["1", "9", "80", "4321", "4194304", "4294967295"]


def random_text(chance: Random, answer: Answer) -> str:
    """Return what a field could print."""
    if answer.kind in _USERS:
        return chance.choice([*USERS.values()])
    if answer.kind is AnswerKind.CHOICE:
        return chance.choice(answer.values)
    if answer.kind is not AnswerKind.TEXT:
        return "/" + "".join(chance.choices(PARTS, k=chance.randint(1, 9)))
    if answer.enumerator == "FILTER_QUERY_NAME":
        return chance.choice(HOSTS)
    if answer.enumerator.endswith("_IP"):
        return printed_address(chance.choice(ADDRESSES))
    kinds = {"NAME": NAMES, "ACCESS": ACCESSES, "PORT": PORTS}
    return chance.choice(kinds.get(answer.enumerator.rpartition("_")[2], IDS))


def printed_address(text: str) -> str:
    """Return an address as the event prints it: no group of zeroes is left out."""
    address = ipaddress.ip_address(text)
    if address.version == 4:
        return str(address)
    groups = address.exploded.split(":")
    return ":".join(f"{int(group, 16):x}" for group in groups)
