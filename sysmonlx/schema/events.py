# SPDX-License-Identifier: MIT
"""Every event, field and condition of schema 4.90, stated once (options: `options`).

The schema text, the XSD, the tables of the manual, the configuration help, the order of
the output and the names that a rule may use all follow from this file. What older
schema versions had instead is data in `config_schema/versions.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SCHEMA_VERSION = "4.90"
BINARY_VERSION = "18"


class FieldType(Enum):
    """How a field is typed in the schema: (inType, outType)."""

    STRING = ("win:UnicodeString", "xs:string")
    GUID = ("win:GUID", None)
    PID = ("win:UInt32", "win:PID")
    UINT16 = ("win:UInt16", None)
    UINT32 = ("win:UInt32", None)
    UINT64 = ("win:UInt64", None)
    BOOLEAN = ("win:Boolean", None)
    HEX_INT32 = ("win:HexInt32", None)
    HEX_INT64 = ("win:HexInt64", None)


@dataclass(frozen=True, slots=True)
class Field:
    """One value of an event."""

    name: str
    type: FieldType


@dataclass(frozen=True, slots=True)
class EventType:
    """One Sysmon event; `tag` names it in EventFiltering, and may be shared.

    `default` is what happens to the event when no element of the configuration judges
    it: "include" or "exclude", None for events that cannot be filtered. Where the
    schema only implies it, `default_is_stated` is False.
    """

    id: int
    name: str
    template: str
    version: int
    fields: tuple[Field, ...]
    tag: str | None = None
    default: str | None = None
    level: str = "Informational"
    default_is_stated: bool = True
    target: str = "all"


def fields(notation: str) -> tuple[Field, ...]:
    """Return the fields of "RuleName ProcessId:PID ..."; STRING goes without saying."""
    pairs = (word.partition(":") for word in notation.split())
    return tuple(
        Field(name, FieldType[kind] if kind else FieldType.STRING)
        for name, _, kind in pairs
    )


def event_type(
    head: str,
    template: str,
    notation: str,
    *,
    level: str = "Informational",
    target: str = "all",
) -> EventType:
    """Return an event; `head` is "id name version [tag default]", (default) implied."""
    number, name, version, *rest = head.split()
    tag, default = rest or (None, None)
    return EventType(
        id=int(number, 0),
        name=f"SYSMONEVENT_{name}",
        template=template,
        version=int(version),
        fields=fields(notation),
        tag=tag,
        default=default.strip("()") if default else None,
        level=level,
        default_is_stated=default is not None and "(" not in default,
        target=target,
    )


ERROR = event_type(
    "255 ERROR 3",
    "Error report",
    "UtcTime ID Description",
    level="Error",
)
PROCESS_CREATE = event_type(
    "1 CREATE_PROCESS 5 ProcessCreate include",
    "Process Create",
    "RuleName UtcTime ProcessGuid:GUID ProcessId:PID Image FileVersion Description "
    "Product Company OriginalFileName CommandLine CurrentDirectory User "
    "LogonGuid:GUID LogonId:HEX_INT64 TerminalSessionId:UINT32 IntegrityLevel "
    "Hashes ParentProcessGuid:GUID ParentProcessId:PID ParentImage "
    "ParentCommandLine ParentUser",
)
#: Values of event 1 in which processes differ that run one program in one way, and
#: those in which they differ unless they have the same parent.
OWN_OF_PROCESS = ("RuleName", "UtcTime", "ProcessGuid", "ProcessId", "CommandLine")
OF_PARENT = tuple(
    field.name for field in PROCESS_CREATE.fields if field.name.startswith("Parent")
)
FILE_CREATE_TIME = event_type(
    "2 FILE_TIME 5 FileCreateTime (exclude)",
    "File creation time changed",
    "RuleName UtcTime ProcessGuid:GUID ProcessId:PID Image TargetFilename "
    "CreationUtcTime PreviousCreationUtcTime User",
)
NETWORK_CONNECT = event_type(
    "3 NETWORK_CONNECT 5 NetworkConnect (exclude)",
    "Network connection detected",
    "RuleName UtcTime ProcessGuid:GUID ProcessId:PID Image User Protocol "
    "Initiated:BOOLEAN SourceIsIpv6:BOOLEAN SourceIp SourceHostname "
    "SourcePort:UINT16 SourcePortName DestinationIsIpv6:BOOLEAN DestinationIp "
    "DestinationHostname DestinationPort:UINT16 DestinationPortName",
)
SERVICE_STATE_CHANGE = event_type(
    "4 SERVICE_STATE_CHANGE 3",
    "Sysmon service state changed",
    "UtcTime State Version SchemaVersion",
)
PROCESS_TERMINATE = event_type(
    "5 PROCESS_TERMINATE 3 ProcessTerminate include",
    "Process terminated",
    "RuleName UtcTime ProcessGuid:GUID ProcessId:PID Image User",
)
DRIVER_LOAD = event_type(
    "6 DRIVER_LOAD 4 DriverLoad (exclude)",
    "Driver loaded",
    "RuleName UtcTime ImageLoaded Hashes Signed Signature SignatureStatus",
)
IMAGE_LOAD = event_type(
    "7 IMAGE_LOAD 3 ImageLoad (exclude)",
    "Image loaded",
    "RuleName UtcTime ProcessGuid:GUID ProcessId:PID Image ImageLoaded FileVersion "
    "Description Product Company OriginalFileName Hashes Signed Signature "
    "SignatureStatus User",
)
CREATE_REMOTE_THREAD = event_type(
    "8 CREATE_REMOTE_THREAD 2 CreateRemoteThread (exclude)",
    "CreateRemoteThread detected",
    "RuleName UtcTime SourceProcessGuid:GUID SourceProcessId:PID SourceImage "
    "TargetProcessGuid:GUID TargetProcessId:PID TargetImage NewThreadId:UINT32 "
    "StartAddress StartModule StartFunction SourceUser TargetUser",
)
RAW_ACCESS_READ = event_type(
    "9 RAWACCESS_READ 2 RawAccessRead (exclude)",
    "RawAccessRead detected",
    "RuleName UtcTime ProcessGuid:GUID ProcessId:PID Image Device User",
)
PROCESS_ACCESS = event_type(
    "10 ACCESS_PROCESS 3 ProcessAccess (exclude)",
    "Process accessed",
    "RuleName UtcTime SourceProcessGUID:GUID SourceProcessId:PID "
    "SourceThreadId:UINT32 SourceImage TargetProcessGUID:GUID TargetProcessId:PID "
    "TargetImage GrantedAccess:HEX_INT32 CallTrace SourceUser TargetUser",
)
FILE_CREATE = event_type(
    "11 FILE_CREATE 2 FileCreate exclude",
    "File created",
    "RuleName UtcTime ProcessGuid:GUID ProcessId:PID Image TargetFilename "
    "CreationUtcTime User",
)
REGISTRY_KEY = event_type(
    "12 REG_KEY 2 RegistryEvent exclude",
    "Registry object added or deleted",
    "RuleName EventType UtcTime ProcessGuid:GUID ProcessId:PID Image TargetObject User",
)
REGISTRY_VALUE_SET = event_type(
    "13 REG_SETVALUE 2 RegistryEvent exclude",
    "Registry value set",
    "RuleName EventType UtcTime ProcessGuid:GUID ProcessId:PID Image TargetObject "
    "Details User",
)
REGISTRY_RENAME = event_type(
    "14 REG_NAME 2 RegistryEvent exclude",
    "Registry object renamed",
    "RuleName EventType UtcTime ProcessGuid:GUID ProcessId:PID Image TargetObject "
    "NewName User",
)
FILE_CREATE_STREAM_HASH = event_type(
    "15 FILE_CREATE_STREAM_HASH 2 FileCreateStreamHash exclude",
    "File stream created",
    "RuleName UtcTime ProcessGuid:GUID ProcessId:PID Image TargetFilename "
    "CreationUtcTime Hash Contents User",
)
SERVICE_CONFIGURATION_CHANGE = event_type(
    "16 SERVICE_CONFIGURATION_CHANGE 3",
    "Sysmon config state changed",
    "UtcTime Configuration ConfigurationFileHash",
)
PIPE_CREATE = event_type(
    "17 CREATE_NAMEDPIPE 1 PipeEvent exclude",
    "Pipe Created",
    "RuleName EventType UtcTime ProcessGuid:GUID ProcessId:PID PipeName Image User",
)
PIPE_CONNECT = event_type(
    "18 CONNECT_NAMEDPIPE 1 PipeEvent exclude",
    "Pipe Connected",
    "RuleName EventType UtcTime ProcessGuid:GUID ProcessId:PID PipeName Image User",
)
WMI_FILTER = event_type(
    "19 WMI_FILTER 3 WmiEvent exclude",
    "WmiEventFilter activity detected",
    "RuleName EventType UtcTime Operation User EventNamespace Name Query",
)
WMI_CONSUMER = event_type(
    "20 WMI_CONSUMER 3 WmiEvent exclude",
    "WmiEventConsumer activity detected",
    "RuleName EventType UtcTime Operation User Name Type Destination",
)
WMI_BINDING = event_type(
    "21 WMI_BINDING 3 WmiEvent exclude",
    "WmiEventConsumerToFilter activity detected",
    "RuleName EventType UtcTime Operation User Consumer Filter",
)
DNS_QUERY = event_type(
    "22 DNS_QUERY 5 DnsQuery exclude",
    "Dns query",
    "RuleName UtcTime ProcessGuid:GUID ProcessId:PID QueryName QueryStatus "
    "QueryResults Image User",
)
FILE_DELETE = event_type(
    "23 FILE_DELETE 5 FileDelete (exclude)",
    "File Delete archived",
    "RuleName UtcTime ProcessGuid:GUID ProcessId:PID User Image TargetFilename "
    "Hashes IsExecutable:BOOLEAN Archived",
)
CLIPBOARD_CHANGE = event_type(
    "24 CLIPBOARD 5 ClipboardChange (exclude)",
    "Clipboard changed",
    "RuleName UtcTime ProcessGuid:GUID ProcessId:PID Image Session:UINT32 "
    "ClientInfo Hashes Archived User",
)
PROCESS_TAMPERING = event_type(
    "25 PROCESS_IMAGE_TAMPERING 5 ProcessTampering (exclude)",
    "Process Tampering",
    "RuleName UtcTime ProcessGuid:GUID ProcessId:PID Image Type User",
)
FILE_DELETE_DETECTED = event_type(
    "26 FILE_DELETE_DETECTED 5 FileDeleteDetected (exclude)",
    "File Delete logged",
    "RuleName UtcTime ProcessGuid:GUID ProcessId:PID User Image TargetFilename "
    "Hashes IsExecutable:BOOLEAN",
)
EBPF_EVENT = event_type(
    "100 EBPF_EVENT 1 eBPFEvent exclude",
    "eBPF Program Loaded",
    "RuleName UtcTime ProcessGuid:GUID ProcessId:PID Image User BpfCommand "
    "BpfProgramType BpfProgramId:UINT32 BpfProgramName",
    target="linux",
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

#: Events that this version produces on Linux; rules for others are accepted.
PRODUCED = frozenset({1, 3, 4, 5, 9, 10, 11, 16, 23, 26, 100, 255})

#: Tags of Windows releases that schema 4.90 does not have: ignored with a warning.
FOREIGN_TAGS = ("FileBlockExecutable", "FileBlockShredding", "FileExecutableDetected")

#: Values of BpfProgramType: names of enum bpf_prog_type, <linux/bpf.h>, by number.
PROGRAM_TYPES = (
    *("UNSPEC", "SOCKET_FILTER", "KPROBE", "SCHED_CLS", "SCHED_ACT", "TRACEPOINT"),
    *("XDP", "PERF_EVENT", "CGROUP_SKB", "CGROUP_SOCK", "LWT_IN", "LWT_OUT"),
    *("LWT_XMIT", "SOCK_OPS", "SK_SKB", "CGROUP_DEVICE", "SK_MSG", "RAW_TRACEPOINT"),
    *("CGROUP_SOCK_ADDR", "LWT_SEG6LOCAL", "LIRC_MODE2", "SK_REUSEPORT"),
    *("FLOW_DISSECTOR", "CGROUP_SYSCTL", "RAW_TRACEPOINT_WRITABLE", "CGROUP_SOCKOPT"),
    *("TRACING", "STRUCT_OPS", "EXT", "LSM", "SK_LOOKUP", "SYSCALL", "NETFILTER"),
)

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
