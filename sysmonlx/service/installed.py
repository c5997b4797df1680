# SPDX-License-Identifier: MIT
"""Where the files of an installation are, and the command line that was stored."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sysmonlx.host.private_files import private_directory, read_file, write_private

ROOT_VARIABLE = "SYSMONLX_ROOT"
_COMMAND_LINE_BYTES = 4 << 20


class Paths:
    """Every place sysmonlx keeps a file in, below `root`.

    `root` is "/" but for packagers and tests, who set SYSMONLX_ROOT.
    """

    # No NamedTuple: the keeper, which stays in memory, does without `typing`.
    __slots__ = ("root",)

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Paths) and self.root == other.root

    def __hash__(self) -> int:
        return hash(self.root)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Paths:
        """Return the paths below SYSMONLX_ROOT, below "/" where it is not set."""
        return cls(Path(environment.get(ROOT_VARIABLE) or "/"))

    @property
    def is_live(self) -> bool:
        """Tell whether these are the machine's own places, not a packager's."""
        return self.root == Path("/")

    @property
    def config_dir(self) -> Path:
        """Directory of the configuration."""
        return self.root / "etc/sysmonlx"

    @property
    def config_file(self) -> Path:
        """Copy of the configuration that is in force."""
        return self.config_dir / "config.xml"

    @property
    def state_dir(self) -> Path:
        """Directory of everything that survives a restart."""
        return self.root / "var/lib/sysmonlx"

    @property
    def policy_file(self) -> Path:
        """The configuration after reading, as JSON."""
        return self.state_dir / "policy.json"

    @property
    def record_id_file(self) -> Path:
        """Counter of EventRecordID."""
        return self.state_dir / "record_id"

    @property
    def numbering_files(self) -> tuple[Path, Path]:
        """Counter of EventRecordID, and the clock of this boot's GUIDs.

        They outlive an uninstallation: no number and no GUID is given twice.
        """
        return self.record_id_file, self.state_dir / "boot_offset"

    @property
    def programs_file(self) -> Path:
        """Programs as the running kernel took them, to start faster; a cache."""
        return self.state_dir / "programs"

    @property
    def command_line_file(self) -> Path:
        """Last command line that set the configuration."""
        return self.state_dir / "command_line"

    @property
    def run_dir(self) -> Path:
        """Directory of what ends with the daemon or the machine."""
        return self.root / "run/sysmonlx"

    @property
    def pid_file(self) -> Path:
        """Process id of the daemon."""
        return self.run_dir / "sysmonlx.pid"

    @property
    def keeper_file(self) -> Path:
        """Process id of the keeper, which takes the place of a service manager."""
        return self.run_dir / "keeper.pid"

    @property
    def notify_socket(self) -> Path:
        """Socket on which the keeper hears from the daemon."""
        return self.run_dir / "notify.sock"

    @property
    def next_id_file(self) -> Path:
        """Counter of EventRecordID as long as the machine runs."""
        return self.run_dir / "record_id"

    @property
    def control_socket(self) -> Path:
        """Socket that `-c`, `-u` and `-stats` speak to; mode 0600."""
        return self.run_dir / "control.sock"

    @property
    def event_sockets(self) -> tuple[Path, Path]:
        """Sockets that readers of events connect to: root's, and that of a group."""
        # The keeper, which stays in memory, needs paths but no policy.
        from sysmonlx.policy import GROUP_SOCKET, ROOT_SOCKET

        return self.root / ROOT_SOCKET[1:], self.root / GROUP_SOCKET[1:]

    @property
    def unit_file(self) -> Path:
        """The systemd unit that `-i` writes."""
        return self.root / "etc/systemd/system/sysmonlx.service"

    @property
    def machine_id_file(self) -> Path:
        """The file of machine-id(5)."""
        return self.root / "etc/machine-id"

    def create_private(self) -> None:
        """Make the three directories of our own, for root only.

        Raises:
            InstallError: one cannot be made, or is not ours alone.
        """
        for path in (self.config_dir, self.state_dir, self.run_dir):
            private_directory(path)

    def write(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        """Replace the file at `path`; see `write_private`."""
        write_private(path, data, mode)


def command_line_bytes(arguments: Sequence[str]) -> bytes:
    """Return a command line as it is kept: each argument followed by NUL."""
    return b"".join(os.fsencode(word) + b"\0" for word in arguments)


def load_command_line(path: Path) -> tuple[str, ...]:
    """Return the command line that was kept, empty when none is."""
    try:
        data = read_file(path, _COMMAND_LINE_BYTES)
    except OSError:
        return ()
    return tuple(map(os.fsdecode, data.split(b"\0")[:-1]))
