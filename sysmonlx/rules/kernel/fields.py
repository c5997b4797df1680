# SPDX-License-Identifier: MIT
"""Which fields of which events the kernel knows, and in what form.

The names are those of the enumerators in `filter/evaluate.bpf.h`; numbers come from its
BTF. An event gets its rules into the kernel by a paragraph here and a name in `enum
filter_event`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from sysmonlx.schema.events import PROGRAM_TYPES


class Kind(Enum):
    """How the kernel answers what is asked of a field."""

    IMAGE = auto()
    TARGET_IMAGE = auto()
    USER = auto()
    TARGET_USER = auto()
    PATH = auto()
    CHOICE = auto()
    TEXT = auto()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a field's answers are.

    A CHOICE has `values`, their texts by the kernel's number. CHOICE and TEXT have the
    name of an enumerator.
    """

    kind: Kind
    name: str = ""
    values: tuple[str, ...] = ()


_IMAGE = Place(Kind.IMAGE)
_USER = Place(Kind.USER)
_PATH = Place(Kind.PATH)
_BOOLEAN = ("false", "true")


def _text(name: str) -> Place:
    return Place(Kind.TEXT, f"FILTER_{name}")


def _choice(name: str, *values: str) -> Place:
    return Place(Kind.CHOICE, f"FILTER_{name}", values=values)


_PROCESS_ID = _text("PROCESS_ID")
_PROCESS = {"Image": _IMAGE, "User": _USER, "ProcessId": _PROCESS_ID}

#: The name of each event in `enum filter_event`, by its id.
EVENTS = {
    3: "FILTER_NETWORK_CONNECT",
    9: "FILTER_RAW_ACCESS_READ",
    10: "FILTER_PROCESS_ACCESS",
    11: "FILTER_FILE_CREATE",
    23: "FILTER_FILE_DELETE",
    26: "FILTER_FILE_DELETE_DETECTED",
    100: "FILTER_BPF_PROGRAM_LOAD",
}

_DELETED = {
    **_PROCESS,
    "TargetFilename": _PATH,
    "IsExecutable": _choice("IS_EXECUTABLE", *_BOOLEAN, "-"),
}

FIELDS: Mapping[int, Mapping[str, Place]] = {
    3: {
        **_PROCESS,
        "Protocol": _choice("PROTOCOL", "tcp", "udp"),
        "Initiated": _choice("INITIATED", *_BOOLEAN),
        "SourceIsIpv6": _choice("SOURCE_IS_IPV6", *_BOOLEAN),
        "DestinationIsIpv6": _choice("DESTINATION_IS_IPV6", *_BOOLEAN),
        "SourceIp": _text("SOURCE_IP"),
        "DestinationIp": _text("DESTINATION_IP"),
        "SourcePort": _text("SOURCE_PORT"),
        "DestinationPort": _text("DESTINATION_PORT"),
    },
    9: {**_PROCESS, "Device": _PATH},
    10: {
        "SourceImage": _IMAGE,
        "SourceUser": _USER,
        "SourceProcessId": _PROCESS_ID,
        "SourceThreadId": _text("THREAD_ID"),
        "TargetImage": Place(Kind.TARGET_IMAGE),
        "TargetUser": Place(Kind.TARGET_USER),
        "TargetProcessId": _text("TARGET_PROCESS_ID"),
        "GrantedAccess": _text("GRANTED_ACCESS"),
    },
    11: {**_PROCESS, "TargetFilename": _PATH},
    23: _DELETED,
    26: _DELETED,
    100: {
        **_PROCESS,
        "BpfCommand": _choice("BPF_COMMAND", "BPF_PROG_LOAD"),
        "BpfProgramType": _choice("BPF_PROGRAM_TYPE", *PROGRAM_TYPES),
        "BpfProgramName": _text("BPF_PROGRAM_NAME"),
        "BpfProgramId": _text("BPF_PROGRAM_ID"),
    },
}
