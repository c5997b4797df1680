# SPDX-License-Identifier: MIT
"""Loaded programs of which nothing is left but their descriptors.

libbpf keeps the code of all programs of an object file, of which most were not loaded:
1.7 MB for one object. The code is not needed any more once it is known how each program
is attached.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from sysmonlx.bpf.libbpf import BtfPointer, library
from sysmonlx.bpf.object import BpfObject


class HeldPrograms:
    """Programs by name; used as those of a `BpfObject` are."""

    def __init__(self) -> None:
        self._lib = library()
        self._programs: dict[str, int] = {}
        self._attach_kinds: dict[str, int] = {}
        self._links: dict[str, int] = {}
        self.btf = BtfPointer()
        """Pointer to BTF, for `btf.Btf`; null: no more than programs are held."""

    def close(self) -> None:
        """Detach and unload everything."""
        for name in list(self._links):
            self.detach(name)
        for fd in self._programs.values():
            os.close(fd)
        self._programs.clear()

    def _hold(self, name: str, fd: int, attach_kind: int) -> None:
        self._programs[name] = fd
        self._attach_kinds[name] = attach_kind

    def program_fd(self, name: str) -> int:
        """Return the descriptor of a loaded program, -1 when it is not loaded."""
        return self._programs.get(name, -1)

    def attach(self, name: str, cgroup_fd: int = -1) -> None:
        """Attach `name` where it was loaded for, or to the cgroup given.

        Raises:
            LibbpfError: the kernel refuses.
        """
        self._links[name] = self._link(name, max(cgroup_fd, 0))

    def attach_at(self, place: str, name: str, tracepoint: str) -> None:
        """Attach the raw tracepoint program `name`; the link is known as `place`.

        Raises:
            LibbpfError: the kernel refuses, or has no such tracepoint.
        """
        fd = self._programs[name]
        self._links[place] = self._lib.bpf_raw_tracepoint_open(tracepoint.encode(), fd)

    def _link(self, name: str, target: int) -> int:
        fd, kind = self._programs[name], self._attach_kinds[name]
        return int(self._lib.bpf_link_create(fd, target, kind, None))

    def detach(self, name: str) -> None:
        """Detach `name`; nothing happens when it is not attached."""
        link = self._links.pop(name, -1)
        if link >= 0:
            os.close(link)

    def forget(self, name: str) -> None:
        """Know nothing of how `name` is attached: its link's descriptor is not ours."""
        self._links.pop(name, None)

    def link_fd(self, name: str) -> int:
        """Return the descriptor of what holds an attached program at its hook."""
        return self._links[name]

    def attached(self) -> frozenset[str]:
        """Return the names of the programs that were attached."""
        return frozenset(self._links)

    def read_iterator(self, name: str) -> bytes:
        """Run the iterator program `name` once and return what it wrote."""
        link = self._link(name, 0)
        try:
            fd = self._lib.bpf_iter_create(link)
            with os.fdopen(fd, "rb", buffering=0) as iterator:
                return iterator.readall()
        finally:
            os.close(link)


def held_of(found: BpfObject, attach_kinds: Mapping[str, int]) -> HeldPrograms | None:
    """Close an object, and return its programs; None: there are too few descriptors.

    Args:
        found: An object that libbpf has loaded. Nothing of it is attached, and nobody
            uses its maps.
        attach_kinds: How each loaded program is attached, enum bpf_attach_type.
    """
    held = HeldPrograms()
    try:
        for name, kind in attach_kinds.items():
            held._hold(name, os.dup(found.program_fd(name)), kind)
    except OSError:
        held.close()
        return None
    found.close()
    return held
