# SPDX-License-Identifier: MIT
"""Records made by an eBPF program, put into the ring of a running daemon.

So the daemon's side alone is measured: no process is really made, and the reader never
waits for the machine. The ring is not filled beyond three quarters, so nothing is lost.
"""

from __future__ import annotations

import os
import struct
import time
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from bench.sensor import REPOSITORY, Sensor
from support.dns_server import V4, answer, question

from sysmonlx.bpf.btf import Btf
from sysmonlx.bpf.libbpf import library, run_program
from sysmonlx.bpf.object import BpfMap, BpfObject
from sysmonlx.bpf.ringbuffer import RingBuffer
from sysmonlx.capture.loader import OBJECT
from sysmonlx.capture.records import Layouts
from sysmonlx.host.file_identity import FileId, _filesystem_type, file_id

PRODUCER = REPOSITORY / "build/producer_test.bpf.o"
_ROUNDS = 64
_TEMPLATES = 4
_TEMPLATE_SIZE = 2048
_RING_BUFFER, _PER_CPU_ARRAY = 27, 6  # enum bpf_map_type
_FIRST_TGID = 1 << 23  # above every pid_max
_UNSET = 0xFFFFFFFF
_ARGUMENTS = b"/usr/bin/true\0--with\0an=argument\0of-the-usual\0length\0"


def _maps_of(pid: int) -> dict[tuple[int, int], int]:
    """Return the ids of a process's BPF maps by (type, value size)."""
    found = {}
    for each in Path(f"/proc/{pid}/fdinfo").iterdir():
        text = ""
        with suppress(FileNotFoundError):  # closed meanwhile
            text = each.read_text()
        fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        if "map_id" in fields:
            key = int(fields["map_type"]), int(fields["value_size"])
            found[key] = int(fields["map_id"])
    return found


class Producer:
    """Feeds one daemon with the records that `use` was given."""

    def __init__(self, sensor: Sensor) -> None:
        self._sensor = sensor
        with BpfObject(str(OBJECT)) as described:
            self.layouts = Layouts(Btf(library(), described.btf))
        self._object = BpfObject(str(PRODUCER))
        maps = self._object.maps()
        size_bytes = self._share(maps)
        # Room for a whole round is left below the part that all records share.
        self._limit_bytes = size_bytes * 3 // 4 - _TEMPLATES * _TEMPLATE_SIZE
        self._object.load()
        self._ring = RingBuffer(maps["records"].fd, size_bytes)
        self._templates = maps["templates"]
        self._program = self._object.program_fd("produce_rounds")
        self._next_tgid = _FIRST_TGID

    def _share(self, maps: dict[str, BpfMap]) -> int:
        """Take the daemon's ring and counters; return the ring's size in bytes."""
        of_daemon = _maps_of(self._sensor.pid)
        counters = maps["counters"]
        for wanted, key in (
            (maps["records"], (_RING_BUFFER, 0)),
            (counters, (_PER_CPU_ARRAY, _value_size(counters))),
        ):
            fd = library().bpf_map_get_fd_by_id(of_daemon[key])
            wanted.reuse(fd)
            os.close(fd)
        return maps["records"].max_entries

    def close(self) -> None:
        """Unload the program."""
        self._ring.close()
        self._object.close()

    def use(self, *records: bytes, is_of_current: bool = False) -> None:
        """Send these records in each round."""
        for number in range(_TEMPLATES):
            data = records[number] if number < len(records) else b""
            head = struct.pack("=II", len(data), is_of_current)
            value = head + data.ljust(_TEMPLATE_SIZE, b"\0")
            self._templates.update(struct.pack("=I", number), value)

    def feed(self, rounds: int) -> float:
        """Send so many rounds, wait until they are read; return the seconds it took."""
        start = time.perf_counter()
        self.send(rounds)
        while self._has_unread():
            self._sensor.check()
            time.sleep(0.002)
        return time.perf_counter() - start

    def send(self, rounds: int) -> None:
        """Send so many rounds, as there is room for them."""
        left = rounds
        while left > 0:
            context = struct.pack(
                "=IIQ", min(left, _ROUNDS), self._next_tgid, self._limit_bytes
            )
            done = run_program(self._program, context)
            left -= done
            self._next_tgid += done
            if self._next_tgid > _FIRST_TGID + (1 << 30):
                self._next_tgid = _FIRST_TGID
            if done < _ROUNDS:
                self._sensor.check()
                time.sleep(0.002)

    def _has_unread(self) -> bool:
        """Look where the daemon is: to ask costs it, and `fill` is its own reader's."""
        ring = self._ring
        return bool(ring._producer[0] != ring._consumer[0])

    def pair(self) -> tuple[bytes, bytes]:
        """Return exec and exit of /bin/true, forked by this process."""
        image = os.path.realpath(b"/bin/true")
        create = self._encode(
            "process_create",
            exec_id=2,
            **_identity_of(image),
            session_id=_UNSET,
            loginuid=_UNSET,
            parent_uid=os.getuid(),
            mount_namespace=os.stat("/proc/self/ns/mnt").st_ino,
            image=image,
            cwd=os.fsencode(REPOSITORY),
            args=_ARGUMENTS,
            comm=b"true",
        )
        return create, self._encode("process_terminate", exec_id=2)

    def file(self, path: bytes) -> bytes:
        """Return the creation of a file."""
        created = {"created_ns": time.time_ns(), "mode": 0o100644}
        return self._encode("file_create", **created, path=path)

    def connection(self) -> bytes:
        """Return a TCP connection."""
        return self._encode(
            "network_connect",
            source_address=bytes((127, 0, 0, 1)).ljust(16, b"\0"),
            destination_address=bytes((192, 0, 2, 7)).ljust(16, b"\0"),
            source_port=40_000,
            destination_port=443,
            family=2,
            protocol=6,
            initiated=1,
        )

    def library(self) -> bytes:
        """Return that the C library of this process was loaded."""
        path = _path_of(b"/libc.so.6")
        return self._encode(
            "library_load",
            **_identity_of(path),
            mount_namespace=os.stat("/proc/self/ns/mnt").st_ino,
            path=path,
        )

    def answered(self, number: int, uid: int = 0) -> tuple[bytes, bytes]:
        """Return a DNS question of a user and its answer, for an address of its own."""
        asked = question(f"host-{number}.of.a-service.example.org")
        address = ip_address("10.0.0.0") + number
        given = answer(asked)[: -len(V4)] + address.packed
        return self._message(asked, 0, uid), self._message(given, 1, uid)

    def _message(self, data: bytes, is_answer: int, uid: int) -> bytes:
        return self._encode(
            "dns_message",
            uid=uid,
            cookie=1,
            full_length=len(data),
            is_answer=is_answer,
            data=data,
        )

    def _encode(self, record: str, **values: Any) -> bytes:
        layout = self.layouts.by_name[record]
        data = layout.encode(type=self.layouts.number[record], **values)
        at = next(f.offset for f in layout._packed if f.name == "size")
        return data[:at] + struct.pack("=I", len(data)) + data[at + 4 :]


def _path_of(end: bytes) -> bytes:
    """Return the path of a file that this process has mapped."""
    lines = Path("/proc/self/maps").read_bytes().splitlines()
    return next(each.split()[-1] for each in lines if each.endswith(end))


def _identity_of(path: bytes) -> dict[str, int]:
    fd = os.open(path, os.O_PATH)
    found: FileId = file_id(fd)
    filesystem = _filesystem_type(fd)
    os.close(fd)
    return {
        "file_device": found.dev,
        "file_inode": found.ino,
        "file_size": found.size,
        "file_mtime_ns": found.mtime_ns,
        "file_ctime_ns": found.ctime_ns,
        "file_filesystem": filesystem,
    }


def _value_size(of: BpfMap) -> int:
    return int(library().bpf_map__value_size(of._pointer))
