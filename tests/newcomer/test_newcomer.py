# SPDX-License-Identifier: MIT
"""The README as typed by somebody new, on a bare machine: `make test-newcomer`.

Each root is Debian's smallest with systemd and nothing else, with its mirror. All
commands of README.md are run in their order, but for those of a checkout.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.bare import RELEASES, Bare
from support.running import REPOSITORY, wait_until
from tools.release import BUILD, version

pytestmark = pytest.mark.kernel

PACKAGE = BUILD / f"sysmonlx_{version()}_amd64.deb"
#: Promised, in seconds; the first with Debian's mirror near, on a machine of this load.
FIRST_EVENT_S, OFFLINE_S, IDLE = 30, 10, 2.0

#: Commands of a checkout, which other targets run.
OF_A_CHECKOUT = re.compile(r"make ")
#: What a step takes for granted that a bare machine does not have.
BEFORE = {
    "sysmonlx-logview --tree": "curl -s file:///etc/hostname >/dev/null; sleep 1",
    "cp /usr/share/sysmonlx/rsyslog": "apt-get install -qq -y rsyslog",
}
#: What a person does to end or to answer a command.
AS_TYPED = {
    "apt install": "printf 'y\\n' | {}",
    # Of the machines of this test: they have a pid namespace of their own.
    "sysmonlx -selftest": "{} 2>&1 | grep 'give it that of the machine'",
    "journalctl -t sysmon -o cat --all --follow": "timeout 2 {} || [ $? = 124 ]",
}
#: Files that other programs keep, whatever is installed.
OF_OTHERS = r"^/(var/(cache|log|tmp|lib/(dpkg|apt|systemd))|run|tmp|root)(/|$)"
#: Names of all processes but those that have ended and that nobody waits for.
ALIVE = """
for each in /proc/[0-9]*; do
    grep -q '^State:.Z' $each/status || cat $each/comm
done 2>&-
"""
LISTING = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /packages \\) -prune -o -print"
)


def commands() -> list[str]:
    """Return the commands of the README, in their order."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```", (REPOSITORY / "README.md").read_text("utf-8"), re.S | re.M
    )
    lines = (line.partition("  #")[0].strip() for line in "".join(blocks).splitlines())
    return [line for line in lines if line and not OF_A_CHECKOUT.match(line)]


@pytest.fixture(autouse=True)
def needs_kernel(require: Callable[[str, bool, str], None]) -> None:
    require("kernel", Path("/sys/kernel/btf/vmlinux").exists(), "no BTF")


@pytest.fixture(params=RELEASES)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bare]:
    """A bare machine of a release, with a checkout's package in /root/sysmonlx."""
    (tmp_path / "packages/build").mkdir(parents=True)
    shutil.copy(PACKAGE, tmp_path / "packages/build")
    made = Bare(tmp_path, f"new-{request.param}", systemd=True, has_network=True)
    try:
        made.shell("cp -r /packages /root/sysmonlx && apt-get update -qq")
        yield made
    finally:
        made.end()


def run(machine: Bare, command: str) -> str:
    """Run a command of the README as somebody types it."""
    for begin, text in BEFORE.items():
        if command.startswith(begin):
            machine.shell(text)
    typed = next((t for b, t in AS_TYPED.items() if command.startswith(b)), "{}")
    begun_s = time.monotonic()
    said = machine.shell(f"cd /root/sysmonlx; {typed.format(command)}")
    print(f"  {time.monotonic() - begun_s:5.1f} s  {command}")
    return said


def split_at(wanted: str) -> tuple[list[str], list[str]]:
    found = commands()
    at = next(n for n, each in enumerate(found) if each.startswith(wanted))
    return found[: at + 1], found[at + 1 :]


def sees_programs(machine: Bare, marker: str) -> None:
    machine.must("true", marker)
    wait_until(lambda: marker in machine.shell("journalctl -t sysmon -o cat --all"))


def test_from_two_commands_to_the_first_event_and_back(machine: Bare) -> None:
    first, rest = split_at("sysmonlx -accepteula -i")
    begun_s = time.monotonic()
    for command in first:
        run(machine, command)
    sees_programs(machine, "first-event")
    took_s = time.monotonic() - begun_s
    print(f"  {took_s:5.1f} s  from nothing to the first event")

    machine.shell("apt-get install -qq -y curl")
    for command in rest:
        if command != "sysmonlx -u":
            said = run(machine, command)
            assert "Traceback" not in said
    check_rsyslog(machine)
    run(machine, "sysmonlx -u")

    machine.must("sysmonlx", "-accepteula", "-i", "/root/sysmonlx/config.xml")
    machine.must("apt-get", "purge", "-qq", "-y", "sysmonlx")
    assert "sysmonlx" not in machine.shell(ALIVE)
    machine.must("rm", "/etc/rsyslog.d/10-sysmonlx.conf")  # copied, not installed
    assert machine.shell(f"{LISTING} | grep -i sysmon | grep -v ^/root || :") == ""
    before = {*machine.shell(LISTING).splitlines()}
    offline_s = timed_offline(machine)
    print(f"  {offline_s:5.1f} s  installed offline")
    machine.must("sysmonlx", "-accepteula", "-i", "/root/sysmonlx/config.xml")
    sees_programs(machine, "once-more")
    machine.must("apt-get", "purge", "-qq", "-y", "sysmonlx")
    left = {*machine.shell(LISTING).splitlines()} - before
    assert [each for each in sorted(left) if not re.search(OF_OTHERS, each)] == []
    if os.getloadavg()[0] < IDLE:  # others would be measured, too
        assert took_s < FIRST_EVENT_S
    assert offline_s < OFFLINE_S


def check_rsyslog(machine: Bare) -> None:
    """See that rsyslog has each event once, in the file that the package names."""
    machine.must("true", "by-rsyslog")
    wait_until(
        lambda: "by-rsyslog" in machine.shell("cat /var/log/sysmon.log 2>&- || :")
    )
    assert machine.shell("grep -c 'sysmon: <Event>' /var/log/syslog || :") == "0\n"


def timed_offline(machine: Bare) -> float:
    package = f"./build/{PACKAGE.name}"
    begun_s = time.monotonic()
    machine.shell(f"cd /root/sysmonlx; unshare -n apt-get install -qq -y {package}")
    return time.monotonic() - begun_s
