# SPDX-License-Identifier: MIT
"""Run a command as root under another kernel, in a QEMU guest.

    PYTHONPATH=tests python3 -m vm.runner --kernel 6.1 -- uname -a

The guest sees this machine's files read-only under an overlay in its memory: the
command finds the same interpreter and checkout, may write anywhere, and leaves nothing
behind. What it prints comes through; its exit status is the runner's. 124: the time was
up; 125: the guest did not start or did not come to the command's end.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vm import initramfs
from vm.kernels import Kernel, KernelError, kernel

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / "build/vm"
TIMED_OUT = 124
BROKEN = 125
KVM_BOOT_S = 20

KVM = ["-accel", "kvm", "-cpu", "host"]
#: Without five-level page tables, which cost much of its speed.
EMULATION = ["-accel", "tcg", "-cpu", "max,la57=off"]

#: Debian's own order of security modules, and BPF behind it.
APPEND = (
    "console=ttyS0 loglevel=4 panic=-1 nokaslr no_timer_check tsc=reliable "
    "mitigations=off lsm=lockdown,yama,integrity,apparmor,bpf"
)


def main() -> int:
    """Run what the command line says; return the exit status."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        found = kernel(arguments.kernel, CACHE)
        return run(found, _script(arguments.command), arguments)
    except (KernelError, OSError) as error:
        print(f"runner: {error}", file=sys.stderr)
        return BROKEN


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kernel", required=True, metavar="SERIES")
    parser.add_argument("--timeout", type=float, default=1200, metavar="SECONDS")
    parser.add_argument("--memory", default="2G")
    parser.add_argument("--append", default="", help="more for the kernel")
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def _script(command: list[str]) -> str:
    names = ("PATH", "HOME", "LANG", "PYTHONPATH")
    given = {name: os.environ[name] for name in names if name in os.environ}
    given |= {name: os.environ[name] for name in os.environ if "SYSMONLX" in name}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in given.items()]
    lines += [f"cd {shlex.quote(os.getcwd())}", f"exec {shlex.join(command)}"]
    return "\n".join(lines) + "\n"


def run(found: Kernel, script: str, arguments: argparse.Namespace) -> int:
    """Boot the guest, wait for its end, return the command's exit status.

    KVM where it works, else emulation.
    """
    for machine in (KVM, EMULATION):
        with tempfile.TemporaryDirectory(prefix="vm-") as name:
            work = Path(name)
            initramfs.build(work / "initramfs", found.modules, script)
            command = [*qemu(found, work, arguments), *machine]
            status = _wait(command, work, arguments.timeout, machine is EMULATION)
        if status is not None:
            return status
    return BROKEN


def _wait(
    command: list[str], work: Path, timeout_s: float, emulated: bool
) -> int | None:
    """Return the guest's exit status; None: it did not get as far as the command."""
    with open(work / "qemu", "w") as errors:
        guest = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=errors)
    try:
        if not emulated and not _started(guest, work):
            return None
        guest.wait(timeout_s)
    except subprocess.TimeoutExpired:
        print(f"runner: ended after {timeout_s:g} s", file=sys.stderr)
        return TIMED_OUT
    finally:
        guest.kill()
        guest.wait()
    status = (work / "status").read_text().strip()
    if not status:
        for name in ("qemu", "console"):
            print((work / name).read_text(errors="replace")[-3000:], file=sys.stderr)
    return int(status) if status else BROKEN


def _started(guest: subprocess.Popen[bytes], work: Path) -> bool:
    """Wait until the guest's first program runs; False: it does not."""
    deadline = time.monotonic() + KVM_BOOT_S
    while guest.poll() is None and time.monotonic() < deadline:
        console = work / "console"
        if console.exists() and initramfs.STARTED in console.read_text(
            errors="replace"
        ):
            return True
        time.sleep(0.1)
    return False


def qemu(found: Kernel, work: Path, arguments: argparse.Namespace) -> list[str]:
    """Return the command that boots the guest, without the kind of processor.

    The serial ports: console, output, exit status.
    """
    share = "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"
    return [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none", "-machine", "q35,hpet=off", "-smp", "2"),
        *("-m", arguments.memory),
        *("-kernel", str(found.image)),
        *("-initrd", str(work / "initramfs")),
        *("-append", f"{APPEND} {arguments.append}"),
        *("-serial", f"file:{work / 'console'}"),
        *("-chardev", "stdio,id=output,signal=off", "-serial", "chardev:output"),
        *("-serial", f"file:{work / 'status'}"),
        *("-fsdev", share),
        *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
    ]


if __name__ == "__main__":
    sys.exit(main())
