# SPDX-License-Identifier: MIT
"""Every event, field and condition of schema 4.90, stated once (options: `options`).

The schema text, the XSD, the tables of the manual and of docs/events.md, the help on
configurations, the order of the output, the names that a rule may use, the fields that
the kernel's filter answers and the live view all follow from this file. Older schema
versions are data in `config_schema/versions.json`. `event_types` explains attributes.
"""

from __future__ import annotations

from dataclasses import replace

from sysmonlx.policy import RULE_NAMES
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
    fields,
    text,
)

SCHEMA_VERSION = "4.90"
BINARY_VERSION = "18"

#: Values of BpfProgramType: names of enum bpf_prog_type, <linux/bpf.h>, by number.
PROGRAM_TYPES = (
    *("UNSPEC", "SOCKET_FILTER", "KPROBE", "SCHED_CLS", "SCHED_ACT", "TRACEPOINT"),
    *("XDP", "PERF_EVENT", "CGROUP_SKB", "CGROUP_SOCK", "LWT_IN", "LWT_OUT"),
    *("LWT_XMIT", "SOCK_OPS", "SK_SKB", "CGROUP_DEVICE", "SK_MSG", "RAW_TRACEPOINT"),
    *("CGROUP_SOCK_ADDR", "LWT_SEG6LOCAL", "LIRC_MODE2", "SK_REUSEPORT"),
    *("FLOW_DISSECTOR", "CGROUP_SYSCTL", "RAW_TRACEPOINT_WRITABLE", "CGROUP_SOCKOPT"),
    *("TRACING", "STRUCT_OPS", "EXT", "LSM", "SK_LOOKUP", "SYSCALL", "NETFILTER"),
)

#: Values of Type of event 25, by the numbers of `enum tampering` in ebpf/record.h. The
#: fourth one has the text that Sysmon has on Windows.
TAMPERINGS = (
    "Fileless (memfd)",
    "Image is deleted",
    "Image in shared memory",
    "Image is replaced",
    "Mass file change",
    "Anonymous memory made executable",
)

#: Values of Reason of event 25, by the numbers of `enum memory_way` in ebpf/record.h.
MEMORY_WAYS = (
    *("-", "Mmap", "Mprotect", "Shmat", "Personality", "Stack", "MemoryFile"),
)

#: Values of SignatureStatus of event 6: the kernel believes the signature; does not;
#: there is none, or this kernel checks none.
SIGNATURE_STATES = ("Valid", "Invalid", "Unavailable", "-")

_BOOLEAN = ("false", "true")
#: Of fields that have no value on Linux.
_UNKNOWN = ("-",)


def _boolean(name: str, enumerator: str) -> Field:
    answer = choice(enumerator, *_BOOLEAN)
    return Field(name, FieldType.BOOLEAN, recurs=True, kernel=answer)


def _common(*those: Field) -> dict[str, Field]:
    return {field.name: field for field in those}


#: Fields of several events that mean the same in each of them.
_COMMON = _common(
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
        kernel=choice("IS_EXECUTABLE", *_BOOLEAN, "-"),
    ),
    Field("Archived", recurs=True, only=_UNKNOWN),
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


def _fields(notation: str) -> tuple[Field, ...]:
    """Return the fields of "RuleName NewThreadId:UINT32 ...".

    A common field stands there by its name alone. A field with attributes of its own is
    written as `Field` in its event.
    """
    return tuple(_COMMON.get(each.name, each) for each in fields(notation))


def _unknown_to_the_kernel(notation: str) -> tuple[Field, ...]:
    """Return the fields of a notation, none of which the kernel's filter answers."""
    return tuple(replace(each, kernel=None) for each in _fields(notation))


#: Fields of ours that all events of processes may have, behind the event's own ones.
_OF_ACTOR = (
    Field("UserId", FieldType.UINT32, recurs=True, is_ours=True),
    *(
        Field(name, recurs=True, is_ours=True)
        for name in ("ContainerId", "ContainerRuntime", "PodUid", "CgroupPath")
    ),
)
#: The names of all rules that an event hits are the last value, where rules of Sigma
#: are in force.
_OF_ALL = (*_OF_ACTOR, Field(RULE_NAMES, is_ours=True))
_PARENT_PROGRAM = Field("ParentProgramGuid", FieldType.GUID, is_ours=True)
#: Names of values that recur for one user in one control group.
OF_ACTOR = tuple(field.name for field in _OF_ACTOR)
#: Fields for which the control group of a process must be found.
OF_CONTROL_GROUP = (*OF_ACTOR[1:], "EntryPoint")


ERROR = event_type(
    "255 ERROR 3",
    "Error report",
    (
        *_fields("UtcTime ID"),
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
        *_fields("RuleName UtcTime ProcessGuid ProcessId Image"),
        *(
            replace(each, only=_UNKNOWN)
            for each in _fields(
                "FileVersion Description Product Company OriginalFileName"
            )
        ),
        Field("CommandLine"),
        Field("CurrentDirectory", path=PathOf.DIRECTORY),
        *_fields("User LogonGuid:GUID"),
        Field("LogonId", FieldType.HEX_INT64, recurs=True),
        Field("TerminalSessionId", FieldType.UINT32, recurs=True),
        Field("IntegrityLevel", recurs=True, is_made_here=True, only=("no level",)),
        *_fields("Hashes ParentProcessGuid:GUID ParentProcessId:PID"),
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
        _PARENT_PROGRAM,
        *_OF_ALL,
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
        *_fields("RuleName UtcTime ProcessGuid ProcessId Image"),
        Field("TargetFilename", path=PathOf.FILE),
        *_fields("CreationUtcTime PreviousCreationUtcTime User"),
    ),
    produced=True,
    kernel="FILE_TIME",
    colour=Colour.YELLOW,
    shown="TargetFilename CreationUtcTime User",
    appended=_OF_ALL,
)
NETWORK_CONNECT = event_type(
    "3 NETWORK_CONNECT 5 NetworkConnect (exclude)",
    "Network connection detected",
    (
        *_fields("RuleName UtcTime ProcessGuid ProcessId Image User"),
        Field("Protocol", recurs=True, kernel=choice("PROTOCOL", "tcp", "udp")),
        _boolean("Initiated", "INITIATED"),
        _boolean("SourceIsIpv6", "SOURCE_IS_IPV6"),
        Field("SourceIp", kernel=text("SOURCE_IP")),
        Field("SourceHostname"),
        Field("SourcePort", FieldType.UINT16, kernel=text("SOURCE_PORT")),
        Field("SourcePortName"),
        _boolean("DestinationIsIpv6", "DESTINATION_IS_IPV6"),
        Field("DestinationIp", kernel=text("DESTINATION_IP")),
        Field("DestinationHostname"),
        Field("DestinationPort", FieldType.UINT16, kernel=text("DESTINATION_PORT")),
        Field("DestinationPortName"),
    ),
    produced=True,
    kernel="NETWORK_CONNECT",
    colour=Colour.CYAN,
    shown="Protocol SourceIp SourcePort DestinationIp DestinationPort",
    appended=_OF_ALL,
)
SERVICE_STATE_CHANGE = event_type(
    "4 SERVICE_STATE_CHANGE 3",
    "Sysmon service state changed",
    _fields("UtcTime State Version SchemaVersion"),
    produced=True,
    title="ServiceState",
    subject="State",
    shown="Version SchemaVersion",
)
PROCESS_TERMINATE = event_type(
    "5 PROCESS_TERMINATE 3 ProcessTerminate include",
    "Process terminated",
    _fields("RuleName UtcTime ProcessGuid ProcessId Image User"),
    produced=True,
    colour=Colour.GREY,
    shown="User",
    appended=(_PARENT_PROGRAM, *_OF_ALL),
)
DRIVER_LOAD = event_type(
    "6 DRIVER_LOAD 4 DriverLoad (exclude)",
    "Driver loaded",
    (
        *_fields("RuleName UtcTime ImageLoaded Hashes"),
        replace(_COMMON["Signed"], only=("true", "false", "-")),
        *_fields("Signature"),
        replace(_COMMON["SignatureStatus"], only=SIGNATURE_STATES),
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
        *_OF_ALL,
    ),
)
IMAGE_LOAD = event_type(
    "7 IMAGE_LOAD 3 ImageLoad (exclude)",
    "Image loaded",
    (
        *_fields("RuleName UtcTime ProcessGuid ProcessId Image"),
        Field("ImageLoaded", path=PathOf.FILE, kernel=Answer(AnswerKind.PATH)),
        *(
            replace(each, only=_UNKNOWN)
            for each in _fields(
                "FileVersion Description Product Company OriginalFileName"
            )
        ),
        *_fields("Hashes"),
        replace(_COMMON["Signed"], only=("false",)),
        replace(_COMMON["Signature"], only=_UNKNOWN),
        replace(_COMMON["SignatureStatus"], only=("Unavailable",)),
        *_fields("User"),
    ),
    produced=True,
    kernel="LIBRARY_LOAD",
    shown="ImageLoaded User",
    appended=_OF_ALL,
)
CREATE_REMOTE_THREAD = event_type(
    "8 CREATE_REMOTE_THREAD 2 CreateRemoteThread (exclude)",
    "CreateRemoteThread detected",
    (
        *_fields("RuleName UtcTime SourceProcessGuid:GUID"),
        Field("SourceProcessId", FieldType.PID, kernel=text("PROCESS_ID")),
        *_fields("SourceImage TargetProcessGuid:GUID"),
        Field("TargetProcessId", FieldType.PID, kernel=text("TARGET_PROCESS_ID")),
        *_fields("TargetImage"),
        Field("NewThreadId", FieldType.UINT32, kernel=text("NEW_THREAD_ID")),
        *_fields("StartAddress"),
        Field("StartModule", path=PathOf.FILE),
        Field("StartFunction", recurs=True, only=_UNKNOWN),
        *_fields("SourceUser TargetUser"),
    ),
    produced=True,
    kernel="CREATE_REMOTE_THREAD",
    colour=Colour.RED,
    shown="TargetImage TargetProcessId StartModule SourceUser",
    appended=(Field("Reason", recurs=True, is_ours=True), *_OF_ALL),
)
RAW_ACCESS_READ = event_type(
    "9 RAWACCESS_READ 2 RawAccessRead (exclude)",
    "RawAccessRead detected",
    (
        *_fields("RuleName UtcTime ProcessGuid ProcessId Image"),
        Field("Device", path=PathOf.FILE, kernel=Answer(AnswerKind.PATH)),
        *_fields("User"),
    ),
    produced=True,
    kernel="RAW_ACCESS_READ",
    shown="Device User",
    appended=_OF_ALL,
)
PROCESS_ACCESS = event_type(
    "10 ACCESS_PROCESS 3 ProcessAccess (exclude)",
    "Process accessed",
    (
        *_fields("RuleName UtcTime SourceProcessGUID:GUID"),
        Field("SourceProcessId", FieldType.PID, kernel=text("PROCESS_ID")),
        Field("SourceThreadId", FieldType.UINT32, kernel=text("THREAD_ID")),
        *_fields("SourceImage TargetProcessGUID:GUID"),
        Field("TargetProcessId", FieldType.PID, kernel=text("TARGET_PROCESS_ID")),
        *_fields("TargetImage"),
        Field(
            "GrantedAccess",
            FieldType.HEX_INT32,
            recurs=True,
            kernel=text("GRANTED_ACCESS"),
        ),
        Field("CallTrace", recurs=True, only=_UNKNOWN),
        *_fields("SourceUser TargetUser"),
    ),
    produced=True,
    kernel="PROCESS_ACCESS",
    shown="TargetImage TargetProcessId GrantedAccess SourceUser",
    appended=_OF_ALL,
)
FILE_CREATE = event_type(
    "11 FILE_CREATE 2 FileCreate exclude",
    "File created",
    _fields(
        "RuleName UtcTime ProcessGuid ProcessId Image TargetFilename CreationUtcTime"
        " User"
    ),
    produced=True,
    kernel="FILE_CREATE",
    colour=Colour.YELLOW,
    shown="TargetFilename User",
    appended=(Field("Reason", recurs=True, is_ours=True), *_OF_ALL),
)
REGISTRY_KEY = event_type(
    "12 REG_KEY 2 RegistryEvent exclude",
    "Registry object added or deleted",
    _fields("RuleName EventType UtcTime ProcessGuid ProcessId Image TargetObject User"),
    title="RegistryKey",
)
REGISTRY_VALUE_SET = event_type(
    "13 REG_SETVALUE 2 RegistryEvent exclude",
    "Registry value set",
    _fields(
        "RuleName EventType UtcTime ProcessGuid ProcessId Image TargetObject Details"
        " User"
    ),
    title="RegistryValue",
)
REGISTRY_RENAME = event_type(
    "14 REG_NAME 2 RegistryEvent exclude",
    "Registry object renamed",
    _fields(
        "RuleName EventType UtcTime ProcessGuid ProcessId Image TargetObject NewName"
        " User"
    ),
    title="RegistryRename",
)
FILE_CREATE_STREAM_HASH = event_type(
    "15 FILE_CREATE_STREAM_HASH 2 FileCreateStreamHash exclude",
    "File stream created",
    (
        *_fields("RuleName UtcTime ProcessGuid ProcessId Image"),
        Field("TargetFilename", path=PathOf.FILE),  # with the attribute behind it
        *_fields("CreationUtcTime"),
        Field("Hash", is_made_here=True),
        *_fields("Contents User"),
    ),
    produced=True,
    kernel="ATTRIBUTE_SET",
    title="FileStream",
    colour=Colour.YELLOW,
    shown="TargetFilename Contents User",
    appended=_OF_ALL,
)
SERVICE_CONFIGURATION_CHANGE = event_type(
    "16 SERVICE_CONFIGURATION_CHANGE 3",
    "Sysmon config state changed",
    (
        *_fields("UtcTime Configuration"),
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
        *_fields("RuleName"),
        Field("EventType", recurs=True, only=(kind,), kernel=answer),
        *_fields("UtcTime ProcessGuid ProcessId"),
        Field("PipeName", path=PathOf.PIPE, kernel=Answer(AnswerKind.PATH)),
        *_fields("Image User"),
    )


PIPE_CREATE = event_type(
    "17 CREATE_NAMEDPIPE 1 PipeEvent exclude",
    "Pipe Created",
    _of_pipe("CreatePipe"),
    produced=True,
    kernel="PIPE_CREATE",
    title="PipeCreated",
    shown="PipeName User",
    appended=_OF_ALL,
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
        *_OF_ALL,
    ),
)
WMI_FILTER = event_type(
    "19 WMI_FILTER 3 WmiEvent exclude",
    "WmiEventFilter activity detected",
    _fields("RuleName EventType UtcTime Operation User EventNamespace Name Query"),
    title="WmiFilter",
)
WMI_CONSUMER = event_type(
    "20 WMI_CONSUMER 3 WmiEvent exclude",
    "WmiEventConsumer activity detected",
    _fields("RuleName EventType UtcTime Operation User Name Type Destination"),
    title="WmiConsumer",
)
WMI_BINDING = event_type(
    "21 WMI_BINDING 3 WmiEvent exclude",
    "WmiEventConsumerToFilter activity detected",
    _fields("RuleName EventType UtcTime Operation User Consumer Filter"),
    title="WmiBinding",
)
DNS_QUERY = event_type(
    "22 DNS_QUERY 5 DnsQuery exclude",
    "Dns query",
    (
        *_fields("RuleName UtcTime ProcessGuid"),
        *_unknown_to_the_kernel("ProcessId"),
        Field("QueryName", kernel=text("QUERY_NAME")),
        *_fields("QueryStatus QueryResults"),
        *_unknown_to_the_kernel("Image User"),
    ),
    produced=True,
    kernel="DNS_QUERY",
    colour=Colour.CYAN,
    shown="QueryName QueryResults QueryStatus",
    appended=_OF_ALL,
)
FILE_DELETE = event_type(
    "23 FILE_DELETE 5 FileDelete (exclude)",
    "File Delete archived",
    (
        *_fields("RuleName UtcTime ProcessGuid ProcessId User Image TargetFilename"),
        Field("Hashes", is_made_here=True, only=_UNKNOWN),
        *_fields("IsExecutable Archived"),
    ),
    produced=True,
    kernel="FILE_DELETE",
    colour=Colour.MAGENTA,
    shown="TargetFilename User",
    appended=_OF_ALL,
)
CLIPBOARD_CHANGE = event_type(
    "24 CLIPBOARD 5 ClipboardChange (exclude)",
    "Clipboard changed",
    _fields(
        "RuleName UtcTime ProcessGuid ProcessId Image Session:UINT32 ClientInfo Hashes"
        " Archived User"
    ),
)
PROCESS_TAMPERING = event_type(
    "25 PROCESS_IMAGE_TAMPERING 5 ProcessTampering (exclude)",
    "Process Tampering",
    (
        *_fields("RuleName UtcTime ProcessGuid ProcessId Image"),
        Field("Type", recurs=True, kernel=choice("TAMPERING_TYPE", *TAMPERINGS)),
        *_fields("User"),
    ),
    produced=True,
    kernel="PROCESS_TAMPERING",
    colour=Colour.RED,
    shown="Type User",
    appended=(
        Field("Reason", recurs=True, is_ours=True),
        Field("ParentImage", recurs=True, is_ours=True, path=PathOf.PROGRAM),
        *_OF_ALL,
    ),
)
FILE_DELETE_DETECTED = event_type(
    "26 FILE_DELETE_DETECTED 5 FileDeleteDetected (exclude)",
    "File Delete logged",
    (
        *_fields("RuleName UtcTime ProcessGuid ProcessId User Image TargetFilename"),
        Field("Hashes", is_made_here=True, only=_UNKNOWN),
        *_fields("IsExecutable"),
    ),
    produced=True,
    kernel="FILE_DELETE_DETECTED",
    colour=Colour.MAGENTA,
    shown="TargetFilename User",
    appended=_OF_ALL,
)
EBPF_EVENT = event_type(
    "100 EBPF_EVENT 1 eBPFEvent exclude",
    "eBPF Program Loaded",
    (
        *_fields("RuleName UtcTime ProcessGuid ProcessId Image User"),
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
    appended=_OF_ALL,
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
    field for event in EVENTS for field in event.appended if field not in _OF_ALL
]

#: Every field that the setting `Fields` may name, in the order of the output.
APPENDED = tuple(
    dict.fromkeys(
        field.name for field in (*_OF_SOME, *_OF_ALL) if field.name != RULE_NAMES
    )
)

#: Events that this version produces on Linux; rules for others are accepted.
PRODUCED = frozenset(event.id for event in EVENTS if event.produced)

#: Tags of Windows releases that schema 4.90 does not have: ignored with a warning.
FOREIGN_TAGS = ("FileBlockExecutable", "FileBlockShredding", "FileExecutableDetected")

DEFAULT_CONDITION = "is"

#: Conditions in schema order. F is the field as printed, V the text of the rule.
CONDITIONS: dict[str, str] = {
    "is": "F equals V",
    "is not": "F differs from V",
    "contains": "V occurs in F",
    "contains any": "some item of V occurs in F",
    "is any": "some item of V equals F",
    "contains all": "every item of V occurs in F",
    "excludes": "V does not occur in F",
    "excludes any": "no item of V occurs in F",
    "excludes all": "at least one item of V does not occur in F",
    "begin with": "F starts with V",
    "not begin with": "F does not start with V",
    "end with": "F ends with V",
    "not end with": "F does not end with V",
    "less than": "F sorts before V, as text",
    "more than": "F sorts after V, as text",
    "image": "F, or its last path component, equals V",
}

#: The order in which Sysmon's "Expected values are" lists them.
CONDITIONS_IN_MESSAGES = tuple(
    sorted(CONDITIONS, key=lambda name: name in ("not begin with", "not end with"))
)
