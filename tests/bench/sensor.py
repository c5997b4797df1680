# SPDX-License-Identifier: MIT
"""The program under test: its real daemon, with a root and a log socket of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from support.cpu import cpu_ns

from sysmonlx.config.reader import read_policy
from sysmonlx.config.rule_files import with_packs
from sysmonlx.policy import RULE_NAMES
from sysmonlx.schema.events import EVENTS
from sysmonlx.schema.options import NAMESPACE
from sysmonlx.service import control
from sysmonlx.service.installed import ROOT_VARIABLE, Paths

REPOSITORY = Path(__file__).resolve().parents[2]
MAIN_XML = REPOSITORY / "tests/data/configs/main.xml"
#: Compiled modules, which an installation has beside the sources.
_BYTECODE = REPOSITORY / "build/bytecode"
_DEADLINE_S = 20.0
_SYSMON = '<Sysmon schemaversion="4.90"><EventFiltering>{}</EventFiltering></Sysmon>'
_INCLUDE_ALL = '<{} onmatch="exclude"/>'
_INCLUDE_NONE = '<{} onmatch="include"/>'

#: Tags in the order of the catalogue, each once.
_TAGS = tuple(dict.fromkeys(event.tag for event in EVENTS if event.tag))

#: Fields of ours that a configuration may name.
_FIELDS = tuple(
    dict.fromkeys(
        field.name
        for event in EVENTS
        for field in event.appended
        if field.name != RULE_NAMES
    )
)


def rules(wanted: tuple[str, ...]) -> str:
    """Return a configuration that reports all events with these tags, and no others."""
    elements = [
        (_INCLUDE_ALL if tag in wanted else _INCLUDE_NONE).format(tag) for tag in _TAGS
    ]
    return _SYSMON.format("".join(elements))


def configurations() -> dict[str, str]:
    """Return the text of each configuration that is compared."""
    return {
        "nothing": rules(()),
        "ProcessCreate only": rules(("ProcessCreate",)),
        "main.xml": MAIN_XML.read_text("utf-8"),
        "everything": rules(_TAGS),
    }


def all_fields() -> str:
    """Return a configuration with every event, every field, and names of hosts."""
    own = f"<Fields>{','.join(_FIELDS)}</Fields>"
    names = "<EventFiltering>", "<DnsLookup>true</DnsLookup><EventFiltering>"
    return with_settings(rules(_TAGS), own).replace(*names)


def with_sink(text: str, sink: Path) -> str:
    """Return a configuration whose lines go to a log socket."""
    return with_settings(
        text, f'<Sink kind="syslog" form="xml">{sink}</Sink><Budget>0</Budget>'
    )


def with_settings(text: str, own: str) -> str:
    """Return a configuration with more settings of our own."""
    if "</Settings>" in text:
        return text.replace("</Settings>", f"{own}</Settings>")
    settings = f'<Settings xmlns="{NAMESPACE}">{own}</Settings>'
    return text.replace("</Sysmon>", settings + "</Sysmon>")


class Sensor:
    """A daemon, started as a service manager would, from a stored policy."""

    def __init__(self, root: Path, configuration: str) -> None:
        self.root = root
        self.paths = Paths(root)
        self._config = root / "bench.xml"
        root.mkdir(mode=0o700)
        self.paths.create_private()
        self._config.write_text(configuration)
        policy, _ = read_policy(configuration.encode(), os.fspath(self._config))
        policy, _ = with_packs(policy)
        self.paths.write(self.paths.policy_file, policy.to_json().encode())

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Start; stop and remove it all behind the block, whatever happens there."""
        try:
            self.start()
            try:
                yield self
            finally:
                self.stop()
        finally:
            self.remove()

    def start(self, *words: str) -> float:
        """Start, wait until it captures, return how many seconds that took."""
        address = self.root / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(os.fspath(address))
            environment = {
                **os.environ,
                ROOT_VARIABLE: os.fspath(self.root),
                "NOTIFY_SOCKET": os.fspath(address),
                "PYTHONPYCACHEPREFIX": os.fspath(_BYTECODE),
            }
            environment.pop("PYTHONDONTWRITEBYTECODE", None)
            start = time.perf_counter()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sysmonlx", *(words or ("-service",))],
                env=environment,
                cwd=REPOSITORY,
                stdout=subprocess.DEVNULL,
            )
            while not (state := self._state(ready)).startswith(b"READY"):
                if state.startswith(b"STATUS"):
                    raise RuntimeError(state.decode())
            took_s = time.perf_counter() - start
        address.unlink()
        return took_s

    def _state(self, ready: socket.socket) -> bytes:
        ready.settimeout(0.2)
        end = time.monotonic() + _DEADLINE_S
        while time.monotonic() < end and self._process.poll() is None:
            with suppress(TimeoutError):
                return ready.recv(4096)
        raise RuntimeError("the daemon did not become ready")

    def start_with_configuration(self) -> float:
        """The same with the configuration read anew, as `-t -i FILE` does."""
        return self.start("-accepteula", "-t", "-i", os.fspath(self._config))

    @property
    def pid(self) -> int:
        """Process id of the daemon."""
        return self._process.pid

    def check(self) -> None:
        """Raise RuntimeError when the daemon has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the daemon ended: {self._process.returncode}")

    def stats(self) -> dict[str, Any]:
        """Return the daemon's own counters."""
        return dict(control.counters(self.paths.control_socket))

    def cpu_s(self) -> float:
        """Return the processor time of the daemon, with that of ended threads."""
        return cpu_ns(self.pid) / 1e9

    def wakes(self) -> int:
        """Return how often the daemon's first thread has gone to sleep of its own."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    def memory_kib(self) -> dict[str, int]:
        """Return "Rss" and its parts from smaps_rollup, proc_pid_smaps(5)."""
        sizes = {}
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, value, *_ = line.split()
            sizes[name.rstrip(":")] = int(value)
        return sizes

    def stop(self) -> None:
        """End it as a service manager would."""
        self._process.terminate()
        self._process.wait(_DEADLINE_S)

    def remove(self) -> None:
        """Delete its files."""
        shutil.rmtree(self.root, ignore_errors=True)
