# SPDX-License-Identifier: MIT
"""Every event of schema 4.90 with its fields, stated once.

The schema text, the XSD, the tables of the manual and of docs/events.md, the help on
configurations, the order of the output, the names that a rule may use, the fields that
the kernel's filter answers and the live view all follow from this file. A field that
several events share is stated in `common_fields`. `event_types` explains attributes.
Conditions and options of the schema: `conditions`, `options`. Older schema versions are
data in `config_schema/versions.json`.
"""

from __future__ import annotations

from dataclasses import replace

from sysmonlx.policy import RULE_NAMES
from sysmonlx.schema.common_fields import (
    COMMON,
    FIELDS_OF_ALL,
    NONE_ON_LINUX,
    PARENT_PROGRAM,
    boolean,
    fields_of,
    unknown_to_the_kernel,
)
from sysmonlx.schema.event_types import (
    Answer,
    AnswerKind,
    Colour,
    EventType,
    Field,
    FieldType,
    PathOf,
    choice,
    event_type,
    text,
)
from sysmonlx.schema.field_values import PROGRAM_TYPES, SIGNATURE_STATES, TAMPERINGS

SCHEMA_VERSION = "4.90"
BINARY_VERSION = "18"

ERROR = event_type(
    "255 ERROR 3",
    "Error report",
    (
        *fields_of("UtcTime ID"),
        Field("Description"),  # of the error, not of a program as in event 1
    ),
    level="Error",
    produced=True,
    title="Error",
    colour=Colour.RED,
    subject="ID",
    shown="Description",
)
PROCESS_CREATE = event_type(
    "1 CREATE_PROCESS 5 ProcessCreate include",
    "Process Create",
    (
        *fields_of("RuleName UtcTime ProcessGuid ProcessId Image"),
        *(
            replace(each, only=NONE_ON_LINUX)
            for each in fields_of(
                "FileVersion Description Product Company OriginalFileName"
            )
        ),
        Field("CommandLine"),
        Field("CurrentDirectory", path=PathOf.DIRECTORY),
        *fields_of("User LogonGuid:GUID"),
        Field("LogonId", FieldType.HEX_INT64, recurs=True),
        Field("TerminalSessionId", FieldType.UINT32, recurs=True),
        Field("IntegrityLevel", recurs=True, is_made_here=True, only=("no level",)),
        *fields_of("Hashes ParentProcessGuid:GUID ParentProcessId:PID"),
        Field("ParentImage", recurs=True, path=PathOf.PROGRAM),
        Field("ParentCommandLine"),
        Field("ParentUser", recurs=True),
    ),
    produced=True,
    colour=Colour.GREEN,
    shown="CommandLine User CurrentDirectory ParentImage ParentProcessId",
    appended=(
        Field("LoginUser", recurs=True, is_ours=True),
        Field("EffectiveUser", recurs=True, is_ours=True),
        Field("Capabilities", recurs=True, is_ours=True),
        Field("GrandparentImage", recurs=True, is_ours=True, path=PathOf.PROGRAM),
        Field("SessionLeader", recurs=True, is_ours=True, path=PathOf.PROGRAM),
        Field("EntryPoint", recurs=True, is_ours=True),
        Field("TerminalName", recurs=True, is_ours=True),
        Field("Environment", is_ours=True),
        Field("ScriptPath", is_ours=True, path=PathOf.FILE),
        Field("NamespacePid", FieldType.UINT32, is_ours=True),
        Field("MountOwner", recurs=True, is_ours=True),
        PARENT_PROGRAM,
        *FIELDS_OF_ALL,
    ),
)
#: Values of event 1 in which processes differ that run one program in one way.
OWN_OF_PROCESS = ("RuleName", "UtcTime", "ProcessGuid", "ProcessId", "CommandLine")
#: The same of fields of ours.
OUR_OWN_OF_PROCESS = (
    *("GrandparentImage", "SessionLeader", "EntryPoint", "NamespacePid"),
    "ParentProgramGuid",
    RULE_NAMES,
)
#: Values of event 1 in which such processes also differ, unless their parent is one.
OF_PARENT = tuple(
    field.name for field in PROCESS_CREATE.fields if field.name.startswith("Parent")
)
FILE_CREATE_TIME = event_type(
    "2 FILE_TIME 5 FileCreateTime (exclude)",
    "File creation time changed",
    (
        *fields_of("RuleName UtcTime ProcessGuid ProcessId Image"),
        Field("TargetFilename", path=PathOf.FILE),
        *fields_of("CreationUtcTime PreviousCreationUtcTime User"),
    ),
    produced=True,
    kernel="FILE_TIME",
    colour=Colour.YELLOW,
    shown="TargetFilename CreationUtcTime User",
    appended=FIELDS_OF_ALL,
)
NETWORK_CONNECT = event_type(
    "3 NETWORK_CONNECT 5 NetworkConnect (exclude)",
    "Network connection detected",
    (
        *fields_of("RuleName UtcTime ProcessGuid ProcessId Image User"),
        Field("Protocol", recurs=True, kernel=choice("PROTOCOL", "tcp", "udp")),
        boolean("Initiated", "INITIATED"),
        boolean("SourceIsIpv6", "SOURCE_IS_IPV6"),
        Field("SourceIp", kernel=text("SOURCE_IP")),
        Field("SourceHostname"),
        Field("SourcePort", FieldType.UINT16, kernel=text("SOURCE_PORT")),
        Field("SourcePortName"),
        boolean("DestinationIsIpv6", "DESTINATION_IS_IPV6"),
        Field("DestinationIp", kernel=text("DESTINATION_IP")),
        Field("DestinationHostname"),
        Field("DestinationPort", FieldType.UINT16, kernel=text("DESTINATION_PORT")),
        Field("DestinationPortName"),
    ),
    produced=True,
    kernel="NETWORK_CONNECT",
    colour=Colour.CYAN,
    shown="Protocol SourceIp SourcePort DestinationIp DestinationPort",
    appended=FIELDS_OF_ALL,
)
SERVICE_STATE_CHANGE = event_type(
    "4 SERVICE_STATE_CHANGE 3",
    "Sysmon service state changed",
    fields_of("UtcTime State Version SchemaVersion"),
    produced=True,
    title="ServiceState",
    subject="State",
    shown="Version SchemaVersion",
)
PROCESS_TERMINATE = event_type(
    "5 PROCESS_TERMINATE 3 ProcessTerminate include",
    "Process terminated",
    fields_of("RuleName UtcTime ProcessGuid ProcessId Image User"),
    produced=True,
    colour=Colour.GREY,
    shown="User",
    appended=(PARENT_PROGRAM, *FIELDS_OF_ALL),
)
DRIVER_LOAD = event_type(
    "6 DRIVER_LOAD 4 DriverLoad (exclude)",
    "Driver loaded",
    (
        *fields_of("RuleName UtcTime ImageLoaded Hashes"),
        replace(COMMON["Signed"], only=("true", "false", "-")),
        *fields_of("Signature"),
        replace(COMMON["SignatureStatus"], only=SIGNATURE_STATES),
    ),
    produced=True,
    colour=Colour.RED,
    shown="ImageLoaded Signature SignatureStatus",
    appended=(
        Field("ProcessGuid", FieldType.GUID, is_ours=True),
        Field("ProcessId", FieldType.PID, is_ours=True),
        Field("Image", recurs=True, is_ours=True, path=PathOf.PROGRAM),
        Field("User", recurs=True, is_ours=True),
        Field("ModuleName", is_ours=True),
        Field("Parameters", is_ours=True),
        Field("Taint", recurs=True, is_ours=True),
        *FIELDS_OF_ALL,
    ),
)
IMAGE_LOAD = event_type(
    "7 IMAGE_LOAD 3 ImageLoad (exclude)",
    "Image loaded",
    (
        *fields_of("RuleName UtcTime ProcessGuid ProcessId Image"),
        Field("ImageLoaded", path=PathOf.FILE, kernel=Answer(AnswerKind.PATH)),
        *(
            replace(each, only=NONE_ON_LINUX)
            for each in fields_of(
                "FileVersion Description Product Company OriginalFileName"
            )
        ),
        *fields_of("Hashes"),
        replace(COMMON["Signed"], only=("false",)),
        replace(COMMON["Signature"], only=NONE_ON_LINUX),
        replace(COMMON["SignatureStatus"], only=("Unavailable",)),
        *fields_of("User"),
    ),
    produced=True,
    kernel="LIBRARY_LOAD",
    shown="ImageLoaded User",
    appended=FIELDS_OF_ALL,
)
CREATE_REMOTE_THREAD = event_type(
    "8 CREATE_REMOTE_THREAD 2 CreateRemoteThread (exclude)",
    "CreateRemoteThread detected",
    (
        *fields_of("RuleName UtcTime SourceProcessGuid:GUID"),
        Field("SourceProcessId", FieldType.PID, kernel=text("PROCESS_ID")),
        *fields_of("SourceImage TargetProcessGuid:GUID"),
        Field("TargetProcessId", FieldType.PID, kernel=text("TARGET_PROCESS_ID")),
        *fields_of("TargetImage"),
        Field("NewThreadId", FieldType.UINT32, kernel=text("NEW_THREAD_ID")),
        *fields_of("StartAddress"),
        Field("StartModule", path=PathOf.FILE),
        Field("StartFunction", recurs=True, only=NONE_ON_LINUX),
        *fields_of("SourceUser TargetUser"),
    ),
    produced=True,
    kernel="CREATE_REMOTE_THREAD",
    colour=Colour.RED,
    shown="TargetImage TargetProcessId StartModule SourceUser",
    appended=(Field("Reason", recurs=True, is_ours=True), *FIELDS_OF_ALL),
)
RAW_ACCESS_READ = event_type(
    "9 RAWACCESS_READ 2 RawAccessRead (exclude)",
    "RawAccessRead detected",
    (
        *fields_of("RuleName UtcTime ProcessGuid ProcessId Image"),
        Field("Device", path=PathOf.FILE, kernel=Answer(AnswerKind.PATH)),
        *fields_of("User"),
    ),
    produced=True,
    kernel="RAW_ACCESS_READ",
    shown="Device User",
    appended=FIELDS_OF_ALL,
)
PROCESS_ACCESS = event_type(
    "10 ACCESS_PROCESS 3 ProcessAccess (exclude)",
    "Process accessed",
    (
        *fields_of("RuleName UtcTime SourceProcessGUID:GUID"),
        Field("SourceProcessId", FieldType.PID, kernel=text("PROCESS_ID")),
        Field("SourceThreadId", FieldType.UINT32, kernel=text("THREAD_ID")),
        *fields_of("SourceImage TargetProcessGUID:GUID"),
        Field("TargetProcessId", FieldType.PID, kernel=text("TARGET_PROCESS_ID")),
        *fields_of("TargetImage"),
        Field(
            "GrantedAccess",
            FieldType.HEX_INT32,
            recurs=True,
            kernel=text("GRANTED_ACCESS"),
        ),
        Field("CallTrace", recurs=True, only=NONE_ON_LINUX),
        *fields_of("SourceUser TargetUser"),
    ),
    produced=True,
    kernel="PROCESS_ACCESS",
    shown="TargetImage TargetProcessId GrantedAccess SourceUser",
    appended=FIELDS_OF_ALL,
)
FILE_CREATE = event_type(
    "11 FILE_CREATE 2 FileCreate exclude",
    "File created",
    fields_of(
        "RuleName UtcTime ProcessGuid ProcessId Image TargetFilename CreationUtcTime"
        " User"
    ),
    produced=True,
    kernel="FILE_CREATE",
    colour=Colour.YELLOW,
    shown="TargetFilename User",
    appended=(Field("Reason", recurs=True, is_ours=True), *FIELDS_OF_ALL),
)
REGISTRY_KEY = event_type(
    "12 REG_KEY 2 RegistryEvent exclude",
    "Registry object added or deleted",
    fields_of(
        "RuleName EventType UtcTime ProcessGuid ProcessId Image TargetObject User"
    ),
    title="RegistryKey",
)
REGISTRY_VALUE_SET = event_type(
    "13 REG_SETVALUE 2 RegistryEvent exclude",
    "Registry value set",
    fields_of(
        "RuleName EventType UtcTime ProcessGuid ProcessId Image TargetObject Details"
        " User"
    ),
    title="RegistryValue",
)
REGISTRY_RENAME = event_type(
    "14 REG_NAME 2 RegistryEvent exclude",
    "Registry object renamed",
    fields_of(
        "RuleName EventType UtcTime ProcessGuid ProcessId Image TargetObject NewName"
        " User"
    ),
    title="RegistryRename",
)
FILE_CREATE_STREAM_HASH = event_type(
    "15 FILE_CREATE_STREAM_HASH 2 FileCreateStreamHash exclude",
    "File stream created",
    (
        *fields_of("RuleName UtcTime ProcessGuid ProcessId Image"),
        Field("TargetFilename", path=PathOf.FILE),  # with the attribute behind it
        *fields_of("CreationUtcTime"),
        Field("Hash", is_made_here=True),
        *fields_of("Contents User"),
    ),
    produced=True,
    kernel="ATTRIBUTE_SET",
    title="FileStream",
    colour=Colour.YELLOW,
    shown="TargetFilename Contents User",
    appended=FIELDS_OF_ALL,
)
SERVICE_CONFIGURATION_CHANGE = event_type(
    "16 SERVICE_CONFIGURATION_CHANGE 3",
    "Sysmon config state changed",
    (
        *fields_of("UtcTime Configuration"),
        Field("ConfigurationFileHash", is_made_here=True),
    ),
    produced=True,
    title="Configuration",
    subject="Configuration",
    shown="ConfigurationFileHash",
)


def _of_pipe(kind: str) -> tuple[Field, ...]:
    """Return the fields of an event of pipes whose EventType is `kind`."""
    answer = choice("PIPE_EVENT_TYPE", kind)
    return (
        *fields_of("RuleName"),
        Field("EventType", recurs=True, only=(kind,), kernel=answer),
        *fields_of("UtcTime ProcessGuid ProcessId"),
        Field("PipeName", path=PathOf.PIPE, kernel=Answer(AnswerKind.PATH)),
        *fields_of("Image User"),
    )


PIPE_CREATE = event_type(
    "17 CREATE_NAMEDPIPE 1 PipeEvent exclude",
    "Pipe Created",
    _of_pipe("CreatePipe"),
    produced=True,
    kernel="PIPE_CREATE",
    title="PipeCreated",
    shown="PipeName User",
    appended=FIELDS_OF_ALL,
)
PIPE_CONNECT = event_type(
    "18 CONNECT_NAMEDPIPE 1 PipeEvent exclude",
    "Pipe Connected",
    _of_pipe("ConnectPipe"),
    produced=True,
    kernel="PIPE_CONNECT",
    title="PipeConnected",
    shown="PipeName User",
    appended=(
        Field("TargetProcessGuid", FieldType.GUID, is_ours=True),
        Field("TargetProcessId", FieldType.PID, is_ours=True),
        Field("TargetImage", recurs=True, is_ours=True, path=PathOf.PROGRAM),
        *FIELDS_OF_ALL,
    ),
)
WMI_FILTER = event_type(
    "19 WMI_FILTER 3 WmiEvent exclude",
    "WmiEventFilter activity detected",
    fields_of("RuleName EventType UtcTime Operation User EventNamespace Name Query"),
    title="WmiFilter",
)
WMI_CONSUMER = event_type(
    "20 WMI_CONSUMER 3 WmiEvent exclude",
    "WmiEventConsumer activity detected",
    fields_of("RuleName EventType UtcTime Operation User Name Type Destination"),
    title="WmiConsumer",
)
WMI_BINDING = event_type(
    "21 WMI_BINDING 3 WmiEvent exclude",
    "WmiEventConsumerToFilter activity detected",
    fields_of("RuleName EventType UtcTime Operation User Consumer Filter"),
    title="WmiBinding",
)
DNS_QUERY = event_type(
    "22 DNS_QUERY 5 DnsQuery exclude",
    "Dns query",
    (
        *fields_of("RuleName UtcTime ProcessGuid"),
        *unknown_to_the_kernel("ProcessId"),
        Field("QueryName", kernel=text("QUERY_NAME")),
        *fields_of("QueryStatus QueryResults"),
        *unknown_to_the_kernel("Image User"),
    ),
    produced=True,
    kernel="DNS_QUERY",
    colour=Colour.CYAN,
    shown="QueryName QueryResults QueryStatus",
    appended=FIELDS_OF_ALL,
)
FILE_DELETE = event_type(
    "23 FILE_DELETE 5 FileDelete (exclude)",
    "File Delete archived",
    (
        *fields_of("RuleName UtcTime ProcessGuid ProcessId User Image TargetFilename"),
        Field("Hashes", is_made_here=True, only=NONE_ON_LINUX),
        *fields_of("IsExecutable Archived"),
    ),
    produced=True,
    kernel="FILE_DELETE",
    colour=Colour.MAGENTA,
    shown="TargetFilename User",
    appended=FIELDS_OF_ALL,
)
CLIPBOARD_CHANGE = event_type(
    "24 CLIPBOARD 5 ClipboardChange (exclude)",
    "Clipboard changed",
    fields_of(
        "RuleName UtcTime ProcessGuid ProcessId Image Session:UINT32 ClientInfo Hashes"
        " Archived User"
    ),
)
PROCESS_TAMPERING = event_type(
    "25 PROCESS_IMAGE_TAMPERING 5 ProcessTampering (exclude)",
    "Process Tampering",
    (
        *fields_of("RuleName UtcTime ProcessGuid ProcessId Image"),
        Field("Type", recurs=True, kernel=choice("TAMPERING_TYPE", *TAMPERINGS)),
        *fields_of("User"),
    ),
    produced=True,
    kernel="PROCESS_TAMPERING",
    colour=Colour.RED,
    shown="Type User",
    appended=(
        Field("Reason", recurs=True, is_ours=True),
        Field("ParentImage", recurs=True, is_ours=True, path=PathOf.PROGRAM),
        *FIELDS_OF_ALL,
    ),
)
FILE_DELETE_DETECTED = event_type(
    "26 FILE_DELETE_DETECTED 5 FileDeleteDetected (exclude)",
    "File Delete logged",
    (
        *fields_of("RuleName UtcTime ProcessGuid ProcessId User Image TargetFilename"),
        Field("Hashes", is_made_here=True, only=NONE_ON_LINUX),
        *fields_of("IsExecutable"),
    ),
    produced=True,
    kernel="FILE_DELETE_DETECTED",
    colour=Colour.MAGENTA,
    shown="TargetFilename User",
    appended=FIELDS_OF_ALL,
)
EBPF_EVENT = event_type(
    "100 EBPF_EVENT 1 eBPFEvent exclude",
    "eBPF Program Loaded",
    (
        *fields_of("RuleName UtcTime ProcessGuid ProcessId Image User"),
        Field("BpfCommand", recurs=True, kernel=choice("BPF_COMMAND", "BPF_PROG_LOAD")),
        Field(
            "BpfProgramType",
            recurs=True,
            kernel=choice("BPF_PROGRAM_TYPE", *PROGRAM_TYPES),
        ),
        Field("BpfProgramId", FieldType.UINT32, kernel=text("BPF_PROGRAM_ID")),
        Field("BpfProgramName", kernel=text("BPF_PROGRAM_NAME")),
    ),
    target="linux",
    produced=True,
    kernel="BPF_PROGRAM_LOAD",
    shown="BpfCommand BpfProgramType BpfProgramId BpfProgramName",
    appended=FIELDS_OF_ALL,
)

#: In schema order: the order of `-s`, of the rule listing and of Rule numbers.
EVENTS: tuple[EventType, ...] = (
    ERROR,
    PROCESS_CREATE,
    FILE_CREATE_TIME,
    NETWORK_CONNECT,
    SERVICE_STATE_CHANGE,
    PROCESS_TERMINATE,
    DRIVER_LOAD,
    IMAGE_LOAD,
    CREATE_REMOTE_THREAD,
    RAW_ACCESS_READ,
    PROCESS_ACCESS,
    FILE_CREATE,
    REGISTRY_KEY,
    REGISTRY_VALUE_SET,
    REGISTRY_RENAME,
    FILE_CREATE_STREAM_HASH,
    SERVICE_CONFIGURATION_CHANGE,
    PIPE_CREATE,
    PIPE_CONNECT,
    WMI_FILTER,
    WMI_CONSUMER,
    WMI_BINDING,
    DNS_QUERY,
    FILE_DELETE,
    CLIPBOARD_CHANGE,
    PROCESS_TAMPERING,
    FILE_DELETE_DETECTED,
    EBPF_EVENT,
)

EVENT_BY_ID: dict[int, EventType] = {event.id: event for event in EVENTS}

_OF_SOME = [
    field for event in EVENTS for field in event.appended if field not in FIELDS_OF_ALL
]

#: Every field that the setting `Fields` may name, in the order of the output.
APPENDED = tuple(
    dict.fromkeys(
        field.name for field in (*_OF_SOME, *FIELDS_OF_ALL) if field.name != RULE_NAMES
    )
)

#: Events that this version produces on Linux; rules for others are accepted.
PRODUCED = frozenset(event.id for event in EVENTS if event.produced)

#: Tags of Windows releases that schema 4.90 does not have: ignored with a warning.
FOREIGN_TAGS = ("FileBlockExecutable", "FileBlockShredding", "FileExecutableDetected")
