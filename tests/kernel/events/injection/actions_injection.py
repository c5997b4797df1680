# SPDX-License-Identifier: MIT
"""Ways to write into another process; runs all of them in the directory given.

Each way runs in a child of its own. A line of the output is the name of the way, the id
of its process, and what it wrote to: process, thread, address, mapped file; or "unable"
where the machine does not let it.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import mmap
import os
import shutil
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from support.ring import OP_OPENAT, QuietRing, Ring

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
PTRACE, PROCESS_VM_READV, PROCESS_VM_WRITEV = 101, 310, 311
PTRACE_32, PROCESS_VM_WRITEV_32 = 26, 348
TRACEME, PEEKTEXT, PEEKDATA, PEEKUSER, POKETEXT, POKEDATA, POKEUSER = range(7)
GETREGS, SETREGS, GETFPREGS, SETFPREGS = 12, 13, 14, 15
GETREGSET, SETREGSET, SEIZE, INTERRUPT = 0x4204, 0x4205, 0x4206, 0x4207
GET_SYSCALL_INFO, SET_SYSCALL_INFO = 0x420E, 0x4212
PTRACE_SYSCALL, SETOPTIONS, TRACE_GOOD, EXIT_KILL = 24, 0x4200, 1, 0x100000
NT_PRSTATUS, NT_FPREGS = 1, 2
RIP, DEBUG_REGISTER = 16 * 8, 848  # in struct user
CLONE_NEWNS, CLONE_NEWPID = 0x20000, 0x20000000
MS_REC_PRIVATE = 0x44000
NOBODY = 65534
UNABLE = 42  # exit status
WORD = b"\x90" * 8


class Written(NamedTuple):
    """What a way has written to. `actor` is 0 where it is the process of the way."""

    target: int
    thread: int = 0
    address: int = 0
    module: str = "-"
    actor: int = 0


Way = Callable[[], Written | None]
#: The ways by their names.
WAYS: dict[str, Way] = {}


def way(function: Way) -> Way:
    WAYS[function.__name__] = function
    return function


def ptrace(request: int, pid: int, address: int = 0, data: object = 0) -> int:
    """Call ptrace(2) itself; the function of the C library does more."""
    words = (ctypes.c_long(each) for each in (PTRACE, request, pid, address))
    pointer = ctypes.c_long(data) if isinstance(data, int) else data
    return int(LIBC.syscall(*words, pointer))


def child(act: Callable[[], object] = signal.pause) -> int:
    pid = os.fork()
    if pid == 0:
        act()
        os._exit(0)
    return pid


def traced(act: Callable[[], object] = signal.pause) -> int:
    """Make a child that stands still, traced by this process."""
    pid = child(act)
    stop(pid)
    return pid


def stop(pid: int) -> None:
    assert ptrace(SEIZE, pid, 0, EXIT_KILL) == 0
    assert ptrace(INTERRUPT, pid) == 0
    os.waitpid(pid, 0x40000000)  # __WALL


class Mapping(NamedTuple):
    """A line of /proc/PID/maps."""

    start: int
    file: str


def mapped(pid: int, kind: str, name: str = "") -> Mapping:
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            words = line.split(maxsplit=5)
            file = words[5].rstrip("\n") if len(words) > 5 else "-"
            if words[1].startswith(kind) and name in file:
                return Mapping(int(words[0].split("-")[0], 16), file)
    raise AssertionError(kind)


def wait_for_program(pid: int, end: str) -> None:
    while not os.readlink(f"/proc/{pid}/exe").endswith(end):
        time.sleep(0.001)


def code(pid: int) -> Mapping:
    """Return where the code of the C library is, 16 bytes into it."""
    found = mapped(pid, "r-xp", "libc")
    return Mapping(found.start + 16, found.file)


def at(pid: int, place: Mapping) -> Written:
    return Written(pid, pid, place.start, place.file)


def a_word(pid: int, address: int) -> bytes:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        return os.pread(memory.fileno(), 8, address)


def spans(*pairs: tuple[int, int]) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(b"".join(struct.pack("=QQ", *e) for e in pairs))


def copy(pid: int, there: ctypes.Array[ctypes.c_char], call: int) -> int:
    """Copy 8 bytes; `there` are the spans of a child, which has the same there."""
    (start,) = struct.unpack_from("=Q", there, len(there) - 17)
    known = ctypes.string_at(start, 8) if start > 0xFFFF else WORD
    buffer = ctypes.create_string_buffer(known, 8)
    here = spans((ctypes.addressof(buffer), 8))
    return int(LIBC.syscall(call, pid, here, 1, there, len(there) // 16, 0))


# --- words written by ptrace


@way
def poke_text() -> Written:
    pid = traced()
    place = code(pid)
    assert ptrace(POKETEXT, pid, place.start, 0x90909090) == 0
    return at(pid, place)


@way
def poke_data_of_stack() -> Written:
    pid = traced()
    start = mapped(pid, "rw-p", "[stack]").start + 0x1000
    ptrace(POKEDATA, pid, start, 1)
    return Written(pid, pid, start)


@way
def poke_another_program() -> Written:
    pid = child(lambda: os.execve("/bin/sleep", ["sleep", "9"], {}))
    wait_for_program(pid, "/sleep")
    stop(pid)
    place = mapped(pid, "r-xp")
    assert ptrace(POKETEXT, pid, place.start, 0x90909090) == 0
    return at(pid, place)


@way
def poke_child_that_asked_for_it() -> Written:
    def ask() -> None:
        ptrace(TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)

    pid = child(ask)
    os.waitpid(pid, os.WUNTRACED)
    place = code(pid)
    assert ptrace(POKETEXT, pid, place.start, 0x90909090) == 0
    return at(pid, place)


@way
def poke_from_thread() -> Written:
    found: list[Written] = []
    thread = threading.Thread(target=lambda: found.append(poke_text()))  # type: ignore[arg-type]  # `way` keeps the function
    thread.start()
    thread.join()
    return found[0]


@way
def poke_second_thread() -> Written:
    reader, writer = os.pipe()

    def two_threads() -> None:
        def tell() -> None:
            os.write(writer, struct.pack("=I", threading.get_native_id()))
            time.sleep(9)

        threading.Thread(target=tell).start()
        signal.pause()

    pid = child(two_threads)
    (tid,) = struct.unpack("=I", os.read(reader, 4))
    stop(tid)
    place = code(pid)
    assert ptrace(POKETEXT, tid, place.start, 0x90909090) == 0
    return Written(pid, tid, *place)


@way
def poke_by_32_bit_call() -> Written:
    low = LIBC.mmap(None, 4096, 3, 0x62, -1, 0)  # MAP_32BIT, and the child has it too
    pid = traced()
    assert call_32(PTRACE_32, POKEDATA, pid, low, 1) == 0
    return Written(pid, pid, low)


@way
def poke_in_pid_namespace() -> Written:
    assert LIBC.unshare(CLONE_NEWPID) == 0
    ready, tell = os.pipe()

    def act() -> None:
        second = traced()
        assert second == 2
        ptrace(POKETEXT, second, code_of_all.start, 1)
        os.write(tell, b"x")
        signal.pause()

    code_of_all = code(os.getpid())
    first = child(act)
    os.read(ready, 1)
    with open(f"/proc/{first}/task/{first}/children", encoding="ascii") as children:
        second = int(children.read())
    return Written(second, second, *code_of_all, actor=first)


@way
def poke_into_overlay() -> Written:
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(name)
    shutil.copy("/bin/sleep", "lower/sl\u00e9\tep")
    assert LIBC.unshare(CLONE_NEWNS) == 0
    LIBC.mount(b"none", b"/", None, MS_REC_PRIVATE, None)
    layers = b"lowerdir=lower,upperdir=upper,workdir=work"
    if LIBC.mount(b"none", b"merged", b"overlay", 0, layers):
        os._exit(UNABLE)
    pid = child(lambda: os.execve("merged/sl\u00e9\tep", ["sleep", "9"], {}))
    wait_for_program(pid, "ep")
    stop(pid)
    place = mapped(pid, "r-xp")
    assert ptrace(POKETEXT, pid, place.start, 0x90909090) == 0
    return Written(pid, pid, place.start, os.path.abspath("merged/sl\u00e9\tep"))


@way
def poke_into_memory_file() -> Written:
    fd = os.memfd_create("a b")
    os.truncate(fd, 4096)
    memory = mmap.mmap(fd, 4096)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    pid = traced()
    assert ptrace(POKEDATA, pid, start + 8, 1) == 0
    return Written(pid, pid, start + 8, "/memfd:a b (deleted)")


@way
def poke_among_many_mappings() -> Written:
    """Make thousands of mappings, so that their tree has several levels."""
    size = 5000
    start = LIBC.mmap(None, size * 8192, 1, 0x22, -1, 0)
    for number in range(size):
        LIBC.mprotect(ctypes.c_void_p(start + number * 8192), 4096, 0)
    fd = os.open("/bin/true", os.O_RDONLY)
    place = start + 4001 * 8192 + 4096
    LIBC.mmap(ctypes.c_void_p(place), 4096, 1, 0x12, fd, 0)
    pid = traced()
    assert ptrace(POKEDATA, pid, place + 8, 1) == 0
    return Written(pid, pid, place + 8, os.path.realpath("/bin/true"))


# --- registers set by ptrace


def registers(pid: int) -> ctypes.Array[ctypes.c_char]:
    found = ctypes.create_string_buffer(27 * 8)
    assert ptrace(GETREGS, pid, 0, found) == 0
    return found


def go_on_at(found: ctypes.Array[ctypes.c_char], address: int) -> None:
    struct.pack_into("=Q", found, RIP, address)


@way
def set_registers() -> Written:
    pid = traced()
    place, found = code(pid), registers(pid)
    go_on_at(found, place.start)
    assert ptrace(SETREGS, pid, 0, found) == 0
    return at(pid, place)


@way
def set_register_set() -> Written:
    pid = traced()
    place, found = code(pid), registers(pid)
    go_on_at(found, place.start)
    one = spans((ctypes.addressof(found), len(found)))
    assert ptrace(SETREGSET, pid, NT_PRSTATUS, one) == 0
    return at(pid, place)


@way
def set_registers_in_part() -> Written:
    """Set one register; where others would be, the caller's memory lies."""
    pid = traced()
    found = registers(pid)
    (address,) = struct.unpack_from("=Q", found, RIP)
    go_on_at(found, 0x4141414141414141)
    one = spans((ctypes.addressof(found), 8))
    assert ptrace(SETREGSET, pid, NT_PRSTATUS, one) == 0
    return Written(pid, pid, address, code(pid).file)


@way
def poke_register() -> Written:
    pid = traced()
    place = code(pid)
    assert ptrace(POKEUSER, pid, RIP, place.start) == 0
    return at(pid, place)


@way
def set_call() -> Written:
    """Change the number of the system call that a child begins."""

    def make_calls() -> None:
        for _ in range(900):
            time.sleep(0.01)

    pid = child(make_calls)
    stop(pid)
    ptrace(SETOPTIONS, pid, 0, TRACE_GOOD | EXIT_KILL)
    ptrace(PTRACE_SYSCALL, pid)
    os.waitpid(pid, 0)
    info = ctypes.create_string_buffer(88)
    assert ptrace(GET_SYSCALL_INFO, pid, len(info), info) > 0
    if ptrace(SET_SYSCALL_INFO, pid, len(info), info):
        os._exit(UNABLE)
    address = struct.unpack_from("=Q", registers(pid), RIP)[0]
    return Written(pid, pid, address, mapped(pid, "r-xp", "libc").file)


# --- memory copied by process_vm_writev


@way
def copy_to() -> Written:
    pid = child()
    place = mapped(pid, "rw-p", "libc")
    assert copy(pid, spans((place.start, 8)), PROCESS_VM_WRITEV) == 8
    return at(pid, place)


@way
def copy_with_empty_spans_first() -> Written:
    pid = child()
    place = mapped(pid, "rw-p", "libc")
    there = spans((0x1000, 0), (0x2000, 0), (place.start, 8))
    assert copy(pid, there, PROCESS_VM_WRITEV) == 8
    return at(pid, place)


@way
def copy_with_many_empty_spans() -> Written:
    pid = child()
    place = mapped(pid, "rw-p", "libc")
    there = spans(*[(0x1000, 0)] * 99, (place.start, 8))
    assert copy(pid, there, PROCESS_VM_WRITEV) == 8
    return Written(pid, pid)


@way
def copy_while_tracing() -> Written:
    pid = traced()
    place = mapped(pid, "rw-p", "libc")
    assert copy(pid, spans((place.start, 8)), PROCESS_VM_WRITEV) == 8
    return at(pid, place)


@way
def copy_by_32_bit_call() -> Written:
    low = LIBC.mmap(None, 4096, 3, 0x62, -1, 0)
    pid = child()
    ctypes.memmove(low, struct.pack("=IIII", low + 64, 8, low + 128, 8), 16)
    words = (PROCESS_VM_WRITEV_32, pid, low, 1, low + 8, 1)
    assert call_32(*words) == 8
    return Written(pid, pid, low + 128)


# --- the file of the memory


def open_memory(flags: int, path: str = "/proc/{}/mem") -> Written:
    pid = child()
    os.close(os.open(path.format(pid, pid), flags))
    return Written(pid, pid)


@way
def open_for_writing() -> Written:
    return open_memory(os.O_WRONLY)


@way
def open_for_both() -> Written:
    return open_memory(os.O_RDWR)


@way
def open_of_thread() -> Written:
    return open_memory(os.O_WRONLY, "/proc/{}/task/{}/mem")


@way
def open_again_for_writing() -> Written:
    pid = child()
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    os.close(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY))
    return Written(pid, pid)


@way
def open_by_other_name() -> Written:
    pid = child()
    assert LIBC.unshare(CLONE_NEWNS) == 0
    LIBC.mount(b"none", b"/", None, MS_REC_PRIVATE, None)
    os.close(os.open("notes.txt", os.O_CREAT | os.O_WRONLY, 0o644))
    memory = f"/proc/{pid}/mem".encode()
    assert LIBC.mount(memory, b"notes.txt", None, 0x1000, None) == 0
    os.close(os.open("notes.txt", os.O_WRONLY))
    return Written(pid, pid)


@way
def open_by_ring() -> Written:
    pid = child()
    with Ring() as ring:
        ring.name(OP_OPENAT, f"/proc/{pid}/mem".encode(), flags=os.O_RDWR)
        assert ring.wait()[0] >= 0
    return Written(pid, pid)


@way
def by_quiet_ring() -> Written:
    """Have io_uring open the memory without an entry of completion."""
    pid = child()
    with QuietRing() as ring:
        ring.name(OP_OPENAT, f"/proc/{pid}/mem".encode(), flags=os.O_WRONLY)
        while not has_memory_open(pid):
            time.sleep(0.001)
    return Written(pid, pid)


def has_memory_open(pid: int) -> bool:
    files = (f"/proc/self/fd/{each}" for each in os.listdir("/proc/self/fd"))
    return f"/proc/{pid}/mem" in map(os.path.realpath, files)


# --- how often


@way
def repeated() -> Written:
    pid = traced()
    place = code(pid)
    for _ in range(200):
        assert ptrace(POKETEXT, pid, place.start, 0x90909090) == 0
    return at(pid, place)


@way
def each_kind() -> Written:
    pid = traced()
    place, found = mapped(pid, "rw-p", "libc"), registers(pid)
    for _ in range(2):
        assert ptrace(SETREGS, pid, 0, found) == 0
        assert ptrace(POKEDATA, pid, place.start, 1) == 0
        assert copy(pid, spans((place.start, 8)), PROCESS_VM_WRITEV) == 8
        os.close(os.open(f"/proc/{pid}/mem", os.O_WRONLY))
    return at(pid, place)


@way
def two_targets() -> Written:
    open_memory(os.O_WRONLY)
    return open_memory(os.O_WRONLY)


@way
def again_after_a_second() -> Written:
    pid = traced()
    place = code(pid)
    assert ptrace(POKETEXT, pid, place.start, 1) == 0
    time.sleep(1.05)
    assert ptrace(POKETEXT, pid, place.start, 1) == 0
    return at(pid, place)


# --- near misses


@way
def by_excluded_program() -> None:
    """Do it with a copy of the interpreter, which the rules exclude."""
    shutil.copy(os.path.realpath(sys.executable), "excluded")
    action = (
        "import os, signal\npid = os.fork()\nif pid == 0: signal.pause()\n"
        "os.close(os.open(f'/proc/{pid}/mem', os.O_WRONLY))\nos.kill(pid, 9)"
    )
    pid = os.fork()
    if pid == 0:
        where = {"PYTHONHOME": sys.base_prefix}
        os.execve("excluded", ["excluded", "-S", "-c", action], where)
    assert os.waitpid(pid, 0)[1] == 0


@way
def read_by_ptrace() -> None:
    pid = traced()
    place, buffer = code(pid), ctypes.create_string_buffer(600)
    assert ptrace(PEEKTEXT, pid, place.start, buffer) == 0
    assert ptrace(PEEKDATA, pid, place.start, buffer) == 0
    assert ptrace(PEEKUSER, pid, RIP, buffer) == 0
    registers(pid)
    one = spans((ctypes.addressof(buffer), 600))
    assert ptrace(GETREGSET, pid, NT_PRSTATUS, one) == 0


@way
def set_no_general_register() -> None:
    pid = traced()
    buffer = ctypes.create_string_buffer(600)
    assert ptrace(GETFPREGS, pid, 0, buffer) == 0
    assert ptrace(SETFPREGS, pid, 0, buffer) == 0
    one = spans((ctypes.addressof(buffer), 512))
    assert ptrace(SETREGSET, pid, NT_FPREGS, one) == 0
    ptrace(POKEUSER, pid, DEBUG_REGISTER, code(pid).start)  # a breakpoint


@way
def read_otherwise() -> None:
    pid = child()
    place = mapped(pid, "rw-p", "libc")
    assert copy(pid, spans((place.start, 8)), PROCESS_VM_READV) == 8
    a_word(pid, place.start)
    os.close(os.open(f"/proc/{pid}/mem", os.O_PATH))
    os.close(os.open(f"/proc/{pid}/comm", os.O_WRONLY))
    os.close(os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY))


@way
def write_into_itself() -> None:
    os.close(os.open("/proc/self/mem", os.O_RDWR))
    os.close(os.open("/proc/thread-self/mem", os.O_RDWR))
    place = mapped(os.getpid(), "rw-p", "libc")
    there = spans((place.start, 0), (place.start, 8))
    word = ctypes.create_string_buffer(a_word(os.getpid(), place.start), 8)
    here = spans((ctypes.addressof(word), 8))
    assert LIBC.syscall(PROCESS_VM_WRITEV, os.getpid(), here, 1, there, 2, 0) == 8


@way
def fail() -> None:
    pid = traced()
    assert ptrace(POKETEXT, pid, 16, 1) == -1
    assert ptrace(POKETEXT, os.getppid(), code(pid).start, 1) == -1
    assert ptrace(SETREGS, pid, 0, 16) == -1
    assert copy(pid, spans((16, 8)), PROCESS_VM_WRITEV) == -1
    assert copy(pid, spans((16, 0)), PROCESS_VM_WRITEV) == 0
    assert copy(0x3FFFFF, spans((16, 8)), PROCESS_VM_WRITEV) == -1
    os.setuid(NOBODY)
    for flags in (os.O_RDWR, os.O_WRONLY):
        try:
            os.open(f"/proc/{pid}/mem", flags)
        except PermissionError:
            continue
        raise AssertionError(flags)


# --- what is not seen


@way
def unseen_by_own_descriptor() -> None:
    """Write into a process that gave its own memory away."""
    here, there = socket.socketpair()

    def give() -> None:
        fd = os.open("/proc/self/mem", os.O_RDWR)
        there.sendmsg([b"x"], [(1, 1, array.array("i", [fd]))])
        signal.pause()

    pid = child(give)
    fd = socket.recv_fds(here, 1, 1)[1][0]
    place = mapped(pid, "rw-p", "libc")
    assert os.pwrite(fd, a_word(pid, place.start), place.start) == 8


@way
def unseen_by_shared_memory() -> None:
    memory = mmap.mmap(-1, 4096)
    reader, writer = os.pipe()

    def wait() -> None:
        os.read(reader, 1)
        assert memory[0] == 0x90

    pid = child(wait)
    memory[0] = 0x90
    os.write(writer, b"x")
    os.waitpid(pid, 0)


def call_32(number: int, *arguments: int) -> int:
    """Make a call of five arguments through `int 0x80`: the 32-bit interface of x86."""
    words = [*arguments, 0, 0, 0, 0, 0][:5]
    text = (struct.pack("=I", each & 0xFFFFFFFF).hex() for each in (number, *words))
    eax, ebx, ecx, edx, esi, edi = text
    # push rbx; push rbp; numbers; xor ebp,ebp; int 0x80; pop rbp; pop rbx; cdqe; ret
    numbers = f"b8{eax} bb{ebx} b9{ecx} ba{edx} be{esi} bf{edi} 31ed"
    made = f"53 55 {numbers} cd80 5d 5b 4898 c3"
    memory = LIBC.mmap(None, 4096, 7, 0x22, -1, 0)
    ctypes.memmove(memory, bytes.fromhex(made), len(bytes.fromhex(made)))
    return int(ctypes.CFUNCTYPE(ctypes.c_long)(memory)())


def take(name: str, act: Way, directory: str) -> None:
    """Run one way in a child, with its children in one group; tell what it did."""
    os.mkdir(f"{directory}/{name}", 0o755)
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.chdir(f"{directory}/{name}")
        try:
            done = act()
        except BaseException as error:
            print(f"{name}: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        words: tuple[object, ...] = (name, os.getpid())
        if done:
            words = (name, done.actor or os.getpid(), *done[:3], repr(done.module))
        print(*words, flush=True)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    code_of_exit = os.waitstatus_to_exitcode(status)
    assert code_of_exit in (0, UNABLE), (name, code_of_exit)
    if code_of_exit == UNABLE:
        print(name, "unable", flush=True)


if __name__ == "__main__":
    for each, function in WAYS.items():
        take(each, function, sys.argv[1])
