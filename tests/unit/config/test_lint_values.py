# SPDX-License-Identifier: MIT
"""Conditions that never or always match on Linux, and those that mislead."""

from __future__ import annotations

import pytest

from sysmonlx.config.lint_values import Doubt, Judge, Links
from sysmonlx.policy import Filter, Settings
from sysmonlx.schema.event_types import EventType
from sysmonlx.schema.events import (
    EBPF_EVENT,
    FILE_CREATE,
    FILE_DELETE,
    NETWORK_CONNECT,
    PROCESS_ACCESS,
    PROCESS_CREATE,
)

PROGRAMS = {"/usr/bin/awk": "/usr/bin/mawk", "/usr/bin/sh": "/usr/bin/dash"}
LINKS = Links({"/bin": "/usr/bin"}, lambda path: PROGRAMS.get(path, path))
NEVER, ALWAYS, ODD = Doubt


def doubt(
    event: EventType, name: str, condition: str, value: str
) -> tuple[Doubt, str] | None:
    judge = Judge([event], Settings(hash_algorithms=("SHA256",)), LINKS)
    return judge.doubt(Filter(name, condition, value))


def assert_doubt(kind: Doubt, words: str, found: tuple[Doubt, str] | None) -> None:
    assert found is not None
    assert (found[0], words in found[1]) == (kind, True), found


@pytest.mark.parametrize(
    ("event", "name", "condition", "value", "words"),
    [
        (PROCESS_CREATE, "CommandLine", "excludes any", "a;b;", "empty item"),
        (PROCESS_CREATE, "CommandLine", "excludes", "", "empty value"),
        (PROCESS_CREATE, "OriginalFileName", "is", "curl", "is always -"),
        (PROCESS_CREATE, "IntegrityLevel", "is", "High", "no level"),
        (PROCESS_CREATE, "Product", "is not", "-", "is always -"),
        (PROCESS_CREATE, "Image", "is", "curl", "begins with /"),
        (PROCESS_CREATE, "Image", "is any", "curl;wget", "begins with /"),
        (PROCESS_CREATE, "Image", "is", "/usr/bin/awk", "its image is /usr/bin/mawk"),
        (PROCESS_CREATE, "Image", "image", "/usr/bin/awk", "its image is"),
        (PROCESS_CREATE, "Image", "begin with", "/bin/", "programs show as /usr/bin"),
        (PROCESS_CREATE, "Image", "contains", "C:\\Windows", "backslash"),
        (PROCESS_CREATE, "Image", "end with", "cmd.exe", ".exe"),
        (PROCESS_CREATE, "Image", "contains all", "/usr;\\x", "backslash"),
        (PROCESS_CREATE, "Image", "is", "/usr//bin/x", "resolved"),
        (PROCESS_CREATE, "CurrentDirectory", "is", "/root/", "no path ends with /"),
        (PROCESS_CREATE, "User", "is", "NT AUTHORITY\\SYSTEM", "account of Windows"),
        (PROCESS_CREATE, "Hashes", "contains", "MD5=00", "MD5 is not computed"),
        (PROCESS_CREATE, "Hashes", "contains", "IMPHASH=0", "IMPHASH is not"),
        (PROCESS_CREATE, "Hashes", "is", "0" * 64, "begins with an algorithm"),
        (PROCESS_CREATE, "Hashes", "end with", "0" * 32, "gives 32 digits"),
        (PROCESS_CREATE, "ParentProcessId", "is", "one", "is a number"),
        (PROCESS_CREATE, "ProcessGuid", "is", "1", "digits in braces"),
        (FILE_CREATE, "TargetFilename", "begin with", "etc/", "begins with /"),
        (FILE_DELETE, "Hashes", "contains", "SHA256=", "is always -"),
        (FILE_DELETE, "Archived", "is", "true", "is always -"),
        (NETWORK_CONNECT, "Protocol", "is", "icmp", "one of tcp, udp, -"),
        (NETWORK_CONNECT, "Initiated", "is", "yes", "one of false, true"),
        (NETWORK_CONNECT, "DestinationPort", "is", "080", "leading zeros"),
        (NETWORK_CONNECT, "DestinationPort", "is", "65536", "up to 65535"),
        (NETWORK_CONNECT, "DestinationPort", "is any", "http;https", "is a number"),
        (PROCESS_ACCESS, "GrantedAccess", "is", "5136", "0x and hexadecimal"),
        (PROCESS_ACCESS, "CallTrace", "contains", "x", "is always -"),
        (EBPF_EVENT, "BpfProgramType", "is", "socket", "..."),
    ],
)
def test_condition_that_never_matches(
    event: EventType, name: str, condition: str, value: str, words: str
) -> None:
    assert_doubt(NEVER, words, doubt(event, name, condition, value))


@pytest.mark.parametrize(
    ("event", "name", "condition", "value", "words"),
    [
        (PROCESS_CREATE, "CommandLine", "contains any", "nc ;ncat ;", "empty item"),
        (PROCESS_CREATE, "CommandLine", "contains", "", "empty value"),
        (PROCESS_CREATE, "Company", "is not", "Microsoft", "is always -"),
        (FILE_CREATE, "Image", "is not", "a.exe", ".exe"),
        (PROCESS_CREATE, "Image", "not end with", "/x.exe", ".exe"),
        (NETWORK_CONNECT, "Protocol", "is not", "icmp", "one of"),
        (PROCESS_ACCESS, "CallTrace", "excludes", "UNKNOWN", "is always -"),
    ],
)
def test_condition_that_always_matches(
    event: EventType, name: str, condition: str, value: str, words: str
) -> None:
    assert_doubt(ALWAYS, words, doubt(event, name, condition, value))


@pytest.mark.parametrize(
    ("event", "name", "condition", "value", "words"),
    [
        (PROCESS_CREATE, "Image", "is", "/bin2/a;/bin2/b", "is any takes several"),
        (PROCESS_CREATE, "Image", "end with", "/a;/b", "contains any"),
        (PROCESS_CREATE, "Image", "is any", "/opt/a,/opt/b", "separated by semicolons"),
        (PROCESS_CREATE, "Image", "is any", "/opt/a; /opt/b", "blanks"),
        (PROCESS_CREATE, "Image", "begin with", "/tmp/*", "* stands for itself"),
        (FILE_CREATE, "TargetFilename", "contains", "/home/$USER/", "variables"),
        (FILE_CREATE, "TargetFilename", "contains", "%TEMP%", "variables"),
        (PROCESS_CREATE, "CommandLine", "contains", "\n nc \n", "line end"),
        (PROCESS_CREATE, "Image", "end with", "/sh", "its image is /usr/bin/dash"),
        (PROCESS_CREATE, "Image", "image", "sh", "its image is /usr/bin/dash"),
        (NETWORK_CONNECT, "DestinationPort", "more than", "1024", "compares text"),
    ],
)
def test_condition_that_misleads(
    event: EventType, name: str, condition: str, value: str, words: str
) -> None:
    assert_doubt(ODD, words, doubt(event, name, condition, value))


@pytest.mark.parametrize(
    ("event", "name", "condition", "value"),
    [
        (PROCESS_CREATE, "CommandLine", "contains", "a;b"),
        (PROCESS_CREATE, "CommandLine", "contains any", "nc ;ncat "),
        (PROCESS_CREATE, "CommandLine", "contains", "cmd.exe \\x $HOME *"),
        (PROCESS_CREATE, "CommandLine", "contains all", "nc;"),
        (PROCESS_CREATE, "Image", "is any", "curl;/usr/bin/curl"),
        (PROCESS_CREATE, "Image", "contains", "bin/"),
        (PROCESS_CREATE, "Image", "is", "-"),
        (PROCESS_CREATE, "ParentImage", "is", "<unknown process>"),
        (PROCESS_CREATE, "Image", "image", "curl"),
        (PROCESS_CREATE, "Image", "begin with", "/opt/a b/"),
        (PROCESS_CREATE, "CurrentDirectory", "is", "/"),
        (PROCESS_CREATE, "User", "is", "DOMAIN\\alice"),
        (PROCESS_CREATE, "Hashes", "contains", "SHA256=" + "0" * 64),
        (PROCESS_CREATE, "Hashes", "contains", "0" * 64),
        (PROCESS_CREATE, "RuleName", "is", "x"),
        (PROCESS_CREATE, "ProcessGuid", "is", "{12345678-1234-1234-1234-123456789ABC}"),
        (NETWORK_CONNECT, "DestinationPort", "begin with", "80"),
        (NETWORK_CONNECT, "DestinationPort", "is any", "80;443"),
        (NETWORK_CONNECT, "DestinationIp", "begin with", "10."),
        (NETWORK_CONNECT, "Initiated", "is", "TRUE"),
        (PROCESS_ACCESS, "GrantedAccess", "is", "0x1F3FFF"),
        (EBPF_EVENT, "BpfProgramType", "is", "kprobe"),
        (EBPF_EVENT, "NoSuchField", "is", "x"),
    ],
)
def test_condition_without_doubt(
    event: EventType, name: str, condition: str, value: str
) -> None:
    assert doubt(event, name, condition, value) is None
