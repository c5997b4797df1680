# SPDX-License-Identifier: MIT
"""Fields that mean the same in several events, and how events name them."""

from __future__ import annotations

from dataclasses import replace

from sysmonlx.policy import RULE_NAMES
from sysmonlx.schema.event_types import (
    Answer,
    AnswerKind,
    Field,
    FieldType,
    PathOf,
    choice,
    fields,
    text,
)

BOOLEAN = ("false", "true")
#: Of fields that have no value on Linux.
NONE_ON_LINUX = ("-",)


def boolean(name: str, enumerator: str) -> Field:
    """Return a field of "false" or "true"; the kernel has the bits `enumerator`."""
    answer = choice(enumerator, *BOOLEAN)
    return Field(name, FieldType.BOOLEAN, recurs=True, kernel=answer)


def _by_name(*those: Field) -> dict[str, Field]:
    return {field.name: field for field in those}


#: Fields of several events that mean the same in each of them.
COMMON = _by_name(
    Field("UtcTime", is_made_here=True),
    Field("ProcessGuid", FieldType.GUID),
    Field("ProcessId", FieldType.PID, kernel=text("PROCESS_ID")),
    Field("Image", recurs=True, path=PathOf.PROGRAM, kernel=Answer(AnswerKind.IMAGE)),
    Field("User", recurs=True, kernel=Answer(AnswerKind.USER)),
    Field(
        "SourceImage",
        recurs=True,
        path=PathOf.PROGRAM,
        kernel=Answer(AnswerKind.IMAGE),
    ),
    Field("SourceUser", recurs=True, kernel=Answer(AnswerKind.USER)),
    Field(
        "TargetImage",
        recurs=True,
        path=PathOf.PROGRAM,
        kernel=Answer(AnswerKind.TARGET_IMAGE),
    ),
    Field("TargetUser", recurs=True, kernel=Answer(AnswerKind.TARGET_USER)),
    Field("TargetFilename", path=PathOf.FILE, kernel=Answer(AnswerKind.PATH)),
    Field("ImageLoaded", path=PathOf.FILE),
    Field("CreationUtcTime", is_made_here=True),
    Field("PreviousCreationUtcTime", is_made_here=True),
    Field("Hashes", is_made_here=True),
    Field(
        "IsExecutable",
        FieldType.BOOLEAN,
        recurs=True,
        kernel=choice("IS_EXECUTABLE", *BOOLEAN, "-"),
    ),
    Field("Archived", recurs=True, only=NONE_ON_LINUX),
    Field("EventType", recurs=True),
    Field("Type", recurs=True),
    *(
        replace(field, recurs=True)
        for field in fields(
            "FileVersion Description Product Company OriginalFileName"
            " Signed Signature SignatureStatus"
        )
    ),
)


def fields_of(notation: str) -> tuple[Field, ...]:
    """Return the fields of "RuleName NewThreadId:UINT32 ...".

    A common field stands there by its name alone. A field with attributes of its own is
    written as `Field` in its event.
    """
    return tuple(COMMON.get(each.name, each) for each in fields(notation))


def unknown_to_the_kernel(notation: str) -> tuple[Field, ...]:
    """Return the fields of a notation, none of which the kernel's filter answers."""
    return tuple(replace(each, kernel=None) for each in fields_of(notation))


#: Fields of ours that all events of processes may have, behind the event's own ones.
ACTOR_FIELDS = (
    Field("UserId", FieldType.UINT32, recurs=True, is_ours=True),
    *(
        Field(name, recurs=True, is_ours=True)
        for name in ("ContainerId", "ContainerRuntime", "PodUid", "CgroupPath")
    ),
)
#: The names of all rules that an event hits are the last value, where rules of Sigma
#: are in force.
FIELDS_OF_ALL = (*ACTOR_FIELDS, Field(RULE_NAMES, is_ours=True))
#: ProcessGuid of the event 1 that tells which program the parent runs.
PARENT_PROGRAM = Field("ParentProgramGuid", FieldType.GUID, is_ours=True)
#: Names of values that recur for one user in one control group.
OF_ACTOR = tuple(field.name for field in ACTOR_FIELDS)
#: Fields for which the control group of a process must be found.
OF_CONTROL_GROUP = (*OF_ACTOR[1:], "EntryPoint")
