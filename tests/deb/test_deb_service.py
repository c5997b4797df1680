# SPDX-License-Identifier: MIT
"""The package while its service runs: renewed by an upgrade, ended by a removal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from deb.conftest import Boot
from support.bare import CONFIG, Bare

pytestmark = pytest.mark.kernel

UNIT = "/etc/systemd/system/sysmonlx.service"
#: Names of all processes but those that have ended and that nobody waits for.
ALIVE = """
for each in /proc/[0-9]*; do
    grep -q '^State:.Z' $each/status || cat $each/comm
done 2>&-
"""
THIS, NEWER = "/packages/this.deb", "/packages/newer.deb"


@pytest.fixture(autouse=True)
def needs_kernel(require: Callable[[str, bool, str], None]) -> None:
    require("kernel", Path("/sys/kernel/btf/vmlinux").exists(), "no BTF")


def start(machine: Bare) -> None:
    """Install the package, and the service with a switch."""
    machine.must("dpkg", "--install", THIS)
    write_config(machine)
    machine.must("sysmonlx", "-accepteula", "-i", "/root/rules.xml", "-h", "md5")
    machine.sees("first")


def write_config(machine: Bare) -> None:
    machine.shell(f"cat >/root/rules.xml <<'END'\n{CONFIG}\nEND")


def daemon(machine: Bare) -> str:
    return machine.shell("cat /run/sysmonlx/sysmonlx.pid 2>&- || :").strip()


def check_goes_on(machine: Bare, marker: str) -> None:
    """See that events are reported with the switch, and that numbers go on."""
    machine.sees(marker)
    events = machine.events()
    numbers = [int(each["EventRecordID"]) for each in events]
    assert numbers == [*range(len(numbers))]
    (event,) = (e for e in events if e.get("CommandLine") == f"true {marker}")
    assert event["Hashes"].startswith("MD5=")


def check_is_removed(machine: Bare) -> None:
    said = machine.must("dpkg", "--remove", "sysmonlx")
    assert "Sysmon stopped." in said
    assert daemon(machine) == ""
    assert "sysmonlx" not in machine.shell(ALIVE)
    machine.must("test", "!", "-e", UNIT, "-a", "!", "-e", "/etc/sysmonlx")
    machine.must("test", "-e", "/var/lib/sysmonlx/record_id")
    machine.must("dpkg", "--purge", "sysmonlx")
    left = machine.shell("find / -xdev -name '*sysmon*' -not -path '/proc/*'")
    assert left == ""


@pytest.mark.parametrize("systemd", [False, True])
def test_from_installation_to_purge(boot: Boot, systemd: bool) -> None:
    machine = boot(systemd=systemd)
    start(machine)
    before = daemon(machine)
    assert "sysmonlx started." in machine.must("dpkg", "--install", NEWER)
    assert daemon(machine) not in ("", before)
    check_goes_on(machine, "second")
    if systemd:
        text = machine.shell(f"cat {UNIT}")
        assert 'ExecStart="/usr/sbin/sysmonlx" -service' in text
        assert machine.must("systemctl", "is-active", "sysmonlx") == "active\n"
    check_is_removed(machine)


def test_service_that_was_stopped_stays_so(boot: Boot) -> None:
    machine = boot(systemd=True)
    start(machine)
    machine.must("systemctl", "stop", "sysmonlx")
    machine.must("dpkg", "--install", NEWER)
    state = machine.call("systemctl", "is-active", "sysmonlx").stdout
    assert (state, daemon(machine)) == ("inactive\n", "")
    machine.must("systemctl", "start", "sysmonlx")
    check_goes_on(machine, "second")


def test_administrator_forbids_restarts(boot: Boot) -> None:
    machine = boot()
    start(machine)
    before = daemon(machine)
    policy = "/usr/sbin/policy-rc.d"
    machine.shell(f"printf '#!/bin/sh\\nexit 101\\n' >{policy}; chmod 755 {policy}")
    said = machine.must("dpkg", "--install", NEWER)
    assert "policy-rc.d forbids a restart" in said
    assert daemon(machine) == before
    check_goes_on(machine, "second")


@pytest.mark.parametrize("boot", ["bookworm"], indirect=True)
def test_running_service_of_make_install_is_renewed(
    boot: Boot, local_tree: Path
) -> None:
    """The Python of `make install` is this machine's, thus one release alone."""
    machine = boot(systemd=True)
    machine.shell(f"cp -a /packages/{local_tree.name}/usr/local/. /usr/local/")
    write_config(machine)
    program = "/usr/local/sbin/sysmonlx"
    machine.must(program, "-i", "/root/rules.xml", "-h", "md5")
    assert program in machine.shell(f"cat {UNIT}")
    machine.sees("first")
    said = machine.must("dpkg", "--install", THIS)
    assert f"another installation is here: {program}" in said
    assert 'ExecStart="/usr/sbin/sysmonlx"' in machine.shell(f"cat {UNIT}")
    check_goes_on(machine, "second")
    assert "Sysmon stopped." in machine.must("dpkg", "--purge", "sysmonlx")
    machine.must("test", "-x", program)
