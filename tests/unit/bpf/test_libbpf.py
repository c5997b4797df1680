# SPDX-License-Identifier: MIT
"""The tables of libbpf's functions: what is passed has the type that is expected."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import pytest

from sysmonlx.bpf import libbpf
from sysmonlx.bpf.libbpf import (
    FUNCTIONS,
    BtfPointer,
    LinkPointer,
    MapPointer,
    ObjectPointer,
    ProgramPointer,
    library,
    take_log,
)
from sysmonlx.errors import LibbpfError

POINTERS = (ObjectPointer, ProgramPointer, MapPointer, LinkPointer, BtfPointer)
#: Functions whose first argument is one of the pointers.
TYPED = {
    name: arguments[0]
    for name, (_, arguments, _) in FUNCTIONS.items()
    if arguments and arguments[0] in POINTERS
}


def test_every_method_of_a_struct_takes_its_pointer() -> None:
    assert len(TYPED) > 30
    methods = {name for name in FUNCTIONS if "__" in name}
    assert methods - TYPED.keys() == {
        *("bpf_object__open_file", "btf__load_vmlinux_btf", "btf__parse", "btf__new")
    }


@pytest.mark.parametrize("name", sorted(TYPED))
def test_another_pointer_or_a_number_is_refused(name: str) -> None:
    """Nothing is called: ctypes looks at the arguments first."""
    _, arguments, _ = FUNCTIONS[name]
    others: list[Any] = [each() for each in POINTERS if each is not TYPED[name]]
    for wrong in (*others, 1, b"", ctypes.c_void_p(1)):
        with pytest.raises(ctypes.ArgumentError, match="argument 1"):
            getattr(library(), name)(wrong, *[0 for _ in arguments[1:]])


def test_messages_of_libbpf_are_kept_by_thread() -> None:
    take_log()
    logs: list[str] = []

    def fail() -> None:
        with pytest.raises(LibbpfError) as caught:
            library().bpf_object__open_file(b"/nowhere/x.o", None)
        logs.append(caught.value.log)

    libbpf._own.log.append("of the main thread\n")
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert "/nowhere/x.o" in logs[0]
    assert "main thread" not in logs[0]
    assert take_log() == "of the main thread\n"
