# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sysmonlx.errors import ProcError
from sysmonlx.host.procfs import Procfs

NO_SUCH_PID = (1 << 22) + 1


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = tmp_path / "sleeper"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([b"a rg\n", b"60"], executable=program, cwd="/usr") as child:
        while not Path(f"/proc/{child.pid}/cmdline").read_bytes():
            time.sleep(0.001)  # Popen returns before the kernel has set it
        yield child
        child.kill()


def test_process_is_what_proc_says(sleeper: subprocess.Popen[bytes]) -> None:
    proc = Procfs()
    assert proc.root(sleeper.pid) == b"/"
    assert proc.mount_namespace(sleeper.pid) == os.stat("/proc/self/ns/mnt").st_ino
    assert sleeper.pid in proc.pids()
    assert sleeper.pid in proc.in_mount_namespace(proc.mount_namespace(sleeper.pid))


def test_program_file_is_held_though_deleted(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    wanted = (tmp_path / "sleeper").stat().st_ino
    (tmp_path / "sleeper").unlink()
    proc = Procfs()
    fd = proc.open_exe(sleeper.pid)
    try:
        assert os.fstat(fd).st_ino == wanted
    finally:
        os.close(fd)


def test_path_in_a_root_does_not_follow_a_last_link(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    proc = Procfs()
    for name in ("file", "link"):
        path = tmp_path / name
        fd = proc.open_in_root(os.getpid(), os.fsencode(path))
        assert os.fstat(fd).st_ino == path.lstat().st_ino
        os.close(fd)


def test_path_with_nul_is_gone() -> None:
    with pytest.raises(ProcError):
        Procfs().open_in_root(os.getpid(), b"/a\0b")


@pytest.mark.parametrize("method", ["root", "open_exe", "mount_namespace"])
def test_process_that_is_gone_is_an_error_that_names_the_file(method: str) -> None:
    with pytest.raises(ProcError, match=rf"^{NO_SUCH_PID}/\w+.*: No such file"):
        getattr(Procfs(), method)(NO_SUCH_PID)


def test_kernel_thread_has_no_program_file() -> None:
    kernel_threads = [pid for pid in Procfs().pids() if _is_kernel_thread(pid)]
    if not kernel_threads:
        pytest.skip("no kernel thread visible in this pid namespace")
    with pytest.raises(ProcError):
        Procfs().open_exe(kernel_threads[0])


def _is_kernel_thread(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    flags = int(stat.rpartition(") ")[2].split()[6])
    return bool(flags & 0x00200000)  # PF_KTHREAD


def test_boot_id_is_the_kernels() -> None:
    wanted = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert Procfs().boot_id() == wanted
    assert len(wanted) == 36


def test_another_proc_is_read_where_one_is_given(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    proc = Procfs(tmp_path)
    assert proc.pids() == [7]
    with pytest.raises(ProcError):
        Procfs(tmp_path / "none").pids()
