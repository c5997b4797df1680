# SPDX-License-Identifier: MIT
"""Which field of the Elastic Common Schema each value goes to; the one place for it.

A note such as `process.name:name` is a path, and how the value is converted: the words
are those of `CONVERSIONS`, or pairs such as `true=egress,false=ingress`. A field
without a note goes to `sysmon.FIELD`. A value that is not known has no field at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sysmonlx.schema.event_types import EventType

#: The release of the Elastic Common Schema that the paths are of.
VERSION = "8.11.0"

#: What becomes of a value: itself, a number, the last component of a path, the others,
#: what follows its last dot, the words of a command line, their number, hashes by name.
CONVERSIONS = (
    *("text", "number", "name", "folder", "extension", "words", "count", "hashes"),
)

#: The member of the document that is made of UtcTime.
TIME_FIELD = "UtcTime"


class Kind(NamedTuple):
    """event.category, event.type and event.action of an event; "" is no action."""

    category: str
    types: tuple[str, ...]
    action: str


class Target(NamedTuple):
    """Where a value goes: objects from the outermost on, a name, and a conversion.

    `choices` are the values that a conversion in pairs has, else empty.
    """

    objects: tuple[str, ...]
    name: str
    conversion: str
    choices: tuple[tuple[str, str], ...]


#: Actions are words that Elastic's public rules for Linux ask for.
_KINDS = {
    1: Kind("process", ("start",), "exec"),
    2: Kind("file", ("change",), "timestomp"),
    3: Kind("network", ("start", "connection"), ""),
    4: Kind("process", ("change",), "service-state-changed"),
    5: Kind("process", ("end",), "end"),
    6: Kind("driver", ("start",), "load"),
    7: Kind("library", ("start",), "load"),
    8: Kind("process", ("change",), "remote-thread"),
    9: Kind("file", ("access",), "raw-access"),
    10: Kind("process", ("access",), "process-access"),
    11: Kind("file", ("creation",), "creation"),
    15: Kind("file", ("access",), "stream-created"),
    16: Kind("configuration", ("change",), "configuration-changed"),
    17: Kind("file", ("creation",), "pipe-created"),
    18: Kind("file", ("access",), "pipe-connected"),
    22: Kind("network", ("protocol", "info"), "lookup_requested"),
    23: Kind("file", ("deletion",), "deletion"),
    25: Kind("process", ("change",), "process-tampering"),
    26: Kind("file", ("deletion",), "deletion"),
    27: Kind("file", ("denied",), "creation-blocked"),
    28: Kind("file", ("change",), "shredding-blocked"),
    29: Kind("file", ("creation",), "executable-detected"),
    100: Kind("driver", ("info",), "bpf"),
    255: Kind("process", ("info",), "error"),
}
_OTHER = Kind("host", ("info",), "")

_PROGRAM = "{0}.executable {0}.name:name"
_FILE = "file.path file.name:name file.directory:folder file.extension:extension"

_FIELDS = {
    "RuleName": "rule.name",
    "ProcessGuid": "process.entity_id",
    "ProcessId": "process.pid:number",
    "Image": _PROGRAM.format("process"),
    "CommandLine": "process.command_line process.args:words process.args_count:count",
    "CurrentDirectory": "process.working_directory",
    "User": "user.name",
    "Hashes": "file.hash:hashes",
    "ParentProcessGuid": "process.parent.entity_id",
    "ParentProcessId": "process.parent.pid:number",
    "ParentImage": _PROGRAM.format("process.parent"),
    "ParentCommandLine": "process.parent.command_line process.parent.args:words"
    " process.parent.args_count:count",
    "ParentUser": "process.parent.user.name",
    "FileVersion": "process.pe.file_version",
    "Description": "process.pe.description",
    "Product": "process.pe.product",
    "Company": "process.pe.company",
    "OriginalFileName": "process.pe.original_file_name",
    "Protocol": "network.transport",
    "Initiated": "event.action:true=connection_attempted,false=connection_accepted"
    " network.direction:true=egress,false=ingress",
    "SourceIsIpv6": "network.type:true=ipv6,false=ipv4",
    "SourceIp": "source.ip source.address",
    "SourcePort": "source.port:number",
    "SourceHostname": "source.domain",
    "DestinationIp": "destination.ip destination.address",
    "DestinationPort": "destination.port:number",
    "DestinationHostname": "destination.domain",
    "SourceProcessGUID": "process.entity_id",
    "SourceProcessGuid": "process.entity_id",
    "SourceProcessId": "process.pid:number",
    "SourceThreadId": "process.thread.id:number",
    "SourceImage": _PROGRAM.format("process"),
    "SourceUser": "user.name",
    "TargetProcessGUID": "Target.process.entity_id",
    "TargetProcessGuid": "Target.process.entity_id",
    "TargetProcessId": "Target.process.pid:number",
    "TargetImage": _PROGRAM.format("Target.process"),
    "TargetUser": "Target.process.user.name",
    "TargetFilename": _FILE,
    "Device": _FILE,
    "PipeName": "file.path file.name:name",
    "QueryName": "dns.question.name",
}

#: Where a field of one event means something else, by event id.
_FIELDS_OF = {
    1: {"Hashes": "process.hash:hashes"},
    4: {"State": "service.state", "Version": "service.version"},
    6: {
        "ImageLoaded": _FILE,
        "Signature": "file.code_signature.subject_name",
        "SignatureStatus": "file.code_signature.status",
    },
    7: {"ImageLoaded": "dll.path dll.name:name", "Hashes": "dll.hash:hashes"},
    255: {"ID": "error.code", "Description": "error.message"},
}


def kind_of(event: EventType) -> Kind:
    """Return category, types and action of an event."""
    return _KINDS.get(event.id, _OTHER)


def targets_of(event: EventType) -> Iterator[tuple[int, Target]]:
    """Yield the position of each field but the time, and where its value goes.

    A field may come more than once.
    """
    notes = _FIELDS | _FIELDS_OF.get(event.id, {})
    for at, field in enumerate(event.fields):
        if field.name != TIME_FIELD:
            for note in notes.get(field.name, f"sysmon.{field.name}").split():
                yield at, _target(note)


def _target(note: str) -> Target:
    path, _, conversion = note.partition(":")
    *objects, name = path.split(".")
    pairs = conversion.split(",") if "=" in conversion else ()
    choices = tuple((key, value) for key, _, value in (p.partition("=") for p in pairs))
    if conversion == "hashes":
        objects, name = [*objects, name], ""
    conversion = "choice" if choices else conversion or "text"
    return Target(tuple(objects), name, conversion, choices)
