# SPDX-License-Identifier: MIT
"""What a self-test does: for each event an act, and what the event must say of it.

Adding an event: a function here and a line in `ACTIONS`, or a reason in `NOT_TRIED`. Acts
for events that this version does not report are left out.

An act runs in a process of its own, with namespaces and a file system of its own (see
`scene`). It calls `tell` with the values that it alone knows, by the names of fields,
once for each event that it makes. `defaults` knows the others. An act that runs a
program tells before it does. `CannotError` and OSError say why nothing was done.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import socket
import stat
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sysmonlx.selftest.expected import Expected, Some

#: Directory with the block devices of the machine.
_BLOCK_DEVICES = "/sys/block"
_SHELL = "/bin/sh"
_FORMAT = "%Y-%m-%d %H:%M:%S"
#: Clocks that were read one after the other differ by less, in seconds.
_SLACK_S = 1.0
#: Name asked for, RFC 6761: no name server answers it, but the one of the self-test.
_NAME = b"sysmonlx-selftest.invalid"
_ADDRESS = "127.0.0.99"
_TIMEOUT_S = 1.0
#: Memory at one address in all processes of a self-test, which are copies of the first.
_BUFFER = ctypes.create_string_buffer(8)
#: Loop devices that are tried.
_LOOPS = 2
#: Number of bpf(2), by machine.
_BPF_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351}
_BPF_PROG_LOAD, _SOCKET_FILTER = 5, 1
#: BPF instructions r0 = 0, exit.
_RETURN_0 = bytes([0xB7, *bytes(7), 0x95, *bytes(7)])
#: union bpf_attr of BPF_PROG_LOAD up to the name: type, number of instructions, these,
#: licence; no log, no flags.
_PROGRAM = struct.Struct("=IIQQ24x16s")


@dataclass(frozen=True, slots=True)
class Scene:
    """Where an act takes place.

    `directory` is on the private tmpfs. `target` is the id, in the private pid
    namespace, of the process that an act may reach into. `algorithms` are those of
    Hashes, `hash_size_limit_bytes` is the largest file that is hashed.
    """

    directory: str
    target: int
    algorithms: tuple[str, ...] = ()
    hash_size_limit_bytes: int = 0


Values = Mapping[str, Expected]
#: Takes how the event came about ("" where there is one way), and its values.
Tell = Callable[[str, Values], None]
Act = Callable[[Scene, Tell], None]


class CannotError(Exception):
    """Why an act cannot be done on this machine."""


@dataclass(frozen=True, slots=True)
class Action:
    """An act for one event; it `runs` a program if the event is that program's."""

    event_id: int
    act: Act
    runs: bool = False
    name: str = ""


def moment(time_s: float) -> Some:
    """Return what a time of an event is, where it happened about then."""
    low, high = time_s - _SLACK_S, time_s + _SLACK_S
    return Some(low=_utc(low), high=_utc(high))


def span(begin_s: float, end_s: float) -> Some:
    """Return what a time of an event is, where it happened between these."""
    return Some(low=_utc(begin_s - _SLACK_S), high=_utc(end_s + _SLACK_S))


def _utc(time_s: float) -> str:
    milliseconds = int(time_s * 1000)
    text = time.strftime(_FORMAT, time.gmtime(milliseconds // 1000))
    return f"{text}.{milliseconds % 1000:03d}"


# --- processes


def _run(scene: Scene, tell: Tell) -> None:
    path = _shell()
    words = [_SHELL, "-c", ":", "sysmonlx-selftest"]
    os.chdir("/")
    tell(
        "",
        {
            "Image": path,
            "CommandLine": " ".join(words),
            "CurrentDirectory": "/",
            "LogonId": str(os.getuid()),
            "TerminalSessionId": _session(),
            "NamespacePid": str(os.getpid()),
            "ScriptPath": "-",
            "Hashes": _hashes(path, scene),
        },
    )
    os.execv(_SHELL, words)


def _shell() -> str:
    if not os.access(_SHELL, os.X_OK):
        raise CannotError(f"there is no {_SHELL}")
    return os.path.realpath(_SHELL)


def _session() -> Expected:
    try:
        with open("/proc/self/sessionid", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return Some(form="[0-9]+")


def _hashes(path: str, scene: Scene) -> str:
    if os.stat(path).st_size > scene.hash_size_limit_bytes:
        return "-"
    with open(path, "rb") as file:
        data = file.read()
    pairs = (
        f"{name}={hashlib.new(name, data, usedforsecurity=False).hexdigest()}"
        for name in scene.algorithms
    )
    return ",".join(pairs)


def _end(scene: Scene, tell: Tell) -> None:
    tell("", {})
    os._exit(0)


def _run_from_memory(scene: Scene, tell: Tell) -> None:
    """Run a script that lies in memory alone."""
    path = _shell()
    fd = os.memfd_create("sysmonlx-selftest", 0)  # inherited: the shell opens it
    os.write(fd, f"#!{_SHELL}\nexit 0\n".encode())
    tell("", {"Image": path, "Type": "Fileless (memfd)"})
    os.execve(fd, ["sysmonlx-selftest"], {})


def _read_memory(scene: Scene, tell: Tell) -> None:
    _copy_memory("process_vm_readv", scene.target)
    tell("", {"GrantedAccess": "0x10"})


def _write_memory(scene: Scene, tell: Tell) -> None:
    _copy_memory("process_vm_writev", scene.target)
    address = f"0x{ctypes.addressof(_BUFFER):016X}"
    where: Values = {"StartAddress": address, "StartModule": "-"}
    tell("", {**where, "StartFunction": "-", "Reason": "ProcessVmWrite"})


def _copy_memory(call: str, target: int) -> None:
    """Copy memory of a process, or to it, which is a copy of this one."""
    span = struct.pack("@PN", ctypes.addressof(_BUFFER), ctypes.sizeof(_BUFFER))
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    copy = getattr(ctypes.CDLL(None, use_errno=True), call)
    if copy(target, span, one, span, one, none) <= 0:
        raise _failed(f"{call}(2)")


def _failed(call: str) -> CannotError:
    return CannotError(f"{call}: {os.strerror(ctypes.get_errno())}")


# --- files


def _made(path: str) -> Values:
    created = moment(time.time())
    return {"TargetFilename": path, "CreationUtcTime": created, "Reason": "Create"}


def _make_file(path: str) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    os.close(os.open(path, flags, 0o700))


def _create(scene: Scene, tell: Tell) -> None:
    path = f"{scene.directory}/made"
    _make_file(path)
    tell("made", _made(path))
    os.rename(path, f"{scene.directory}/renamed")
    renamed: Some = {**moment(time.time()), "any": ["-"]}
    values: Values = {"CreationUtcTime": renamed, "Reason": "Rename"}
    tell("renamed", {**values, "TargetFilename": f"{scene.directory}/renamed"})


def _delete(scene: Scene, tell: Tell) -> None:
    path = f"{scene.directory}/deleted-{os.getpid()}"
    _make_file(path)
    os.unlink(path)
    tell("", {"TargetFilename": path, "IsExecutable": Some(any=["true", "-"])})


def _open_disk(scene: Scene, tell: Tell) -> None:
    """Open a disk by a node of our own, and read nothing of it."""
    reason = "there is no disk that is built in"
    for name in _disks():
        path = f"{scene.directory}/{name}"
        try:
            os.mknod(path, stat.S_IFBLK | 0o600, _device(name))
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        except OSError as error:  # a container may use some devices only
            reason = f"{name} cannot be opened: {error.strerror}"
        else:
            tell("", {"Device": path})
            return
    raise CannotError(reason)


def _disks() -> list[str]:
    """Return disks that opening disturbs in no way: first those without any medium."""
    try:
        names = sorted(os.listdir(_BLOCK_DEVICES))
    except OSError:
        return []
    loops = [each for each in names if each.startswith("loop") and not _size(each)]
    return [*loops[:_LOOPS], *(each for each in names if _is_built_in(each))]


def _is_built_in(name: str) -> bool:
    return _size(name) > 0 and _text_of(name, "removable") == "0"


def _size(name: str) -> int:
    return int(_text_of(name, "size") or 0)


def _device(name: str) -> int:
    major, _, minor = _text_of(name, "dev").partition(":")
    return os.makedev(int(major), int(minor))


def _text_of(name: str, attribute: str) -> str:
    try:
        with open(f"{_BLOCK_DEVICES}/{name}/{attribute}", encoding="ascii") as file:
            return file.read().strip()
    except OSError:  # it has just been taken away
        return ""


def _make_pipe(scene: Scene, tell: Tell) -> None:
    pipe, name = f"{scene.directory}/pipe", f"{scene.directory}/socket"
    os.mkfifo(pipe, 0o600)
    tell("named pipe", {"EventType": "CreatePipe", "PipeName": pipe})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as named:
        named.bind(name)
        tell("socket", {"EventType": "CreatePipe", "PipeName": name})


def _open_pipe(scene: Scene, tell: Tell) -> None:
    path = f"{scene.directory}/opened-pipe"
    os.mkfifo(path, 0o600)
    os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    nobody = dict.fromkeys(("TargetProcessGuid", "TargetProcessId", "TargetImage"), "-")
    tell("", {**nobody, "EventType": "ConnectPipe", "PipeName": path})


# --- network


def _ends(source: tuple[str, int], destination: tuple[str, int]) -> dict[str, Expected]:
    """Return the values of both ends of a connection."""
    return {
        "SourceIp": source[0],
        "SourcePort": str(source[1]),
        "DestinationIp": destination[0],
        "DestinationPort": str(destination[1]),
        "SourceIsIpv6": "false",
        "DestinationIsIpv6": "false",
    }


def _connect(scene: Scene, tell: Tell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_TIMEOUT_S)
        with socket.create_connection(server.getsockname(), _TIMEOUT_S) as client:
            ends = _ends(client.getsockname(), server.getsockname())
            tell("TCP connected", {**ends, "Protocol": "tcp", "Initiated": "true"})
            server.accept()[0].close()
            tell("TCP accepted", {**ends, "Protocol": "tcp", "Initiated": "false"})


def _send(scene: Scene, tell: Tell) -> None:
    with _datagrams() as server, _datagrams() as client:
        server.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        client.send(b"sysmonlx-selftest")
        ends = _ends(client.getsockname(), server.getsockname())
        tell("UDP sent", {**ends, "Protocol": "udp", "Initiated": "true"})
        server.recv(64)
        tell("UDP received", {**ends, "Protocol": "udp", "Initiated": "false"})


def _datagrams() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(_TIMEOUT_S)
    return made


def _ask(scene: Scene, tell: Tell) -> None:
    """Ask a name server of our own, which answers."""
    labels = b"".join(bytes([len(each)]) + each for each in _NAME.split(b"."))
    question = labels + struct.pack(">B2H", 0, 1, 1)
    answer = struct.pack(">3HiH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(_ADDRESS)
    with _datagrams() as server, _datagrams() as client:
        server.bind(("127.0.0.1", 53))
        client.connect(("127.0.0.1", 53))
        client.send(struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + question)
        _, where = server.recvfrom(512)
        head = struct.pack(">6H", 7, 0x8180, 1, 1, 0, 0)
        server.sendto(head + question + answer, where)
        client.recv(512)
    results: Values = {"QueryStatus": "0", "QueryResults": f"::ffff:{_ADDRESS};"}
    tell("", {**results, "QueryName": _NAME.decode()})


# --- eBPF


def _load_program(scene: Scene, tell: Tell) -> None:
    """Load a program that returns 0, attach it to nothing, and let it go.

    libbpf would load others before, to find out what the kernel can.
    """
    number = _BPF_NUMBERS.get(os.uname().machine)
    if number is None:
        raise CannotError("the number of bpf(2) is not known here")
    code = ctypes.create_string_buffer(_RETURN_0, len(_RETURN_0))
    licence = ctypes.create_string_buffer(b"MIT")
    attributes = _PROGRAM.pack(
        _SOCKET_FILTER,
        len(_RETURN_0) // 8,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        b"selftest",
    )
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(number, _BPF_PROG_LOAD, attributes, len(attributes))
    if fd < 0:
        raise _failed("bpf(2)")
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        (line,) = (each for each in file if each.startswith("prog_id:"))
    kind = {"BpfCommand": "BPF_PROG_LOAD", "BpfProgramType": "SOCKET_FILTER"}
    own = {"BpfProgramId": line.split()[1], "BpfProgramName": "selftest"}
    tell("", {**kind, **own})
    os.close(fd)


ACTIONS: tuple[Action, ...] = (
    Action(1, _run, runs=True),
    Action(3, _connect, name="TCP"),
    Action(3, _send, name="UDP"),
    Action(5, _end),
    Action(8, _write_memory),
    Action(9, _open_disk),
    Action(10, _read_memory),
    Action(11, _create),
    Action(17, _make_pipe),
    Action(18, _open_pipe),
    Action(22, _ask),
    Action(23, _delete),
    Action(25, _run_from_memory, runs=True),
    Action(26, _delete),
    Action(100, _load_program),
)

#: Events that a self-test does not make, and why.
NOT_TRIED: dict[int, str] = {
    4: "the service reports it when it starts and stops",
    6: "no kernel module is loaded for a test",
    16: "the service reports it when a configuration comes into force",
    255: "the service reports it when something is wrong",
}

#: Of an event that this version reports and that stands in neither table.
NO_ACTION = "this version has no test of it"
