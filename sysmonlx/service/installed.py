# SPDX-License-Identifier: MIT
"""What outlives the daemon: where files are, how they are written, the counters."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sysmonlx.errors import InstallError
from sysmonlx.host import root_files

ROOT_VARIABLE = "SYSMONLX_ROOT"
_COUNTER_BYTES = 8
_COUNTER_MASK = (1 << 64) - 1
#: More than any file of ours has; what is larger is not read.
FILE_LIMIT_BYTES = 64 << 20
_COMMAND_LINE_BYTES = 4 << 20
_SMALL_FILE_BYTES = 4096
#: The other names of files that a `StagedFile` writes.
_UNFINISHED = re.compile(r"\.\w[\w.]*\.[0-9a-f]{16}(\.old)?")
_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFLNK: "a symbolic link"}
#: Farther from 1970 than this, in ns, no clock is: 146 years.
_OFFSET_LIMIT_NS = 1 << 62


@dataclass(frozen=True, slots=True)
class Paths:
    """Every place sysmonlx keeps a file in, below `root`.

    `root` is "/" but for packagers and tests, who set SYSMONLX_ROOT.
    """

    root: Path = Path("/")

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
        """Process id of who keeps the daemon running without a service manager."""
        return self.run_dir / "keeper.pid"

    @property
    def notify_socket(self) -> Path:
        """Socket on which the keeper hears from the daemon."""
        return self.run_dir / "notify.sock"

    @property
    def control_socket(self) -> Path:
        """Socket that `-c`, `-u` and `-stats` speak to; mode 0600."""
        return self.run_dir / "control.sock"

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


def private_directory(path: Path) -> None:
    """Make `path` a directory that we alone may use, mode 0700.

    Raises:
        InstallError: it cannot be made, is a link, or belongs to someone else.
    """
    try:
        parent = root_files.open_directory(path.parent, makes=True)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path.name, 0o700, dir_fd=parent)
        finally:
            os.close(parent)
        fd = _open_own_directory(path)
        try:
            if stat.S_IMODE(os.fstat(fd).st_mode) != 0o700:
                os.fchmod(fd, 0o700)
        finally:
            os.close(fd)
    except OSError as error:
        raise InstallError(f"Cannot create {path}: {error.strerror}") from error


def write_private(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file at `path` as a whole: a reader sees the old or the new one.

    The directory must be ours and writable by us alone, so that nobody can put a
    link in the way. The data is on disk when this returns.

    Raises:
        InstallError: the directory is not ours alone, the name is taken by a link or
            a directory, or writing fails; the old file is then unchanged.
    """
    staged = StagedFile(path, data, mode)
    try:
        staged.commit()
    except InstallError:
        staged.undo()
        raise
    finally:
        staged.close()


class StagedFile:
    """The next content of a file, on disk under another name in the same directory.

    `commit` puts it in the place of the file, `undo` puts the file back as it was, and
    `close` removes what only those two need. Until `close` a hard link keeps the file
    that was there: `undo` needs no space on the disk.

    Raises:
        InstallError: as `write_private`; nothing is left behind then.
    """

    def __init__(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        self._path = path
        self._is_committed = False
        suffix = os.urandom(8).hex()
        self._new, self._old = f".{path.name}.{suffix}", f".{path.name}.{suffix}.old"
        try:
            self._directory = _open_own_directory(path.parent)
        except OSError as error:
            raise self._error(error) from error
        try:
            self._had_file = _refuse_what_is_no_file(path, self._directory)
            root_files.write_new(self._directory, self._new, data, mode)
            if self._had_file:
                self._keep_old(mode)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise self._error(error) from error
            raise

    def _keep_old(self, mode: int) -> None:
        """Give the file that is there a second name; a copy where links are unknown."""
        name, fd = self._path.name, self._directory
        try:
            os.link(name, self._old, src_dir_fd=fd, dst_dir_fd=fd)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise
            root_files.write_new(fd, self._old, self._path.read_bytes(), mode)

    def _rename(self, name: str, other: str) -> None:
        fd = self._directory
        os.rename(name, other, src_dir_fd=fd, dst_dir_fd=fd)

    def _error(self, error: OSError) -> InstallError:
        return InstallError(f"Cannot write {self._path}: {error.strerror}")

    def commit(self) -> None:
        """Put the new content in place; it is on disk under that name on return.

        Raises:
            InstallError: the file system fails; `undo` puts back what was there.
        """
        try:
            self._rename(self._new, self._path.name)
            self._is_committed = True
            os.fsync(self._directory)
        except OSError as error:
            raise self._error(error) from error

    def undo(self) -> None:
        """Put back the file that was there, or none where none was.

        Raises:
            InstallError: the file system fails.
        """
        if not self._is_committed:
            return
        try:
            if self._had_file:
                self._rename(self._old, self._path.name)
            else:
                os.unlink(self._path.name, dir_fd=self._directory)
            self._is_committed = False
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Remove what is left of the other names."""
        if self._directory < 0:
            return
        for name in (self._new, self._old):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._directory)
        os.close(self._directory)
        self._directory = -1


def remove_unfinished(directory: Path, unchanged_s: float = 0.0) -> list[Path]:
    """Remove what a process that was killed while it wrote has left in a directory.

    Args:
        directory: One of our own; nothing is done where it is none.
        unchanged_s: Files that were changed within so many seconds stay: somebody may
            be writing them just now.

    Returns:
        The files that were removed.
    """
    removed = []
    try:
        fd = _open_own_directory(directory)
    except (OSError, InstallError):
        return []
    try:
        for name in filter(_UNFINISHED.fullmatch, os.listdir(fd)):
            with contextlib.suppress(OSError):
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if abs(time.time() - found.st_ctime) >= unchanged_s:
                    os.unlink(name, dir_fd=fd)
                    removed.append(directory / name)
    finally:
        os.close(fd)
    return removed


def _open_own_directory(path: Path) -> int:
    walked = root_files.open_directory(path, follows_last=False)
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        fd = os.open(".", flags, dir_fd=walked)  # fsync(2) needs more than O_PATH
    finally:
        os.close(walked)
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        os.close(fd)
        raise InstallError(f"Cannot use {path}: others may write to this directory")
    return fd


def _refuse_what_is_no_file(path: Path, directory: int) -> bool:
    """Return whether there is a file at a path, whose directory is open.

    Raises:
        InstallError: there is something else.
    """
    try:
        found = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        what = _KINDS.get(stat.S_IFMT(found.st_mode), "something that is no file")
        raise InstallError(
            f"Cannot write {path}: {what} is in its place, remove it first"
        )
    return True


def read_file(path: Path, limit_bytes: int = FILE_LIMIT_BYTES) -> bytes:
    """Return what a file holds; never waits, whatever stands in its place.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger than the limit.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", os.fspath(path))
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(path))
    return data


class RecordIds:
    """The counter of EventRecordID: native 64 bits in a shared mapping of a file.

    The kernel keeps a shared mapping however the process ends, SIGKILL too. A file
    that cannot be used is no reason to stop: the count then starts at 0 in memory, and
    `warning` says why. Without a path the count is in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self.warning = ""
        self._map: mmap.mmap | None = None
        try:
            self._map = self._open(path) if path is not None else None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self.warning = (
                f"Cannot keep the record id in {path}: {reason};"
                " record ids start at 0 and are given again after the next start"
            )
        memory = self._map if self._map is not None else bytearray(_COUNTER_BYTES)
        self._next = memoryview(memory).cast("Q")

    def _open(self, path: Path) -> mmap.mmap:
        fd = root_files.open_file(path, os.O_RDWR | os.O_CREAT)
        try:
            size = os.fstat(fd).st_size
            if size != _COUNTER_BYTES:
                if size:
                    self.warning = f"{path} had {size} bytes; record ids start at 0"
                # Written, not only enlarged: a page without a block of the file
                # system behind it would end us with SIGBUS on a full disk.
                os.ftruncate(fd, 0)
                if os.pwrite(fd, bytes(_COUNTER_BYTES), 0) != _COUNTER_BYTES:
                    raise OSError(0, "short write")
            return mmap.mmap(fd, _COUNTER_BYTES)
        finally:
            os.close(fd)

    def take(self, count: int = 1) -> int:
        """Return the first of `count` numbers in sequence, never given before."""
        first: int = self._next[0]
        self._next[0] = (first + count) & _COUNTER_MASK
        return first

    def close(self) -> None:
        """Write the counter to disk and give the mapping back."""
        self._next.release()
        if self._map is not None:
            self._map.flush()
            self._map.close()
            self._map = None


def boot_offset(
    state_dir: Path,
    boot_id: str,
    *,
    store: bool = True,
    tell: Callable[[str], object] = str,
) -> int:
    """Return the wall clock minus the boot clock in ns, the same for a whole boot.

    ProcessGuid is made with it: a clock that is set later must not change the GUID of
    a process. The first who asks in a boot fixes it; with `store` off (who may not
    write) an offset already fixed is used and none is kept. One that cannot be stored
    is no reason to stop: it holds until the daemon ends, and `tell` is told.
    """
    path = state_dir / "boot_offset"
    kept = _kept_offset(path, boot_id)
    if kept is not None:
        return kept
    offset = measure_boot_offset()
    if store:
        try:
            write_private(path, f"{boot_id} {offset}\n".encode())
        except InstallError as error:
            tell(f"{error}; ProcessGuid changes with the next start")
    return offset


def measure_boot_offset() -> int:
    """Return CLOCK_REALTIME minus CLOCK_BOOTTIME in ns, as of now."""
    best = (1 << 62, 0)
    for _ in range(5):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        best = min(best, (after - before, wall - (before + after) // 2))
    return best[1]


def _kept_offset(path: Path, boot_id: str) -> int | None:
    words = _read_small(path).split()
    if len(words) != 2 or words[0] != boot_id.encode():
        return None
    try:
        offset = int(words[1])
    except ValueError:
        return None
    return offset if abs(offset) < _OFFSET_LIMIT_NS else None


def machine_id(path: Path = Path("/etc/machine-id")) -> int:
    """Return the first 8 hex digits of machine-id(5) as a number, 0 without them."""
    digits = _read_small(path)[:8]
    try:
        return int(digits, 16) if len(digits) == 8 and digits.isalnum() else 0
    except ValueError:
        return 0


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


def _read_small(path: Path) -> bytes:
    try:
        return read_file(path, _SMALL_FILE_BYTES)
    except OSError:
        return b""
