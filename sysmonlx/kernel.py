# SPDX-License-Identifier: MIT
"""What the running kernel offers, asked of its BTF and of /proc."""

from __future__ import annotations

import os

from sysmonlx.btf import Btf, Kind
from sysmonlx.errors import CaptureError, LibbpfError
from sysmonlx.libbpf import library


def facts_of_kernel(btf_path: str) -> dict[str, bool]:
    """Return the switches of compat.bpf.h that the running kernel's BTF decides.

    Raises:
        CaptureError: there is none.
    """
    lib = library()
    try:
        if btf_path:
            pointer = lib.btf__parse(os.fsencode(btf_path), None)
        else:
            pointer = lib.btf__load_vmlinux_btf()
    except LibbpfError as error:
        raise CaptureError(
            "this kernel gives no BTF (/sys/kernel/btf/vmlinux): "
            "name a file that has it with -btf FILE"
        ) from error
    btf = Btf(lib, pointer)
    try:
        return {
            "has_bpf_loop": "BPF_FUNC_loop" in btf.enumerators("bpf_func_id"),
            "has_rdonly_cast": btf.has("bpf_rdonly_cast", Kind.FUNC),
        }
    finally:
        lib.btf__free(pointer)


def cgroup2_mount() -> str:
    """Return where the cgroup2 hierarchy is mounted, from proc_pid_mountinfo(5).

    Raises:
        FileNotFoundError: nowhere.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            mount, _, filesystem = line.partition(" - ")
            if filesystem.startswith("cgroup2 "):
                return mount.split()[4].encode().decode("unicode_escape")
    raise FileNotFoundError(2, "no cgroup2 file system is mounted")
