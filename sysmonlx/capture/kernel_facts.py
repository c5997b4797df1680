# SPDX-License-Identifier: MIT
"""The abilities of the running kernel, found in its BTF and in /proc."""

from __future__ import annotations

import os

from sysmonlx.bpf.btf import Btf, Kind
from sysmonlx.bpf.libbpf import BtfPointer, library
from sysmonlx.errors import CaptureError, LibbpfError


def facts_of_kernel(btf_path: str) -> dict[str, bool]:
    """Return what the kernel's BTF tells of it, by name.

    Those that programs ask for are the switches of kernel/compat.bpf.h.

    `btf_path` names a file with that BTF; empty: the running kernel is asked.

    Raises:
        CaptureError: there is no BTF, or it cannot be read.
    """
    lib = library()
    pointer: BtfPointer
    try:
        if btf_path:
            pointer = lib.btf__parse(os.fsencode(btf_path), None)
        else:
            pointer = lib.btf__load_vmlinux_btf()
    except LibbpfError as error:
        raise CaptureError(_no_btf(btf_path, error)) from error
    btf = Btf(lib, pointer)
    try:
        return {
            "has_bpf_loop": "BPF_FUNC_loop" in btf.enumerators("bpf_func_id"),
            "has_rdonly_cast": btf.has("bpf_rdonly_cast", Kind.FUNC),
            "has_ctime_tracepoints": btf.has("btf_trace_ctime_ns_xchg", Kind.TYPEDEF),
            "has_ring_work_tracepoints": btf.has(
                "btf_trace_io_uring_local_work_run", Kind.TYPEDEF
            ),
            "has_submit_req_tracepoint": btf.has(
                "btf_trace_io_uring_submit_req", Kind.TYPEDEF
            ),
            "has_completion_argument": _has_completion(btf),
        }
    finally:
        lib.btf__free(pointer)


def _no_btf(path: str, error: LibbpfError) -> str:
    """Return what is wrong with the file at `path`, or with the running kernel."""
    if path:
        reason = str(error).rpartition(": ")[2]
        return (
            f"{path} gives no BTF ({reason}): name another with -btf, or leave it out"
        )
    return (
        "this kernel gives no BTF (/sys/kernel/btf/vmlinux, which a container needs of"
        " the host): name a file that has it with -btf FILE"
    )


def _has_completion(btf: Btf) -> bool:
    """Say whether io_uring_complete gives a completion, and not its members."""
    name = "btf_trace_io_uring_complete"
    if not btf.has(name, Kind.TYPEDEF):
        return False
    function = btf.pointed(btf.find(name, Kind.TYPEDEF))
    # Before the tracepoint's own arguments comes what belongs to the program.
    _, *arguments = map(btf.pointed, btf.parameters(function))
    return len(arguments) == 3 and btf.type(arguments[2]).name == "io_uring_cqe"


def cgroup2_mount(mounts: str = "/proc/self/mountinfo") -> str:
    """Return where the cgroup2 hierarchy is mounted, from proc_pid_mountinfo(5).

    As a whole if it is somewhere; where something else covers it, it is not reached.

    Raises:
        FileNotFoundError: nowhere.
    """
    return _cgroup2(mounts)[1]


def cgroup_remarks(is_first: bool, mounts: str = "/proc/self/mountinfo") -> list[str]:
    """Return what a part of the hierarchy keeps from us, a line at most.

    `is_first`: this process is in the machine's own cgroup namespace. In another one,
    what is above its root shows as "/..".
    """
    try:
        root, path = _cgroup2(mounts)
    except OSError:
        return []  # the programs that need it say so
    if is_first or root.startswith("/.."):
        return []
    return [
        "NetworkConnect of UDP of other containers (a cgroup namespace of its own:"
        f" mount the host's /sys/fs/cgroup beside {path})"
    ]


def _cgroup2(mounts: str) -> tuple[str, str]:
    """Return root and place of the mount that reaches farthest up."""
    with open(mounts, encoding="utf-8", errors="replace") as file:
        found = [line.split() for line in file if " - cgroup2 " in line]
    reached = [
        (-root.count("/.."), root != "/", path, root)
        for _, _, device, root, name, *_ in found
        for path in (name.encode().decode("unicode_escape"),)
        if _device_at(path) == device
    ]
    if not reached:
        raise FileNotFoundError(
            2, "no cgroup2 file system is mounted; a container needs the host's"
        )
    *_, path, root = min(reached)
    return root, path


def shared_memory_device(path: str = "/dev/shm") -> int:
    """Return the kernel's dev_t of the file system for shared memory; 0: it has none.

    That is so where the directory is a part of another file system, or is not there.
    """
    try:
        device, above = os.stat(path).st_dev, os.stat(f"{path}/..").st_dev
    except OSError:
        return 0
    return 0 if device == above else os.major(device) << 20 | os.minor(device)


def _device_at(path: str) -> str:
    """Return "major:minor" of what is there, "" for nothing; spelt as in mountinfo."""
    try:
        device = os.stat(path.encode().decode("unicode_escape")).st_dev
    except OSError:
        return ""
    return f"{os.major(device)}:{os.minor(device)}"
