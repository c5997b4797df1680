# SPDX-License-Identifier: MIT
"""What a script did, as strace(1) tells it, in the words of events.

The script of `script_for` runs another one under strace, and writes the traces to
standard error; `events_of` reads them. Events are told only where the trace leaves no
doubt: programs that were run, regular files that a name was made for, names that were
removed, and connections by TCP. Fields that it does not tell are missing.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

_CALLS = (
    "execve,fork,vfork,clone,clone3,open,openat,creat,unlink,unlinkat,rename,renameat,"
    "renameat2,connect,chdir,fchdir,setuid,setreuid,setresuid"
)
_END = "== end of traces"
#: One call: its name, all of its arguments, and the result.
_LINE = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_TCP = re.compile(r"\d+<TCP:.*sin_port=htons\((\d+)\), sin_addr=inet_addr\(\"(.*?)\"\)")
_DIRECTORY = re.compile(r"(?:AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})+)>")
_IN_PROGRESS = "EINPROGRESS"

Fields = dict[str, str]
"""Names of fields to texts, with "EventID"."""


def script_for(script: str) -> str:
    """Return a script that runs one under strace(1), without its standard error."""
    return (
        "mkdir /opt/traces && cat >/opt/traced.sh <<'END-OF-SCRIPT'\n"
        f"{script}END-OF-SCRIPT\n"
        f"strace -ff -qq -xx -yy -s 65535 -e signal=none -e trace={_CALLS}"
        " -o /opt/traces/t sh /opt/traced.sh 2>/dev/null\n"
        'for each in /opt/traces/t.*; do echo "== ${each##*.}"; cat $each; done >&2\n'
        f"echo '{_END}' >&2; rm -r /opt/traces\n"
    )


@dataclass(slots=True)
class _Process:
    """What a process is at one moment."""

    image: str = "-"
    command: str = "-"
    directory: str = "/"
    uid: int = 0
    parent: _Process | None = field(default=None, repr=False)

    @property
    def user(self) -> str:
        return pwd.getpwuid(self.uid).pw_name


class Reader:
    """Reads the traces of scripts that run one after the other in one root.

    It remembers which names were made: a name that is there is made by nobody.
    """

    def __init__(self) -> None:
        self._names: dict[str, bool] = {}

    def events_of(self, text: str) -> list[Fields]:
        """Return the events of one script, by process, its own first."""
        assert f"{_END}\n" in text, text[-2000:]
        traces: dict[int, list[str]] = {}
        for line in text.partition(_END)[0].splitlines():
            if line.startswith("== "):
                lines = traces[int(line[3:])] = []
            else:
                lines.append(line)
        first = next(iter(traces))
        return [*self._of(first, traces, _Process())]

    def _of(
        self, pid: int, traces: dict[int, list[str]], process: _Process
    ) -> Iterator[Fields]:
        for line in traces.pop(pid, []):
            if not (found := _LINE.match(line)):
                continue
            call, words, result = found[1], found[2], int(found[3])
            if call in ("fork", "vfork", "clone", "clone3") and result > 0:
                child = replace(process, parent=replace(process))
                if "CLONE_THREAD" in words:
                    child = process
                yield from self._of(result, traces, child)
            elif result >= 0 or _IN_PROGRESS in line:
                yield from self._done(call, words, process)

    def _done(self, call: str, words: str, process: _Process) -> Iterator[Fields]:
        names = [*map(_decoded, _TEXT.findall(words))]
        if call == "execve":
            path = _program(os.path.join(process.directory, names[0]))
            shebang = _interpreter(path)
            process.image = _program(shebang[0]) if shebang else path
            process.command = " ".join(
                [*shebang, names[0], *names[2:]] if shebang else names[1:]
            )
            yield _creation(process)
        elif call == "connect" and (found := _TCP.search(words)):
            yield _connection(process, _decoded(found[2]), found[1])
        elif call == "chdir":
            path = os.path.join(process.directory, names[0])
            process.directory = os.path.normpath(path)
        elif call == "fchdir" and (place := _DIRECTORY.search(words)):
            process.directory = _decoded(place[1])
        elif call in ("setuid", "setreuid", "setresuid"):
            process.uid = int(words.partition(",")[0])
        else:
            yield from self._named(call, words, names, process)

    def _named(
        self, call: str, words: str, names: list[str], process: _Process
    ) -> Iterator[Fields]:
        """Yield what became of names of files."""
        if not names:
            return
        place = _DIRECTORY.search(words)
        top = process.directory
        if place:
            top = _decoded(place[1])
        path = os.path.normpath(os.path.join(top, names[0]))
        if call in ("unlink", "unlinkat", "rename", "renameat", "renameat2"):
            self._names[path] = False
            for other in names[1:]:
                self._names[os.path.normpath(os.path.join(top, other))] = True
            if call.startswith("unlink") and "AT_REMOVEDIR" not in words:
                yield _file(26, process, path)
        elif call == "creat" or "O_CREAT" in words:
            if not self._names.get(path, os.path.lexists(path)) and _is_kept(path):
                yield _file(11, process, path)
            self._names[path] = True


def _decoded(text: str) -> str:
    """Return a text that strace wrote in hexadecimal."""
    return os.fsdecode(bytes.fromhex(text.replace("\\x", "")))


def _is_kept(path: str) -> bool:
    """Tell whether a path is outside of /dev and /proc, in a folder without links."""
    above = os.path.dirname(path)
    return not path.startswith(("/dev/", "/proc/")) and (
        os.path.realpath(above) == above
    )


def _program(path: str) -> str:
    """Return the file behind a path, which may be there in that root alone."""
    found = os.path.realpath(path)
    try:
        return found if stat.S_ISREG(os.stat(found).st_mode) else path
    except OSError:
        return os.path.normpath(path)


def _interpreter(path: str) -> list[str]:
    """Return the words of the first line of a script, none for other programs."""
    try:
        with open(path, "rb") as file:
            first = file.readline(256)
    except OSError:
        return []
    return os.fsdecode(first[2:]).strip().split(None, 1) if first[:2] == b"#!" else []


def _creation(process: _Process) -> Fields:
    values = {
        "EventID": "1",
        "Image": process.image,
        "CommandLine": process.command,
        "CurrentDirectory": process.directory,
        "User": process.user,
    }
    if process.parent:
        values |= {
            "ParentImage": process.parent.image,
            "ParentCommandLine": process.parent.command,
            "ParentUser": process.parent.user,
        }
    return values


def _file(event_id: int, process: _Process, path: str) -> Fields:
    return {
        "EventID": str(event_id),
        "Image": process.image,
        "User": process.user,
        "TargetFilename": path,
    }


def _connection(process: _Process, address: str, port: str) -> Fields:
    return {
        "EventID": "3",
        "Image": process.image,
        "User": process.user,
        "Protocol": "tcp",
        "Initiated": "true",
        "DestinationIp": address,
        "DestinationPort": port,
    }
