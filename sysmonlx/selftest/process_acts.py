# SPDX-License-Identifier: MIT
"""Acts on processes: run, map code, end, reach into another, load an eBPF program."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import struct

from sysmonlx.selftest.act import CannotError, Scene, Tell, Values, failed
from sysmonlx.selftest.expected import Expected, Some

_SHELL = "/bin/sh"
#: Memory at one address in all processes of a self-test, which are copies of the first.
_BUFFER = ctypes.create_string_buffer(8)
#: Number of bpf(2), by machine.
_BPF_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351}
_BPF_PROG_LOAD, _SOCKET_FILTER = 5, 1
#: BPF instructions r0 = 0, exit.
_RETURN_0 = bytes([0xB7, *bytes(7), 0x95, *bytes(7)])
#: union bpf_attr of BPF_PROG_LOAD up to the name: type, number of instructions, these,
#: licence; no log, no flags.
_PROGRAM = struct.Struct("=IIQQ24x16s")


def run(scene: Scene, tell: Tell) -> None:
    """Run the shell, with nothing to do."""
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


def end(scene: Scene, tell: Tell) -> None:
    """Act of event 5: end this process."""
    tell("", {})
    os._exit(0)


def run_from_memory(scene: Scene, tell: Tell) -> None:
    """Run a script that lies in memory alone."""
    path = _shell()
    fd = os.memfd_create("sysmonlx-selftest", 0)  # inherited: the shell opens it
    os.write(fd, f"#!{_SHELL}\nexit 0\n".encode())
    tell("", {"Image": path, "Type": "Fileless (memfd)", "Reason": "-"})
    os.execve(fd, ["sysmonlx-selftest"], {})


def map_memory(scene: Scene, tell: Tell) -> None:
    """Map memory of which code could be run; none is in there."""
    prot = mmap.PROT_READ | mmap.PROT_EXEC
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    mapped = mmap.mmap(-1, mmap.PAGESIZE, flags, prot)
    tell("", {"Type": "Anonymous memory made executable", "Reason": "Mmap"})
    mapped.close()


def map_library(scene: Scene, tell: Tell) -> None:
    """Map a file in memory, so that its code could be run.

    The private tmpfs lets no code be run.
    """
    fd = os.memfd_create("selftest-library", os.MFD_CLOEXEC)
    os.ftruncate(fd, mmap.PAGESIZE)
    prot = mmap.PROT_READ | mmap.PROT_EXEC
    mapped = mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_PRIVATE, prot)
    versions = ("FileVersion", "Description", "Product", "Company", "OriginalFileName")
    values: Values = {
        "ImageLoaded": "/memfd:selftest-library (deleted)",
        **dict.fromkeys(versions, "-"),
        "Hashes": Some(any=["-"], form="[A-Z0-9=,a-f]+"),
        "Signed": "false",
        "Signature": "-",
        "SignatureStatus": "Unavailable",
    }
    tell("", values)
    mapped.close()
    os.close(fd)


def read_memory(scene: Scene, tell: Tell) -> None:
    """Read memory of the target."""
    _copy_memory("process_vm_readv", scene.target)
    tell("", {"GrantedAccess": "0x10"})


def write_memory(scene: Scene, tell: Tell) -> None:
    """Write memory of the target, which does not use it."""
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
        raise failed(f"{call}(2)")


def load_program(scene: Scene, tell: Tell) -> None:
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
        raise failed("bpf(2)")
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        (line,) = (each for each in file if each.startswith("prog_id:"))
    kind = {"BpfCommand": "BPF_PROG_LOAD", "BpfProgramType": "SOCKET_FILTER"}
    own = {"BpfProgramId": line.split()[1], "BpfProgramName": "selftest"}
    tell("", {**kind, **own})
    os.close(fd)
