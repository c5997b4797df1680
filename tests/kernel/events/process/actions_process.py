# SPDX-License-Identifier: MIT
"""Ways to become another program; each runs as `actions_process.py NAME MARKER`.

The program that is run waits for the end of its standard input, so that a test can
compare what was reported with what /proc says. MARKER is among its arguments.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

SHELL = "/bin/sh"
WAIT = "read x"
LIBC = ctypes.CDLL(None, use_errno=True)
AT_EMPTY_PATH = 0x1000
EXECVEAT = {"x86_64": 322, "aarch64": 281}[os.uname().machine]
CLONE = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
CLONE_PARENT = 0x8000  # <linux/sched.h>


def arguments(*more: str) -> list[str]:
    return ["sh", "-c", WAIT, "sh", MARKER, *more]


def wait_for(pid: int) -> None:
    os.waitpid(pid, 0)


def in_child(act: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        act()
        os._exit(1)
    wait_for(pid)


def shell_copy(name: str) -> str:
    return shutil.copy(SHELL, name)


def exec_from_thread() -> None:
    thread = threading.Thread(target=os.execv, args=(SHELL, arguments()))
    thread.start()
    thread.join()


def exec_from_thread_among_many() -> None:
    stop = threading.Event()
    for _ in range(23):
        threading.Thread(target=stop.wait, daemon=True).start()
    exec_from_thread()


def vfork() -> None:
    subprocess.run(arguments(), executable=SHELL)


def posix_spawn() -> None:
    wait_for(os.posix_spawn(SHELL, arguments(), os.environ))


def fork_exec() -> None:
    in_child(lambda: os.execv(SHELL, arguments()))


def execveat() -> None:
    folder = os.open("/bin", os.O_RDONLY)
    in_child(lambda: _execveat(folder, b"sh", 0))


def execveat_descriptor() -> None:
    program = os.open(SHELL, os.O_RDONLY)
    in_child(lambda: _execveat(program, b"", AT_EMPTY_PATH))


def _execveat(fd: int, path: bytes, flags: int) -> None:
    argv = [each.encode() for each in arguments()]
    vector = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
    empty = (ctypes.c_char_p * 1)(None)
    LIBC.syscall(EXECVEAT, fd, path, vector, empty, flags)


def memfd() -> None:
    fd = os.memfd_create("in memory")
    with open(SHELL, "rb") as source:
        os.write(fd, source.read())
    in_child(lambda: os.execve(fd, arguments(), {}))


def script() -> None:
    _write_script("script", f"#!{SHELL}\n{WAIT}\n")
    in_child(lambda: os.execv("script", ["script", MARKER]))


def nested_script() -> None:
    _write_script("inner", f"#!{SHELL}\n{WAIT}\n")
    _write_script("outer", f"#!{os.path.abspath('inner')} one two\n")
    in_child(lambda: os.execv("./outer", ["outer", MARKER]))


def _write_script(name: str, text: str) -> None:
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(name, 0o755)


def deleted() -> None:
    fd = os.open(shell_copy("gone"), os.O_RDONLY)
    os.unlink("gone")
    in_child(lambda: os.execve(fd, arguments(), {}))


def renamed() -> None:
    fd = os.open(shell_copy("before"), os.O_RDONLY)
    os.rename("before", "after")
    in_child(lambda: os.execve(fd, arguments(), {}))


def symbolic_link() -> None:
    os.mkdir("real")
    os.symlink("real", "link")
    shell_copy("real/shell")
    os.symlink("shell", "real/alias")
    in_child(lambda: os.execv("link/alias", arguments()))


def relative() -> None:
    os.chdir("/usr")
    in_child(lambda: os.execv("bin/../bin/sh", arguments()))


def chroot() -> None:
    _bind_root("newroot")
    in_child(_enter_chroot)


def _enter_chroot() -> None:
    os.chroot("newroot")
    os.chdir("/usr")
    os.execv(SHELL, arguments())


def _bind_root(name: str) -> None:
    os.mkdir(name)
    subprocess.run(["mount", "--bind", "/", name], check=True)


def bind_mounted_file() -> None:
    shell_copy("original")
    open("mounted", "wb").close()
    subprocess.run(["mount", "--bind", "original", "mounted"], check=True)
    in_child(lambda: os.execv("mounted", arguments()))


def own_mount() -> None:
    os.mkdir("mnt")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "mnt"], check=True)
    os.mkdir("mnt/folder")
    shell_copy("mnt/folder/shell")
    os.chdir("mnt/folder")
    in_child(lambda: os.execv("./shell", arguments()))


def deleted_folder() -> None:
    os.mkdir("folder")
    os.chdir("folder")
    os.rmdir("../folder")
    in_child(lambda: os.execv(SHELL, arguments()))


def long_folder() -> None:
    for level in range(15):
        name = f"{level:02d}" + "x" * 238
        os.mkdir(name)
        os.chdir(name)
    in_child(lambda: os.execv(SHELL, arguments()))


def deep_image() -> None:
    path = "/".join(f"q{level}" for level in range(120))
    os.makedirs(path)
    shell_copy(f"{path}/shell")
    in_child(lambda: os.execv(f"{path}/shell", arguments()))


def set_user() -> None:
    in_child(lambda: _exec_as(54321))


def _exec_as(uid: int) -> None:
    os.setgid(uid)
    os.setuid(uid)
    os.execv(SHELL, arguments())


def many_arguments() -> None:
    more = [f"arg{each:05d}" + "y" * 80 for each in range(170)]
    in_child(lambda: os.execv(SHELL, arguments(*more)))


def unicode_arguments() -> None:
    more = ("héllo wörld", "日本語", "emoji😀", "", "quote'\"x", "a\tb\nc", "<&>")
    in_child(lambda: os.execv(SHELL, arguments(*more)))


def exec_chain() -> None:
    code = f"exec /bin/sh -c 'exec sh -c \"{WAIT}\" sh {MARKER}'"
    in_child(lambda: os.execv("/bin/bash", ["bash", "-c", code]))


def own_pid_namespace() -> None:
    command = ["unshare", "--pid", "--fork", *arguments()]
    subprocess.run(command)


def double_fork() -> None:
    """The parent of the program has ended when it begins."""
    go, pid = _parent_of_waiting()
    wait_for(pid)
    print(pid, flush=True)
    os.close(go)
    sys.stdin.read()


def double_fork_long_ago() -> None:
    """The parent has ended, and a thousand processes after it."""
    go, pid = _parent_of_waiting()
    _run_long_after(go, pid)


def parent_of_other_programs() -> None:
    """The parent has run two programs since it forked."""
    command = ["sh", "-c", "exec sleep 1000"]
    go, pid = _parent_of_waiting(lambda: os.execv(SHELL, command))
    while Path(f"/proc/{pid}/comm").read_text() != "sleep\n":
        time.sleep(0.01)
    print(pid, flush=True)
    os.close(go)
    sys.stdin.read()
    os.kill(pid, signal.SIGKILL)


def sibling() -> None:
    """The program's process is no child of the one that made it, long ago."""
    go, pid = _parent_of_waiting(
        fork=lambda: LIBC.syscall(CLONE, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    )
    _run_long_after(go, pid)


def _run_long_after(go: int, pid: int) -> None:
    """Let the program run when a thousand processes have ended after its parent."""
    wait_for(pid)
    for _ in range(1000):
        in_child(lambda: os._exit(0))
    print(pid, flush=True)
    os.close(go)
    sys.stdin.read()


def _parent_of_waiting(
    then: Callable[[], None] = lambda: os._exit(0), fork: Callable[[], int] = os.fork
) -> tuple[int, int]:
    """Make a process whose child runs the program when the descriptor is closed.

    Return the descriptor and the process, which goes on with `then`.
    """
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        if fork() == 0:
            os.read(ready, 1)
            os.execv(SHELL, arguments())
        then()
    return go, pid


def subshell() -> None:
    """A process that was forked only, and its child."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        in_child(lambda: os.execv(SHELL, arguments()))
        os._exit(0)
    os.close(write)
    os.close(read)
    print(pid, flush=True)
    wait_for(pid)


def prefork_threads() -> None:
    """A server: workers forked by a thread, each runs a program from a thread."""

    def serve() -> None:
        pid = os.fork()
        if pid == 0:
            thread = threading.Thread(target=fork_exec)
            thread.start()
            thread.join()
            os._exit(0)
        print(pid, flush=True)
        wait_for(pid)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()


def leader_first() -> None:
    """The first thread ends before the others."""
    libc = LIBC

    def rest() -> None:
        os.write(1, b"%d\n" % os.getpid())
        os.read(0, 1)
        os._exit(7)

    for _ in range(7):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    threading.Thread(target=rest, daemon=True).start()
    libc.pthread_exit(None)


def run_many() -> None:
    """Run COUNT programs, one after another, with SIZE bytes of arguments each."""
    count, size = int(os.environ["COUNT"]), int(os.environ["SIZE"])
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pids = []
    for number in range(count):
        line = f"{MARKER} {number} ".ljust(size, "y")
        pids.append(os.posix_spawn("/bin/true", ["true", line], {}))
        wait_for(pids[-1])
    print(*pids)


def fork_many() -> None:
    """Make COUNT processes that run no program."""
    pids = []
    for _ in range(int(os.environ["COUNT"])):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        pids.append(pid)
        if len(pids) % 100 == 0:
            reap()
    reap()
    print(*pids)


def reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def end_with_threads() -> None:
    """Make COUNT processes whose eight threads end at once, or one ends them all."""
    pids = []
    for number in range(int(os.environ["COUNT"])):
        pid = os.fork()
        if pid == 0:
            _end_threads(by_group=number % 2 == 0)
        pids.append(pid)
        wait_for(pid)
    print(*pids)


def _end_threads(*, by_group: bool) -> None:
    barrier = threading.Barrier(8)
    for _ in range(7):
        threading.Thread(target=barrier.wait, daemon=True).start()
    barrier.wait()
    if by_group:
        os._exit(3)
    LIBC.pthread_exit(None)


if __name__ == "__main__":
    MARKER = sys.argv[2] if len(sys.argv) > 2 else os.environ["MARKER"]
    globals()[sys.argv[1]]()
