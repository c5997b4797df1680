# SPDX-License-Identifier: MIT
"""Ways to run what no file system keeps; runs all of them in the directory given.

Each way runs in a child with a directory of its own. A line of the output is the name
of a way and the id of its process, or "unable" where the machine does not let it.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import struct
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from support.ways import (
    CLONE_NEWNS,
    LIBC,
    UNABLE,
    WAYS,
    mount,
    own_mounts,
    take,
    way,
)

TRUE = "/bin/true"
SCRIPT = f"#!{TRUE}\n".encode()
CLONE_NEWUSER = 0x10000000
MS_BIND = 0x1000
PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_MM = 4, 15, 35
PR_SET_MM_ARG_START, PR_SET_MM_EXE_FILE, PR_SET_MM_MAP = 8, 13, 14
NOBODY = 65534


def run(program: int | str) -> None:
    """Run a program by its path or descriptor; it does not come back."""
    os.execve(program, ["true"], {})


def in_memory(content: bytes, *, flags: int = 0) -> int:
    fd = os.memfd_create("payload", flags)
    os.write(fd, content)
    return fd


def program() -> bytes:
    return Path(TRUE).read_bytes()


def opened(path: str, content: bytes) -> int:
    """Make an executable file; return a descriptor to read it."""
    Path(path).write_bytes(content)
    os.chmod(path, 0o755)
    fd = os.open(path, os.O_RDONLY)
    os.set_inheritable(fd, True)  # else no interpreter could open the descriptor
    return fd


def deleted(content: bytes) -> int:
    fd = opened("gone", content)
    os.unlink("gone")
    return fd


# --- images in memory


@way
def memfd() -> None:
    run(in_memory(program()))


@way
def memfd_closed_on_exec() -> None:
    run(in_memory(program(), flags=os.MFD_CLOEXEC))


@way
def memfd_by_path() -> None:
    run(f"/proc/self/fd/{in_memory(program())}")


@way
def memfd_of_parent() -> None:
    fd = in_memory(program())
    if os.fork():
        os.wait()
        os._exit(0)
    path = f"/proc/{os.getppid()}/fd/{fd}"
    print("memfd_of_parent", os.getpid(), flush=True)
    os.close(fd)
    run(path)


@way
def memfd_by_link() -> None:
    os.symlink(f"/proc/self/fd/{in_memory(program())}", "link")
    run("./link")


@way
def memfd_as_interpreter() -> None:
    fd = in_memory(program())
    opened("script", f"#!/proc/self/fd/{fd}\n".encode())
    run("./script")


@way
def shared_anonymous_memory() -> None:
    content = program()
    memory = mmap.mmap(-1, len(content))
    memory.write(content)
    run(by_mapping(ctypes.addressof(ctypes.c_char.from_buffer(memory))))


@way
def system_v_memory() -> None:
    content = program()
    number = LIBC.shmget(0, len(content), 0o1777)
    address = LIBC.shmat(number, None, 0)
    LIBC.shmctl(number, 0, None)  # IPC_RMID: it goes with the last one who has it
    ctypes.memmove(address, content, len(content))
    run(by_mapping(address))


def by_mapping(address: int) -> str:
    """Return the name of the file behind a mapping of this process."""
    for each in os.listdir("/proc/self/map_files"):
        if int(each.partition("-")[0], 16) == address:
            return f"/proc/self/map_files/{each}"
    raise AssertionError("no such mapping")


# --- images in shared memory


@way
def shm() -> None:
    run(shutil.copy(TRUE, f"{SHM}/true"))


@way
def shm_by_descriptor() -> None:
    run(opened(f"{SHM}/true", program()))


@way
def shm_named_as_memfd() -> None:
    run(shutil.copy(TRUE, f"{SHM}/memfd:true"))


@way
def shm_bound_elsewhere() -> None:
    own_mounts()
    shutil.copy(TRUE, f"{SHM}/true")
    mount(SHM, "mnt", "", MS_BIND)
    run("mnt/true")


@way
def shm_of_container() -> None:
    own_mounts()
    mount("shm", "mnt", "tmpfs")
    run(shutil.copy(TRUE, "mnt/true"))


@way
def shm_of_own_mount() -> None:
    own_mounts()
    mount("tmpfs", "/dev/shm", "tmpfs")
    run(shutil.copy(TRUE, "/dev/shm/true"))


# --- images without a name


@way
def deleted_image() -> None:
    run(deleted(program()))


@way
def deleted_image_with_another_name() -> None:
    fd = opened("gone", program())
    os.link("gone", "other")
    os.unlink("gone")
    run(fd)


@way
def unnamed_image() -> None:
    try:
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o755)
    except OSError:  # not on each file system
        os._exit(UNABLE)
    os.write(fd, program())
    path = f"/proc/self/fd/{fd}"
    reader = os.open(path, os.O_RDONLY)
    os.close(fd)  # what is open for writing cannot be run
    run(reader)


@way
def deleted_by_itself() -> None:
    """Runs a program that its own first run has removed."""
    shutil.copy(TRUE, "again")
    fd = os.open("again", os.O_RDONLY)
    if os.fork() == 0:
        os.unlink("again")
        run(fd)
    os.wait()
    run(fd)


# --- scripts


@way
def script_in_memfd() -> None:
    run(in_memory(SCRIPT))


@way
def script_by_dev_fd() -> None:
    run(f"/dev/fd/{in_memory(SCRIPT)}")


@way
def script_by_proc() -> None:
    run(f"/proc/thread-self/fd/{in_memory(SCRIPT)}")


@way
def script_by_odd_name() -> None:
    run(f"/proc/./self//fd/././/{in_memory(SCRIPT)}")


@way
def script_by_number() -> None:
    os.chdir("/proc/self/fd")
    run(f"{in_memory(SCRIPT)}")


@way
def script_by_number_from_here() -> None:
    os.chdir("/dev/fd/")
    run(f"./{in_memory(SCRIPT)}")


@way
def script_by_folder() -> None:
    os.chdir("/proc/self")
    run(f"fd/{in_memory(SCRIPT)}")


@way
def script_in_folder_by_descriptor() -> None:
    folder, fd = os.open("/proc/self/fd", os.O_RDONLY), in_memory(SCRIPT)
    os.set_inheritable(folder, True)
    words = (ctypes.c_char_p * 2)(b"true", None)
    LIBC.execveat(folder, str(fd).encode(), words, None, 0)


@way
def script_of_parent() -> None:
    fd = in_memory(SCRIPT)
    if os.fork():
        os.wait()
        os._exit(0)
    print("script_of_parent", os.getpid(), flush=True)
    os.close(fd)
    run(f"/proc/{os.getppid()}/fd/{fd}")


@way
def script_deleted() -> None:
    run(deleted(SCRIPT))


@way
def script_in_shm() -> None:
    run(opened(f"{SHM}/script", SCRIPT))


# --- images that are replaced


def unmap_image() -> None:
    """Have anonymous memory in the place of the image, with what it holds.

    The code runs in one call: while a page moves, nobody may run in it.
    """
    image = os.path.realpath("/proc/self/exe")
    rows = b""
    for line in Path("/proc/self/maps").read_text().splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6 and words[5] == image:
            begin, end = (int(each, 16) for each in words[0].split("-"))
            new = LIBC.mmap(None, ctypes.c_size_t(end - begin), 7, 0x22, -1, 0)
            rows += struct.pack("=QQQ", begin, end - begin, new)
    # For each row: copy, then mremap(new, size, size, MAYMOVE | FIXED, begin).
    code = bytes.fromhex(
        "53 55 4889fb 4889f5"
        "488b33 488b7b10 488b4b08 f3a4"
        "488b7b10 488b7308 4889f2 41ba03000000 4c8b03 b819000000 0f05"
        "4883c318 48ffcd 75d0 5d 5b c3"
    )
    native(code)(rows, len(rows) // 24)


def native(code: bytes) -> Callable[..., int]:
    memory = LIBC.mmap(None, 4096, 7, 0x22, -1, 0)
    ctypes.memmove(memory, code, len(code))
    return ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_char_p, ctypes.c_long)(memory)


def prctl(option: int, *arguments: int) -> int:
    words = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0)]
    return int(LIBC.prctl(option, *words[:4]))


def memory_map(fd: int) -> bytes:
    """Return struct prctl_mm_map of this process as it is, with another image."""
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    code, data, heap = stat[23:25], stat[42:44], stat[44]
    stack, rest = stat[25], stat[45:49]
    numbers = map(int, (*code, *data, heap, LIBC.sbrk(0), stack, *rest))
    return struct.pack("=11QQIi", *numbers, 0, 0, fd)


def set_map(fd: int) -> int:
    packed = memory_map(fd)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    return prctl(PR_SET_MM, PR_SET_MM_MAP, ctypes.addressof(buffer), len(packed))


def assert_replaced(result: int) -> None:
    assert result == 0, os.strerror(ctypes.get_errno())
    assert os.readlink("/proc/self/exe") == os.path.realpath(TRUE)


@way
def replaced_by_file() -> None:
    unmap_image()
    result = prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, os.open(TRUE, os.O_RDONLY))
    if result and ctypes.get_errno() == errno.EPERM:
        os._exit(UNABLE)  # without CAP_SYS_RESOURCE
    assert_replaced(result)


@way
def replaced_by_map() -> None:
    unmap_image()
    assert_replaced(set_map(os.open(TRUE, os.O_RDONLY)))


@way
def replaced_by_thread() -> None:
    unmap_image()
    fd, results = os.open(TRUE, os.O_RDONLY), []
    thread = threading.Thread(target=lambda: results.append(set_map(fd)))
    thread.start()
    thread.join()
    assert_replaced(results[0])


@way
def replaced_by_user_in_namespace() -> None:
    unmap_image()
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    if LIBC.unshare(CLONE_NEWUSER) != 0:
        os._exit(UNABLE)
    assert_replaced(set_map(os.open(TRUE, os.O_RDONLY)))


@way
def replaced_by_32_bit_call() -> None:
    unmap_image()
    packed = memory_map(os.open(TRUE, os.O_RDONLY))
    memory = LIBC.mmap(None, 4096, 3, 0x62, -1, 0)  # MAP_32BIT: in the low 2 GiB
    ctypes.memmove(memory, packed, len(packed))
    words = (172, PR_SET_MM, PR_SET_MM_MAP, memory, len(packed))
    eax, ebx, ecx, edx, esi = (struct.pack("=I", each).hex() for each in words)
    # push rbx; five numbers; xor edi,edi; int 0x80; pop rbx; cdqe; ret
    code = f"53 b8{eax} bb{ebx} b9{ecx} ba{edx} be{esi} 31ff cd80 5b 4898 c3"
    assert_replaced(native(bytes.fromhex(code))(b"", 0))


# --- near misses


@way
def ordinary() -> None:
    run(shutil.copy(TRUE, "true"))


@way
def by_descriptor() -> None:
    run(opened("true", program()))


@way
def script() -> None:
    opened("script", SCRIPT)
    run("./script")


@way
def script_by_descriptor() -> None:
    run(opened("script", SCRIPT))


@way
def script_with_number_for_name() -> None:
    fd = in_memory(SCRIPT)
    os.mkdir("fd")
    opened(f"fd/{fd}", SCRIPT)
    run(f"{os.getcwd()}/fd/{fd}")


@way
def script_with_number_here() -> None:
    fd = in_memory(SCRIPT)
    opened(f"{fd}", SCRIPT)
    run(f"./{fd}")


@way
def other_tmpfs() -> None:
    own_mounts()
    mount("tmpfs", "mnt", "tmpfs")
    os.makedirs("mnt/dev/shm")
    run(shutil.copy(TRUE, "mnt/dev/shm/true"))


@way
def root_of_mount() -> None:
    """An image that is the root of a mount has no name there."""
    own_mounts()
    shutil.copy(TRUE, "true")
    opened("place", b"")
    mount("true", "place", "", MS_BIND)
    run("./place")


@way
def memfd_that_is_not_run() -> None:
    os.set_inheritable(in_memory(program()), True)
    run(TRUE)


@way
def upgraded_while_running() -> None:
    """A program whose file is replaced while it runs, and that then starts others."""
    shutil.copy("/bin/sh", "daemon")
    shutil.copy("/bin/sh", "new")
    code = "mv new daemon; rm -f daemon; /bin/true; :"
    os.execve("./daemon", ["daemon", "-c", code], {"PATH": "/usr/bin:/bin"})


@way
def renamed() -> None:
    fd = opened("before", program())
    os.rename("before", "after")
    run(fd)


@way
def image_stays() -> None:
    """Calls of prctl(2) that replace nothing."""
    name = ctypes.create_string_buffer(b"name")
    assert prctl(PR_SET_NAME, ctypes.addressof(name)) == 0
    assert set_map(-1) == 0
    assert set_map(os.open("/", os.O_RDONLY)) == -1  # EACCES: it is no program
    start = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45])
    prctl(PR_SET_MM, PR_SET_MM_ARG_START, start)


# --- what is not seen


@way
def unseen_script_by_link() -> None:
    os.symlink(f"/proc/self/fd/{in_memory(SCRIPT)}", "link")
    run("./link")


@way
def unseen_read_by_interpreter() -> None:
    fd = in_memory(b":\n")
    os.set_inheritable(fd, True)
    os.execve("/bin/sh", ["sh", f"/proc/self/fd/{fd}"], {})


@way
def unseen_by_loader() -> None:
    fd = in_memory(program())
    os.set_inheritable(fd, True)
    loader = Path("/proc/self/maps").read_text().partition("/ld-")[0].split()[-1]
    found = [e for e in os.listdir(loader) if e.startswith("ld-linux")]
    run_with = f"{loader}/{found[0]}"
    os.execve(run_with, ["ld", f"/proc/self/fd/{fd}"], {})


@way
def unseen_own_tmpfs_of_user() -> None:
    os.chmod(".", 0o777)
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    if LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0:
        os._exit(UNABLE)
    prctl(PR_SET_DUMPABLE, 1)  # else /proc/self/uid_map is root's
    Path("/proc/self/setgroups").write_text("deny")
    for each in ("uid_map", "gid_map"):
        Path(f"/proc/self/{each}").write_text(f"0 {NOBODY} 1")
    os.mkdir("mnt")
    mount("tmpfs", "mnt", "tmpfs")
    run(shutil.copy(TRUE, "mnt/true"))


if __name__ == "__main__":
    SHM = tempfile.mkdtemp(dir="/dev/shm", prefix="tampering-")
    os.chmod(SHM, 0o755)
    try:
        for each, function in WAYS.items():
            take(each, function, sys.argv[1])
    finally:
        shutil.rmtree(SHM)
