# SPDX-License-Identifier: MIT
"""The installed package, without network and YAML, names two attacks once each.

`tests/kernel/service/test_scenarios.py` has the same from the rules in YAML on.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from deb.conftest import Boot
from support import scenarios
from support.bare import CONFIG, Bare
from support.running import wait_until

pytestmark = pytest.mark.kernel

RULES = '<Rules action="include">shipped</Rules></Settings>'
TITLES = [
    "Downloaded file is run as root",
    "Program or script of a writable place connects to another machine",
]
#: Where the package has rsyslog write.
LOG = "/var/log/sysmon.log"


@pytest.fixture(autouse=True)
def needs_kernel(require: Callable[[str, bool, str], None]) -> None:
    require("kernel", Path("/sys/kernel/btf/vmlinux").exists(), "no BTF")


def found(machine: Bare) -> list[str]:
    """Return which of the two were named so far, at syslog."""
    text = machine.shell(f"cat {LOG} 2>&- || :")
    lines = re.findall(r'<Data Name="RuleNames">(.*?)</Data>', text)
    names = [each for line in lines for each in re.findall("sigma=(.*?),level=", line)]
    return [each for each in names if each in TITLES]


def do(machine: Bare, what: str) -> None:
    machine.shell(
        f"mkdir -m 777 /var/tmp/{what} && python3 -I /packages/scenarios.py"
        f" /var/tmp/{what} {what} sudo -n"
    )
    machine.sees(f"end-of-{what}")
    wait_until(lambda: f"true end-of-{what}" in machine.shell(f"cat {LOG} 2>&- || :"))


def test_each_attack_is_named_once_at_syslog(boot: Boot, packages: Path) -> None:
    shutil.copy(scenarios.__file__, packages)
    machine = boot(systemd=True)
    said = machine.must("apt-get", "-y", "install", "/packages/this.deb")
    assert "sysmonlx" in said
    # The trigger of Debian's rsyslog restarts it where invoke-rc.d sees an init.
    machine.must("systemctl", "restart", "rsyslog")
    config = CONFIG.replace("</Settings>", RULES)
    machine.shell(f"cat >/root/rules.xml <<'END'\n{config}\nEND")
    said = machine.must("sysmonlx", "-accepteula", "-i", "/root/rules.xml")
    assert "and 2 of 2 correlations, action include" in said
    machine.shell("echo 'nobody ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/nobody")
    machine.sees("first")
    do(machine, "misses")
    assert found(machine) == []
    do(machine, "attacks")
    assert found(machine) == TITLES
